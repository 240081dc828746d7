//! An erasure step by step. Each can be repeated: one that was broken off is completed by the next.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ingest::erasure::{Erased, Person};
use pipeline::{
    Lakehouse,
    upkeep::{Report, Task},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit::{self, Act, Origin},
    clock::Clock,
    config::Config,
    lake::{self, ERASED, OpenError, write_private},
    store::{Store, StoreError},
    upkeep::{self, Assignment, ChildError, Erasure, WorkError},
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
    #[error("the upkeep of the tables does not end; try again")]
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
    Work(WorkError),
    #[error(transparent)]
    Child(#[from] ChildError),
}

/// Where persons are erased.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) config: &'a Config,
    pub(crate) clock: &'a Clock,
    pub(crate) lakehouse: &'a Lakehouse,
    /// The program that reads and writes files; this process itself without one.
    pub(crate) program: Option<&'a Path>,
    /// How long somebody may read what was replaced.
    pub(crate) grace: Duration,
}

/// Identities whose rows were changed, until the index knows.
const ENTRIES: &str = "erased.index";

/// Upkeep that is at work is waited for, so often and so long.
const ATTEMPTS: u32 = 3_600;
const PAUSE: Duration = Duration::from_secs(1);

/// A query ends at its deadline, and so does its hold on files and segments.
pub(crate) fn grace(config: &Config) -> Duration {
    Duration::from_secs(config.query.deadline_seconds + 5)
}

impl Site<'_> {
    /// Erases persons, and whoever was to be erased before.
    pub(crate) async fn erase(
        &self,
        persons: &[Person],
        store: &Store,
        origin: &Origin,
    ) -> Result<Erasing, EraseError> {
        let mut erased = self.known()?;
        erased.add(persons, self.clock.now().timestamp_micros(), self.lakehouse.pseudonyms());
        for act in acts(persons) {
            audit::record(store, origin, act, self.clock.now()).await?;
        }
        save(&self.config.dir, &erased)?;
        self.lakehouse.forget(erased.clone()).await;
        self.apply(erased, persons.len()).await
    }

    /// Counts the rows that an erasure would change.
    pub(crate) async fn rehearse(&self, persons: &[Person]) -> Result<Erasing, EraseError> {
        let mut erased = self.known()?;
        erased.add(persons, self.clock.now().timestamp_micros(), self.lakehouse.pseudonyms());
        self.lakehouse.flush().await?;
        let found = self.perform(true, self.rewriting(erased)).await?;
        Ok(summary(true, persons.len(), &found))
    }

    /// Takes erased persons out of log, tables and index, and removes what held them.
    pub(crate) async fn apply(
        &self,
        erased: Erased,
        persons: usize,
    ) -> Result<Erasing, EraseError> {
        let retired = self.lakehouse.clear_log().await?;
        let rewritten = self.perform(false, self.rewriting(erased)).await?;
        self.lakehouse.refresh().await;
        let entries = self.entries();
        self.lakehouse.reindex(&entries).await?;
        remove_file(&entries)?;
        let before_ms = lake::now() / 1_000 + 1;
        tokio::time::sleep(self.grace).await;
        self.lakehouse.unlink_log(retired).await?;
        let removing = self.perform(false, Erasure::Remove { before_ms });
        let removed = self.lakehouse.between_flushes(removing).await?;
        let files_removed = removed.tables.iter().map(|table| table.vacuumed.files).sum();
        Ok(Erasing { files_removed, ..summary(false, persons, &rewritten) })
    }

    fn known(&self) -> Result<Erased, EraseError> {
        let pseudonyms = self.lakehouse.pseudonyms();
        let known = lake::erased(&self.config.dir.join(ERASED), pseudonyms)?;
        Ok(known.unwrap_or_else(|| Erased::nobody(pseudonyms)))
    }

    fn entries(&self) -> PathBuf {
        self.config.dir.join(ENTRIES)
    }

    fn rewriting(&self, erased: Erased) -> Erasure {
        Erasure::Rewrite { erased, entries: self.entries() }
    }

    /// Has a part done, once nobody else works on the tables.
    async fn perform(&self, dry_run: bool, erasure: Erasure) -> Result<Report, EraseError> {
        let task = Task { dry_run, ..upkeep::task(self.config, &[])? };
        let assignment = Assignment { dir: self.config.dir.clone(), task, erasure: Some(erasure) };
        for _ in 0..ATTEMPTS {
            let done = match self.program {
                Some(program) => upkeep::in_child(program, &assignment).await?,
                None => match upkeep::perform(&assignment, self.clock).await {
                    Ok(report) => Some(report),
                    Err(WorkError::Busy(_)) => None,
                    Err(error) => return Err(EraseError::Work(error)),
                },
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
pub(crate) fn save(dir: &Path, erased: &Erased) -> Result<(), EraseError> {
    let path = dir.join(ERASED);
    let written = serde_json::to_vec(erased)
        .map_err(io::Error::from)
        .and_then(|json| write_private(&path, &json))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|source| EraseError::File { path, source })
}

/// What the audit log tells: how many, and whose; never who.
fn acts(persons: &[Person]) -> Vec<Act> {
    persons
        .chunk_by(|a, b| a.organization == b.organization)
        .map(|group| {
            let owner = group.first().and_then(|person| person.organization.as_ref());
            Act {
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

fn remove_file(path: &Path) -> Result<(), EraseError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(EraseError::File { path: path.to_path_buf(), source })
        }
        _ => Ok(()),
    }
}
