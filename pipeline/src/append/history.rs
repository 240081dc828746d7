//! The table's own log: checkpoints of it, what was removed, and entries that nobody reads any more.

use deltalake_core::checkpoints;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use serde::Deserialize;

use super::LakeTable;
use crate::Error;

/// A file that left the table.
#[derive(Debug)]
pub(crate) struct Tombstone {
    /// Relative to the table.
    pub(crate) path: String,
    pub(crate) removed_ms: i64,
}

/// The version of the newest checkpoint, as the Delta protocol keeps it.
#[derive(Debug, Deserialize)]
struct LastCheckpoint {
    version: u64,
}

impl LakeTable {
    /// How many commits a reader must replay that opens the table anew.
    pub(crate) async fn commits_since_checkpoint(&self) -> Result<u64, Error> {
        let path = self.folder().join("_delta_log").join("_last_checkpoint");
        let stored = |source| Error::Store { path: path.to_string(), source };
        let text = match self.root.store.get(&path).await {
            Ok(found) => found.bytes().await.map_err(stored)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(self.version()),
            Err(source) => return Err(stored(source)),
        };
        // A hint only: an unreadable one is as good as none.
        let last: Option<LastCheckpoint> = serde_json::from_slice(&text).ok();
        Ok(self.version().saturating_sub(last.map_or(0, |last| last.version)))
    }

    /// Writes a checkpoint of the loaded version.
    pub(crate) async fn checkpoint(&self) -> Result<(), Error> {
        checkpoints::create_checkpoint(&self.delta, None)
            .await
            .map_err(Error::delta(self.table, "writing a checkpoint"))
    }

    /// Removes log entries that are older than `before_ms` and that a checkpoint stands for.
    pub(crate) async fn clean_log(&self, before_ms: i64) -> Result<usize, Error> {
        checkpoints::cleanup_expired_logs_for(
            self.version(),
            self.delta.log_store().as_ref(),
            before_ms,
            None,
        )
        .await
        .map_err(Error::delta(self.table, "cleaning its log"))
    }

    /// The files that left the table, as far back as its log tells.
    pub(crate) async fn tombstones(&self) -> Result<Vec<Tombstone>, Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        let store = self.delta.log_store();
        let found: Vec<_> = state
            .all_tombstones(store.as_ref())
            .map_ok(|view| Tombstone {
                path: view.path().into_owned(),
                removed_ms: view.deletion_timestamp().unwrap_or(0),
            })
            .try_collect()
            .await
            .map_err(Error::delta(self.table, "reading what was removed"))?;
        Ok(found)
    }

    /// Where the table is in the store.
    pub(crate) fn folder(&self) -> Path {
        self.root.prefix.clone().join(self.table.name())
    }
}
