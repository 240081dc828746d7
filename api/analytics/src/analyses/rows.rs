//! The rows of an analysis, and which counts are shown.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute,
    datatypes::{DataType, Float64Type, Int64Type},
};
use chrono::{DateTime, Utc};
use query::{QueryError, Reason, ResultSet};

/// What the statement of an analysis gave.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) found: ResultSet,
    /// Fewer persons are not shown.
    pub(super) min: Option<u32>,
    /// What ended before it is complete.
    pub(super) settled: DateTime<Utc>,
}

impl Rows {
    /// A column as a type, all batches one after another.
    fn column(&self, name: &str, kind: &DataType) -> Result<Vec<ArrayRef>, QueryError> {
        let unreadable =
            || QueryError::new(Reason::Failed, "the rows of the analysis are not readable");
        let cast = |batch: &arrow::array::RecordBatch| {
            let column = batch.column_by_name(name).ok_or_else(unreadable)?;
            compute::cast(column, kind).map_err(|_| unreadable())
        };
        self.found.batches.iter().map(cast).collect()
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<Option<i64>>, QueryError> {
        let columns = self.column(name, &DataType::Int64)?;
        Ok(columns.iter().flat_map(|c| c.as_primitive::<Int64Type>().iter()).collect())
    }

    /// A column of counts; nothing is 0.
    pub(super) fn counts(&self, name: &str) -> Result<Vec<u64>, QueryError> {
        let counts = self.integers(name)?.into_iter();
        Ok(counts
            .map(|count| count.and_then(|n| u64::try_from(n).ok()).unwrap_or_default())
            .collect())
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, QueryError> {
        let columns = self.column(name, &DataType::Float64)?;
        Ok(columns.iter().flat_map(|c| c.as_primitive::<Float64Type>().iter()).collect())
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<Option<String>>, QueryError> {
        let columns = self.column(name, &DataType::Utf8)?;
        let text = |column: &ArrayRef, row: usize| {
            let texts = column.as_string::<i32>();
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        Ok(columns.iter().flat_map(|c| (0..c.len()).map(move |row| text(c, row))).collect())
    }

    /// Whether a number of persons is too small to be shown.
    pub(super) fn is_few(&self, count: u64) -> bool {
        self.min.is_some_and(|min| (1..u64::from(min)).contains(&count))
    }

    /// Whether more events may come for what ends then.
    pub(super) fn is_incomplete(&self, end: DateTime<Utc>) -> bool {
        end > self.settled
    }
}

/// A part of a whole; nothing of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
