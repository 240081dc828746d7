//! The names of an answer's columns: no two are the same, so that no format loses one.
//!
//! The engine refuses two columns of one name in a list, and takes `sum(x)` and `sum(cast(x as double))` for two of one
//! name. A statement that fails so is planned once more, with the later ones told apart.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::Arc,
};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::{
    common::{DataFusionError, Result, tree_node::TreeNode},
    dataframe::DataFrame,
    logical_expr::{
        Expr,
        planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr},
    },
    sql::sqlparser::ast::{self, Ident, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut},
};

use crate::nested::replaced_field;

/// What a column of an answer is called: the first keeps its name, later ones of the same get `_2`, `_3`, without those
/// that are taken.
fn distinct<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<String> {
    let taken: HashSet<&str> = names.clone().collect();
    let mut given: HashSet<String> = HashSet::new();
    let mut next: HashMap<&str, usize> = HashMap::new();
    let name = |name: &'n str| {
        if given.insert(name.to_owned()) {
            return name.to_owned();
        }
        let number = next.entry(name).or_insert(2);
        loop {
            let another = format!("{name}_{number}");
            *number += 1;
            if !taken.contains(another.as_str()) && given.insert(another.clone()) {
                return another;
            }
        }
    };
    names.map(name).collect()
}

/// The schema of an answer: with names of which no two are the same, and with plain texts, since not all readers know
/// the views that the engine works with.
pub(crate) fn answer_schema(schema: &SchemaRef) -> SchemaRef {
    let names = distinct(schema.fields().iter().map(|field| field.name().as_str()));
    let fields = schema.fields().iter().zip(names);
    let fields = fields.map(|(field, name)| replaced_field(field, &plain).with_name(name));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What stands for a view.
fn plain(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        _ => None,
    }
}

/// Whether a statement was refused for two columns of one name.
pub(crate) fn is_doubled(error: &DataFusionError) -> bool {
    let text = error.find_root().strip_backtrace();
    text.contains("have the same name") || text.contains("Schema contains duplicate")
}

/// Names of columns until the plan is there: a character of private use, and the place of the item.
const MARK: char = '\u{e000}';

/// What a column with a mark is to be called.
#[derive(Debug)]
enum OutputName {
    /// As the column of another item of the list.
    Item(usize),
    Name(String),
}

/// The outermost list of a statement, some of whose items have marks for names.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    bases: HashMap<String, OutputName>,
    /// The items, and how many stand before the first `*` and behind the last one.
    items: usize,
    before: usize,
    behind: usize,
}

/// Gives the later ones of equal columns names.
pub(crate) fn mark(statement: &mut ast::Statement) -> Marked {
    let mut marking = Marking { marked: Marked::default(), is_outermost: true };
    let _: ControlFlow<()> = statement.visit(&mut marking);
    marking.marked
}

struct Marking {
    marked: Marked,
    is_outermost: bool,
}

impl VisitorMut for Marking {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // Of a set operation the first list names the columns.
        let mut rest = vec![query.body.as_mut()];
        while let Some(part) = rest.pop() {
            match part {
                SetExpr::Select(select) if std::mem::take(&mut self.is_outermost) => {
                    self.marked = outermost(select);
                }
                SetExpr::Select(select) => inner(select),
                SetExpr::SetOperation { left, right, .. } => {
                    rest.extend([right, left].map(Box::as_mut))
                }
                // Visited as a query.
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// What the engine calls an item, without what it leaves out of a name.
fn key(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expression) => {
            let mut bare = expression.clone();
            let _: ControlFlow<()> = bare.visit(&mut WithoutCasts);
            Some(match own_name(&bare) {
                Some(name) => name,
                None => bare.to_string().to_lowercase(),
            })
        }
        SelectItem::ExprWithAlias { alias, .. } => Some(name(alias)),
        _ => None,
    }
}

struct WithoutCasts;

impl VisitorMut for WithoutCasts {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut ast::Expr) -> ControlFlow<()> {
        while let ast::Expr::Cast { expr, .. } = expression {
            *expression = expr.as_ref().clone();
        }
        ControlFlow::Continue(())
    }
}

