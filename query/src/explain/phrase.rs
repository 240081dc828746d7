//! The engine's sentences in words of SQL, each with the next step.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Visit, Visitor};

use super::{between, nearest};
use crate::{
    QueryError, Reason,
    error::type_name,
    gate::{self, functions},
};

/// Begins a hint whose function is given another type.
const CAST_IT: &str = "cast the argument: ";

/// What a sentence says, and what to do.
pub(super) struct Phrase {
    pub(super) reason: Reason,
    message: String,
    hint: Option<String>,
}

impl Phrase {
    fn new(reason: Reason, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn at(self, position: Option<(u64, u64)>) -> QueryError {
        let Self { reason, message, hint } = self;
        QueryError { reason, message, position, hint }
    }
}

/// The phrase for a sentence of the engine, if there is one.
pub(super) fn of(text: &str) -> Option<Phrase> {
    planned(text).or_else(|| computed(text))
}

/// What is wrong with a statement, whatever the rows.
fn planned(text: &str) -> Option<Phrase> {
    let invalid = |message: String, hint: String| Some(Phrase::new(Reason::Invalid, message, hint));
    if let Some(name) = between(text, "Invalid function '", "'") {
        return Some(unknown_function(name));
    }
    if let Some(phrase) = arguments(text) {
        return Some(phrase);
    }
    if let Some(phrase) = operands(text) {
        return Some(phrase);
    }
    if let Some(column) = between(text, "column \"", "\" must appear in the GROUP BY") {
        let bare = column.rsplit('.').next().unwrap_or(column);
        return invalid(
            format!("`{column}` must stand in GROUP BY, or within an aggregate"),
            format!("add GROUP BY {bare}, or write max({bare})"),
        );
    }
    if let Some(name) = text.split_once("Ambiguous reference to unqualified field ").map(|(_, n)| n)
    {
        let name = name.split_whitespace().next().unwrap_or_default();
        return invalid(
            format!("`{name}` is a column of several tables"),
            format!("put the name or alias of one before it, such as a.{name}"),
        );
    }
    if text.contains("Operator -") && text.contains("is not yet supported") {
        return invalid(
            "the operators of JSON are not offered".into(),
            "write json_get_text(attributes, 'team'), json_get_number or json_get_boolean".into(),
        );
    }
    if text.contains("Cannot access field at argument") {
        return invalid(
            "`[…]` is for lists and structs".into(),
            "of attributes write json_get_text(attributes, 'team')".into(),
        );
    }
    if let Some(kind) = text.split_once("Unsupported SQL type ").map(|(_, kind)| kind) {
        return invalid(
            format!("there is no type `{}`", kind.trim()),
            "the types are boolean, integer, bigint, decimal(38, 12), double, text, date, timestamp, interval".into(),
        );
    }
    if text.contains("Physical plan does not support logical expression") {
        return invalid(
            "a subquery cannot stand here, or not in this form".into(),
            "join the tables instead, or compute the rows in a common table (WITH) first".into(),
        );
    }
    if text.contains("Aggregate functions are not allowed in the WHERE clause") {
        return invalid(
            "an aggregate cannot stand in WHERE".into(),
            "write the condition in HAVING, after GROUP BY".into(),
        );
    }
    if text.contains("different number of columns") {
        return invalid(
            "the parts of UNION, INTERSECT or EXCEPT have different numbers of columns".into(),
            "name the same columns in each, with null where there is none".into(),
        );
    }
    None
}

/// Operands whose types do not fit together.
fn operands(text: &str) -> Option<Phrase> {
    let invalid = |message: String, hint: String| Some(Phrase::new(Reason::Invalid, message, hint));
    if let Some(operands) = between(text, "Cannot coerce arithmetic expression ", " to valid types")
    {
        let shown = shown_types(operands);
        return invalid(
            format!("{shown} is not possible"),
            "cast the text, such as cast(… as double) or cast(… as timestamp)".into(),
        );
    }
    if let Some(operands) = between(text, "Cannot infer common argument type for ", "\n")
        .or_else(|| text.split_once("Cannot infer common argument type for ").map(|(_, rest)| rest))
        && let Some((_, operands)) = operands.split_once("operation ")
    {
        let shown = shown_types(operands);
        return invalid(
            format!("{shown} is not possible: the types do not fit"),
            "cast one of them; put parentheses around what IS DISTINCT FROM compares".into(),
        );
    }
    None
}

/// What is wrong with a value, of the statement or of a row.
fn computed(text: &str) -> Option<Phrase> {
    let failed = |message: String, hint: &str| Some(Phrase::new(Reason::Failed, message, hint));
    let quoted = |before: &str| between(text, before, "'").map(|value| format!("`{value}`"));
    if text.contains("Divide by zero") {
        return failed("a division by zero".into(), "write x / nullif(y, 0): it is null then");
    }
    if let Some(value) = quoted("Error parsing timestamp from '") {
        return failed(
            format!("{value} is no time"),
            "write timestamp '2026-01-31T09:00:00Z', or now() - interval '1 day'",
        );
    }
    if let Some(value) = between(text, "Invalid input syntax for type interval: \"", "\"") {
        return failed(
            format!("`{value}` is no interval"),
            "write interval '1 day', or '2 hours 30 minutes'",
        );
    }
    let cast = quoted("Cannot cast string '").or_else(|| quoted("Cannot cast value '"));
    if let Some(value) = cast {
        let kind = between(text, " to value of ", " type").map_or_else(String::new, sql_type);
        return Some(Phrase::new(
            Reason::Failed,
            format!("{value} is no {kind}"),
            format!(
                "try_cast(… as {kind}) gives null there. A text beside a number is cast: put the number in quotes to compare texts"
            ),
        ));
    }
    None
}

fn unknown_function(name: &str) -> Phrase {
    let names = functions();
    if names.iter().any(|known| known.name == name && known.class == "window") {
        return Phrase::new(
            Reason::Invalid,
            format!("`{name}` is a window function"),
            format!("write {name}() over (partition by … order by …)"),
        );
    }
    let known: Vec<_> = names.iter().map(|known| known.name.as_str()).collect();
    let hint = nearest(name, &known)
        .unwrap_or_else(|| "GET /v1/functions lists those that there are".into());
    Phrase::new(Reason::Invalid, format!("there is no function `{name}`"), hint)
}

/// A function that does not take what it was given.
fn arguments(text: &str) -> Option<Phrase> {
    let is_ours = text.contains("failed to match any signature")
        || text.contains("No function matches the given name and argument types")
        || text.contains("to satisfy a call to '");
    if !is_ours {
        return None;
    }
    let name = between(text, "unction '", "'")
        .or_else(|| between(text, "call to '", "'"))
        .or_else(|| between(text, "'", "' does not support zero arguments"))?;
    let call = between(text, "argument types '", "'").and_then(|call| call.split_once('('));
    let given: Vec<String> = match call {
        Some((_, kinds)) => split(kinds.strip_suffix(')').unwrap_or(kinds)),
        None => between(text, "(DataType: ", ").")
            .or_else(|| between(text, "(DataType: ", ")"))
            .map(sql_type)
            .into_iter()
            .collect(),
    };
    let syntax = functions().into_iter().find(|known| known.name == name).map(|known| known.syntax);
    let syntax = syntax.filter(|_| gate::is_offered(name));
    let message = match given.as_slice() {
        [] => format!("{name} is missing an argument"),
        given => format!("{name} does not take {}", given.join(", ")),
    };
    let numbers = ["Decimal", "Int64", "Float", "Integer"];
    let is_number = numbers
        .iter()
        .any(|kind| text.contains(&format!("requires {kind}")) || text.contains("Exact(Float64)"));
    let is_text = text.contains("requires String") && given.len() == 1;
    let hint = if is_text && !is_number {
        format!("{CAST_IT}{name}(cast(… as text))")
    } else if is_number && given.first().is_some_and(|kind| kind == "text") {
        format!("{CAST_IT}{name}(cast(… as double))")
    } else {
        format!("it is written {}", syntax.unwrap_or_else(|| format!("{name}(…)")))
    };
    Some(Phrase::new(Reason::Invalid, message, hint))
}

/// Names the argument that a function does not take, as it stands in the statement.
pub(super) fn with_argument(error: QueryError, statement: &ast::Statement) -> QueryError {
    let hint = error.hint.as_deref().unwrap_or_default();
    let Some(name) = between(hint, CAST_IT, "(") else { return error };
    let mut search = Search { name, found: None };
    let _: ControlFlow<()> = statement.visit(&mut search);
    let Some(argument) = search.found else { return error };
    let kind = error.message.rsplit(' ').next().unwrap_or_default();
    QueryError {
        message: format!("{}: `{argument}` is {kind}", error.message),
        hint: Some(hint.replace('…', &argument)),
        ..error
    }
}

/// Looks for the first argument of a function.
struct Search<'n> {
    name: &'n str,
    found: Option<String>,
}

impl Visitor for Search<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expression
            && function.name.to_string().eq_ignore_ascii_case(self.name)
            && let ast::FunctionArguments::List(list) = &function.args
            && let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))) =
                list.args.first()
        {
            self.found = Some(argument.to_string());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Types in a list, whose own commas stand in parentheses.
fn split(kinds: &str) -> Vec<String> {
    let (mut depth, mut parts, mut part) = (0_i32, Vec::new(), String::new());
    for letter in kinds.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if letter == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(letter);
        }
    }
    parts.push(part);
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(sql_type).collect()
}

/// Operands with the operator between them.
fn shown_types(operands: &str) -> String {
    operands
        .split(' ')
        .map(|word| {
            if word.parse::<arrow::datatypes::DataType>().is_ok() {
                sql_type(word)
            } else {
                word.to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A type of the engine as SQL calls it.
fn sql_type(name: &str) -> String {
    name.parse().map_or_else(|_| name.to_lowercase(), |kind| type_name(&kind))
}
