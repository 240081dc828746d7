//! Keeping the tables in order: many small files into few, old days out, checkpoints of the Delta log, and
//! nothing on the disk that no reader can ask for.
//!
//! [`run`] needs no lock against writers and readers. Every change is a commit that holds at one version of the
//! table only, rows keep their LSN, and files stay as long as a query may still read them.

pub(crate) mod digest;
mod plan;
mod rewrite;
pub(crate) mod vacuum;

use std::{collections::BTreeMap, error::Error as _, path::PathBuf};

use deltalake_core::kernel::Add;
use ingest::{Table, log::Lsn, time::Micros};
use serde::{Deserialize, Serialize};

use crate::{DataFile, Error, LakeTable, Location, Root, append::Reason};
use rewrite::Rewriter;

/// What is to be done, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub location: Location,
    /// The names of tables; all without any.
    pub tables: Vec<String>,
    pub jobs: Vec<Job>,
    /// Says what would be done.
    pub dry_run: bool,
    /// Compacts what was written this hour, too.
    pub all: bool,
    /// For each table the whole days before today that it keeps; all of them where none is named.
    pub retention_days: BTreeMap<String, u32>,
    /// The size that compaction aims at. Files of half of it stay as they are.
    pub file_bytes: u64,
    /// A checkpoint is written when so many commits came since the last one.
    pub checkpoint_commits: u64,
    /// Files and log entries stay so long after the last query could begin that needs them.
    pub grace_ms: i64,
    /// The LSN that all rollups hold: files below it and above it stay apart, so that what is not summed up is found without
    /// the rest. Nothing: there are no rollups.
    #[serde(default)]
    pub rolled_up: Option<Lsn>,
    /// What compaction takes, about: fewer files are read at once with less.
    pub memory_bytes: usize,
    /// For files that an erasure lays aside.
    pub spill_dir: PathBuf,
}

/// A part of the work, in the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Days that are too old leave their tables.
    Retention,
    /// Small files become few.
    Compaction,
    /// Whoever opens a table need not read all its log.
    Checkpoint,
    /// Old log entries, and files that left a table, as its log tells.
    Vacuum,
    /// Files that no log tells of.
    FullVacuum,
}

/// What was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub dry_run: bool,
    pub tables: Vec<TableReport>,
}

/// What was done to one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    pub table: String,
    pub before: Amount,
    pub after: Amount,
    /// Left the table because of their age.
    pub expired: Amount,
    /// Were read by compaction, and written instead.
    pub compacted: Amount,
    pub rewritten: Amount,
    /// Rows that named persons who are erased, and the files that held them.
    pub erased: Amount,
    /// The version of a new checkpoint.
    pub checkpoint: Option<u64>,
    pub log_entries_removed: u64,
    /// Were removed for good.
    pub vacuumed: Amount,
    /// What did not succeed; the rest was done.
    pub failures: Vec<Failure>,
}

/// A job that did not succeed, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub job: Job,
    pub reason: String,
}

/// Files, and what is in them; the rows of files without a table are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
}

impl Job {
    pub const ALL: [Self; 5] =
        [Self::Retention, Self::Compaction, Self::Checkpoint, Self::Vacuum, Self::FullVacuum];

    pub fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Compaction => "compaction",
            Self::Checkpoint => "checkpoint",
            Self::Vacuum => "vacuum",
            Self::FullVacuum => "full_vacuum",
        }
    }
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.tables.iter().all(|table| table.failures.is_empty())
    }

    /// Whether a job succeeded for every table.
    pub fn is_done(&self, job: Job) -> bool {
        self.tables.iter().flat_map(|table| &table.failures).all(|failure| failure.job != job)
    }
}

impl Amount {
    pub(crate) fn of(files: &[DataFile]) -> Self {
        files.iter().fold(Self::default(), |sum, file| Self {
            files: sum.files + 1,
            bytes: sum.bytes + file.size_bytes,
            rows: sum.rows + file.rows,
        })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.rows += other.rows;
    }
}

/// Does a task, table by table. What fails is in the report, and does not keep the rest from being done.
///
/// # Errors
/// When the lake cannot be opened at all.
pub async fn run(task: &Task, clock: fn() -> Micros) -> Result<Report, Error> {
    let root = task.location.open()?;
    let wanted =
        |table: &Table| task.tables.is_empty() || task.tables.iter().any(|n| n == table.name());
    let mut report = Report { dry_run: task.dry_run, tables: Vec::new() };
    for table in Table::ALL.into_iter().filter(wanted) {
        if let Some(opened) = LakeTable::open(&root, table).await? {
            report.tables.push(Upkeep::new(task, &root, (table, opened), clock).run().await?);
        }
    }
    Ok(report)
}

/// One table under work.
struct Upkeep<'a> {
    task: &'a Task,
    root: &'a Root,
    of: Table,
    table: LakeTable,
    clock: fn() -> Micros,
    report: TableReport,
}

