//! One Delta table of the lake, and the way rows get into it: exactly once.
//!
//! Each commit names the last LSN it holds, as the version of an application transaction. The version is
//! compared before a commit and read again after any error, since a commit can fail after it landed.

mod history;
mod replace;

use std::{sync::Arc, time::Duration};

use deltalake_core::{
    DeltaTable,
    kernel::{
        Action, Add, StructField, Transaction,
        engine::arrow_conversion::TryIntoKernel,
        transaction::{CommitBuilder, CommitProperties, TableReference},
    },
    logstore::{StorageConfig, default_logstore},
    operations::create::CreateBuilder,
    protocol::{DeltaOperation, SaveMode},
};
use futures::StreamExt;
use ingest::log::{LogId, Lsn, Record};
use object_store::{ObjectStoreExt, path::Path, prefix::PrefixStore};

pub(crate) use replace::Reason;

use crate::{
    DataFile, Error, Root, StoredTable, TableVersion,
    parquet_file::{self, Encoded},
    statistics,
    threads::Threads,
};

/// An open table.
#[derive(Debug)]
pub struct LakeTable {
    table: StoredTable,
    root: Root,
    delta: DeltaTable,
}

/// Attempts at one commit before it is given up (the rows stay in the log).
const ATTEMPTS: u32 = 6;

impl LakeTable {
    /// Opens a table as it stands; `None` when it was never written to.
    pub async fn open(root: &Root, table: impl Into<StoredTable>) -> Result<Option<Self>, Error> {
        let table = table.into();
        // Asked first, since the Delta library reports a missing table as an error, loudly.
        let entries = root.prefix.clone().join(table.name()).join("_delta_log");
        if !has_entry(root, &entries).await? {
            return Ok(None);
        }
        let mut delta = unloaded(root, table)?;
        delta.update_incremental(None).await.map_err(Error::delta(table, "opening"))?;
        let opened = Self { table, root: root.clone(), delta };
        opened.check_features()?;
        Ok(Some(opened))
    }

    /// Opens a table, creating it first where there is none.
    pub async fn open_or_create(root: &Root, table: impl Into<StoredTable>) -> Result<Self, Error> {
        let table = table.into();
        if let Some(opened) = Self::open(root, table).await? {
            return Ok(opened);
        }
        let fields = fields(table).map_err(Error::arrow(table))?;
        let delta = unloaded(root, table)?;
        let columns: Vec<_> = statistics::columns(table).collect();
        let configuration = [
            ("delta.dataSkippingStatsColumns", columns.join(",")),
            ("delta.enableExpiredLogCleanup", "false".into()),
        ];
        let created = CreateBuilder::new()
            .with_log_store(delta.log_store())
            .with_table_name(table.name())
            .with_columns(fields)
            .with_partition_columns(table.is_partitioned().then_some("event_date"))
            .with_configuration(configuration.map(|(key, value)| (key.to_owned(), Some(value))))
            .with_save_mode(SaveMode::Ignore)
            .await
            .map_err(Error::delta(table, "creating"))?;
        let opened = Self { table, root: root.clone(), delta: created };
        opened.check_features()?;
        Ok(opened)
    }

    pub fn table(&self) -> StoredTable {
        self.table
    }

    pub fn version(&self) -> u64 {
        self.delta.version().unwrap_or_default()
    }

    /// Moves on to a version (the newest without one). A version behind is loaded anew.
    pub async fn advance(&mut self, version: Option<u64>) -> Result<(), Error> {
        let moved = match version {
            Some(version) if version < self.version() => self.delta.load_version(version).await,
            version => self.delta.update_incremental(version).await,
        };
        moved.map_err(Error::delta(self.table, "reading its newest version"))
    }

