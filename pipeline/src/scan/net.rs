//! The net of a ledger: rows that were taken back are left out, and so are the reversals that took them back.
//!
//! A reversal lies on the day of the row that it reverses, and names it by log and LSN. So a file is only
//! filtered when its day has a hidden row with an LSN between its bounds; all others are read as they are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute,
    datatypes::{DataType, Date32Type, Int64Type},
    error::ArrowError,
};
use datafusion::common::{Result, internal_err};
use ingest::{Table, decode::correction, log::Lsn};

use crate::DataFile;

/// A row's LSN and its log, which no other row has.
type RowId = (i64, i64);

/// A row that takes another one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reversal {
    /// Of both rows, as days since 1970.
    day: i32,
    own: RowId,
    reversed: RowId,
}

/// The reversals in data files, which never change. Kept between queries; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileReversals(Arc<Mutex<HashMap<Table, OfFiles>>>);

/// By path.
type OfFiles = HashMap<String, Arc<[Reversal]>>;

/// The rows that the net of a ledger leaves out at a cut.
#[derive(Debug, Default)]
pub(crate) struct HiddenRows {
    all: HashSet<RowId>,
    days: BTreeMap<i32, BTreeSet<RowId>>,
}

impl FileReversals {
    pub(super) fn get(&self, table: Table, path: &str) -> Option<Arc<[Reversal]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&table)?.get(path).cloned()
    }

    pub(super) fn keep(&self, table: Table, path: &str, reversals: Arc<[Reversal]>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(table).or_default().insert(path.to_owned(), reversals);
    }

    /// Lets go of files that the table does not hold any more.
    pub(crate) fn retain(&self, table: Table, files: &[DataFile]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.get_mut(&table) {
            let active: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
            held.retain(|path, _| active.contains(path.as_str()));
        }
    }
}

/// The columns that [`reversals`] reads.
pub(super) const COLUMNS: [&str; 4] = ["event_id", "corrects_id", "log", "lsn"];

/// The reversals among some rows, all of one day if `day` is given.
pub(super) fn reversals(rows: &RecordBatch, day: Option<i32>) -> Result<Vec<Reversal>, ArrowError> {
    let number = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (Some(ids), Some(corrects), Some(logs), Some(lsns)) = (
        rows.column_by_name("event_id"),
        rows.column_by_name("corrects_id"),
        number("log"),
        number("lsn"),
    ) else {
        return Ok(Vec::new());
    };
    if corrects.null_count() == rows.num_rows() {
        return Ok(Vec::new());
    }
    let ids = compute::cast(ids, &DataType::Utf8View)?;
    let ids = ids.as_string_view();
    let days = rows.column_by_name("event_date").and_then(|c| c.as_primitive_opt::<Date32Type>());
    let found = (0..rows.num_rows())
        .filter(|row| corrects.is_valid(*row) && ids.is_valid(*row))
        .filter_map(|row| {
            let (log, lsn) = correction::reversed(ids.value(row))?;
            Some(Reversal {
                day: day.or_else(|| Some(days?.value(row)))?,
                own: (lsns.value(row), logs.value(row)),
                reversed: (i64::try_from(lsn).ok()?, log.0),
            })
        });
    Ok(found.collect())
}

impl HiddenRows {
    /// Adds the reversals up to `cut`: later ones have not happened yet.
    pub(super) fn add(&mut self, reversals: &[Reversal], cut: Lsn) {
        for reversal in reversals.iter().filter(|r| r.own.0.unsigned_abs() <= cut) {
            let places = [reversal.own, reversal.reversed];
            self.all.extend(places);
            self.days.entry(reversal.day).or_default().extend(places);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a file may hold a hidden row.
    pub(super) fn touches(&self, file: &DataFile) -> bool {
        let bound = |lsn: Lsn| i64::try_from(lsn).unwrap_or(i64::MAX);
        let (from, to) =
            ((bound(file.min_lsn.unwrap_or(0)), i64::MIN), (bound(file.max_lsn), i64::MAX));
        let holds = |places: &BTreeSet<RowId>| places.range(from..=to).next().is_some();
        match file.event_date {
            Some(day) => self.days.get(&day).is_some_and(holds),
            None => self.days.values().any(holds),
        }
    }

    /// Which rows are not hidden. The rows have their `log` and `lsn`.
    pub(super) fn visible(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let number = |name: &str| rows.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let (Some(lsns), Some(logs)) = (number("lsn"), number("log")) else {
            return internal_err!("rows are told apart by their log and LSN, which are missing");
        };
        let places = lsns.values().iter().zip(logs.values());
        Ok(places.map(|(lsn, log)| Some(!self.all.contains(&(*lsn, *log)))).collect())
    }

    /// The rows that are not hidden.
    pub(super) fn filter(&self, rows: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        if self.is_empty() {
            return Ok(rows.to_vec());
        }
        let kept = rows.iter().map(|rows| {
            let visible = self.visible(rows)?;
            if visible.true_count() == rows.num_rows() {
                return Ok(rows.clone());
            }
            Ok(compute::filter_record_batch(rows, &visible)?)
        });
        kept.collect()
    }
}
