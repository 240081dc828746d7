//! On which days rows came lately. An answer about other days is as true as when it was given.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use ingest::{
    Table,
    log::{Lsn, Record},
    time::Micros,
};

use crate::{Cut, StoredTable};

/// For each table and UTC day the last LSN of a row that lies on it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Mutex<ChangesState>>);

#[derive(Debug, Default)]
struct ChangesState {
    /// Rows up to here may lie on any day.
    unknown: Lsn,
    days: BTreeMap<(Table, i64), Lsn>,
    /// The version of each table in which somebody else changed its files, which may take rows away.
    exchanged: BTreeMap<StoredTable, u64>,
    erasures: u64,
}

const DAY: Micros = 86_400_000_000;

/// Days that are remembered. A history of centuries makes them all unknown, not the memory full.
const DAYS_MAX: usize = 20_000;

impl Changes {
    /// Forgets the days of everything up to `lsn`.
    pub fn begin_after(&self, lsn: Lsn) {
        self.lock().forget(lsn);
    }

    /// Notes rows that are about to become visible.
    pub(crate) fn note(&self, record: &Record) {
        let mut held = self.lock();
        let times = record
            .rows
            .column_by_name(record.table.time_column())
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let last = record.last_lsn();
        let Some(times) = times else {
            held.unknown = last;
            return;
        };
        let mut noted = None;
        for at in times.values() {
            let day = at.div_euclid(DAY);
            if noted != Some(day) {
                held.days.insert((record.table, day), last);
                noted = Some(day);
            }
        }
        if held.days.len() > DAYS_MAX {
            held.forget(last);
        }
    }

    /// No row of `table` in `[from, to)` came after this LSN; without `from`, none before `to`.
    pub fn last(&self, table: Table, from: Option<Micros>, to: Micros) -> Lsn {
        let from = from.map_or(i64::MIN, |from| from.div_euclid(DAY));
        let to = to.saturating_sub(1).div_euclid(DAY);
        if to < from {
            return 0;
        }
        let held = self.lock();
        let days = held.days.range((table, from)..=(table, to));
        days.map(|(_, last)| *last).fold(held.unknown, Lsn::max)
    }

    /// Notes that in this version of a table its files are others. Noted before any cut shows the version.
    pub(crate) fn exchanged(&self, table: impl Into<StoredTable>, version: u64) {
        self.lock().exchanged.insert(table.into(), version);
    }

    /// Whether the rows up to `cut` are still those that were read at it.
    pub fn holds(&self, cut: &Cut) -> bool {
        let read = |table: StoredTable| match table {
            StoredTable::Ingested(table) => cut.mark(table).map_or(0, |mark| mark.version),
            StoredTable::Rollup(rollup) => {
                cut.rollups.get(rollup.name()).map_or(0, |mark| mark.version)
            }
        };
        self.lock().exchanged.iter().all(|(table, version)| read(*table) >= *version)
    }

    /// Notes that persons were erased, and that no table shows them any more.
    pub fn note_erasure(&self) {
        self.lock().erasures += 1;
    }

    /// How often persons were erased. What was read before it last grew may name some.
    pub fn erasures(&self) -> u64 {
        self.lock().erasures
    }

    fn lock(&self) -> MutexGuard<'_, ChangesState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangesState {
    fn forget(&mut self, lsn: Lsn) {
        self.unknown = lsn;
        self.days.clear();
    }
}

#[cfg(test)]
mod tests {
    use ingest::{
        decode::{EventFormat, Sender, decode},
        identity::Pseudonyms,
        time::Window,
    };

    use super::*;

    fn record(first_lsn: Lsn, days: &[i64]) -> Record {
        let lines: String = days
            .iter()
            .map(|day| {
                let time = ingest::time::to_rfc3339(day * DAY + 5);
                format!(
                    "{{\"id\":\"{first_lsn}-{day}\",\"source\":\"/s\",\"type\":\"activity.page_view\",\
                     \"subject\":\"o\",\"time\":\"{time}\"}}\n"
                )
            })
            .collect();
        let sender = Sender {
            organization: None,
            grant: &ingest::Grant::ALL,
            pseudonyms: &Pseudonyms::new([1; 32]),
            window: Window::ANY,
            is_strict: false,
        };
        let mut decoded =
            decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 0).unwrap().unwrap();
        let batch = decoded.batches.remove(0);
        Record { table: batch.table, first_lsn, ingested_at: 0, rows: batch.rows }
    }

    #[test]
    fn a_day_changes_only_by_its_own_rows() {
        let changes = Changes::default();
        changes.begin_after(10);
        let last = |from: Option<i64>, to: i64| {
            changes.last(Table::ActivityEvents, from.map(|day| day * DAY), to * DAY)
        };
        assert_eq!(last(Some(0), 100), 10);
        changes.note(&record(11, &[5, 7, 5]));
        changes.note(&record(14, &[6]));
        assert_eq!([last(Some(5), 6), last(Some(6), 7), last(Some(7), 8)], [13, 14, 13]);
        assert_eq!([last(Some(0), 5), last(Some(8), 99), last(None, 5)], [10, 10, 10]);
        assert_eq!([last(None, 6), last(None, 8), last(Some(5), 99)], [13, 14, 14]);
        assert_eq!(changes.last(Table::ActivityEvents, Some(8 * DAY - 1), 8 * DAY), 13);
        assert_eq!(changes.last(Table::UsageLedger, None, 100 * DAY), 10);
        assert_eq!(last(Some(9), 3), 0);
    }

    #[test]
    fn too_many_days_are_unknown() {
        let changes = Changes::default();
        for chunk in (0..DAYS_MAX as i64 + 2).collect::<Vec<_>>().chunks(5_000) {
            changes.note(&record(chunk[0] as u64 + 1, chunk));
        }
        assert_eq!(changes.last(Table::UsageLedger, None, 0), DAYS_MAX as u64 + 2);
    }
    #[test]
    fn an_answer_from_before_an_exchange_of_files_holds_no_more() {
        let changes = Changes::default();
        let cut = |version| {
            let mark = crate::TableVersion { version, txn: 5 };
            let tables = BTreeMap::from([(Table::UsageLedger.name().to_owned(), mark)]);
            Cut { log: 1, lsn: 9, floor: 5, tables, ..Cut::default() }
        };
        assert!(changes.holds(&cut(3)));
        changes.exchanged(Table::UsageLedger, 4);
        assert!(!changes.holds(&cut(3)) && changes.holds(&cut(4)) && changes.holds(&cut(5)));
        changes.exchanged(Table::BillingEvents, 1);
        assert!(!changes.holds(&cut(5)));
    }
}
