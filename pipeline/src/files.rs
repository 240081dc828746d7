//! The data files of a table version, with what is known about their rows.

use ingest::{Table, log::Lsn, time::Micros};
use object_store::path::Path;
use serde::Deserialize;

use crate::Root;

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
    /// The smallest LSN; unknown counts as 0.
    pub min_lsn: Lsn,
    /// The largest LSN; unknown counts as the largest possible, so that a cut filters the file.
    pub max_lsn: Lsn,
    /// Whether a row may correct another one.
    pub corrects: bool,
}

impl DataFile {
    /// Where the file is in the store.
    pub(crate) fn object_path(&self, root: &Root, table: Table) -> Path {
        let start = root.prefix.clone().join(table.name());
        self.path.split('/').fold(start, |path, part| path.join(part))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Stats {
    num_records: u64,
    min_values: serde_json::Map<String, serde_json::Value>,
    max_values: serde_json::Map<String, serde_json::Value>,
    null_count: serde_json::Map<String, serde_json::Value>,
}

impl Stats {
    pub(crate) fn parse(json: Option<&str>) -> Self {
        json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.num_records
    }

    pub(crate) fn text(&self, name: &str) -> Option<(String, String)> {
        let min = self.min_values.get(name)?.as_str()?;
        let max = self.max_values.get(name)?.as_str()?;
        Some((min.to_owned(), max.to_owned()))
    }

    /// Statistics keep milliseconds: the true maximum may lie up to 999 µs above the stored one.
    pub(crate) fn time(&self, name: &str) -> Option<(Micros, Micros)> {
        let read = |value: &serde_json::Value| {
            chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|t| t.timestamp_micros())
        };
        let min = read(self.min_values.get(name)?)?;
        let max = read(self.max_values.get(name)?)?;
        Some((min, max + 999))
    }

    /// Unknown counts as yes.
    pub(crate) fn corrects(&self) -> bool {
        self.null_count.get("corrects_id").and_then(serde_json::Value::as_u64)
            != Some(self.num_records)
    }

    pub(crate) fn min_lsn(&self) -> Lsn {
        self.min_values.get("lsn").and_then(serde_json::Value::as_u64).unwrap_or(0)
    }

    pub(crate) fn max_lsn(&self) -> Lsn {
        self.max_values.get("lsn").and_then(serde_json::Value::as_u64).unwrap_or(Lsn::MAX)
    }
}
