//! The days and months of a rollup.

use arrow::{array::AsArray, datatypes::Date32Type, record_batch::RecordBatch};
use chrono::NaiveDate;
use pipeline::RollupMonth;

/// Files of a month.
const FILES_MAX: usize = 12;

/// Whether the rows of a month are added up now.
pub(super) fn is_to_fold(found: &RollupMonth) -> bool {
    found.files > FILES_MAX
}

/// The days in the first column of some rows.
pub fn read(rows: &RecordBatch) -> Vec<NaiveDate> {
    let days = rows.column(0).as_primitive_opt::<Date32Type>();
    let days = days.into_iter().flat_map(|days| days.iter().flatten());
    days.filter_map(NaiveDate::from_epoch_days).collect()
}
