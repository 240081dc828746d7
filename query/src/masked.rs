//! Columns that say something of a person, for those who may not see them: they can be counted, and nothing else. What a
//! statement makes of them is followed through its plan, before anything rewrites it.

use std::{collections::BTreeSet, ops::ControlFlow};

use datafusion::{
    common::{
        Column, DFSchema, DataFusionError, Result,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    dataframe::DataFrame,
    logical_expr::{Expr, LogicalPlan, expr::AggregateFunction},
    sql::sqlparser::ast::{self, Visit, Visitor},
};
use ingest::Table;

use crate::{QueryError, Reason, session::NET};

/// Whether a column of a table is hidden from those who may not see persons.
pub(crate) fn is_masked(table: Table, column: &str) -> bool {
    // Who has a hash of a person's columns finds what is in them by trying.
    column == "content_hash" || table.columns().iter().any(|c| c.is_personal && c.name == column)
}

/// The columns that a statement names, but for those that it only counts.
pub(crate) fn named(statement: &ast::Statement) -> BTreeSet<String> {
    let mut names = Names::default();
    let _: ControlFlow<()> = statement.visit(&mut names);
    names.found
}

#[derive(Default)]
struct Names {
    found: BTreeSet<String>,
    /// How many functions around this place only count.
    counting: usize,
}

fn counts(expression: &ast::Expr) -> bool {
    let ast::Expr::Function(function) = expression else { return false };
    let name = function.name.to_string().to_lowercase();
    let distinct = match &function.args {
        ast::FunctionArguments::List(list) => list.duplicate_treatment,
        _ => None,
    };
    name == "approx_distinct"
        || name == "count" && distinct == Some(ast::DuplicateTreatment::Distinct)
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        self.counting += usize::from(counts(expression));
        let last = match expression {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        if let Some(ident) = last.filter(|_| self.counting == 0) {
            let name = &ident.value;
            self.found.insert(if ident.quote_style.is_some() {
                name.clone()
            } else {
                name.to_lowercase()
            });
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        self.counting -= usize::from(counts(expression));
        ControlFlow::Continue(())
    }
}

/// Refuses what shows a masked column, and leaves out those that `*` brought. Returns their names.
///
/// # Errors
/// [`Reason::Persons`], with what is allowed.
pub(crate) fn cover(
    frame: DataFrame,
    named: &BTreeSet<String>,
) -> Result<(DataFrame, Vec<String>), QueryError> {
    let mut names = OuterNames::default();
    let followed = follow(frame.logical_plan(), &mut names);
    let masked = match followed.and_then(|masked| names.check().map(|()| masked)) {
        Ok(masked) => masked,
        Err(MaskError::Shows(name)) => return Err(refusal(&name)),
        Err(MaskError::Failed(error)) => {
            tracing::error!(%error, "a plan could not be followed");
            return Err(QueryError::new(Reason::TooComplex, "the statement could not be followed"));
        }
    };
    let columns = frame.schema().columns();
    let hidden: Vec<String> = columns
        .iter()
        .zip(&masked)
        .filter(|(_, m)| m.is_some())
        .map(|(c, _)| c.name.clone())
        .collect();
    if hidden.is_empty() {
        return Ok((frame, hidden));
    }
    if let Some(name) = masked.iter().flatten().find(|name| named.contains(*name)) {
        return Err(refusal(name));
    }
    let shown: Vec<Expr> = columns
        .into_iter()
        .zip(&masked)
        .filter(|(_, masked)| masked.is_none())
        .map(|(column, _)| Expr::Column(column))
        .collect();
    if shown.is_empty() {
        return Err(refusal(&hidden[0]));
    }
    let failed = |error: DataFusionError| QueryError::new(Reason::Invalid, error.to_string());
    Ok((frame.select(shown).map_err(failed)?, hidden))
}

fn refusal(name: &str) -> QueryError {
    QueryError {
        reason: Reason::Persons,
        message: format!(
            "`{name}` says something of a person, which your role does not see: ask an administrator to grant it persons"
        ),
        position: None,
        hint: Some(format!(
            "count(distinct {name}) and approx_distinct({name}) count them for everybody"
        )),
    }
}

enum MaskError {
    /// A masked column would be seen.
    Shows(String),
    Failed(DataFusionError),
}

impl From<DataFusionError> for MaskError {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
    }
}

/// For each column of a plan the name of the masked one that it is, if it is one.
type Masked = Vec<Option<String>>;

/// The names that subqueries take from around them, and those that masked columns have anywhere in the statement. A
/// subquery does not tell which plan a name of the outer query belongs to.
#[derive(Debug, Default)]
struct OuterNames {
    taken: BTreeSet<String>,
    masked: BTreeSet<String>,
}

impl OuterNames {
    fn check(&self) -> Result<(), MaskError> {
        match self.taken.intersection(&self.masked).next() {
            Some(name) => Err(MaskError::Shows(name.clone())),
            None => Ok(()),
        }
    }
}

fn follow(plan: &LogicalPlan, names: &mut OuterNames) -> Result<Masked, MaskError> {
    let masked = columns(plan, names)?;
    let fields = plan.schema().fields().iter().zip(&masked);
    names.masked.extend(
        fields.filter(|(_, masked)| masked.is_some()).map(|(field, _)| field.name().clone()),
    );
    Ok(masked)
}

fn columns(plan: &LogicalPlan, names: &mut OuterNames) -> Result<Masked, MaskError> {
    if let LogicalPlan::TableScan(scan) = plan {
        let name = scan.table_name.table();
        let table = if name == NET { Some(Table::UsageLedger) } else { Table::parse(name) };
        let columns = scan.projected_schema.fields().iter().map(|field| field.name());
        let masked = columns
            .map(|column| table.filter(|table| is_masked(*table, column)).map(|_| column.clone()));
        return Ok(masked.collect());
    }
    let inputs = plan.inputs();
    let below = inputs.iter().map(|input| follow(input, names)).collect::<Result<Vec<_>, _>>()?;
    subqueries(plan, names)?;
    let known = InputColumns {
        inputs: inputs.iter().map(|input| input.schema().as_ref()).zip(&below).collect(),
    };
    if known.inputs.iter().all(|(_, masked)| masked.iter().all(Option::is_none)) {
        return Ok(vec![None; plan.schema().fields().len()]);
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().map(|expression| known.value(expression)).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.iter().try_for_each(|expression| known.check(expression))?;
            aggregate.aggr_expr.iter().try_for_each(|expression| known.count(expression))?;
            Ok(vec![None; aggregate.schema.fields().len()])
        }
        // The columns stay in their places.
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Repartition(_) => {
            known.check_all(plan)?;
            Ok(below.into_iter().next().unwrap_or_default())
        }
        LogicalPlan::Union(_) => {
            let width = plan.schema().fields().len();
            (0..width).map(|place| in_all(&below, place)).collect()
        }
        LogicalPlan::Join(_) | LogicalPlan::Window(_) => {
            known.check_all(plan)?;
            Ok(plan.schema().columns().iter().map(|column| known.of(column)).collect())
        }
        _ => {
            let name = below.iter().flatten().flatten().next().cloned();
            Err(MaskError::Shows(name.unwrap_or_default()))
        }
    }
}