impl<'a> Upkeep<'a> {
    fn new(
        task: &'a Task,
        root: &'a Root,
        (of, table): (Table, LakeTable),
        clock: fn() -> Micros,
    ) -> Self {
        let report = TableReport { table: of.name().into(), ..TableReport::default() };
        Self { task, root, of, table, clock, report }
    }

    async fn run(mut self) -> Result<TableReport, Error> {
        self.report.before = Amount::of(&self.table.files()?);
        for job in Job::ALL.into_iter().filter(|job| self.task.jobs.contains(job)) {
            let done = match job {
                Job::Retention => self.retain().await,
                Job::Compaction => self.compact().await,
                Job::Checkpoint => self.checkpoint().await,
                Job::Vacuum => self.vacuum().await,
                Job::FullVacuum => self.vacuum_fully().await,
            };
            if let Err(error) = done {
                self.failed(job, &error);
            }
        }
        self.table.advance(None).await?;
        self.report.after = Amount::of(&self.table.files()?);
        Ok(self.report)
    }

    fn failed(&mut self, job: Job, error: &Error) {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        tracing::error!(table = self.of.name(), job = job.name(), "{reason}");
        self.report.failures.push(Failure { job, reason });
    }

    /// The time, in milliseconds as the Delta log counts it.
    fn now_ms(&self) -> i64 {
        (self.clock)() / 1_000
    }

    async fn retain(&mut self) -> Result<(), Error> {
        let Some(days) = self.task.retention_days.get(self.of.name()) else {
            return Ok(());
        };
        self.table.advance(None).await?;
        let expired = plan::expired(&self.table.files()?, *days, (self.clock)());
        if expired.is_empty() {
            return Ok(());
        }
        if !self.task.dry_run {
            self.exchange(&expired, &[], Reason::Retention).await?;
        }
        self.report.expired.add(Amount::of(&expired));
        Ok(())
    }

    async fn compact(&mut self) -> Result<(), Error> {
        self.table.advance(None).await?;
        let (files, now) = (self.table.files()?, (self.clock)());
        let Task { file_bytes, all, rolled_up, .. } = *self.task;
        let rules = plan::CompactionRules { file_bytes, all, rolled_up };
        let groups = plan::compaction(&files, rules, now);
        let rewriter = Rewriter::new(self.root, self.task.memory_bytes, file_bytes);
        for group in groups {
            if self.task.dry_run {
                self.report.compacted.add(Amount::of(&group));
                continue;
            }
            // A day that fails is left as it was; the next one may succeed.
            if let Err(error) = self.rewrite(&rewriter, &group).await {
                self.failed(Job::Compaction, &error);
            }
        }
        Ok(())
    }

    async fn rewrite(&mut self, rewriter: &Rewriter, group: &[DataFile]) -> Result<(), Error> {
        let written = rewriter.rewrite(self.of, group, self.now_ms()).await?;
        let (adds, files): (Vec<Add>, Vec<DataFile>) =
            written.into_iter().map(|written| (written.add, written.file)).unzip();
        self.exchange(group, &adds, Reason::Compaction).await?;
        self.report.compacted.add(Amount::of(group));
        self.report.rewritten.add(Amount::of(&files));
        Ok(())
    }

    async fn exchange(
        &mut self,
        removed: &[DataFile],
        added: &[Add],
        reason: Reason,
    ) -> Result<(), Error> {
        let now_ms = self.now_ms();
        if self.table.replace(removed, added, reason, now_ms).await? {
            return Ok(());
        }
        Err(Error::Contended { table: self.of.name() })
    }

    async fn checkpoint(&mut self) -> Result<(), Error> {
        self.table.advance(None).await?;
        if self.table.commits_since_checkpoint().await? < self.task.checkpoint_commits {
            return Ok(());
        }
        if !self.task.dry_run {
            self.table.checkpoint().await?;
        }
        self.report.checkpoint = Some(self.table.version());
        Ok(())
    }

    async fn vacuum(&mut self) -> Result<(), Error> {
        self.table.advance(None).await?;
        let before_ms = self.now_ms() - self.task.grace_ms;
        let found = vacuum::removed(self.root, &self.table, before_ms).await?;
        self.delete(&found).await?;
        if !self.task.dry_run {
            self.report.log_entries_removed = self.table.clean_log(before_ms).await? as u64;
        }
        Ok(())
    }

    async fn vacuum_fully(&mut self) -> Result<(), Error> {
        let before_ms = self.now_ms() - self.task.grace_ms;
        let found = vacuum::orphans(self.root, &mut self.table, before_ms).await?;
        self.delete(&found).await
    }

    async fn delete(&mut self, found: &[object_store::ObjectMeta]) -> Result<(), Error> {
        if !self.task.dry_run {
            vacuum::delete(self.root, found).await?;
        }
        let bytes = found.iter().map(|meta| meta.size).sum();
        self.report.vacuumed.add(Amount { files: found.len() as u64, bytes, rows: 0 });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
