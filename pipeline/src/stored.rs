//! The Delta tables of the lake: those that take events in, and rollups, whose columns are data.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use ingest::Table;

/// A Delta table.
#[derive(Debug, Clone, Copy)]
pub enum StoredTable {
    /// Rows as they came.
    Ingested(Table),
    /// Sums over rows.
    Rollup(&'static RollupTable),
}

/// The table of a rollup: additive rows, each the sum of what some rows of a ledger add to the same keys.
#[derive(Debug)]
pub struct RollupTable {
    name: String,
    schema: SchemaRef,
}

/// The start of the hour or day that a row is of.
pub const ROLLUP_TIME: &str = "occurred_at";

impl RollupTable {
    /// A table with these columns, of which `occurred_at` is one. The last LSN that a row holds is added.
    pub fn new(name: String, columns: Vec<Field>) -> Self {
        let lsn = Field::new("lsn", DataType::Int64, false);
        let fields: Vec<_> = columns.into_iter().chain([lsn]).collect();
        Self { name, schema: Schema::new(fields).into() }
    }

    /// The name of its folder, which no other table has.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a folder has the same rollup, defined in another way: names differ in what follows the last `-`.
    pub(crate) fn is_other_definition(&self, folder: &str) -> bool {
        let name = |table: &str| table.rsplit_once('-').map(|(name, _)| name.to_owned());
        folder != self.name && name(folder).is_some() && name(folder) == name(&self.name)
    }

    /// All columns as they are read.
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

impl StoredTable {
    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingested(table) => table.name(),
            Self::Rollup(rollup) => &rollup.name,
        }
    }

    /// The whole row as it is read. The date is the last column where the table is partitioned by it.
    pub(crate) fn schema(self) -> SchemaRef {
        match self {
            Self::Ingested(table) => table.schema(),
            Self::Rollup(rollup) => rollup.schema(),
        }
    }

    pub(crate) fn is_partitioned(self) -> bool {
        match self {
            Self::Ingested(table) => table.is_partitioned(),
            // Its files are of months: a day of it is small, and each file takes a third of a millisecond to open.
            Self::Rollup(_) => false,
        }
    }

    pub(crate) fn time_column(self) -> &'static str {
        match self {
            Self::Ingested(table) => table.time_column(),
            Self::Rollup(_) => ROLLUP_TIME,
        }
    }

    pub(crate) fn has_event_ids(self) -> bool {
        match self {
            Self::Ingested(table) => !table.is_dimension() && table != Table::DeadLetter,
            Self::Rollup(_) => false,
        }
    }

    pub(crate) fn ingested(self) -> Option<Table> {
        match self {
            Self::Ingested(table) => Some(table),
            Self::Rollup(_) => None,
        }
    }
}

impl From<Table> for StoredTable {
    fn from(table: Table) -> Self {
        Self::Ingested(table)
    }
}

impl From<&'static RollupTable> for StoredTable {
    fn from(rollup: &'static RollupTable) -> Self {
        Self::Rollup(rollup)
    }
}

impl PartialEq for StoredTable {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for StoredTable {}

impl PartialOrd for StoredTable {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StoredTable {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}
