//! What the log tells before it answers anybody.

use std::sync::atomic::Ordering;

use datafusion::common::utils::memory::get_record_batch_memory_size;
use ingest::{
    intake::Observer,
    log::{AppendStats, Record},
};

use super::{Shared, count};

impl Observer for Shared {
    fn durable(&self, records: Vec<Record>) {
        let mut state = self.lock();
        for record in records {
            self.changes.note(&record);
            state.durable = record.last_lsn();
            state.bytes += get_record_batch_memory_size(&record.rows);
            state.rows += record.rows.num_rows();
            state.pending.push_back(record);
        }
        if state.is_due() {
            self.full.notify_one();
        }
    }

    fn synced(&self, written: AppendStats) {
        self.log_bytes.fetch_add(written.bytes, Ordering::Relaxed);
        count::fsync(written.fsync);
    }

    fn unread(&self, error: &ingest::Error) {
        tracing::error!(%error, "events were refused: whether they are new cannot be told");
    }

    fn broken(&self, error: &ingest::Error) {
        tracing::error!(%error, "the log cannot be written; this process must end");
        self.is_broken.store(true, Ordering::Release);
        self.broken.notify_waiters();
    }
}
