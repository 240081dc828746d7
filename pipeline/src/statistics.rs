//! What the Delta log tells about the rows of a file.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use serde_json::{Map, Value, json};

use crate::StoredTable;

/// The columns that have statistics in the Delta log: what queries prune by, and no person. Of `corrects_id` the
/// nulls are counted: a file without corrections needs no net view.
const COLUMNS: [&str; 7] =
    ["organization_id", "project_id", "occurred_at", "ingested_at", "log", "lsn", "corrects_id"];

/// The columns of a table that have statistics.
pub(crate) fn columns(table: impl Into<StoredTable>) -> impl Iterator<Item = &'static str> {
    let table = table.into();
    let schema = table.schema();
    COLUMNS
        .into_iter()
        .map(move |name| if name == "occurred_at" { table.time_column() } else { name })
        .filter(move |name| schema.column_with_name(name).is_some())
}

/// Gathers, batch by batch, what is said about a file.
#[derive(Debug)]
pub(crate) struct Statistics {
    rows: usize,
    columns: Vec<(&'static str, ColumnStatistics)>,
}

/// What was seen of one column.
#[derive(Debug, Default)]
pub(crate) struct ColumnStatistics {
    nulls: usize,
    bounds: Option<(Bound, Bound)>,
}

/// A value of a column; those of one column are all of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Text(String),
    Number(i64),
    /// Microseconds since 1970.
    Time(i64),
}

impl Statistics {
    pub(crate) fn new(table: impl Into<StoredTable>) -> Self {
        Self {
            rows: 0,
            columns: columns(table).map(|name| (name, ColumnStatistics::default())).collect(),
        }
    }

    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        self.add_rows(rows.num_rows());
        for (name, seen) in &mut self.columns {
            if let Some(column) = rows.column_by_name(name) {
                seen.add(column);
            }
        }
    }

    /// Counts rows of which each column is added for itself.
    pub(crate) fn add_rows(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// Adds what was seen of a column, if anything is said of it.
    pub(crate) fn add_column(&mut self, name: &str, new: ColumnStatistics) {
        if let Some((_, seen)) = self.columns.iter_mut().find(|(known, _)| *known == name) {
            seen.merge(new);
        }
    }

    /// As the Delta protocol wants it.
    pub(crate) fn json(&self) -> String {
        let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (name, seen) in &self.columns {
            nulls.insert((*name).into(), json!(seen.nulls));
            if let Some((low, high)) = &seen.bounds {
                min.insert((*name).into(), low.json());
                max.insert((*name).into(), high.json());
            }
        }
        json!({
            "numRecords": self.rows,
            "minValues": min,
            "maxValues": max,
            "nullCount": nulls,
        })
        .to_string()
    }
}

impl ColumnStatistics {
    pub(crate) fn add(&mut self, column: &ArrayRef) {
        self.merge(Self { nulls: column.null_count(), bounds: bounds(column) });
    }

    fn merge(&mut self, new: Self) {
        self.nulls += new.nulls;
        self.bounds = match (self.bounds.take(), new.bounds) {
            (Some((low, high)), Some((lower, higher))) => Some((low.min(lower), high.max(higher))),
            (known, new) => known.or(new),
        };
    }
}

impl Bound {
    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Time(micros) => {
                let at = chrono::DateTime::from_timestamp_micros(*micros).unwrap_or_default();
                at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()
            }
        }
    }
}

fn bounds(column: &ArrayRef) -> Option<(Bound, Bound)> {
    if let Some(text) = column.as_string_opt::<i32>() {
        let bound = |text: &str| Bound::Text(text.to_owned());
        return Some((bound(compute::min_string(text)?), bound(compute::max_string(text)?)));
    }
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        let (min, max) = (compute::min(numbers)?, compute::max(numbers)?);
        return Some((Bound::Number(min), Bound::Number(max)));
    }
    let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((Bound::Time(compute::min(times)?), Bound::Time(compute::max(times)?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use ingest::Table;

    use super::*;

    fn batch(rows: &[(Option<&str>, i64, i64)]) -> RecordBatch {
        let organizations: StringArray = rows.iter().map(|row| row.0).collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.1)).collect();
        let lsns: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        RecordBatch::try_from_iter([
            ("organization_id", Arc::new(organizations) as ArrayRef),
            ("occurred_at", Arc::new(times)),
            ("lsn", Arc::new(lsns)),
        ])
        .unwrap()
    }

    #[test]
    fn in_pieces_or_at_once_the_same_is_said() {
        let rows = [
            (None, 1_500, 9),
            (Some("b"), -7, 3),
            (Some("a"), 999, 12),
            (None, 86_400_000_001, 4),
            (Some("é"), 2, 5),
        ];
        let mut whole = Statistics::new(Table::UsageLedger);
        whole.add(&batch(&rows));
        for size in 1..rows.len() {
            let mut pieces = Statistics::new(Table::UsageLedger);
            rows.chunks(size).for_each(|rows| pieces.add(&batch(rows)));
            assert_eq!(pieces.json(), whole.json());
        }
        let said: Value = serde_json::from_str(&whole.json()).unwrap();
        assert_eq!(said["numRecords"], 5);
        assert_eq!(said["nullCount"]["organization_id"], 2);
        assert_eq!(said["minValues"]["organization_id"], "a");
        assert_eq!(said["maxValues"]["organization_id"], "é");
        assert_eq!(said["maxValues"]["lsn"], 12);
        assert_eq!(said["maxValues"]["occurred_at"], "1970-01-02T00:00:00.000Z");
    }
}
