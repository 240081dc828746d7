//! From the rows of a statement to the answers that they are.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{self, CastOptions},
    datatypes::{
        DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    },
    error::ArrowError,
};
use chrono::{DateTime, Utc};
use ingest::money;
use rust_decimal::{Decimal, prelude::FromPrimitive};
use semantic::{
    Group, MetricAnswer, MetricRequest, MetricRow, Number, Part, ReadCost, ReadSource, Statement,
    TableRead, Unit,
};

use crate::{QueryError, Reason, ResultSet, cache::TableRange};

/// The rows that a statement depends on.
pub(crate) fn ranges(reads: &[TableRead]) -> Vec<TableRange> {
    let range = |read: &TableRead| TableRange { table: read.table, from: read.from, to: read.to };
    reads.iter().map(range).collect()
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowKey {
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) group: Group,
    pub(crate) other: bool,
    pub(crate) currency: Option<String>,
}

/// The answer to each question of a statement, by its place.
pub(crate) fn answers(
    statement: &Statement,
    rows: &ResultSet,
    source: ReadSource,
) -> Result<Vec<(usize, MetricAnswer)>, QueryError> {
    let parts = statement.parts.iter().enumerate();
    parts
        .map(|(column, part)| {
            let answer = part.answer(read(rows, part, column)?, &statement.sql)?;
            let cost = rows.ended.cost;
            let read = ReadCost {
                source,
                rows: cost.rows_scanned.unwrap_or_default(),
                bytes: cost.bytes_scanned.unwrap_or_default(),
                files: cost.files_scanned.unwrap_or_default(),
            };
            Ok((part.index, MetricAnswer { read, ..answer }))
        })
        .collect()
}

/// Where the rows of an answer stand: the keys, and beside them the columns that they come from.
pub(crate) fn keys(
    batch: &RecordBatch,
    request: &MetricRequest,
    has_currency: bool,
) -> Result<Vec<RowKey>, QueryError> {
    let unreadable = |_| QueryError::new(Reason::Failed, "the metric's rows are not readable");
    let named = |name: &str| batch.column_by_name(name);
    let text = |name: &str| {
        named(name).map(|c| compute::cast(c, &DataType::Utf8)).transpose().map_err(unreadable)
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let at = named("at").map(|c| compute::cast(c, &time)).transpose().map_err(unreadable)?;
    let groups =
        (0..request.by.len()).map(|i| text(&format!("by{i}"))).collect::<Result<Vec<_>, _>>()?;
    let other = named("other").and_then(|column| column.as_boolean_opt());
    let currency = if has_currency { text("currency")? } else { None };
    let key = |row: usize| {
        let text = |column: &Option<ArrayRef>| {
            let column = column.as_ref()?.as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let at = at.as_ref().and_then(|at| {
            let at = at.as_primitive::<TimestampMicrosecondType>();
            at.is_valid(row).then(|| DateTime::from_timestamp_micros(at.value(row)))?
        });
        RowKey {
            at,
            group: groups.iter().map(text).collect(),
            other: other.is_some_and(|other| other.value(row)),
            currency: text(&currency),
        }
    };
    Ok((0..batch.num_rows()).map(key).collect())
}

fn read(answer: &ResultSet, part: &Part, column: usize) -> Result<Vec<MetricRow>, QueryError> {
    let Part { metric, request, .. } = part;
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let values = numbers(batch.column_by_name(&format!("value{column}")), metric.unit)
            .map_err(|_| out_of_range())?;
        let keys = keys(batch, request, metric.has_currency())?;
        rows.extend(keys.into_iter().zip(values).map(|(key, value)| {
            let RowKey { at, group, other, currency } = key;
            MetricRow { at, group, other, currency, value, suppressed: false }
        }));
    }
    Ok(rows)
}

/// A share or a latency is a double in SQL; twelve digits of it are kept.
fn numbers(column: Option<&ArrayRef>, unit: Unit) -> Result<Vec<Option<Number>>, ArrowError> {
    let Some(column) = column else { return Ok(Vec::new()) };
    Ok(match column.data_type() {
        DataType::Float64 => {
            let digits = if unit == Unit::Milliseconds { 3 } else { 12 };
            let read = |value: Option<f64>| {
                Number::from_decimal(money::round(Decimal::from_f64(value?)?, digits))
            };
            column.as_primitive::<Float64Type>().iter().map(read).collect()
        }
        DataType::Int64 => {
            column.as_primitive::<Int64Type>().iter().map(|v| v.map(Number::from)).collect()
        }
        _ => {
            let kind = DataType::Decimal128(money::PRECISION, money::SCALE);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let values = compute::cast_with_options(column, &kind, &options)?;
            let read = |value: Option<i128>| value.map(Number::from_unscaled);
            values.as_primitive::<Decimal128Type>().iter().map(read).collect()
        }
    })
}

fn out_of_range() -> QueryError {
    QueryError::new(Reason::OutOfRange, "a metric has more than 26 digits before the point")
}
