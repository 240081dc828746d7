//! A percentile, by nearest rank, from a histogram whose buckets grow by a factor: it is never below the exact value, at
//! most 2 % above it, and the same however rows are split over files.

use super::names;
use crate::{
    Metric,
    context::{Key, StatementContext},
    rollup::bucket_of,
};

/// The width of a histogram's buckets, as a factor.
pub(crate) const FACTOR: &str = "1.02";

pub(super) fn select(metric: &Metric, context: &StatementContext<'_>) -> String {
    select_from(metric, context, bucket_of(&metric.value), "count(*) AS n", "")
}

/// The same, where `bucket` is the number of a row's bucket and `rows` how many there are. Groups have what `having` says.
pub(crate) fn select_from(
    metric: &Metric,
    context: &StatementContext<'_>,
    bucket: String,
    rows: &str,
    having: &str,
) -> String {
    let keys = context.keys();
    let names = names(&keys);
    let comma = if names.is_empty() { "" } else { ", " };
    let partition = if names.is_empty() { String::new() } else { format!("PARTITION BY {names} ") };
    let group = if names.is_empty() { String::new() } else { format!(" GROUP BY {names}") };
    let mut inner = keys;
    inner.push(Key { expression: bucket, name: "bucket".into() });
    let measured = if having.is_empty() { &metric.value } else { "bucket" };
    let filter = format!("{} AND {measured} IS NOT NULL", context.within());
    let histogram = context.select(&inner, [rows.to_owned()], &filter) + having;
    let share = metric.percentile.unwrap_or(0.5);
    format!(
        "WITH histogram AS ({histogram}), running AS (SELECT {names}{comma}bucket, \
         sum(n) OVER ({partition}ORDER BY bucket) AS below, \
         sum(n) OVER ({partition}) AS total FROM histogram) \
         SELECT {names}{comma}power({FACTOR}, min(bucket)) AS value0 FROM running \
         WHERE CAST(below AS DOUBLE) >= {share} * CAST(total AS DOUBLE){group}"
    )
}
