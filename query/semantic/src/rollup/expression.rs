//! The expressions of metrics over a rollup: each aggregate of rows becomes one of sums, if they are kept.

use std::{collections::BTreeSet, ops::ControlFlow};

use ingest::decode::correction::is_negated;
use sqlparser::{
    ast::{
        DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Visit,
        VisitMut, Visitor, VisitorMut,
    },
    dialect::GenericDialect,
    parser::Parser,
};

use super::{ROWS, Rollup, present_name, sum_name};

/// A sum that a rollup keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// As it is written in a metric, in one way of writing.
    call: String,
    /// What is summed.
    pub(super) value: String,
    pub(super) filter: Option<String>,
    pub(super) scale: u8,
    /// The columns that are summed.
    pub(super) columns: BTreeSet<String>,
}

/// A call of an aggregate.
struct Call {
    kind: CallKind,
    /// What is counted or summed.
    value: Option<Expr>,
    filter: Option<Expr>,
}

#[derive(PartialEq)]
enum CallKind {
    Count,
    CountDistinct,
    Sum,
}

/// Expressions over a rollup, and what they need of its rows.
pub(super) struct Rewriter<'a> {
    rollup: &'a Rollup,
    sums: &'a [Sum],
    /// Whether a column of the source is the same for all events of a row.
    is_key: &'a dyn Fn(&str) -> bool,
    /// Aggregates over rows of the rollup; the n-th is `a{n}`.
    pub(super) parts: Vec<String>,
    /// What is counted once; the n-th is `d{n}`.
    pub(super) distinct: Vec<String>,
    /// The sums that are read.
    pub(super) used: BTreeSet<usize>,
}

/// Functions of one value after another: what they do with sums they do with sums of sums.
const SCALARS: [&str; 10] =
    ["coalesce", "nullif", "greatest", "least", "abs", "round", "ceil", "floor", "power", "ln"];

impl Sum {
    /// Reads `sum(…)`, with a filter or without.
    pub(super) fn parse(text: &str, scale: u8) -> Option<Self> {
        let expression = parse(text)?;
        let Expr::Function(function) = &expression else { return None };
        let call = Call::of(function).filter(|call| call.kind == CallKind::Sum)?;
        let value = call.value?;
        let columns = columns(&value);
        Some(Self {
            call: expression.to_string(),
            value: value.to_string(),
            filter: call.filter.map(|filter| filter.to_string()),
            scale,
            columns,
        })
    }

    /// Whether it is this call.
    pub(super) fn is(&self, call: &str) -> bool {
        self.call == call
    }

    /// Whether a reversal has the sum with the other sign.
    pub(super) fn is_negated(&self) -> bool {
        self.columns.iter().all(|column| is_negated(column))
    }

    /// The condition that a row has something to add.
    pub(super) fn is_there(&self) -> String {
        match &self.filter {
            Some(filter) => format!("({filter}) AND ({}) IS NOT NULL", self.value),
            None => format!("({}) IS NOT NULL", self.value),
        }
    }
}

impl Call {
    /// Nothing if it is no call that rollups keep the parts of.
    fn of(function: &Function) -> Option<Self> {
        let FunctionArguments::List(list) = &function.args else { return None };
        let is_plain = function.over.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none()
            && list.clauses.is_empty();
        let ([FunctionArg::Unnamed(argument)], true) = (list.args.as_slice(), is_plain) else {
            return None;
        };
        let is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        let name = function.name.to_string().to_lowercase();
        let (kind, value) = match (name.as_str(), is_distinct, argument) {
            ("count", false, FunctionArgExpr::Wildcard) => (CallKind::Count, None),
            ("count", true, FunctionArgExpr::Expr(value)) => {
                (CallKind::CountDistinct, Some(value.clone()))
            }
            ("sum", false, FunctionArgExpr::Expr(value)) => (CallKind::Sum, Some(value.clone())),
            _ => return None,
        };
        Some(Self { kind, value, filter: function.filter.as_deref().cloned() })
    }
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(rollup: &'a Rollup, is_key: &'a dyn Fn(&str) -> bool) -> Self {
        Self {
            rollup,
            sums: rollup.sums(),
            is_key,
            parts: Vec::new(),
            distinct: Vec::new(),
            used: BTreeSet::new(),
        }
    }

