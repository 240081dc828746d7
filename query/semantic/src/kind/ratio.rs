//! One aggregate divided by another. Parts are never averaged: each cell divides what its own rows have.

use crate::{Metric, Unit};

/// Null where there is nothing to divide by. An amount stays a decimal.
pub(super) fn expression(metric: &Metric) -> String {
    let over = metric.over.as_deref().unwrap_or("count(*)");
    if metric.unit == Unit::Money {
        let over = format!("nullif(CAST({over} AS DECIMAL(38, 0)), CAST(0 AS DECIMAL(38, 0)))");
        return format!("CAST(({}) / {over} AS DECIMAL(38, 12))", metric.value);
    }
    format!("CAST({} AS DOUBLE) / nullif(CAST({over} AS DOUBLE), 0)", metric.value)
}
