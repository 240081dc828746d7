//! The arguments of a planned statement, before anything of it is computed. A function is known by what it is here,
//! not by how somebody spelled its name.

use datafusion::{
    common::{ScalarValue, tree_node::TreeNode},
    logical_expr::{Expr, LogicalPlan, Operator, WindowFrameBound},
};

use super::{pattern, too_complex, walked};
use crate::QueryError;

const TEXT_LENGTH_MAX: i128 = 10_000;
const ARRAY_LENGTH_MAX: i128 = 100_000;
const SERIES_ITEMS_MAX: i128 = 1_000_000;
const CENTROIDS_MAX: i128 = 1_000;
const FRAME_ROWS_MAX: u64 = 1 << 40;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// Measures the arguments of a plan that nothing has rewritten yet. A parameter without a value passes: it has one
/// when the statement runs.
///
/// # Errors
/// [`Reason::TooComplex`](crate::Reason::TooComplex).
pub(crate) fn arguments(plan: &LogicalPlan) -> Result<(), QueryError> {
    walked(|check| {
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expression| expression.apply(|part| check(measure(part))))
        })
    })
}

fn measure(expression: &Expr) -> Result<(), QueryError> {
    match expression {
        Expr::ScalarFunction(call) => scalar(call.name(), &call.args),
        Expr::AggregateFunction(call) => aggregate(call.func.name(), &call.params.args),
        Expr::WindowFunction(call) => {
            let frame = &call.params.window_frame;
            bound(&frame.start_bound)?;
            bound(&frame.end_bound)?;
            aggregate(call.fun.name(), &call.params.args)
        }
        Expr::Like(like) => pattern::is_plain(&like.pattern),
        Expr::SimilarTo(like) => pattern::is_regular(&like.pattern),
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch => pattern::is_regular(&binary.right),
            Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch => pattern::is_plain(&binary.right),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Where a frame ends is added to a row's number, which overflows.
fn bound(bound: &WindowFrameBound) -> Result<(), QueryError> {
    match bound {
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)))
        | WindowFrameBound::Following(ScalarValue::UInt64(Some(rows)))
            if *rows > FRAME_ROWS_MAX =>
        {
            Err(too_complex(format!("a window of {rows} rows: {FRAME_ROWS_MAX} is the most")))
        }
        _ => Ok(()),
    }
}

fn scalar(name: &str, arguments: &[Expr]) -> Result<(), QueryError> {
    match name {
        "repeat" | "lpad" | "rpad" => at_most(name, arguments.get(1), TEXT_LENGTH_MAX),
        "array_repeat" | "array_resize" => at_most(name, arguments.get(1), ARRAY_LENGTH_MAX),
        "range" | "generate_series" => series(name, arguments),
        // A null of such a type takes room for all of it.
        "arrow_cast" | "arrow_try_cast"
            if arguments.get(1).and_then(literal).is_some_and(|kind| {
                kind.try_as_str().flatten().is_some_and(|kind| kind.contains("FixedSize"))
            }) =>
        {
            Err(too_complex(format!("`{name}` to a type of fixed size is not offered")))
        }
        _ if name.starts_with("regexp_") => arguments.get(1).map_or(Ok(()), pattern::is_regular),
        _ => Ok(()),
    }
}

fn aggregate(name: &str, arguments: &[Expr]) -> Result<(), QueryError> {
    match name {
        "approx_percentile_cont" => at_most(name, arguments.get(2), CENTROIDS_MAX),
        "approx_percentile_cont_with_weight" => at_most(name, arguments.get(3), CENTROIDS_MAX),
        _ => Ok(()),
    }
}

