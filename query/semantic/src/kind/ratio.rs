//! One aggregate divided by another. Parts are never averaged: each cell divides what its own rows have.

use crate::Metric;

/// Null where there is nothing to divide by.
pub(super) fn expression(metric: &Metric) -> String {
    let over = metric.over.as_deref().unwrap_or("count(*)");
    format!("CAST({} AS DOUBLE) / nullif(CAST({over} AS DOUBLE), 0)", metric.value)
}
