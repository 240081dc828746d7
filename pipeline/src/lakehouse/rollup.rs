//! The rollups: the process that takes events in commits what workers summed up, and says how far it is.

use std::{collections::BTreeMap, sync::Arc};

use chrono::NaiveDate;
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use ingest::{
    Table,
    log::{LogId, Lsn},
};
use object_store::{ObjectStore, path::Path};
use tokio::sync::OwnedMutexGuard;

use super::Lakehouse;
use crate::{
    DataFile, Error, LakeTable, RollupTable, Root, StoredTable, TableVersion,
    append::Reason,
    rollup::{Month, RollupFiles, RollupWriter},
    upkeep::vacuum,
};

/// Those that were opened. One commit at a time.
#[derive(Debug)]
pub(super) struct Rollups {
    root: Root,
    tables: BTreeMap<StoredTable, LakeTable>,
}

/// A month of a rollup, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollupMonth {
    pub month: Month,
    pub files: usize,
    /// The day of the earliest rows.
    pub first: NaiveDate,
}

/// A change of a rollup.
#[derive(Debug)]
pub enum RollupChange {
    /// Adds the rows between two LSNs, where it stands: at 0 before it is built. The table is made where it is not there.
    Append { after: Lsn, through: Lsn, files: RollupFiles },
    /// Puts files in the place of those of a month. Where they are the same sums (`is_fold`) nothing else changes.
    ReplaceMonth { month: Month, files: RollupFiles, is_fold: bool },
    /// Writes a checkpoint of the Delta log when it is long, and removes what left the table before a time.
    Tidy { before_ms: i64 },
}

/// Commits between two checkpoints of a rollup's Delta log.
const CHECKPOINT_COMMITS: u64 = 100;

impl Rollups {
    pub(super) fn new(root: &Root) -> Self {
        Self { root: root.clone(), tables: BTreeMap::new() }
    }

    async fn open(&mut self, rollup: &'static RollupTable) -> Result<&mut LakeTable, Error> {
        let table = StoredTable::from(rollup);
        if !self.tables.contains_key(&table) {
            let opened = LakeTable::open_or_create(&self.root, table).await?;
            self.tables.insert(table, opened);
        }
        self.tables.get_mut(&table).ok_or(Error::Stopped)
    }
}

impl Lakehouse {
    /// Where a rollup stands: `None` until it was built.
    pub fn rollup(&self, rollup: &RollupTable) -> Option<TableVersion> {
        self.shared.lock().rollups.get(rollup.name()).copied()
    }

