//! A metric over other metrics: each is computed as it is alone, and the expression combines their values in each cell.

use std::fmt::Write;

use crate::{Metric, MetricKind, Unit};

/// Metrics of one expression.
const METRICS_MAX: usize = 6;

/// A metric of the expression, and its statement.
pub(crate) struct Operand<'a> {
    pub(crate) metric: &'a Metric,
    pub(crate) sql: String,
}

/// The names in an expression: words in small letters that are no call.
pub(crate) fn names(expression: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = expression;
    while let Some(start) =
        rest.find(|letter: char| letter.is_ascii_alphanumeric() || letter == '_')
    {
        let word = &rest[start..];
        let end = word.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (word, after) = word.split_at(end.unwrap_or(word.len()));
        let is_name = word.starts_with(|letter: char| letter.is_ascii_lowercase())
            && !after.trim_start().starts_with('(');
        if is_name && !names.iter().any(|name| name == word) {
            names.push(word.to_owned());
        }
        rest = after;
    }
    names
}

/// Whether a metric can be one of an expression.
pub(crate) fn check(names: &[String]) -> Result<(), String> {
    if names.is_empty() || names.len() > METRICS_MAX {
        return Err(format!("has a `value` that is an expression over 1 to {METRICS_MAX} metrics"));
    }
    Ok(())
}

/// One statement of all. The cells of each metric are put below one another, and then together: a metric without a cell
/// has nothing there. Where amounts are split by currency, a metric without one has its value in each.
pub(crate) fn select(metric: &Metric, operands: &[Operand<'_>], keys: &[String]) -> String {
    let is_currency = |key: &String| key == "currency";
    let others: Vec<_> = keys.iter().filter(|key| !is_currency(key)).cloned().collect();
    let (all, others, by_currency) =
        (keys.join(", "), others.join(", "), keys.iter().any(is_currency));
    let mut sql = String::from("WITH ");
    for (i, operand) in operands.iter().enumerate() {
        // Writing to a text does not fail.
        let _ = write!(sql, "{}part{i} AS ({})", if i == 0 { "" } else { ", " }, operand.sql);
    }
    let comma = |list: &str| if list.is_empty() { String::new() } else { format!("{list}, ") };
    let rows = operands.iter().enumerate().map(|(i, operand)| {
        let has_currency = operand.metric.has_currency();
        // As a number: the engine is not of one mind whether a truth value may be null.
        let names = keys.iter().map(|key| match key.as_str() {
            "currency" if !has_currency => "CAST(NULL AS VARCHAR) AS currency".to_owned(),
            "other" => "CASE WHEN other THEN 1 ELSE 0 END AS other".to_owned(),
            key => key.to_owned(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let values = (0..operands.len()).map(|j| {
            let kind = number_type(operands[j].metric);
            let value = if i == j { "value0" } else { "NULL" };
            format!("CAST({value} AS {kind}) AS v{j}")
        });
        let values = values.collect::<Vec<_>>().join(", ");
        format!("SELECT {}{values} FROM part{i}", comma(&names))
    });
    let rows = rows.collect::<Vec<_>>().join(" UNION ALL ");
    let maxima = (0..operands.len()).map(|i| format!("max(v{i}) AS v{i}")).collect::<Vec<_>>();
    let group = match all.is_empty() {
        true => String::new(),
        false => format!(" GROUP BY {all}"),
    };
    let cells =
        format!("SELECT {}{} FROM ({rows}) AS listed{group}", comma(&all), maxima.join(", "));
    let values = operands.iter().enumerate().map(|(i, operand)| {
        let spread = by_currency && !operand.metric.has_currency();
        let partition = match others.is_empty() {
            true => String::new(),
            false => format!("PARTITION BY {others}"),
        };
        let value = if spread { format!("max(v{i}) OVER ({partition})") } else { format!("v{i}") };
        let value = match operand.metric.empty_value() {
            Some(_) => format!("coalesce({value}, CAST(0 AS {}))", number_type(operand.metric)),
            None => value,
        };
        format!("{value} AS {}", operand.metric.name)
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let named = format!("SELECT {}{values} FROM ({cells}) AS cells", comma(&all));
    let shown = keys.iter().map(|key| match key.as_str() {
        "other" => "other = 1 AS other".to_owned(),
        key => key.to_owned(),
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let filter = if by_currency { " WHERE currency IS NOT NULL" } else { "" };
    format!(
        "{sql} SELECT {}CAST(({}) AS {}) AS value0 FROM ({named}) AS named{filter}",
        comma(&shown),
        metric.value,
        number_type(metric)
    )
}

/// Amounts are decimals, counts whole numbers; a share or a length of time is a double.
fn number_type(metric: &Metric) -> &'static str {
    match (metric.unit, metric.kind) {
        (Unit::Money, _) => "DECIMAL(38, 12)",
        (Unit::Count, MetricKind::Derived) => "DECIMAL(38, 12)",
        (Unit::Count, _) => "DECIMAL(38, 0)",
        (Unit::Ratio | Unit::Milliseconds | Unit::Number, _) => "DOUBLE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_an_expression_are_metrics() {
        for (text, found) in [
            (
                "usage_revenue / nullif(active_organizations, 0)",
                vec!["usage_revenue", "active_organizations"],
            ),
            ("1000000 * cost / nullif(tokens, 0) + cost", vec!["cost", "tokens"]),
            ("CAST(p95_latency AS DOUBLE) * 2e3", vec!["p95_latency"]),
            ("1 + 2", vec![]),
        ] {
            assert_eq!(names(text), found, "{text}");
        }
    }
}
