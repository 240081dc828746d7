//! Patterns: a text in quotes, so that it can be measured. A regular expression becomes a program, whose size can be
//! a power of its length.

use datafusion::logical_expr::Expr;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::too_complex;
use crate::QueryError;

const PATTERN_BYTES_MAX: usize = 256;
/// Steps of the program, each repetition written out.
const STEPS_MAX: u64 = 100_000;

/// Measures a pattern of LIKE.
pub(super) fn is_plain(expression: &Expr) -> Result<(), QueryError> {
    text(expression).map(|_| ())
}

/// Measures a regular expression. One that is none fails while it runs.
pub(super) fn is_regular(expression: &Expr) -> Result<(), QueryError> {
    match regex_syntax::parse(text(expression)?) {
        Ok(program) if steps(&program) > STEPS_MAX => Err(too_complex(format!(
            "a pattern has more than {STEPS_MAX} steps when its repetitions are written out"
        ))),
        _ => Ok(()),
    }
}

fn text(expression: &Expr) -> Result<&str, QueryError> {
    let text = match expression {
        // A parameter that has no value yet.
        Expr::Placeholder(_) => Some(""),
        Expr::Literal(value, _) => value.try_as_str().map(Option::unwrap_or_default),
        _ => None,
    };
    match text {
        Some(text) if text.len() <= PATTERN_BYTES_MAX => Ok(text),
        Some(_) => Err(too_complex(format!("a pattern is longer than {PATTERN_BYTES_MAX} bytes"))),
        None => Err(too_complex("a pattern is a text in quotes or a parameter, and no expression")),
    }
}

fn steps(program: &Hir) -> u64 {
    let sum = |parts: &[Hir]| parts.iter().map(steps).fold(0, u64::saturating_add);
    match program.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or_else(|| repetition.min.max(1));
            steps(&repetition.sub).saturating_mul(times.into())
        }
        HirKind::Capture(capture) => steps(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => sum(parts),
    }
}
