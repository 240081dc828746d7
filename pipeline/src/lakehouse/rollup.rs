//! The rollups: the process that takes events in commits what workers summed up, and says how far it is.

use std::{collections::BTreeMap, sync::Arc};

use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use ingest::log::{LogId, Lsn};
use object_store::ObjectStore;
use tokio::sync::OwnedMutexGuard;

use super::Lakehouse;
use crate::{
    DataFile, Error, LakeTable, RollupTable, Root, StoredTable, TableVersion,
    append::Reason,
    rollup::{self, RollupRows},
    upkeep::vacuum,
};

/// Those that were opened. One commit at a time.
#[derive(Debug)]
pub(super) struct Rollups {
    root: Root,
    tables: BTreeMap<StoredTable, LakeTable>,
}

/// A day of a rollup, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollupDay {
    /// Days since 1970.
    pub date: i32,
    pub files: usize,
    pub rows: u64,
}

/// A change of a rollup.
#[derive(Debug, Clone, Copy)]
pub enum RollupChange<'a> {
    /// Empties one that is not complete, before it is built day by day; it is made where it is not there.
    Begin,
    /// From here on it holds all rows up to an LSN.
    Complete { through: Lsn },
    /// Adds what came after an LSN, where it stands.
    Append { after: Lsn, rows: RollupRows<'a> },
    /// Puts rows in the place of those of a day. Where they are the same sums (`is_fold`) nothing else changes.
    ReplaceDay { date: i32, rows: RollupRows<'a>, is_fold: bool },
    /// Takes the days before one out.
    Expire { first: i32 },
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
            let is_other = known.iter().any(|table| table.is_other_definition(name));
            if is_other {
                let files = root.store.list(Some(&folder)).map_err(stored);
                let files: Vec<_> = files.try_collect().await?;
                vacuum::delete(&root, &files).await?;
                tracing::info!(
                    table = name,
                    "the table of a rollup's former definition was removed"
                );
            }
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

    /// Changes a rollup, in one commit.
    ///
    /// # Errors
    /// [`Error::Fenced`] when rows are added and it does not stand where they begin.
    pub async fn change_rollup(
        &self,
        rollup: &'static RollupTable,
        change: RollupChange<'_>,
    ) -> Result<(), Error> {
        let mut rollups = self.rollups.lock().await;
        let root = rollups.root.clone();
        let opened = rollups.open(rollup).await?;
        let now_ms = (self.settings.clock)() / 1_000;
        let log = self.intake.log();
        let is_computed_anew = matches!(change, RollupChange::ReplaceDay { is_fold: false, .. });
        let changed = change.make(&root, rollup, opened, log, now_ms).await;
        if changed.is_err() {
            // What is on disk is read anew before the next attempt.
            rollups.tables.remove(&StoredTable::from(rollup));
            return changed;
        }
        if is_computed_anew && self.rollup(rollup).is_some() {
            // Answers that were read from it are not kept.
            self.shared.changes.exchanged(rollup, opened.version());
        }
        self.note_rollup(rollup, opened).await.map(drop)
    }

    /// The days of a rollup.
    pub async fn rollup_days(&self, rollup: &'static RollupTable) -> Result<Vec<RollupDay>, Error> {
        let mut rollups = self.rollups.lock().await;
        let mut days: BTreeMap<i32, RollupDay> = BTreeMap::new();
        for file in rollups.open(rollup).await?.files()? {
            let Some(date) = file.event_date else { continue };
            let day = days.entry(date).or_insert(RollupDay { date, files: 0, rows: 0 });
            day.files += 1;
            day.rows += file.rows;
        }
        Ok(days.into_values().collect())
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

impl RollupChange<'_> {
    async fn make(
        self,
        root: &Root,
        rollup: &'static RollupTable,
        opened: &mut LakeTable,
        log: LogId,
        now_ms: i64,
    ) -> Result<(), Error> {
        let files = opened.files()?.into_iter();
        match self {
            Self::Begin => {
                let removed: Vec<_> = files.collect();
                replace(opened, &removed, &[], Reason::Rebuild, now_ms).await
            }
            Self::Complete { through } => opened.commit(log, Vec::new(), 0, through).await,
            Self::Append { after, rows } => {
                let found = opened.committed(log).await?;
                if found != after {
                    let table = opened.table().name();
                    return Err(Error::Fenced { table, expected: after, found });
                }
                let added = rollup::store(root, rollup, rows, now_ms).await?;
                opened.commit(log, added, after, rows.through).await
            }
            Self::ReplaceDay { date, rows, is_fold } => {
                let removed: Vec<_> = files.filter(|file| file.event_date == Some(date)).collect();
                let added = rollup::store(root, rollup, rows, now_ms).await?;
                let reason = if is_fold { Reason::Compaction } else { Reason::Rebuild };
                replace(opened, &removed, &added, reason, now_ms).await
            }
            Self::Expire { first } => {
                let is_over = |file: &DataFile| file.event_date.is_some_and(|date| date < first);
                let removed: Vec<_> = files.filter(is_over).collect();
                match removed.is_empty() {
                    true => Ok(()),
                    false => replace(opened, &removed, &[], Reason::Retention, now_ms).await,
                }
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
