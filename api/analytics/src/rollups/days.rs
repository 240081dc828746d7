//! The days and months of a rollup.

use arrow::{array::AsArray, datatypes::Date32Type};
use chrono::NaiveDate;
use pipeline::{Month, RollupMonth};
use query::ResultSet;

/// Files of a month that is not over.
const FILES_MAX: usize = 12;
/// Files of a month that is.
const FILES_OVER_MAX: usize = 3;

/// Whether the rows of a month are added up now.
pub(super) fn is_to_fold(found: &RollupMonth, today: NaiveDate) -> bool {
    found.files > if found.month < Month::of(today) { FILES_OVER_MAX } else { FILES_MAX }
}

/// The days that a statement lists.
pub fn read(listed: &ResultSet) -> Vec<NaiveDate> {
    let columns = listed.batches.iter();
    let columns = columns.filter_map(|rows| rows.column(0).as_primitive_opt::<Date32Type>());
    let days = columns.flat_map(|column| column.iter().flatten().collect::<Vec<_>>());
    days.filter_map(NaiveDate::from_epoch_days).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_that_is_over_has_few_files() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let today = day("2026-11-01");
        let month = |date: &str, files| RollupMonth { month: Month::of(day(date)), files, rows: 1 };
        assert!(!is_to_fold(&month("2026-11-30", 12), today));
        assert!(is_to_fold(&month("2026-11-30", 13), today));
        assert!(!is_to_fold(&month("2026-10-31", 3), today));
        assert!(is_to_fold(&month("2026-10-31", 4), today));
    }
}
