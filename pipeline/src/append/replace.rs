//! Exchanging files of a table, without a change of the log's mark.

use std::{collections::HashSet, time::Duration};

use deltalake_core::{
    kernel::{
        Action, Add, Remove,
        transaction::{CommitBuilder, CommitProperties, TableReference},
    },
    protocol::DeltaOperation,
};

use super::LakeTable;
use crate::{DataFile, Error, parquet_file};

/// Why files leave a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Others hold the same rows.
    Compaction,
    /// Their rows are to go.
    Retention,
    /// Others hold the same rows, but for persons.
    Erasure,
    /// Their rows were computed anew.
    Rebuild,
}

/// Attempts at one exchange. A writer that commits all the time leaves some room between two commits.
const ATTEMPTS: u32 = 20;

impl LakeTable {
    /// Takes `removed` out and puts `added` in, in one commit. `false` when somebody else removed one of them:
    /// then nothing was changed.
    ///
    /// The Delta library lets two commits remove the same file, as long as both only move rows; the rows would
    /// be there twice. So its own retries are off: each attempt looks at the newest version, and holds at that
    /// version only.
    pub(crate) async fn replace(
        &mut self,
        removed: &[DataFile],
        added: &[Add],
        reason: Reason,
        now_ms: i64,
    ) -> Result<bool, Error> {
        let moves = reason == Reason::Compaction;
        let removes = removed.iter().map(|file| Action::Remove(remove(file, !moves, now_ms)));
        let adds = added.iter().map(|add| Action::Add(Add { data_change: !moves, ..add.clone() }));
        let actions: Vec<Action> = removes.chain(adds).collect();
        for attempt in 0.. {
            // After an attempt, whatever its answer was, the table itself says what happened.
            let reloaded = self.advance(None).await;
            if let Ok(()) = reloaded {
                let active = self.active()?;
                let gone = removed.iter().filter(|file| !active.contains(&file.path)).count();
                if gone == removed.len() && added.iter().all(|add| active.contains(&add.path)) {
                    return Ok(true);
                }
                if gone > 0 {
                    return Ok(false);
                }
            }
            if attempt >= ATTEMPTS {
                return reloaded.and(Err(Error::Contended { table: self.table.name() }));
            }
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(5 * u64::from(attempt))).await;
            }
            if reloaded.is_ok()
                && let Err(error) = self.attempt(&actions, reason).await
            {
                tracing::debug!(table = self.table.name(), attempt, %error, "files were not exchanged yet");
            }
        }
        Ok(false)
    }

    /// Holds at the version that was read, or not at all.
    pub(super) async fn attempt(&self, actions: &[Action], reason: Reason) -> Result<(), Error> {
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let operation = match reason {
            Reason::Compaction | Reason::Erasure | Reason::Rebuild => {
                DeltaOperation::Optimize { predicate: None, target_size: 0 }
            }
            Reason::Retention => DeltaOperation::Delete { predicate: None },
        };
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        CommitBuilder::from(properties)
            .with_actions(actions.to_vec())
            .build(Some(state as &dyn TableReference), self.delta.log_store(), operation)
            .await
            .map_err(Error::delta(self.table, "committing"))?;
        Ok(())
    }

    /// The paths of the active files.
    pub(crate) fn active(&self) -> Result<HashSet<String>, Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        Ok(state.log_data().iter().map(|view| view.path().into_owned()).collect())
    }
}

fn remove(file: &DataFile, data_change: bool, now_ms: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(parquet_file::partition_values(file.event_date)),
        size: i64::try_from(file.size_bytes).ok(),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
    }
}
