//! An engine's error as the one who asked may see it: its class, where in the text it is, and what may have been
//! meant.

mod phrase;

use arrow::error::ArrowError;
use datafusion::{
    common::{DataFusionError, SchemaError, utils::datafusion_strsim::levenshtein},
    sql::sqlparser::ast,
};

use crate::{QueryError, Reason, RowAccess, error::OutOfRange, gate, schema};
use phrase::Phrase;

/// Columns or tables that a hint names, at most.
const NAMES_MAX: usize = 12;

pub(crate) fn explain(error: DataFusionError, reach: &RowAccess) -> QueryError {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let place = span.map(|span| (span.start.line, span.start.column)).filter(|(line, _)| *line > 0);
    let error = error.find_root();
    let text = error.strip_backtrace();
    let invalid = |message: String, hint: Option<String>| QueryError {
        reason: Reason::Invalid,
        message,
        position: place,
        hint,
    };
    if !matches!(error, DataFusionError::SQL(..))
        && let Some(phrase) = told(error, &text, reach)
    {
        return phrase.at(place);
    }
    match error {
        DataFusionError::SQL(parse, _) => {
            let text = parse.to_string();
            let message = text.trim_start_matches("sql parser error: ");
            let message = message.split(" at Line: ").next().unwrap_or(message).to_owned();
            QueryError { reason: Reason::Syntax, position: position(&text), message, hint: None }
        }
        DataFusionError::ResourcesExhausted(_) => {
            QueryError::new(Reason::Memory, "the query needs more memory than it may use")
        }
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let names: Vec<_> =
                    valid_fields.iter().map(|column| column.name.as_str()).collect();
                let hint =
                    nearest(&field.name, &names).or_else(|| listed("the columns are", &names));
                invalid(format!("there is no column `{}`", field.flat_name()), hint)
            }
            _ => invalid(first_line(&text), None),
        },
        DataFusionError::NotImplemented(_) => invalid(first_line(&text), None),
        DataFusionError::Plan(message) => {
            let refused = ["DDL not supported", "DML not supported", "Statement not supported"];
            if refused.iter().any(|refused| message.starts_with(refused)) {
                return QueryError::new(Reason::NotAllowed, "only queries are allowed");
            }
            if let Some(table) = between(message, "table '", "' not found") {
                let name = table.rsplit('.').next().unwrap_or(table);
                let names: Vec<_> = schema::names(reach).collect();
                let hint = nearest(name, &names).or_else(|| listed("the tables are", &names));
                return invalid(format!("there is no table `{name}`"), hint);
            }
            let meant =
                between(message, "Did you mean '", "'?").filter(|name| gate::is_offered(name));
            invalid(first_line(message), meant.map(did_you_mean))
        }
        DataFusionError::External(error) if error.is::<OutOfRange>() => {
            let OutOfRange { message, hint } =
                error.downcast_ref().cloned().unwrap_or_else(OutOfRange::unknown);
            QueryError { reason: Reason::OutOfRange, message, position: None, hint: Some(hint) }
        }
        error if is_out_of_range(error) => {
            let OutOfRange { message, hint } = OutOfRange::unknown();
            QueryError { reason: Reason::OutOfRange, message, position: None, hint: Some(hint) }
        }
        // The message may hold a value of a row, another tenant's even: only its class is told.
        _ if matches!(reach, RowAccess::Organization(_)) => QueryError::new(
            Reason::Failed,
            "the query failed on a row: a cast, a division or an overflow",
        ),
        _ => QueryError::new(Reason::Failed, first_line(&text)),
    }
}

/// The same, with the part of the statement that it is about.
pub(crate) fn explain_in(
    error: DataFusionError,
    reach: &RowAccess,
    statement: &ast::Statement,
) -> QueryError {
    phrase::with_argument(explain(error, reach), statement)
}

/// The phrase for a sentence, if there is one and it may be told. What failed on a row may hold a value, another tenant's
/// even.
fn told(error: &DataFusionError, text: &str, reach: &RowAccess) -> Option<Phrase> {
    let is_computed = matches!(
        error,
        DataFusionError::ArrowError(..)
            | DataFusionError::Execution(_)
            | DataFusionError::External(_)
    );
    let phrase = phrase::of(text)?;
    let is_open = !matches!(reach, RowAccess::Organization(_));
    (is_open || phrase.reason == Reason::Invalid && !is_computed).then_some(phrase)
}

/// Whether a number did not fit its type somewhere in the engine. It has no kind of its own for that.
fn is_out_of_range(error: &DataFusionError) -> bool {
    let text = match error {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ArithmeticOverflow(_) => return true,
            ArrowError::InvalidArgumentError(text) => {
                return text.contains(" to store in a Decimal");
            }
            ArrowError::ComputeError(text) => text,
            _ => return false,
        },
        DataFusionError::Execution(text) => text,
        _ => return false,
    };
    text.to_ascii_lowercase().contains("overflow") && !text.starts_with("Date ")
}

/// A sentence without the names of the engine's parts.
fn first_line(text: &str) -> String {
    let mut text = text;
    let parts = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Internal error: ",
        "Schema error: ",
        "External error: ",
        "Optimizer rule ",
    ];
    while let Some(rest) = parts.iter().find_map(|part| text.strip_prefix(part)) {
        text = rest;
    }
    let text = text
        .strip_prefix("This feature is not implemented: ")
        .map_or_else(|| text.to_owned(), |rest| format!("not offered: {rest}"));
    text.lines().next().unwrap_or_default().chars().take(500).collect()
}

/// `… at Line: 1, Column: 8`, as the parser writes it.
fn position(message: &str) -> Option<(u64, u64)> {
    let (_, rest) = message.rsplit_once("at Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let column: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((line.parse().ok()?, column.parse().ok()?))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inner, _)| inner)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

/// What was meant, when a name is nearly that of something: a third of its letters may differ.
fn nearest(name: &str, names: &[&str]) -> Option<String> {
    let distances = names.iter().map(|known| (levenshtein(&name.to_lowercase(), known), known));
    let (distance, known) = distances.min()?;
    (distance * 3 <= name.chars().count()).then(|| did_you_mean(known))
}

fn listed(what: &str, names: &[&str]) -> Option<String> {
    let shown: Vec<_> = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    (!shown.is_empty()).then(|| format!("{what} {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_meant_and_a_far_one_is_not() {
        let names = ["organization_id", "model", "lsn"];
        let hint = |name| nearest(name, &names);
        assert_eq!(hint("organisation_id").unwrap(), "did you mean `organization_id`?");
        assert_eq!(hint("Models").unwrap(), "did you mean `model`?");
        assert_eq!(hint("price"), None);
        assert_eq!(nearest("a", &[]), None);
        assert_eq!(listed("the tables are", &[]), None);
        let many = ["x"; NAMES_MAX + 1];
        assert!(listed("the columns are", &many).unwrap().ends_with("`x`, …"));
    }
}
