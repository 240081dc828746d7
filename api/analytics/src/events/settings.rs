//! `[ingest]`: the limits of the intake.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The most bytes of a request's body, after decompression.
    pub body_bytes_max: usize,
    /// Rows move from the log to the tables after so many bytes, rows or seconds.
    pub flush_bytes: usize,
    pub flush_rows: usize,
    pub flush_seconds: u64,
    /// Bytes of requests under way and of rows that wait for the tables: above the first, senders are told to
    /// slow down (429); above the second, nothing more is taken (503).
    pub waiting_bytes_soft: usize,
    pub waiting_bytes_max: usize,
    /// Bytes of the log on disk, above which nothing more is taken (503).
    pub log_bytes_max: u64,
    /// What the keys of one organization may send, compressed as it comes; 0 is no limit.
    pub organization_events_per_second: u64,
    pub organization_bytes_per_second: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes_max: 10 << 20,
            flush_bytes: 48 << 20,
            flush_rows: 256_000,
            flush_seconds: 10,
            waiting_bytes_soft: 160 << 20,
            waiting_bytes_max: 320 << 20,
            log_bytes_max: 8 << 30,
            organization_events_per_second: 0,
            organization_bytes_per_second: 0,
        }
    }
}