    /// The last LSN of `log` that the table holds.
    pub async fn committed(&self, log: LogId) -> Result<Lsn, Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        let version = state
            .transaction_version(&self.delta.log_store(), app_id(self.table, log))
            .await
            .map_err(Error::delta(self.table, "reading its last transaction"))?;
        Ok(version.and_then(|version| Lsn::try_from(version).ok()).unwrap_or(0))
    }

    /// Appends the rows of `records` that the table does not hold yet, up to `through`, in one commit, and
    /// returns where the table stands then. They are sorted and encoded on `threads`. Rows that are there already are left
    /// out; that is no error.
    ///
    /// # Errors
    /// [`Error::Fenced`] when somebody else moved the table; after any other error the rows can be sent again.
    pub async fn append(
        &mut self,
        threads: &Threads,
        log: LogId,
        records: &[Record],
        through: Lsn,
        now_ms: i64,
    ) -> Result<TableVersion, Error> {
        let Some(table) = self.table.ingested() else { return Err(Error::Stopped) };
        let committed = self.committed(log).await?;
        if committed >= through {
            return Ok(TableVersion { version: self.version(), txn: committed });
        }
        let rows = parquet_file::rows_between(table, log, records, committed, through)
            .map_err(Error::arrow(table))?;
        if rows.is_empty() {
            return Ok(TableVersion { version: self.version(), txn: committed });
        }
        let files = threads.run(move || parquet_file::encode(table, &rows, now_ms)).await??;
        let adds = self.store(files).await?;
        self.commit(log, adds, committed, through).await?;
        Ok(TableVersion { version: self.version(), txn: through })
    }

    /// The active files of the loaded version.
    pub fn files(&self) -> Result<Vec<DataFile>, Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        let log_data = state.log_data();
        let files = log_data.iter().map(|view| {
            let date = view.partition_values_map().remove("event_date").flatten();
            let date = date.and_then(|date| date.parse().ok());
            DataFile::new(
                self.table,
                view.path().into_owned(),
                u64::try_from(view.size()).unwrap_or(0),
                view.modification_time(),
                date.map(|date: chrono::NaiveDate| date.to_epoch_days()),
                view.stats().as_deref(),
            )
        });
        Ok(files.collect())
    }

    /// The number of active files, and their bytes.
    pub(crate) fn size(&self) -> Result<(usize, u64), Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        let log_data = state.log_data();
        let sizes = log_data.iter().map(|view| u64::try_from(view.size()).unwrap_or(0));
        Ok(sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size)))
    }

    async fn store(&self, files: Vec<Encoded>) -> Result<Vec<Add>, Error> {
        let mut adds = Vec::with_capacity(files.len());
        for file in files {
            let path = parquet_file::object_path(&self.root, self.table, &file.path);
            self.root
                .store
                .put(&path, file.bytes.into())
                .await
                .map_err(|source| Error::Store { path: path.to_string(), source })?;
            adds.push(file.add);
        }
        Ok(adds)
    }

    /// Adds files, and moves the mark of a log from `committed` to `through`.
    pub(crate) async fn commit(
        &mut self,
        log: LogId,
        adds: Vec<Add>,
        committed: Lsn,
        through: Lsn,
    ) -> Result<(), Error> {
        let version = i64::try_from(through).unwrap_or(i64::MAX);
        for attempt in 1.. {
            let properties = CommitProperties::default()
                .with_application_transaction(Transaction::new(app_id(self.table, log), version))
                .with_create_checkpoint(false)
                .with_cleanup_expired_logs(Some(false));
            let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
            let result = CommitBuilder::from(properties)
                .with_actions(adds.iter().cloned().map(Action::Add).collect())
                .build(
                    Some(state as &dyn TableReference),
                    self.delta.log_store(),
                    DeltaOperation::Write {
                        mode: SaveMode::Append,
                        partition_by: None,
                        predicate: None,
                    },
                )
                .await;
            // Whatever the answer was, the table itself says what happened.
            let reloaded = self.advance(None).await;
            let found = self.committed(log).await;
            match (result, reloaded.and(found)) {
                (_, Ok(found)) if found >= through => return Ok(()),
                (_, Ok(found)) if found != committed => {
                    let table = self.table.name();
                    return Err(Error::Fenced { table, expected: committed, found });
                }
                (Err(error), _) if attempt >= ATTEMPTS => {
                    return Err(Error::delta(self.table, "committing")(error));
                }
                (Ok(_), Err(error)) if attempt >= ATTEMPTS => return Err(error),
                (Err(error), _) => {
                    tracing::warn!(table = self.table.name(), attempt, %error, "a commit failed and is tried again");
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                }
                (Ok(_), _) => tokio::time::sleep(Duration::from_millis(50 << attempt)).await,
            }
        }
        Ok(())
    }

    /// Two features would change what a data file means; this program writes neither.
    fn check_features(&self) -> Result<(), Error> {
        let state = self.delta.snapshot().map_err(Error::delta(self.table, "reading"))?;
        let configuration = state.metadata().configuration();
        let table = self.table.name();
        if configuration.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            return Err(Error::Unsupported { table, feature: "column mapping" });
        }
        if configuration.get("delta.enableDeletionVectors").is_some_and(|on| on == "true") {
            return Err(Error::Unsupported { table, feature: "deletion vectors" });
        }
        Ok(())
    }
}

/// Whether a Delta log has an entry. A process that was killed while it made the first one left another file there.
async fn has_entry(root: &Root, entries: &Path) -> Result<bool, Error> {
    let mut files = root.store.list(Some(entries));
    while let Some(file) = files.next().await {
        let file = file.map_err(|source| Error::Store { path: entries.to_string(), source })?;
        if file.location.extension() == Some("json") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Names the writer of a log to a table: stable, so that a repeated commit is recognized.
fn app_id(table: StoredTable, log: LogId) -> String {
    format!("aihub/{}/{}", table.name(), log.0)
}

/// The table's part of the store, as the Delta library wants it. Its own look-up by URL would know only the
/// stores that it was built with.
fn unloaded(root: &Root, table: StoredTable) -> Result<DeltaTable, Error> {
    let url = root.table_url(table.name())?;
    let prefix = root.prefix.clone().join(table.name());
    let prefixed = Arc::new(PrefixStore::new(Arc::clone(&root.store), prefix));
    let store = Arc::clone(&root.store);
    Ok(DeltaTable::new(default_logstore(prefixed, store, &url, &StorageConfig::default())))
}

fn fields(table: StoredTable) -> Result<Vec<StructField>, arrow::error::ArrowError> {
    table.schema().fields().iter().map(|field| field.as_ref().try_into_kernel()).collect()
}

#[cfg(test)]
mod tests;
