//! Whether the expressions of a metric are expressions: what is pasted into a statement must be one, and nothing more.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Visit, Visitor},
    dialect::GenericDialect,
    parser::Parser,
    tokenizer::{Token, Tokenizer, Whitespace},
};
use semantic::{Metric, MetricKind};

/// Checks the expressions of a metric.
///
/// # Errors
/// What is wrong with one of them, in a sentence.
pub(super) fn check(metric: &Metric) -> Result<(), String> {
    if let Some(conversion) = &metric.conversion {
        let events = [&conversion.start, &conversion.goal];
        let mut filters = events.into_iter().filter_map(|event| event.filter.as_ref());
        return filters.try_for_each(|filter| parse("filter", filter).map(|_| ()));
    }
    let value = parse("value", &metric.value)?;
    if let Some(over) = &metric.over {
        parse("over", over)?;
    }
    let Some(filter) = &metric.filter else { return Ok(()) };
    parse("filter", filter)?;
    // What stands behind it in SQL filters one call only.
    if metric.kind == MetricKind::Aggregate && !is_call(&value) {
        return Err(
            "has a `filter`, so that `value` must be one aggregate, such as sum(input_tokens)"
                .into(),
        );
    }
    Ok(())
}

/// Checks that the rows of a metric of persons count one by one: each part is one aggregate over a column or over rows.
///
/// # Errors
/// What is wrong with one of them, in a sentence.
pub(super) fn check_of_persons(metric: &Metric) -> Result<(), String> {
    if metric.kind == MetricKind::Distinct {
        return Ok(());
    }
    for text in [Some(&metric.value), metric.over.as_ref()].into_iter().flatten() {
        if !is_plain_aggregate(&parse("value", text)?) {
            return Err(
                "is of persons, who must be countable: `value` and `over` are one aggregate over a column each, such as \
                 count(*) FILTER (WHERE …)"
                    .into(),
            );
        }
    }
    Ok(())
}

/// A call over a column or over rows, or a column alone.
fn is_plain_aggregate(expression: &Expr) -> bool {
    let is_column = |expression: &Expr| matches!(expression, Expr::Identifier(_));
    match expression {
        Expr::Function(function) => match &function.args {
            FunctionArguments::List(list) => list.args.iter().all(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => true,
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expression)) => is_column(expression),
                _ => false,
            }),
            _ => false,
        },
        other => is_column(other),
    }
}

fn parse(name: &str, text: &str) -> Result<Expr, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("has a `{name}` that is no expression: {error}");
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize().map_err(|error| wrong(&error))?;
    let is_comment = |token: &Token| {
        matches!(
            token,
            Token::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)
            )
        )
    };
    if tokens.iter().any(is_comment) {
        return Err(wrong(&"it has a comment"));
    }
    let mut parser = Parser::new(&dialect).with_tokens(tokens);
    let expression = parser.parse_expr().map_err(|error| wrong(&error))?;
    if parser.peek_token().token != Token::EOF {
        return Err(wrong(&format!("`{}` is too much", parser.peek_token())));
    }
    match expression.visit(&mut Columns) {
        ControlFlow::Break(what) => {
            Err(format!("has a `{name}` with {what}: it is an expression over columns"))
        }
        ControlFlow::Continue(()) => Ok(expression),
    }
}

/// A call, with a minus before it perhaps.
fn is_call(expression: &Expr) -> bool {
    match expression {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => is_call(expr),
        Expr::Function(function) => function.filter.is_none(),
        _ => false,
    }
}

/// Finds what reads more than the columns of the row and its group.
struct Columns;

impl Visitor for Columns {
    type Break = &'static str;

    fn pre_visit_query(
        &mut self,
        _: &datafusion::sql::sqlparser::ast::Query,
    ) -> ControlFlow<Self::Break> {
        ControlFlow::Break("a subquery")
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Self::Break> {
        match expression {
            Expr::Function(function) if function.over.is_some() => ControlFlow::Break("a window"),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_one_and_nothing_more() {
        for text in [
            "count(*)",
            "-sum(a) FILTER (WHERE b = 'from; over --')",
            "a + b",
            "CAST(sum(a) AS DOUBLE)",
        ] {
            assert!(parse("value", text).is_ok(), "{text}");
        }
        for text in [
            "",
            "count(*) -- all",
            "count(*) /* all */",
            "count(*) FROM users",
            "count(*); select 1",
            "a, b",
            "(select 1)",
            "a in (select b from c)",
            "exists (select 1)",
            "sum(a) over (order by b)",
            "sum(a",
        ] {
            assert!(parse("value", text).is_err(), "{text}");
        }
        assert!(is_call(&parse("value", "-sum(a)").unwrap()));
        for text in ["sum(a) + sum(b)", "sum(a) FILTER (WHERE b)", "a"] {
            assert!(!is_call(&parse("value", text).unwrap()), "{text}");
        }
    }
}
