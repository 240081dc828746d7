//! `[query]`: the limits of queries.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Worker processes for the SQL of others, at least 2, of which no organization gets all; one more is reserved
    /// for metrics and dashboards, and another comes for pages that are prepared and for nightly checks.
    pub workers: usize,
    /// Memory of the operators of one query, in MiB.
    pub memory_mib: usize,
    /// Disk for what does not fit in memory, in MiB.
    pub spill_mib: u64,
    /// The longest a query may run.
    pub deadline_seconds: u64,
    /// The longest a query in the background may run.
    pub background_deadline_seconds: u64,
    /// The most that the kept answer of one may take, in MiB.
    pub result_mib: u64,
    /// The rows of a JSON answer, unless the request says otherwise.
    pub json_rows_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 3,
            memory_mib: 1024,
            spill_mib: 2048,
            deadline_seconds: 30,
            background_deadline_seconds: 600,
            result_mib: 4096,
            json_rows_max: 10_000,
        }
    }
}
