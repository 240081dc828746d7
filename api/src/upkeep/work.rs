//! The work itself: one process at a time per data folder.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use ingest::erasure::ErasedPersons;
use pipeline::upkeep::{Job, Report, Task};
use serde::{Deserialize, Serialize};
use state::{clock::Clock, folder};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
};

use super::Record;
use crate::{
    config::{Config, Retention},
    lake::{self, OpenError},
};

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) dir: PathBuf,
    pub(crate) task: Task,
    /// Instead of the task's jobs.
    pub(crate) erasure: Option<Erasure>,
}

/// A part of erasing persons.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Erasure {
    /// Takes them out of the tables. The new identities go to a file.
    Rewrite { erased: ErasedPersons, entries: PathBuf },
    /// Removes the files that left the tables before a time.
    Remove { before_ms: i64 },
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done(Report),
    /// Another process is at it.
    Busy,
    Failed(String),
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("another process maintains {}", .0.display())]
    Busy(PathBuf),
    #[error("the data folder {} cannot be used", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Lake(#[from] pipeline::Error),
}

/// The settings as a task.
pub(crate) fn task(config: &Config, jobs: &[Job]) -> Result<Task, OpenError> {
    let settings = &config.maintain;
    // A server shows a version until it looks again; then a query may still run for its whole time.
    let needed = config.ingest.flush_seconds + config.query.deadline_seconds + 5;
    let grace = needed.max(settings.grace_minutes.saturating_mul(60));
    Ok(Task {
        location: lake::location(config)?,
        tables: Vec::new(),
        jobs: jobs.to_vec(),
        dry_run: false,
        all: false,
        retention_days: config.retention.days(),
        file_bytes: settings.file_mib.max(1) << 20,
        checkpoint_commits: settings.checkpoint_commits.max(1),
        grace_ms: i64::try_from(grace.saturating_mul(1_000)).unwrap_or(i64::MAX),
        rolled_up: None,
        memory_bytes: settings.memory_mib.max(64) << 20,
        spill_dir: folder::UPKEEP_SPILL.of(&config.dir),
    })
}

impl Retention {
    /// The tables that do not keep everything.
    pub(crate) fn days(&self) -> std::collections::BTreeMap<String, u32> {
        let days = [
            ("usage_ledger", self.usage_ledger),
            ("billing_events", self.billing_events),
            ("activity_events", self.activity_events),
            ("dead_letter", self.dead_letter),
        ];
        let kept = days.into_iter().filter(|(_, days)| *days > 0);
        kept.map(|(table, days)| (table.to_owned(), days)).collect()
    }
}

/// Does an assignment in this process, and notes what succeeded.
pub(crate) async fn perform(assignment: &Assignment, clock: &Clock) -> Result<Report, WorkError> {
    let Assignment { dir, task, erasure } = assignment;
    let folder = |source| WorkError::Folder { path: dir.clone(), source };
    let _lock = lock(dir)?;
    // What a process left that was killed.
    remove_folder(&task.spill_dir).map_err(folder)?;
    fs::create_dir_all(&task.spill_dir).map_err(folder)?;
    let report = match erasure {
        None => pipeline::upkeep::run(task, lake::now).await?,
        Some(Erasure::Rewrite { erased, entries }) => {
            let pseudonyms = lake::pseudonyms(dir)?;
            pseudonyms.erase(erased.clone());
            pipeline::erasure::erase(task, &pseudonyms, entries, lake::now).await?
        }
        Some(Erasure::Remove { before_ms }) => {
            // The others name nobody.
            let rollups = query::rollup::all().filter(|(rollup, _)| rollup.is_of_persons());
            let rollups = rollups.map(|(_, table)| table);
            pipeline::erasure::remove_replaced(task, rollups, *before_ms).await?
        }
    };
    remove_folder(&task.spill_dir).map_err(folder)?;
    if !task.dry_run && task.tables.is_empty() && erasure.is_none() {
        Record::note(dir, &task.jobs, &report, clock.now()).map_err(folder)?;
    }
    Ok(report)
}

fn lock(dir: &Path) -> Result<File, WorkError> {
    let folder = |source| WorkError::Folder { path: dir.to_path_buf(), source };
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(folder::UPKEEP_LOCK.of(dir)).map_err(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WorkError::Busy(dir.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(folder(source)),
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The worker's side of the pipes: one assignment in, one outcome out. It ends when its input does.
pub(crate) async fn work(input: pipe::Receiver, mut output: pipe::Sender) -> io::Result<()> {
    let mut lines = BufReader::new(input).lines();
    let Some(line) = lines.next_line().await? else { return Ok(()) };
    let assignment: Assignment = serde_json::from_str(&line)?;
    let clock = Clock::system();
    let outcome = tokio::select! {
        outcome = perform(&assignment, &clock) => outcome,
        _ = lines.next_line() => return Ok(()),
    };
    let outcome = match outcome {
        Ok(report) => Outcome::Done(report),
        Err(WorkError::Busy(_)) => Outcome::Busy,
        Err(error) => Outcome::Failed(chain(&error)),
    };
    output.write_all(&serde_json::to_vec(&outcome)?).await
}

/// An error with its causes, for a log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
