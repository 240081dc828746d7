//! Stores the rows of a rollup: sums that a worker computed, in files of one month each.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    compute::{self, CastOptions},
    datatypes::{FieldRef, TimestampMicrosecondType},
    error::ArrowError,
};
use chrono::{DateTime, Datelike, NaiveDate};
use deltalake_core::kernel::Add;
use ingest::{log::Lsn, time::Micros};

use crate::{
    DataFile, Error, ROLLUP_TIME, RollupTable, Root, new_file::NewFile, parquet_file::file_schema,
};

/// A month in UTC, counted from January of the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

/// Files of a rollup that are being written, one for each month.
pub struct RollupWriter {
    root: Root,
    rollup: &'static RollupTable,
    through: Lsn,
    now_ms: i64,
    open: BTreeMap<Month, NewFile>,
    closed: Vec<Add>,
}

/// Files that are stored, and in no table yet.
#[derive(Debug, Default)]
pub struct RollupFiles(pub(crate) Vec<Add>);

/// Months whose files are open at once: each has a row group in memory.
const OPEN_MAX: usize = 3;

impl Month {
    /// The month that a day lies in.
    pub fn of(date: NaiveDate) -> Self {
        Self(date.year() * 12 + date.month0().cast_signed())
    }

    /// The first day.
    pub fn first(self) -> NaiveDate {
        let (year, month) = (self.0.div_euclid(12), self.0.rem_euclid(12));
        NaiveDate::from_ymd_opt(year, month.unsigned_abs() + 1, 1).unwrap_or_default()
    }

    /// The month after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    fn at(at: Micros) -> Self {
        Self::of(DateTime::from_timestamp_micros(at).unwrap_or_default().date_naive())
    }

    /// The day of a file's earliest rows.
    pub(crate) fn first_day(file: &DataFile) -> Option<NaiveDate> {
        Some(DateTime::from_timestamp_micros(file.at?.0)?.date_naive())
    }

    /// The month of a file's rows.
    pub(crate) fn of_file(file: &DataFile) -> Option<Self> {
        file.at.map(|(first, _)| Self::at(first))
    }
}

impl RollupWriter {
    /// `through` is the last LSN of the rows that are summed up.
    pub(crate) fn new(
        root: &Root,
        rollup: &'static RollupTable,
        through: Lsn,
        now_ms: i64,
    ) -> Self {
        let (open, closed) = (BTreeMap::new(), Vec::new());
        Self { root: root.clone(), rollup, through, now_ms, open, closed }
    }

    /// Adds rows with the columns of the rollup, in any order, and perhaps others. Rows of one month are best together.
    pub async fn add(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let rows = shaped(self.rollup, rows, self.through).map_err(Error::arrow(self.rollup))?;
        for (month, rows) in by_month(&rows).map_err(Error::arrow(self.rollup))? {
            self.write(month, &rows).await?;
        }
        Ok(())
    }

    /// What was added, stored.
    pub async fn close(mut self) -> Result<RollupFiles, Error> {
        for file in self.open.into_values() {
            self.closed.push(file.close(self.now_ms).await?.add);
        }
        Ok(RollupFiles(self.closed))
    }

    async fn write(&mut self, month: Month, rows: &RecordBatch) -> Result<(), Error> {
        if !self.open.contains_key(&month) {
            if self.open.len() >= OPEN_MAX
                && let Some((_, file)) = self.open.pop_first()
            {
                self.closed.push(file.close(self.now_ms).await?.add);
            }
            let expected = rows.num_rows();
            let file = NewFile::create(&self.root, self.rollup, None, expected, rows.schema())?;
            self.open.insert(month, file);
        }
        match self.open.get_mut(&month) {
            Some(file) => file.write(rows).await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for RollupWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RollupWriter").field("rollup", &self.rollup.name()).finish_non_exhaustive()
    }
}

/// Rows with the columns of a file.
fn shaped(
    rollup: &'static RollupTable,
    rows: &RecordBatch,
    through: Lsn,
) -> Result<RecordBatch, ArrowError> {
    let schema = file_schema(rollup);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let column = |field: &FieldRef| -> Result<ArrayRef, ArrowError> {
        if field.name() == "lsn" {
            let lsn = i64::try_from(through).unwrap_or(i64::MAX);
            return Ok(Arc::new(Int64Array::from_value(lsn, rows.num_rows())));
        }
        let index = rows.schema_ref().index_of(field.name())?;
        compute::cast_with_options(rows.column(index), field.data_type(), &options)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns)
}

/// The rows of each month. Neighbors of one month stay together.
fn by_month(rows: &RecordBatch) -> Result<Vec<(Month, RecordBatch)>, ArrowError> {
    let index = rows.schema_ref().index_of(ROLLUP_TIME)?;
    let times = rows.column(index).as_primitive::<TimestampMicrosecondType>();
    let months: Vec<_> = times.values().iter().map(|at| Month::at(*at)).collect();
    let mut start = 0;
    let pieces = months.chunk_by(|one, next| one == next).map(|piece| {
        let slice = rows.slice(start, piece.len());
        start += piece.len();
        (piece[0], slice)
    });
    Ok(pieces.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_one_another() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let december = Month::of(day("2026-12-31"));
        assert_eq!(december.first(), day("2026-12-01"));
        assert_eq!(december.next().first(), day("2027-01-01"));
        assert_eq!(Month::at(-1), Month::of(day("1969-12-31")));
        assert_eq!(Month::at(0).first(), day("1970-01-01"));
    }
}
