//! Proves that log, tables and index say the same: every acknowledged row is there once, as it was written.
//! The data files are read directly, not through the engine, so that the sums are a second opinion about what
//! queries answer.
//!
//! Memory is bounded: one batch of rows, a bit for each LSN, a 256th of the identities, and the sums of each
//! organization and day.

mod entries;
pub(crate) mod file;
mod findings;
mod lsns;
mod sums;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use ingest::{
    Table,
    dedup::keys_of,
    identity,
    log::{LogId, Lsn, Record, Tail},
    time,
};
use serde::{Deserialize, Serialize};

pub use entries::write_entries;
pub use findings::{Difference, DifferenceKind};
pub use sums::{Sum, SumKey, Sums, summed};

use crate::{Cut, Error, LakeTable, Location, parquet_file};
use entries::Entries;
use findings::Findings;
use lsns::Lsns;

/// What is to be proved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckRequest {
    pub location: Location,
    pub log_dir: PathBuf,
    pub cut: Cut,
    /// The index at the cut or later, as [`write_entries`] writes it.
    pub entries: PathBuf,
    /// An empty folder for what does not fit in memory.
    pub scratch: PathBuf,
    /// Events above this LSN are counted on their own.
    pub since: Lsn,
    /// Old rows were removed on purpose: LSNs may be missing, and the index may know more than the tables.
    pub removed: bool,
}

/// What was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Proof {
    pub as_of: String,
    pub tables: BTreeMap<String, TableCounts>,
    /// Events above [`CheckRequest::since`].
    pub events_since: u64,
    /// Different identities among the rows.
    pub identities: u64,
    /// LSNs that no row has, where rows were removed on purpose.
    pub removed_rows: u64,
    /// The number of all differences; of many of a kind only the first are in the list.
    pub count: u64,
    pub differences: Vec<Difference>,
    #[serde(skip)]
    pub sums: Sums,
}

/// What a table holds at the cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCounts {
    pub files: u64,
    pub bytes: u64,
    /// In the files.
    pub rows: u64,
    /// In the log only.
    pub log_rows: u64,
}

/// What is gathered on the way.
struct CheckState {
    findings: Findings,
    lsns: Lsns,
    entries: Entries,
    sums: Sums,
    floor: Lsn,
    since: Lsn,
    events_since: u64,
}

/// Reads everything up to the cut and compares it.
///
/// # Errors
/// Only when nothing can be said: a store that does not answer, a damaged log, a full disk.
pub async fn check(question: &CheckRequest) -> Result<Proof, Error> {
    let cut = &question.cut;
    // The log first: its segments go some time after their rows were moved.
    let records = tail(&question.log_dir, cut)?;
    let root = question.location.open()?;
    let mut gathered = CheckState {
        findings: Findings::default(),
        lsns: Lsns::up_to(cut.lsn),
        entries: Entries::create(&question.scratch)?,
        sums: Sums::new(),
        floor: cut.floor,
        since: question.since,
        events_since: 0,
    };
    let mut tables = BTreeMap::new();
    for table in Table::ALL {
        let mut counted = TableCounts::default();
        let mark = cut.mark(table);
        if let Some(mark) = mark {
            let Some(mut opened) = LakeTable::open(&root, table).await? else {
                gathered.findings.add(DifferenceKind::File, table, "the table is missing".into());
                continue;
            };
            opened.advance(Some(mark.version)).await?;
            let found = opened.committed(LogId(cut.log)).await?;
            if found != mark.txn {
                let detail = format!(
                    "holds the log up to {found} by its last transaction, not {}",
                    mark.txn
                );
                gathered.findings.add(DifferenceKind::Lsn, table, detail);
            }
            for file in opened.files()? {
                counted.files += 1;
                counted.bytes += file.size_bytes;
                counted.rows += gathered.check_file(&root, table, &file, &question.scratch).await?;
            }
        }
        let after = mark.map_or(0, |mark| mark.txn);
        for record in records.iter().filter(|record| record.table == table) {
            let rows = parquet_file::read_shape(LogId(cut.log), record, after, cut.lsn)
                .map_err(Error::arrow(table))?;
            if let Some(rows) = rows {
                counted.log_rows += rows.num_rows() as u64;
                gathered.check_rows(table, "the log", &rows)?;
            }
        }
        tables.insert(table.name().to_owned(), counted);
    }
    let missing = gathered.lsns.missing();
    let removed_rows = if question.removed { missing.rows } else { 0 };
    if !question.removed {
        gathered.findings.lost(&missing);
    }
    let known = question.entries.as_path();
    let merged =
        gathered.entries.merge(known, cut.lsn, question.removed, &mut gathered.findings)?;
    Ok(Proof {
        as_of: cut.plain_token(),
        tables,
        events_since: gathered.events_since,
        identities: merged,
        removed_rows,
        count: gathered.findings.count(),
        differences: gathered.findings.into_list(),
        sums: gathered.sums,
    })
}

