//! An erasure step by step. Each can be repeated: one that was broken off is completed by the next.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use analytics::rollups::{RollupError, RollupWork};
use ingest::erasure::{ErasedPersons, Person};
use pipeline::{
    Lakehouse,
    upkeep::{Report, TableReport, Task},
};
use query::{Engine, QueryError, answer_store::AnswerStore};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    clock::Clock,
    folder::{self, write_private},
    store::{Store, StoreError},
};
use utoipa::ToSchema;

use crate::{
    config::Config,
    lake::{self, OpenError},
    upkeep::{self, Assignment, ChildError, Erasure},
};

/// What was erased, or would be.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub(crate) struct Erasing {
    pub(crate) dry_run: bool,
    /// Different persons that were named.
    pub(crate) persons: usize,
    pub(crate) tables: Vec<TableErasure>,
    /// Files that held them, or could have, and are gone.
    pub(crate) files_removed: u64,
}

/// What was erased from one table.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub(crate) struct TableErasure {
    pub(crate) table: String,
    pub(crate) rows: u64,
    /// Files that were written anew.
    pub(crate) files: u64,
}

/// Why an erasure was not completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EraseError {
    #[error("upkeep, a check, a backup or another erasure does not end; try again later")]
    Busy,
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Lake(#[from] pipeline::Error),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Answers(#[from] QueryError),
    #[error("rollups that name persons")]
    Rollups(#[from] RollupError),
}

/// Where persons are erased.
#[derive(Debug)]
pub(crate) struct ErasureContext<'a> {
    pub(crate) config: &'a Config,
    pub(crate) clock: &'a Clock,
    pub(crate) lakehouse: &'a Lakehouse,
    /// Reads the same folder.
    pub(crate) engine: &'a Engine,
    /// This program: files are read and written in a process of its own.
    pub(crate) program: &'a Path,
    /// How long somebody may read what was replaced.
    pub(crate) grace: Duration,
}

/// Others that are at work are waited for, so often and so long.
const ATTEMPTS: u32 = 3_600;
const PAUSE: Duration = Duration::from_secs(1);

/// A query ends at its deadline, and so does its hold on files and segments.
pub(crate) fn grace(config: &Config) -> Duration {
    Duration::from_secs(config.query.deadline_seconds + 5)
}

