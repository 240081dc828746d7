//! What upkeep tells those who watch.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use pipeline::upkeep::{Amount, Job, Report};

use super::Record;

const FILES: &str = "upkeep_files_total";
const BYTES: &str = "upkeep_bytes_total";
const FAILURES: &str = "upkeep_failures_total";
const LAST_SUCCESS: &str = "upkeep_last_success_seconds";

/// Shows every counter of a job from the start: one that is absent cannot be told from one that is zero.
pub(super) fn begin() {
    describe_counter!(
        FILES,
        "Files that compaction read and wrote, that expired, and that were removed for good"
    );
    describe_counter!(BYTES, "Their bytes");
    describe_counter!(FAILURES, "Jobs that did not succeed for a table, or at all");
    describe_gauge!(LAST_SUCCESS, "When a job last succeeded, in seconds since 1970");
    for job in Job::ALL {
        counter!(FAILURES, "job" => job.name()).increment(0);
    }
}

pub(super) fn known(record: &Record) {
    for (job, at) in &record.0 {
        gauge!(LAST_SUCCESS, "job" => job.name()).set(at.timestamp() as f64);
    }
}

pub(super) fn done(report: &Report, jobs: &[Job]) {
    for table in &report.tables {
        let changes: [(&'static str, Amount); 4] = [
            ("compacted", table.compacted),
            ("rewritten", table.rewritten),
            ("expired", table.expired),
            ("vacuumed", table.vacuumed),
        ];
        for (change, amount) in changes {
            let labels = [("table", table.table.clone()), ("change", change.to_owned())];
            counter!(FILES, &labels).increment(amount.files);
            counter!(BYTES, &labels).increment(amount.bytes);
        }
    }
    for job in jobs {
        let failed = report.tables.iter().flat_map(|table| &table.failures);
        let failed = failed.filter(|failure| failure.job == *job).count();
        counter!(FAILURES, "job" => job.name()).increment(failed as u64);
    }
}

/// Nobody knows how far it came.
pub(super) fn lost(jobs: &[Job]) {
    for job in jobs {
        counter!(FAILURES, "job" => job.name()).increment(1);
    }
}