/// A column of a union. Beside values of others, the number of masked ones would tell whether these are among them.
fn in_all(inputs: &[Masked], place: usize) -> Result<Option<String>, MaskError> {
    let mut found = inputs.iter().filter_map(|masked| masked.get(place)?.clone());
    let Some(name) = found.next() else { return Ok(None) };
    if found.count() + 1 < inputs.len() { Err(MaskError::Shows(name)) } else { Ok(Some(name)) }
}

/// What the columns below a node are.
struct InputColumns<'p> {
    inputs: Vec<(&'p DFSchema, &'p Masked)>,
}

impl InputColumns<'_> {
    fn of(&self, column: &Column) -> Option<String> {
        self.inputs.iter().find_map(|(schema, masked)| {
            let place = schema.maybe_index_of_column(column)?;
            masked.get(place)?.clone()
        })
    }

    /// What an item of a list is: a column under whatever name, or something that is made of others.
    fn value(&self, expression: &Expr) -> Result<Option<String>, MaskError> {
        match expression {
            Expr::Alias(alias) => self.value(&alias.expr),
            Expr::Column(column) => Ok(self.of(column)),
            other => self.check(other).map(|()| None),
        }
    }

    /// Refuses an expression that is made of a masked column.
    fn check(&self, expression: &Expr) -> Result<(), MaskError> {
        match expression.column_refs().into_iter().find_map(|column| self.of(column)) {
            Some(name) => Err(MaskError::Shows(name)),
            None => Ok(()),
        }
    }

    fn check_all(&self, plan: &LogicalPlan) -> Result<(), MaskError> {
        let mut found = Ok(());
        plan.apply_expressions(|expression| {
            found = self.check(expression);
            Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })?;
        found
    }

    /// An aggregate may count a masked column.
    fn count(&self, expression: &Expr) -> Result<(), MaskError> {
        let call = match expression {
            Expr::Alias(alias) => return self.count(&alias.expr),
            Expr::AggregateFunction(call) => call,
            other => return self.check(other),
        };
        let AggregateFunction { func, params } = call;
        let counts = func.name() == "approx_distinct" || func.name() == "count" && params.distinct;
        let [Expr::Column(_)] = params.args.as_slice() else { return self.check(expression) };
        if !counts {
            return self.check(expression);
        }
        let filter = params.filter.iter().map(|filter| filter.as_ref());
        let order = params.order_by.iter().map(|sort| &sort.expr);
        filter.chain(order).try_for_each(|part| self.check(part))
    }
}

/// A subquery shows no masked column to what is around it. What it takes goes to `names`.
fn subqueries(plan: &LogicalPlan, names: &mut OuterNames) -> Result<(), MaskError> {
    let mut found = Ok(());
    plan.apply_expressions(|expression| {
        expression.apply(|part| {
            let subquery = match part {
                Expr::ScalarSubquery(subquery) => subquery,
                Expr::Exists(exists) => &exists.subquery,
                Expr::InSubquery(inside) => &inside.subquery,
                Expr::SetComparison(comparison) => &comparison.subquery,
                Expr::OuterReferenceColumn(_, column) => {
                    names.taken.insert(column.name.clone());
                    return Ok(TreeNodeRecursion::Continue);
                }
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            found = follow(&subquery.subquery, names).and_then(|masked| {
                let is_seen = !matches!(part, Expr::Exists(_));
                match masked.into_iter().flatten().next().filter(|_| is_seen) {
                    Some(name) => Err(MaskError::Shows(name)),
                    None => Ok(()),
                }
            });
            Ok(if found.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })
    })?;
    found
}
