//! How each kind of metric is computed in SQL.

pub(crate) mod conversion;
mod cumulative;
pub(crate) mod derived;
mod percentile;
mod ratio;

use crate::{
    Metric, MetricKind, Unit,
    context::{Key, StatementContext},
};
pub(crate) use percentile::{FACTOR as HISTOGRAM_FACTOR, select_from as percentile};

/// One aggregate expression per metric, over the rows of each group: they share one statement.
pub(crate) fn select(metrics: &[&Metric], context: &StatementContext<'_>) -> String {
    match metrics {
        [metric] if metric.kind == MetricKind::Cumulative => cumulative::select(metric, context),
        [metric] if metric.kind == MetricKind::Percentile => percentile::select(metric, context),
        _ => {
            let values = metrics.iter().enumerate();
            let values = values.map(|(i, metric)| format!("{} AS value{i}", expression(metric)));
            context.select(&context.keys(), values, &context.within())
        }
    }
}

/// Whether metrics of a kind can be columns of one statement.
pub(crate) fn shares(kind: MetricKind) -> bool {
    !matches!(kind, MetricKind::Cumulative | MetricKind::Percentile | MetricKind::Derived)
}

/// The aggregate that a metric is.
pub(crate) fn expression(metric: &Metric) -> String {
    let filter = metric.filter.iter().map(|filter| format!(" FILTER (WHERE ({filter}))"));
    let filter: String = filter.collect();
    match metric.kind {
        MetricKind::Distinct => format!("count(DISTINCT {}){filter}", metric.value),
        MetricKind::Ratio => ratio::expression(metric, &metric.value, metric.over.as_deref()),
        MetricKind::Conversion => {
            ratio::expression(metric, conversion::VALUE, Some(conversion::OVER))
        }
        // No rows are no amount.
        MetricKind::Aggregate if metric.unit == Unit::Money => {
            format!("coalesce({}{filter}, CAST(0 AS DECIMAL(38, 12)))", metric.value)
        }
        MetricKind::Aggregate => format!("{}{filter}", metric.value),
        MetricKind::Cumulative | MetricKind::Percentile | MetricKind::Derived => {
            metric.value.clone()
        }
    }
}

/// The names of keys, as a list.
fn names(keys: &[Key]) -> String {
    keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ")
}
