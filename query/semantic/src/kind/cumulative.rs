//! A stock: the sum of everything up to the end of each bucket. A row without `at` is the stock at the start of the
//! window; a bucket without a row has the stock of the one before.

use super::names;
use crate::{Metric, context::StatementContext, grain::literal};

pub(super) fn select(metric: &Metric, context: &StatementContext<'_>) -> String {
    let (time, request) = (&context.source.time, context.request);
    let mut keys = context.keys();
    let Some(_) = request.grain else {
        let value = format!("{} AS value0", metric.value);
        return context.select(&keys, [value], &context.until_end());
    };
    keys[0].expression =
        format!("CASE WHEN {time} >= {} THEN {} END", literal(request.from), keys[0].expression);
    let changes =
        context.select(&keys, [format!("{} AS change", metric.value)], &context.until_end());
    let group = names(&keys[1..]);
    let partition = if group.is_empty() { String::new() } else { format!("PARTITION BY {group} ") };
    format!(
        "WITH changes AS ({changes}) SELECT {}, sum(change) OVER ({partition}ORDER BY at NULLS FIRST \
         ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS value0 FROM changes",
        names(&keys)
    )
}