fn at_most(name: &str, argument: Option<&Expr>, most: i128) -> Result<(), QueryError> {
    let Some(argument) = argument else { return Ok(()) };
    match number(argument) {
        _ if matches!(argument, Expr::Placeholder(_)) => Ok(()),
        Some(given) if given <= most => Ok(()),
        Some(given) => Err(too_complex(format!("`{name}` with {given}: {most} is the most"))),
        None => Err(too_complex(format!(
            "`{name}` needs a number or a parameter as its length, of at most {most}, and no expression"
        ))),
    }
}

/// The items of a series are known before it is made: of numbers, or of dates and times.
fn series(name: &str, arguments: &[Expr]) -> Result<(), QueryError> {
    if arguments.iter().any(|argument| matches!(argument, Expr::Placeholder(_))) {
        return Ok(());
    }
    let bounds: Vec<_> =
        arguments.iter().map(|bound| number(bound).or_else(|| nanos(bound))).collect();
    let (start, stop, step) = match (&bounds[..], arguments) {
        ([stop], _) => (Some(0), *stop, Some(1)),
        ([start, stop], _) => (*start, *stop, Some(1)),
        ([start, stop, None], [.., by]) => (*start, *stop, shortest_nanos(by)),
        ([start, stop, step], _) => (*start, *stop, *step),
        _ => return Ok(()),
    };
    let items = match (start, stop, step) {
        (Some(start), Some(stop), Some(step)) => (stop - start).checked_div(step),
        _ => None,
    };
    match items {
        Some(items) if items <= SERIES_ITEMS_MAX => Ok(()),
        Some(items) => {
            Err(too_complex(format!("`{name}` of {items}: {SERIES_ITEMS_MAX} is the most")))
        }
        None => Err(too_complex(format!("`{name}` needs bounds that are numbers or dates"))),
    }
}

fn literal(expression: &Expr) -> Option<&ScalarValue> {
    match expression {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal(&alias.expr),
        _ => None,
    }
}

/// A whole number. Anything that has to be computed is none.
fn number(expression: &Expr) -> Option<i128> {
    match expression {
        Expr::Negative(inner) => number(inner)?.checked_neg(),
        _ => match literal(expression)? {
            ScalarValue::Int64(value) => value.map(i128::from),
            ScalarValue::UInt64(value) => value.map(i128::from),
            ScalarValue::Decimal128(value, _, 0) => *value,
            _ => None,
        },
    }
}

/// A date or a time, in nanoseconds: as a value, or as a text that is cast.
fn nanos(expression: &Expr) -> Option<i128> {
    match expression {
        Expr::Cast(cast) => literal(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => literal(expression).cloned(),
    }
    .and_then(|value| match value {
        ScalarValue::Date32(days) => days.map(|days| i128::from(days) * NANOS_PER_DAY),
        ScalarValue::TimestampSecond(at, _) => at.map(|at| i128::from(at) * 1_000_000_000),
        ScalarValue::TimestampMillisecond(at, _) => at.map(|at| i128::from(at) * 1_000_000),
        ScalarValue::TimestampMicrosecond(at, _) => at.map(|at| i128::from(at) * 1_000),
        ScalarValue::TimestampNanosecond(at, _) => at.map(i128::from),
        _ => None,
    })
}

/// The least that a step may be: a month has 28 days. None where its parts go both ways.
fn shortest_nanos(expression: &Expr) -> Option<i128> {
    let (months, days, nanos) = match literal(expression)? {
        ScalarValue::IntervalMonthDayNano(Some(step)) => (step.months, step.days, step.nanoseconds),
        ScalarValue::IntervalYearMonth(Some(months)) => (*months, 0, 0),
        ScalarValue::IntervalDayTime(Some(step)) => {
            (0, step.days, i64::from(step.milliseconds) * 1_000_000)
        }
        _ => return None,
    };
    let parts =
        [i128::from(months) * 28 * NANOS_PER_DAY, i128::from(days) * NANOS_PER_DAY, nanos.into()];
    let one_way = parts.iter().all(|part| *part >= 0) || parts.iter().all(|part| *part <= 0);
    one_way.then(|| parts.iter().sum())
}
