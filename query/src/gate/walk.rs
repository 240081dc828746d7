//! What was parsed: common tables, relations, functions with their arguments, and patterns.

use std::{collections::HashMap, ops::ControlFlow};

use chrono::NaiveDate;
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Query,
    Select, TableFactor, UnaryOperator, Value, Visit, Visitor, visit_relations,
};

use super::{JOINS_MAX, functions::is_offered, pattern, too_complex};
use crate::{QueryError, Reason};

const COMMON_TABLES_MAX: usize = 20;
/// Tables that are read once every common table is put in the places that name it. Twenty that each name the one
/// before twice are a million.
const REFERENCES_MAX: u64 = 200;
const TEXT_LENGTH_MAX: i64 = 10_000;
const ARRAY_LENGTH_MAX: i64 = 100_000;
const SERIES_ITEMS_MAX: i64 = 1_000_000;
const CENTROIDS_MAX: i64 = 1_000;

/// Measures a parsed statement. `is_known` says whether the engine has a function of this name.
///
/// # Errors
/// [`Reason::TooComplex`] or [`Reason::NotAllowed`].
pub(crate) fn statement(
    statement: &ast::Statement,
    is_known: impl Fn(&str) -> bool,
) -> Result<(), QueryError> {
    let mut walk = Walk { is_known, common_tables: 0, weights: HashMap::new() };
    match statement.visit(&mut walk) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Walk<F> {
    is_known: F,
    common_tables: usize,
    /// How many tables are read where a common table is named.
    weights: HashMap<String, u64>,
}

impl<F: Fn(&str) -> bool> Visitor for Walk<F> {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        flow(self.common_tables(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        let relations: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        if relations > JOINS_MAX + 1 {
            let message = format!("{relations} tables are joined; {} are the most", JOINS_MAX + 1);
            return ControlFlow::Break(too_complex(message));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<QueryError> {
        let refusal = match table {
            TableFactor::Table { name, args: None, .. } if !is_place(name) => None,
            TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => None,
            TableFactor::UNNEST { .. } => None,
            TableFactor::Table { args: None, .. } => Some("files and URLs are not tables here"),
            _ => Some("functions that give tables are not offered"),
        };
        match refusal {
            Some(refusal) => ControlFlow::Break(QueryError::new(Reason::NotAllowed, refusal)),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<QueryError> {
        flow(match expression {
            Expr::Function(function) => self.function(function),
            Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } => pattern::is_plain(pattern),
            Expr::SimilarTo { pattern, .. } | Expr::RLike { pattern, .. } => {
                pattern::is_regular(pattern)
            }
            Expr::BinaryOp {
                op:
                    BinaryOperator::PGRegexMatch
                    | BinaryOperator::PGRegexIMatch
                    | BinaryOperator::PGRegexNotMatch
                    | BinaryOperator::PGRegexNotIMatch,
                right,
                ..
            } => pattern::is_regular(right),
            Expr::BinaryOp {
                op:
                    BinaryOperator::PGLikeMatch
                    | BinaryOperator::PGILikeMatch
                    | BinaryOperator::PGNotLikeMatch
                    | BinaryOperator::PGNotILikeMatch,
                right,
                ..
            } => pattern::is_plain(right),
            _ => Ok(()),
        })
    }
}

impl<F: Fn(&str) -> bool> Walk<F> {
    fn common_tables(&mut self, query: &Query) -> Result<(), QueryError> {
        let Some(with) = &query.with else { return Ok(()) };
        if with.recursive {
            let message = "recursive common tables are not offered";
            return Err(QueryError::new(Reason::NotAllowed, message));
        }
        self.common_tables += with.cte_tables.len();
        if self.common_tables > COMMON_TABLES_MAX {
            let message = format!("more than {COMMON_TABLES_MAX} common tables (WITH)");
            return Err(too_complex(message));
        }
        for table in &with.cte_tables {
            // One that reads no table is planned as well.
            let weight = self.weight(table.query.as_ref()).max(1);
            self.weights.insert(table.alias.name.value.to_lowercase(), weight);
        }
        let all = self.weight(query.body.as_ref());
        if all.max(self.weights.values().copied().max().unwrap_or(0)) > REFERENCES_MAX {
            let message =
                format!("common tables are named so often that over {REFERENCES_MAX} are read");
            return Err(too_complex(message));
        }
        Ok(())
    }

    fn weight(&self, part: &impl Visit) -> u64 {
        let mut sum = 0_u64;
        let _ = visit_relations(part, |name| {
            let weight = self.weights.get(&name.to_string().to_lowercase()).copied();
            sum = sum.saturating_add(weight.unwrap_or(1));
            ControlFlow::<()>::Continue(())
        });
        sum
    }

    fn function(&self, function: &ast::Function) -> Result<(), QueryError> {
        let name = function.name.to_string().to_lowercase();
        let name = name.trim_matches('"');
        if !is_offered(name) {
            if !(self.is_known)(name) {
                // The planner says what it could have meant.
                return Ok(());
            }
            let message = format!("the function `{name}` is not offered; see /v1/functions");
            return Err(QueryError::new(Reason::NotAllowed, message));
        }
        let arguments = arguments(function);
        // The column may stand in WITHIN GROUP instead.
        let given = arguments.len() + usize::from(!function.within_group.is_empty());
        match name {
            "repeat" | "lpad" | "rpad" => at_most(name, arguments.get(1), TEXT_LENGTH_MAX),
            "array_repeat" | "list_repeat" | "array_resize" | "list_resize" => {
                at_most(name, arguments.get(1), ARRAY_LENGTH_MAX)
            }
            "approx_percentile" | "approx_percentile_cont" if given > 2 => {
                at_most(name, arguments.last(), CENTROIDS_MAX)
            }
            "approx_percentile_cont_with_weight" if given > 3 => {
                at_most(name, arguments.last(), CENTROIDS_MAX)
            }
            "range" | "generate_series" => series(name, &arguments),
            _ if name.starts_with("regexp_") => match arguments.get(1) {
                Some(pattern) => pattern::is_regular(pattern),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn flow(result: Result<(), QueryError>) -> ControlFlow<QueryError> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

/// Whether a name is that of a file or a URL.
fn is_place(name: &ObjectName) -> bool {
    let text = name.to_string();
    text.contains(['/', '\\', '\''])
}

fn arguments(function: &ast::Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let expression = |argument| match argument {
        &FunctionArg::Named { ref arg, .. }
        | &FunctionArg::ExprNamed { ref arg, .. }
        | &FunctionArg::Unnamed(ref arg) => match arg {
            FunctionArgExpr::Expr(expression) => Some(expression),
            _ => None,
        },
    };
    list.args.iter().filter_map(expression).collect()
}

fn at_most(name: &str, argument: Option<&&Expr>, most: i64) -> Result<(), QueryError> {
    match argument.map(|argument| number(argument)) {
        // Without it the planner says what is missing.
        None => Ok(()),
        Some(Some(given)) if given <= most => Ok(()),
        Some(Some(given)) => Err(too_complex(format!("`{name}` with {given}: {most} is the most"))),
        Some(None) => Err(too_complex(format!(
            "`{name}` needs a number as its length, of at most {most}, and no expression"
        ))),
    }
}

/// The items of a series are known before it is made: of numbers, or of dates.
fn series(name: &str, arguments: &[&Expr]) -> Result<(), QueryError> {
    let numbers: Option<Vec<_>> = arguments.iter().map(|argument| number(argument)).collect();
    let items = match (numbers.as_deref(), arguments) {
        (Some([stop]), _) => Some(i128::from(*stop)),
        (Some([start, stop]), _) => Some(i128::from(*stop) - i128::from(*start)),
        (Some([start, stop, step]), _) if *step != 0 => {
            Some((i128::from(*stop) - i128::from(*start)) / i128::from(*step))
        }
        (None, [start, stop, step]) => days(start, stop, step),
        _ => None,
    };
    match items {
        Some(items) if items <= i128::from(SERIES_ITEMS_MAX) => Ok(()),
        Some(items) => {
            Err(too_complex(format!("`{name}` of {items}: {SERIES_ITEMS_MAX} is the most")))
        }
        None => Err(too_complex(format!("`{name}` needs bounds that are numbers or dates"))),
    }
}

/// The most steps between two dates.
fn days(start: &Expr, stop: &Expr, step: &Expr) -> Option<i128> {
    let Expr::Interval(interval) = step else { return None };
    let step = interval.to_string().to_lowercase();
    let per_day = match () {
        () if step.contains("second") || step.contains('.') => return None,
        () if step.contains("minute") => 1_440,
        () if step.contains("hour") => 24,
        () if ["day", "week", "month", "year"].iter().any(|unit| step.contains(unit)) => 1,
        () => return None,
    };
    let days = date(stop)?.signed_duration_since(date(start)?).num_days();
    Some((i128::from(days) + 1) * per_day)
}

fn date(expression: &Expr) -> Option<NaiveDate> {
    let text = match expression {
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => text,
            _ => return None,
        },
        _ => return None,
    };
    NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()
}

fn number(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Nested(inner) => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr)?.checked_neg(),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
