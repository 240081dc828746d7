//! One aggregate divided by another. Parts are never averaged: each cell divides what its own rows have.

use crate::{Metric, Unit};

/// Null where there is nothing to divide by. An amount stays a decimal.
pub(super) fn expression(metric: &Metric, value: &str, over: Option<&str>) -> String {
    let over = over.unwrap_or("count(*)");
    if metric.unit == Unit::Money {
        let over = format!("nullif(CAST({over} AS DECIMAL(38, 0)), CAST(0 AS DECIMAL(38, 0)))");
        return format!("CAST(({value}) / {over} AS DECIMAL(38, 12))");
    }
    format!("CAST({value} AS DOUBLE) / nullif(CAST({over} AS DOUBLE), 0)")
}