fn name(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The name of a column.
fn own_name(expression: &ast::Expr) -> Option<String> {
    match expression {
        ast::Expr::Identifier(ident) => Some(name(ident)),
        ast::Expr::CompoundIdentifier(parts) => parts.last().map(name),
        _ => None,
    }
}

/// The places of the items that are doubled, each with the place of the first of them, if that is in the list itself.
fn doubled(select: &Select) -> Vec<(usize, Option<usize>)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let has_wildcard = select.projection.iter().any(is_wildcard);
    let mut found = Vec::new();
    for (place, item) in select.projection.iter().enumerate() {
        let Some(key) = key(item) else { continue };
        let is_column = matches!(item, SelectItem::UnnamedExpr(e) if own_name(e).is_some());
        match seen.get(&key) {
            Some(first) => found.push((place, Some(*first))),
            None if has_wildcard && is_column => found.push((place, None)),
            None => {
                seen.insert(key, place);
            }
        }
    }
    found
}

fn rename(item: &mut SelectItem, alias: String) {
    let alias = Ident::with_quote('"', alias);
    match item {
        SelectItem::UnnamedExpr(expr) => {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
        SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
        _ => {}
    }
}

fn outermost(select: &mut Select) -> Marked {
    let items = select.projection.len();
    let mut marked = Marked {
        items,
        before: select.projection.iter().position(is_wildcard).unwrap_or(items),
        behind: select.projection.iter().rev().position(is_wildcard).unwrap_or(items),
        bases: HashMap::new(),
    };
    for (place, first) in doubled(select) {
        let item = &mut select.projection[place];
        let base = match (&*item, first) {
            (SelectItem::ExprWithAlias { alias, .. }, _) => OutputName::Name(name(alias)),
            (SelectItem::UnnamedExpr(e), first) => match (own_name(e), first) {
                (Some(name), _) => OutputName::Name(name),
                (None, Some(first)) => OutputName::Item(first),
                (None, None) => continue,
            },
            _ => continue,
        };
        let mark = format!("{MARK}{place}");
        rename(item, mark.clone());
        marked.bases.insert(mark, base);
    }
    marked
}

fn inner(select: &mut Select) {
    let mut taken: HashSet<String> = select.projection.iter().filter_map(key).collect();
    for (place, _) in doubled(select) {
        let item = &mut select.projection[place];
        let Some(key) = key(item) else { continue };
        let free = (2..).map(|number| format!("{key}_{number}")).find(|name| !taken.contains(name));
        let Some(free) = free else { continue };
        taken.insert(free.clone());
        rename(item, free);
    }
}

impl Marked {
    /// Puts names in the places of the marks.
    pub(crate) fn resolve(&self, frame: DataFrame) -> Result<DataFrame> {
        let schema = frame.schema().clone();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let base = |name: &'_ str| -> String {
            match self.bases.get(name) {
                None => name.to_owned(),
                Some(OutputName::Name(name)) => name.clone(),
                Some(OutputName::Item(item)) => {
                    let column = if *item < self.before {
                        Some(*item)
                    } else if self.items - item <= self.behind {
                        names.len().checked_sub(self.items - item)
                    } else {
                        None
                    };
                    let named = column.and_then(|column| names.get(column));
                    named.map_or_else(|| "column".to_owned(), |name| (*name).to_owned())
                }
            }
        };
        let bases: Vec<_> = names.iter().map(|name| base(name)).collect();
        let names = distinct(bases.iter().map(String::as_str));
        let columns = schema.columns().into_iter().zip(names);
        frame.select(
            columns.map(|(column, name)| Expr::Column(column).alias(name)).collect::<Vec<_>>(),
        )
    }
}

/// Tells aggregates apart that differ in a cast only.
#[derive(Debug)]
pub(crate) struct Casts;

fn named(arguments: Vec<Expr>) -> Result<Vec<Expr>> {
    let name = |argument: Expr| {
        let shown = argument.to_string();
        Ok(match argument.exists(|part| Ok(matches!(part, Expr::Cast(_) | Expr::TryCast(_))))? {
            true => argument.alias(shown),
            false => argument,
        })
    };
    arguments.into_iter().map(name).collect()
}

impl ExprPlanner for Casts {
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        raw.args = named(raw.args)?;
        Ok(PlannerResult::Original(raw))
    }

    fn plan_window(&self, mut raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        raw.args = named(raw.args)?;
        Ok(PlannerResult::Original(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_names_are_the_same() {
        for (names, expected) in [
            (vec!["a", "a", "a"], vec!["a", "a_2", "a_3"]),
            (vec!["a", "a", "a_2"], vec!["a", "a_3", "a_2"]),
            (vec!["a_2", "a", "a", "b"], vec!["a_2", "a", "a_3", "b"]),
            (vec!["a", "A"], vec!["a", "A"]),
            (vec!["a_2", "a_2", "a", "a"], vec!["a_2", "a_2_2", "a", "a_3"]),
        ] {
            assert_eq!(distinct(names.into_iter()), expected);
        }
    }
}
