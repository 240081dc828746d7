//! The intake's part in erasing persons: what arrives, the log, and the index.

use std::{fs::File, io::BufReader, path::Path, sync::atomic::Ordering};

use ingest::{dedup::read_entries, erasure::ErasedPersons, log::Lsn};

use super::Lakehouse;
use crate::Error;

/// Identities that are written to the index at once.
const IDENTITIES: usize = 5_000;

impl Lakehouse {
    /// From here on what arrives is stored without these persons. What arrived before is in the log when this
    /// returns.
    pub async fn forget(&self, erased: ErasedPersons) {
        self.pseudonyms().erase(erased);
        // Whatever was decoded with the list before.
        drop(self.under_way.write().await);
    }

    /// Moves everything that is in the log to the tables, and gives the last LSN of it. The segments that hold it
    /// take no more.
    pub async fn clear_log(&self) -> Result<Lsn, Error> {
        let intake = self.intake.clone();
        let rolling = tokio::task::spawn_blocking(move || intake.roll());
        let grown = rolling.await.map_err(|_| Error::Stopped)??;
        self.shared.log_bytes.fetch_add(grown, Ordering::Relaxed);
        self.flush().await
    }

    /// Unlinks the segments that hold nothing above `through`, whoever still reads them.
    pub async fn unlink_log(&self, through: Lsn) -> Result<(), Error> {
        let _flusher = self.flusher.lock().await;
        self.unlink(through).await
    }

    /// Gives identities of stored rows the content hashes that a file names, one entry after the other.
    pub async fn reindex(&self, entries: &Path) -> Result<(), Error> {
        let flusher = self.flusher.lock().await;
        let file = match File::open(entries) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file(entries)(error)),
        };
        for batch in read_entries(file, IDENTITIES) {
            let (intake, batch) = (self.intake.clone(), batch.map_err(Error::file(entries))?);
            flusher.threads.run(move || intake.reindex(batch)).await??;
        }
        Ok(())
    }

    /// Does work while no row moves from the log to the tables.
    pub async fn between_flushes<T>(&self, work: impl Future<Output = T>) -> T {
        let _flusher = self.flusher.lock().await;
        work.await
    }
}
