//! What the intake tells those who watch it: counters as things happen, and where it stands when asked.

use std::{collections::BTreeMap, time::Duration};

use ingest::{RejectionCode, Table, Verdict, intake::Refused};
use metrics::{counter, describe_counter, describe_histogram, histogram};

use super::Lakehouse;

const ACCEPTED: &str = "ingest_accepted_events_total";
const DUPLICATE: &str = "ingest_duplicate_events_total";
const REJECTED: &str = "ingest_rejected_events_total";
const REFUSED: &str = "ingest_refused_requests_total";
/// Seconds of each fsync of the log.
pub const FSYNC_SECONDS: &str = "ingest_fsync_seconds";

/// How far the tables are behind the log, and how much waits.
#[derive(Debug, Clone, Default)]
pub struct LakeStatus {
    /// Rows in the log that no table holds yet.
    pub lag_rows: usize,
    /// The age of the oldest of them.
    pub lag: Duration,
    /// Bytes of these rows in memory.
    pub pending_bytes: usize,
    /// Bytes of requests that are not answered yet.
    pub arriving_bytes: usize,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// Each table's files, and their bytes.
    pub files: BTreeMap<Table, (usize, u64)>,
}

impl Lakehouse {
    pub fn standing(&self) -> LakeStatus {
        let now = (self.settings.clock)();
        let load = self.shared.load();
        let state = self.shared.lock();
        let oldest = state.pending.front().map_or(now, |record| record.ingested_at);
        LakeStatus {
            lag_rows: state.rows,
            lag: Duration::from_micros(u64::try_from(now - oldest).unwrap_or(0)),
            pending_bytes: state.bytes,
            arriving_bytes: load.waiting_bytes.saturating_sub(state.bytes),
            log_bytes: load.log_bytes,
            files: state.files.clone(),
        }
    }
}

/// Shows every counter from the start: one that is absent cannot be told from one that is zero.
pub(super) fn begin() {
    describe_counter!(ACCEPTED, "Events that were stored, once each");
    describe_counter!(DUPLICATE, "Events that were stored before");
    describe_counter!(REJECTED, "Events that became dead letters, by code");
    describe_counter!(REFUSED, "Requests that were sent back, by reason");
    describe_histogram!(FSYNC_SECONDS, "Time of one fsync of the log");
    counter!(ACCEPTED).increment(0);
    counter!(DUPLICATE).increment(0);
    for code in RejectionCode::ALL {
        counter!(REJECTED, "code" => code.as_str()).increment(0);
    }
    for refused in Refused::ALL {
        counter!(REFUSED, "reason" => refused.as_str()).increment(0);
    }
}

/// Counts verdicts, and gives the number of accepted events.
pub(super) fn verdicts(verdicts: &[Verdict]) -> u64 {
    let (mut accepted, mut duplicate) = (0, 0);
    for verdict in verdicts {
        match verdict {
            Verdict::Accepted => accepted += 1,
            Verdict::Duplicate => duplicate += 1,
            Verdict::Rejected(why) => {
                counter!(REJECTED, "code" => why.code.as_str()).increment(1);
            }
        }
    }
    counter!(ACCEPTED).increment(accepted);
    counter!(DUPLICATE).increment(duplicate);
    accepted
}

pub(super) fn refused(refused: Refused) {
    counter!(REFUSED, "reason" => refused.as_str()).increment(1);
}

pub(super) fn fsync(took: Duration) {
    histogram!(FSYNC_SECONDS).record(took);
}
