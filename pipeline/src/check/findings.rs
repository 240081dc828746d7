//! Differences, as people read them.

use std::{collections::BTreeMap, fmt};

use ingest::Table;
use serde::{Deserialize, Serialize};

use super::lsns::Missing;

/// What does not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// A data file is not there, or not as the Delta log describes it.
    File,
    /// What the Delta log says about a file's rows is not true: queries would skip rows.
    Statistics,
    /// A row is not the one that was accepted.
    Content,
    /// An LSN is missing, or there twice.
    Lsn,
    /// An identity is stored twice.
    Identity,
    /// The index of identities and the rows do not agree.
    Index,
    /// Queries and files come to different sums.
    Sum,
    /// The server counted something else.
    Counter,
    /// A change of the state is not in the lake.
    Outbox,
    /// A rollup is not the sum of the events.
    Rollup,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub table: Option<String>,
    pub detail: String,
}

/// Listed of each kind; what is damaged widely is not listed row by row.
const LISTED: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Findings {
    counts: BTreeMap<DifferenceKind, u64>,
    list: Vec<Difference>,
}

impl Findings {
    pub(super) fn add(&mut self, kind: DifferenceKind, table: Table, detail: String) {
        self.note(kind, Some(table.name().to_owned()), detail, 1);
    }

    /// A difference of rows that no table holds.
    pub(super) fn add_nowhere(&mut self, kind: DifferenceKind, detail: String) {
        self.note(kind, None, detail, 1);
    }

    pub(super) fn lost(&mut self, missing: &Missing) {
        for (first, last) in &missing.ranges {
            let rows = last - first + 1;
            let detail = match rows {
                1 => format!("LSN {first} is in no table and not in the log"),
                _ => format!("LSN {first} to {last} are in no table and not in the log"),
            };
            self.note(DifferenceKind::Lsn, None, detail, rows);
        }
        let listed: u64 = missing.ranges.iter().map(|(first, last)| last - first + 1).sum();
        *self.counts.entry(DifferenceKind::Lsn).or_default() += missing.rows - listed;
    }

    fn note(&mut self, kind: DifferenceKind, table: Option<String>, detail: String, weight: u64) {
        let count = self.counts.entry(kind).or_default();
        if *count < LISTED {
            self.list.push(Difference { kind, table, detail });
        }
        *count += weight;
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn into_list(self) -> Vec<Difference> {
        self.list
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DifferenceKind::File => "file",
            DifferenceKind::Statistics => "statistics",
            DifferenceKind::Content => "content",
            DifferenceKind::Lsn => "lsn",
            DifferenceKind::Identity => "identity",
            DifferenceKind::Index => "index",
            DifferenceKind::Sum => "sum",
            DifferenceKind::Counter => "counter",
            DifferenceKind::Outbox => "outbox",
            DifferenceKind::Rollup => "rollup",
        };
        match &self.table {
            Some(table) => write!(f, "{kind}: {table}: {}", self.detail),
            None => write!(f, "{kind}: {}", self.detail),
        }
    }
}
