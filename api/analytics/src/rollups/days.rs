//! The days of a rollup.

use arrow::{array::AsArray, datatypes::Date32Type};
use chrono::{DateTime, NaiveDate, Utc};
use pipeline::RollupDay;
use query::ResultSet;

/// Files of a day that is not over.
const FILES_MAX: usize = 16;
/// Files of a day that is.
const FILES_OVER_MAX: usize = 3;

/// Whether the rows of a day are added up now.
pub(super) fn is_to_fold(day: &RollupDay, today: i32) -> bool {
    day.files > if day.date < today { FILES_OVER_MAX } else { FILES_MAX }
}

/// The days that a statement lists.
pub fn read(listed: &ResultSet) -> Vec<i32> {
    let columns =
        listed.batches.iter().filter_map(|rows| rows.column(0).as_primitive_opt::<Date32Type>());
    columns.flat_map(|column| column.iter().flatten().collect::<Vec<_>>()).collect()
}

/// A day as SQL reads it.
pub fn text(date: i32) -> String {
    NaiveDate::from_epoch_days(date).unwrap_or_default().to_string()
}

/// The UTC day of an instant.
pub(super) fn of(at: DateTime<Utc>) -> i32 {
    at.date_naive().to_epoch_days()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_is_over_has_few_files() {
        let day = |date, files| RollupDay { date, files, rows: 1 };
        assert!(!is_to_fold(&day(10, 16), 10) && is_to_fold(&day(10, 17), 10));
        assert!(!is_to_fold(&day(9, 3), 10) && is_to_fold(&day(9, 4), 10));
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(text(0), "1970-01-01");
        assert_eq!(of("2026-11-29T23:59:59Z".parse().unwrap()), 20_786);
        assert_eq!(text(20_786), "2026-11-29");
    }
}