    /// An expression over the parts that is equal to one over rows; nothing if the rollup does not have it.
    pub(super) fn rewrite(&mut self, text: &str) -> Option<String> {
        let mut expression = parse(text)?;
        if VisitMut::visit(&mut expression, self).is_break() {
            return None;
        }
        let is_part = |name: &String| {
            name == ROWS || name.starts_with(['a', 'd']) && name[1..].parse::<usize>().is_ok()
        };
        columns(&expression).iter().all(is_part).then(|| expression.to_string())
    }

    /// Whether an expression is the same for all events of a row.
    fn is_of_keys(&self, expression: &Expr) -> bool {
        columns(expression).iter().all(|name| (self.is_key)(name))
    }

    fn part(&mut self, aggregate: String) -> String {
        name_of(&mut self.parts, 'a', aggregate)
    }

    fn replaced(&mut self, function: &Function) -> Option<String> {
        let call = Call::of(function)?;
        let filtered = call.filter.as_ref().is_none_or(|filter| self.is_of_keys(filter));
        let filter = call.filter.as_ref().map(|filter| format!(" FILTER (WHERE {filter})"));
        let filter = filter.unwrap_or_default();
        if self.rollup.histogram.is_some() {
            return None;
        }
        match call.kind {
            CallKind::Count if filtered => {
                let rows = self.part(format!("sum({ROWS}){filter}"));
                Some(format!("coalesce(sum({rows}), 0)"))
            }
            CallKind::CountDistinct if filtered => {
                let value = call.value.filter(|value| self.is_of_keys(value))?;
                let value = match &call.filter {
                    Some(filter) => format!("CASE WHEN {filter} THEN {value} END"),
                    None => value.to_string(),
                };
                let name = name_of(&mut self.distinct, 'd', value);
                Some(format!("count(DISTINCT {name}) FILTER (WHERE {ROWS} > 0)"))
            }
            CallKind::Sum => {
                let text = function.to_string();
                let bare = Function { filter: None, ..function.clone() }.to_string();
                let kept = |call: &str| self.sums.iter().position(|sum| sum.is(call));
                let (place, filter) = match kept(&text) {
                    Some(place) => (place, String::new()),
                    None if filtered => (kept(&bare)?, filter),
                    None => return None,
                };
                self.used.insert(place);
                let sum = self.part(format!("sum({}){filter}", sum_name(place)));
                let present = self.part(format!("sum({}){filter}", present_name(place)));
                Some(format!("(CASE WHEN sum({present}) > 0 THEN sum({sum}) END)"))
            }
            CallKind::Count | CallKind::CountDistinct => None,
        }
    }
}

/// The name of a text in a list, to which it is added if it is not there.
fn name_of(list: &mut Vec<String>, letter: char, text: String) -> String {
    let place = list.iter().position(|known| *known == text).unwrap_or_else(|| {
        list.push(text);
        list.len() - 1
    });
    format!("{letter}{place}")
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expression else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_lowercase();
        if SCALARS.contains(&name.as_str()) {
            return ControlFlow::Continue(());
        }
        match self.replaced(function).and_then(|text| parse(&text)) {
            Some(replaced) => {
                *expression = replaced;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        }
    }
}

/// The columns that an expression names.
pub(super) fn columns_of(text: &str) -> Option<BTreeSet<String>> {
    parse(text).map(|expression| columns(&expression))
}

fn columns(expression: &Expr) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visitor for Names {
        type Break = ();

        fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
            match expression {
                Expr::Identifier(name) => {
                    self.0.insert(name.value.clone());
                }
                // No column of ours has a name of several parts: whoever asks for it does not find it.
                Expr::CompoundIdentifier(_) => {
                    self.0.insert(expression.to_string());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(BTreeSet::new());
    let _ = Visit::visit(expression, &mut names);
    names.0
}

fn parse(text: &str) -> Option<Expr> {
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).ok()?;
    let expression = parser.parse_expr().ok()?;
    let is_whole = parser.peek_token().token == sqlparser::tokenizer::Token::EOF;
    is_whole.then_some(expression)
}