impl Proof {
    /// Compares the sums of a table with those that somebody else came to.
    pub fn compare_sums(&mut self, table: Table, others: &Sums) {
        let mut findings = Findings::default();
        let keys: BTreeSet<&SumKey> = self.sums.keys().chain(others.keys()).collect();
        for key in keys.into_iter().filter(|key| key.table == table) {
            let (ours, theirs) = (self.sums.get(key), others.get(key));
            if ours != theirs {
                findings.add(DifferenceKind::Sum, key.table, sums::differ(key, ours, theirs));
            }
        }
        self.count += findings.count();
        self.differences.extend(findings.into_list());
    }

    /// Adds a difference that was found elsewhere.
    pub fn add(&mut self, difference: Difference) {
        self.count += 1;
        self.differences.push(difference);
    }
}

/// The records of the log above the floor.
fn tail(log_dir: &Path, cut: &Cut) -> Result<Vec<Record>, Error> {
    let mut tail = Tail::new(log_dir, LogId(cut.log), cut.floor);
    tail.read_to(cut.lsn)?;
    Ok(tail.take().collect())
}

impl CheckState {
    /// Checks rows of a table, wherever they are: `place` says it to people.
    fn check_rows(&mut self, table: Table, place: &str, rows: &RecordBatch) -> Result<(), Error> {
        let numbers =
            |name| rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let times = rows
            .column_by_name(table.time_column())
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let hashed = identity::are_hashed(table, rows);
        let (Some(lsns), Some(times), Some(hashed)) = (numbers("lsn"), times, hashed) else {
            let detail = format!("{place} lacks columns that every row has");
            self.findings.add(DifferenceKind::File, table, detail);
            return Ok(());
        };
        let is_event = !table.is_dimension() && table != Table::DeadLetter;
        for (row, is_hashed) in hashed.into_iter().enumerate() {
            let lsn = lsns.value(row).unsigned_abs();
            self.events_since += u64::from(is_event && lsn > self.since);
            if !self.lsns.insert(lsn) {
                let detail = if lsn == 0 || lsn > self.lsns.last() {
                    format!("{place} holds LSN {lsn}, which the log has not reached")
                } else {
                    format!("{place} holds LSN {lsn} a second time")
                };
                self.findings.add(DifferenceKind::Lsn, table, detail);
            }
            if !is_hashed {
                let detail = format!("{place}: the row with LSN {lsn} is not what was accepted");
                self.findings.add(DifferenceKind::Content, table, detail);
            }
        }
        for (key, seen) in keys_of(rows, |row| lsns.value(row).unsigned_abs()) {
            self.entries.push(key, seen, seen.lsn <= self.floor)?;
        }
        let dates = times.values().iter().map(|at| time::date_of(*at));
        sums::add(&mut self.sums, table, dates, rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