impl ErasureContext<'_> {
    /// Erases persons, and whoever was to be erased before.
    pub(crate) async fn erase(
        &self,
        persons: &[Person],
        store: &Store,
        origin: &AuditOrigin,
    ) -> Result<Erasing, EraseError> {
        let lock = self.lock().await?;
        let mut erased = self.known()?;
        erased.add(persons, self.clock.now().timestamp_micros(), self.lakehouse.pseudonyms());
        for act in acts(persons) {
            audit::record(store, origin, act, self.clock.now()).await?;
        }
        self.apply(&lock, erased, persons.len()).await
    }

    /// Erases persons of a list from elsewhere. `persons` is how many of them were named; none: all of the list.
    pub(crate) async fn erase_listed(
        &self,
        listed: ErasedPersons,
        persons: Option<usize>,
    ) -> Result<Erasing, EraseError> {
        let lock = self.lock().await?;
        let mut erased = self.known()?;
        erased.merge(listed);
        let persons = persons.unwrap_or_else(|| erased.len());
        self.apply(&lock, erased, persons).await
    }

    /// Completes an erasure that was broken off.
    pub(crate) async fn resume(&self) -> Result<(), EraseError> {
        if self.entries().exists() {
            let lock = self.lock().await?;
            self.apply(&lock, self.known()?, 0).await?;
        }
        Ok(())
    }

    /// Counts the rows that an erasure would change.
    pub(crate) async fn rehearse(&self, persons: &[Person]) -> Result<Erasing, EraseError> {
        let mut erased = self.known()?;
        erased.add(persons, self.clock.now().timestamp_micros(), self.lakehouse.pseudonyms());
        self.lakehouse.flush().await?;
        let found = self.perform(true, self.rewriting(erased)).await?;
        Ok(summary(true, persons.len(), &found))
    }

    /// Keeps persons out of what comes, takes them out of log, tables and index, and removes what held them. From
    /// before they are on the list until this is complete there is a file of entries.
    async fn apply(
        &self,
        _: &File,
        erased: ErasedPersons,
        persons: usize,
    ) -> Result<Erasing, EraseError> {
        let entries = self.entries();
        let is_resumed = entries.exists();
        let begun = File::options().create(true).append(true).open(&entries);
        let synced = begun.and_then(|_| File::open(&self.config.dir)?.sync_all());
        synced.map_err(failed(&entries))?;
        save(&self.config.dir, &erased)?;
        self.lakehouse.forget(erased.clone()).await;
        let retired = self.lakehouse.clear_log().await?;
        let rewritten = self.perform(false, self.rewriting(erased)).await?;
        self.lakehouse.try_refresh().await?;
        self.lakehouse.reindex(&entries).await?;
        // Where no row was changed nothing was replaced that held them, and what had been before may be read yet.
        let is_found = is_resumed || rewritten.tables.iter().any(|table| table.erased.files > 0);
        let is_used = |table: &TableReport| table.table == "usage_ledger" && table.erased.files > 0;
        let is_of_rollups = is_resumed || rewritten.tables.iter().any(is_used);
        let rollups = RollupWork::new(self.lakehouse, self.engine, self.clock);
        rollups.forget_persons(is_of_rollups).await?;
        let mut before_ms = lake::now() / 1_000 + 1;
        if is_found {
            tokio::time::sleep(self.grace).await;
            self.lakehouse.unlink_log(retired).await?;
        } else {
            before_ms -= i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX);
        }
        // What is stored of a rollup and not committed yet is no rest.
        let working = self.lakehouse.rollup_work().await;
        let removed = self.perform(false, Erasure::Remove { before_ms }).await?;
        drop(working);
        // Answers that are kept for later may name them, and those that queries under way will give.
        self.lakehouse.changes().note_erasure();
        AnswerStore::open(&lake::location(self.config)?)?.clear().await?;
        fs::remove_file(&entries).map_err(failed(&entries))?;
        let files_removed = removed.tables.iter().map(|table| table.vacuumed.files).sum();
        Ok(Erasing { files_removed, ..summary(false, persons, &rewritten) })
    }

    /// One erasure at a time, and none while a folder is checked or copied.
    async fn lock(&self) -> Result<File, EraseError> {
        lock(&self.config.dir, File::try_lock).await
    }

    fn known(&self) -> Result<ErasedPersons, EraseError> {
        let pseudonyms = self.lakehouse.pseudonyms();
        let known = lake::erased(&folder::ERASED.of(&self.config.dir), pseudonyms)?;
        Ok(known.unwrap_or_else(|| ErasedPersons::nobody(pseudonyms)))
    }

    /// Identities whose rows were changed. It is there until the erasure is complete.
    fn entries(&self) -> PathBuf {
        folder::ERASED_INDEX.of(&self.config.dir)
    }

    fn rewriting(&self, erased: ErasedPersons) -> Erasure {
        Erasure::Rewrite { erased, entries: self.entries() }
    }

    /// Has a part done, once nobody else works on the tables.
    async fn perform(&self, dry_run: bool, erasure: Erasure) -> Result<Report, EraseError> {
        let task = Task { dry_run, ..upkeep::task(self.config, &[])? };
        let assignment = Assignment { dir: self.config.dir.clone(), task, erasure: Some(erasure) };
        for _ in 0..ATTEMPTS {
            let working = upkeep::in_child(self.program, &assignment);
            let done = match &assignment.erasure {
                // A flush writes its files before it commits them: they are in no table then.
                Some(Erasure::Remove { .. }) => self.lakehouse.between_flushes(working).await?,
                _ => working.await?,
            };
            if let Some(report) = done {
                return Ok(report);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(EraseError::Busy)
    }
}

/// Writes the list of erased persons of a folder. It is there after a crash, too.
fn save(dir: &Path, erased: &ErasedPersons) -> Result<(), EraseError> {
    let path = folder::ERASED.of(dir);
    let written = serde_json::to_vec(erased)
        .map_err(io::Error::from)
        .and_then(|json| write_private(&path, &json))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|source| EraseError::File { path, source })
}

/// What the audit log tells: how many, and whose; never who.
pub(super) fn acts(persons: &[Person]) -> Vec<AuditAction> {
    persons
        .chunk_by(|a, b| a.organization == b.organization)
        .map(|group| {
            let owner = group.first().and_then(|person| person.organization.as_ref());
            AuditAction {
                action: "persons.erased",
                target: owner.map_or_else(|| "visitors".to_owned(), ToString::to_string),
                detail: json!({"persons": group.len()}),
            }
        })
        .collect()
}

fn summary(dry_run: bool, persons: usize, report: &Report) -> Erasing {
    let tables = report.tables.iter().map(|table| TableErasure {
        table: table.table.clone(),
        rows: table.erased.rows,
        files: table.erased.files,
    });
    Erasing { dry_run, persons, tables: tables.collect(), files_removed: 0 }
}

/// Keeps erasures away: they remove files that somebody reads for longer than a query may take.
pub(crate) async fn keep_away(dir: &Path) -> Result<File, EraseError> {
    lock(dir, File::try_lock_shared).await
}

async fn lock(
    dir: &Path,
    try_lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<File, EraseError> {
    let path = folder::ERASE_LOCK.of(dir);
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(failed(&path))?;
    for _ in 0..ATTEMPTS {
        match try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
    }
    Err(EraseError::Busy)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> EraseError {
    let path = path.to_path_buf();
    move |source| EraseError::File { path, source }
}
