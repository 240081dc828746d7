//! The rows of an analysis, and which counts are shown.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute,
    datatypes::{DataType, Float64Type, Int64Type},
};
use chrono::{DateTime, Utc};
use query::{QueryError, Reason, ResultSet};

/// The columns that the statement of an analysis gave.
#[derive(Debug)]
pub(super) struct ResultColumns {
    pub(super) found: ResultSet,
    /// The fewest persons that are shown.
    pub(super) min: Option<u32>,
    /// What ended before it is complete.
    pub(super) settled: DateTime<Utc>,
}

impl ResultColumns {
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

    /// A number of units: of persons a multiple of the fewest that are shown, and nothing of fewer.
    pub(super) fn shown(&self, count: u64) -> Option<u64> {
        match self.min.map(u64::from) {
            Some(min) if (1..min).contains(&count) => None,
            Some(min) if min > 1 => Some(count / min * min),
            _ => Some(count),
        }
    }

    /// A time that units took: that of a few would show how long one of them did.
    pub(super) fn time(&self, seconds: Option<f64>) -> Option<f64> {
        seconds.filter(|_| self.min.is_none())
    }

    /// Whether more events may come for what ends then.
    pub(super) fn is_incomplete(&self, end: DateTime<Utc>) -> bool {
        end > self.settled
    }
}

/// A part of a whole; nothing of nothing, or of what is not shown.
pub(super) fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole.filter(|whole| *whole > 0)?);
    Some(part as f64 / whole as f64)
}