    /// Keeps others from computing rollups: whoever holds it takes a cut and stores what is computed at it.
    pub async fn rollup_work(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.rollup_work).lock_owned().await
    }

    /// Removes the tables of rollups whose definition is not one of these any more.
    pub async fn remove_other_rollups(&self, known: &[&RollupTable]) -> Result<(), Error> {
        let root = self.rollups.lock().await.root.clone();
        let stored = |source| Error::Store { path: root.prefix.to_string(), source };
        let prefix = (!root.prefix.as_ref().is_empty()).then_some(&root.prefix);
        let listed = root.store.list_with_delimiter(prefix).await.map_err(stored)?;
        for folder in listed.common_prefixes {
            let name = folder.filename().unwrap_or_default();
            if known.iter().any(|table| table.is_other_definition(name))
                && remove_folder(&root, &folder).await? > 0
            {
                tracing::info!(table = name, "the table of a former definition was removed");
            }
        }
        Ok(())
    }

    /// Removes the tables of rollups: the log comes first, so that none is read that has lost rows.
    pub async fn remove_rollups(&self, tables: &[&'static RollupTable]) -> Result<(), Error> {
        let mut rollups = self.rollups.lock().await;
        for table in tables {
            self.shared.lock().rollups.remove(table.name());
            rollups.tables.remove(&StoredTable::from(*table));
            let folder = rollups.root.prefix.clone().join(table.name());
            remove_folder(&rollups.root, &folder.clone().join("_delta_log")).await?;
            remove_folder(&rollups.root, &folder).await?;
        }
        Ok(())
    }

    /// Opens a rollup that is there, and gives where it stands: at LSN 0 while it is not complete.
    pub async fn open_rollup(
        &self,
        rollup: &'static RollupTable,
    ) -> Result<Option<TableVersion>, Error> {
        let mut rollups = self.rollups.lock().await;
        let Some(opened) = LakeTable::open(&rollups.root, rollup).await? else { return Ok(None) };
        let mark = self.note_rollup(rollup, &opened).await?;
        rollups.tables.insert(rollup.into(), opened);
        Ok(Some(mark))
    }

    /// Begins files of a rollup, of rows up to an LSN.
    pub async fn rollup_writer(
        &self,
        rollup: &'static RollupTable,
        through: Lsn,
    ) -> Result<RollupWriter, Error> {
        let mut rollups = self.rollups.lock().await;
        // What a process leaves behind that ends meanwhile is found in the folder of a table.
        rollups.open(rollup).await?;
        let now_ms = (self.settings.clock)() / 1_000;
        Ok(RollupWriter::new(&rollups.root, rollup, through, now_ms))
    }

    /// Changes a rollup, in one commit.
    ///
    /// # Errors
    /// [`Error::Fenced`] when rows are added and it does not stand where they begin.
    pub async fn change_rollup(
        &self,
        rollup: &'static RollupTable,
        change: RollupChange,
    ) -> Result<(), Error> {
        let mut rollups = self.rollups.lock().await;
        let root = rollups.root.clone();
        let opened = rollups.open(rollup).await?;
        let now_ms = (self.settings.clock)() / 1_000;
        let log = self.intake.log();
        let is_computed_anew = matches!(change, RollupChange::ReplaceMonth { is_fold: false, .. });
        let changed = change.make(&root, opened, log, now_ms).await;
        if changed.is_err() {
            // What is on disk is read anew before the next attempt.
            rollups.tables.remove(&StoredTable::from(rollup));
            self.shared.lock().rollups.remove(rollup.name());
            return changed;
        }
        if is_computed_anew {
            // Answers that were read from it are not kept.
            self.shared.changes.exchanged(rollup, opened.version());
        }
        self.note_rollup(rollup, opened).await.map(drop)
    }

    /// Whether a rollup has a table, as far as it was looked at.
    pub async fn has_rollup(&self, rollup: &'static RollupTable) -> bool {
        self.rollups.lock().await.tables.contains_key(&StoredTable::from(rollup))
    }

    /// The first day that a table has rows of.
    pub async fn first_day(&self, table: Table) -> Result<Option<NaiveDate>, Error> {
        let flusher = self.flusher.lock().await;
        let Some(opened) = flusher.tables.get(&table) else { return Ok(None) };
        let first = opened.files()?.iter().filter_map(|file| file.event_date).min();
        Ok(first.and_then(NaiveDate::from_epoch_days))
    }

    /// The months of a rollup.
    pub async fn rollup_months(
        &self,
        rollup: &'static RollupTable,
    ) -> Result<Vec<RollupMonth>, Error> {
        let mut rollups = self.rollups.lock().await;
        let mut months: BTreeMap<Month, RollupMonth> = BTreeMap::new();
        for file in rollups.open(rollup).await?.files()? {
            let Some(month) = Month::of_file(&file) else { continue };
            let first = Month::first_day(&file).unwrap_or_else(|| month.first());
            let found = months.entry(month).or_insert(RollupMonth { month, files: 0, first });
            found.files += 1;
            found.first = found.first.min(first);
        }
        Ok(months.into_values().collect())
    }

    async fn note_rollup(
        &self,
        rollup: &'static RollupTable,
        opened: &LakeTable,
    ) -> Result<TableVersion, Error> {
        let txn = opened.committed(self.intake.log()).await?;
        let mark = TableVersion { version: opened.version(), txn };
        let mut state = self.shared.lock();
        match txn {
            0 => state.rollups.remove(rollup.name()),
            _ => state.rollups.insert(rollup.name().to_owned(), mark),
        };
        Ok(mark)
    }
}

impl RollupChange {
    async fn make(
        self,
        root: &Root,
        opened: &mut LakeTable,
        log: LogId,
        now_ms: i64,
    ) -> Result<(), Error> {
        let table = opened.table().name();
        let files = opened.files()?.into_iter();
        match self {
            Self::Append { after, through, files: added } => {
                let found = opened.committed(log).await?;
                if found != after {
                    return Err(Error::Fenced { table, expected: after, found });
                }
                let removed: Vec<_> = if after == 0 { files.collect() } else { Vec::new() };
                if !removed.is_empty() {
                    // Sums of what came through another log.
                    replace(opened, &removed, &[], Reason::Rebuild, now_ms).await?;
                }
                opened.commit(log, added.0, after, through).await
            }
            Self::ReplaceMonth { month, files: added, is_fold } => {
                let is_of_month = |file: &DataFile| Month::of_file(file) == Some(month);
                let removed: Vec<_> = files.filter(is_of_month).collect();
                let reason = if is_fold { Reason::Compaction } else { Reason::Rebuild };
                replace(opened, &removed, &added.0, reason, now_ms).await
            }
            Self::Tidy { before_ms } => {
                if opened.commits_since_checkpoint().await? >= CHECKPOINT_COMMITS {
                    opened.checkpoint().await?;
                }
                let mut found = vacuum::removed(root, opened, before_ms).await?;
                found.extend(vacuum::orphans(root, opened, before_ms).await?);
                vacuum::delete(root, &found).await?;
                opened.clean_log(before_ms).await.map(drop)
            }
        }
    }
}

/// Removes everything in a folder, and says how much it was.
async fn remove_folder(root: &Root, folder: &Path) -> Result<usize, Error> {
    let stored = |source| Error::Store { path: folder.to_string(), source };
    let files: Vec<_> = root.store.list(Some(folder)).map_err(stored).try_collect().await?;
    vacuum::delete(root, &files).await?;
    Ok(files.len())
}

async fn replace(
    opened: &mut LakeTable,
    removed: &[DataFile],
    added: &[Add],
    reason: Reason,
    now_ms: i64,
) -> Result<(), Error> {
    let table = opened.table().name();
    match opened.replace(removed, added, reason, now_ms).await? {
        true => Ok(()),
        false => Err(Error::Contended { table }),
    }
}
