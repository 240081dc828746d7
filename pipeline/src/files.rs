//! The data files of a table version, with what is known about their rows.

use ingest::{log::Lsn, time::Micros};
use object_store::path::Path;
use serde::Deserialize;

use crate::{Root, StoredTable, parquet_file};

/// An active file of a Delta table.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Relative to the table.
    pub path: String,
    pub size_bytes: u64,
    pub modified_ms: i64,
    /// The partition, as days since 1970.
    pub event_date: Option<i32>,
    pub rows: u64,
    /// Smallest and largest value of each, where known.
    pub organization_id: Option<(String, String)>,
    pub at: Option<(Micros, Micros)>,
    /// The smallest LSN, where known.
    pub min_lsn: Option<Lsn>,
    /// The largest LSN; unknown counts as the largest possible, so that a cut filters the file.
    pub max_lsn: Lsn,
    /// Whether a row may correct another one.
    pub corrects: bool,
}

impl DataFile {
    /// A file, and what the statistics of the Delta log tell about it.
    pub(crate) fn new(
        table: impl Into<StoredTable>,
        path: String,
        size_bytes: u64,
        modified_ms: i64,
        event_date: Option<i32>,
        stats: Option<&str>,
    ) -> Self {
        let stats = Stats::parse(stats);
        Self {
            path,
            size_bytes,
            modified_ms,
            event_date,
            rows: stats.num_records,
            organization_id: stats.text("organization_id"),
            at: stats.time(table.into().time_column()),
            min_lsn: stats.min_lsn(),
            max_lsn: stats.max_lsn(),
            corrects: stats.corrects(),
        }
    }

    /// Where the file is in the store.
    pub(crate) fn object_path(&self, root: &Root, table: impl Into<StoredTable>) -> Path {
        parquet_file::object_path(root, table, &self.path)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stats {
    num_records: u64,
    min_values: serde_json::Map<String, serde_json::Value>,
    max_values: serde_json::Map<String, serde_json::Value>,
    null_count: serde_json::Map<String, serde_json::Value>,
}

impl Stats {
    fn parse(json: Option<&str>) -> Self {
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<(String, String)> {
        let min = self.min_values.get(name)?.as_str()?;
        let max = self.max_values.get(name)?.as_str()?;
        Some((min.to_owned(), max.to_owned()))
    }

    /// Statistics keep milliseconds: the true maximum may lie up to 999 µs above the stored one.
    fn time(&self, name: &str) -> Option<(Micros, Micros)> {
        let read = |value: &serde_json::Value| {
            chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|t| t.timestamp_micros())
        };
        let min = read(self.min_values.get(name)?)?;
        let max = read(self.max_values.get(name)?)?;
        Some((min, max + 999))
    }

    /// Unknown counts as yes.
    fn corrects(&self) -> bool {
        self.null_count.get("corrects_id").and_then(serde_json::Value::as_u64)
            != Some(self.num_records)
    }

    fn min_lsn(&self) -> Option<Lsn> {
        self.min_values.get("lsn").and_then(serde_json::Value::as_u64)
    }

    fn max_lsn(&self) -> Lsn {
        self.max_values.get("lsn").and_then(serde_json::Value::as_u64).unwrap_or(Lsn::MAX)
    }
}
