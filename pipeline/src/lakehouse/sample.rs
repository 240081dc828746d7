//! Settings for tests.

use std::{path::Path, time::Duration};

use ingest::{identity::Pseudonyms, log::LogId};

use super::{Settings, Watermarks};
use crate::Location;

impl Settings {
    /// Of a lakehouse in a folder, on 2026-01-02, that keeps every segment and flushes what waits for 10 ms.
    pub(crate) fn sample(dir: &Path) -> Self {
        Self {
            log_dir: dir.join("log"),
            index_dir: dir.join("index"),
            location: Location::folder(&dir.join("lake")).unwrap(),
            fresh_log: LogId(9),
            pseudonyms: Pseudonyms::new([1; 32]),
            flush_bytes: 64 << 20,
            flush_rows: 1_000,
            flush_age: Duration::from_millis(10),
            watermarks: Watermarks {
                waiting_bytes_soft: 64 << 20,
                waiting_bytes_hard: 128 << 20,
                log_bytes: 1 << 30,
            },
            is_bulk: false,
            keep_log: Duration::from_secs(1_000_000),
            clock: || 1_767_312_000_000_000,
        }
    }
}
