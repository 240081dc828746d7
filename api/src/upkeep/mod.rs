//! Keeping the tables in order, by itself and by `aihub maintain`. The work is done in a process of its own: it
//! reads and sorts whole days, which is no work for the process that takes events in.

mod schedule;
mod tally;
mod work;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use pipeline::{
    Cut,
    upkeep::{Job, Report, Task},
};
use rest::feature::Feature;
use serde_json::{Value, json};
use state::jobs::{JobError, JobKind, JobResult, Repeat};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

use crate::{background, server::System};

pub(crate) use schedule::Record;
use schedule::due;
use work::Outcome;
pub(crate) use work::{Assignment, Erasure, perform, task, work};

/// The argument that makes this program the worker.
pub(crate) const WORKER: &str = "upkeep-worker";

/// After a failure nothing is tried for so long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(600);

/// Why a worker gave no report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("the upkeep worker cannot be started or spoken to: {0}")]
    Process(#[from] std::io::Error),
    #[error("the upkeep worker ended without an answer")]
    Silent,
    #[error("{0}")]
    Failed(String),
}

/// The tables and the memory, kept in order.
pub(crate) const FEATURE: Feature<System> = Feature::new("upkeep").with_tasks(|system| {
    register(system);
    system.keep("memory", |system| async move { give_memory_back(&system).await });
});

/// How often memory that nobody needs is given back.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Gives memory back that nobody needs, until the future is dropped.
async fn give_memory_back(system: &System) {
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        // Times are kept one by one until somebody asks for the metrics, or this.
        system.recorder.run_upkeep();
        system.lake.engine.trim().await;
    }
}

/// The versions of the tables at the last checkpoint of their logs.
type Checkpointed = Arc<Mutex<Option<BTreeMap<String, u64>>>>;

/// Looks now and then whether something is due, and has it done.
fn register(system: &System) {
    tally::begin();
    let every = Duration::from_secs(system.config.maintain.every_seconds.max(1));
    let (shared, checkpointed) = (system.clone(), Checkpointed::default());
    let kind = JobKind::new("upkeep");
    system.state.jobs.repeat(kind, Repeat::Every(every), PAUSE_AFTER_FAILURE, move |_| {
        let (system, checkpointed) = (shared.clone(), Arc::clone(&checkpointed));
        async move { keep(&system, &checkpointed).await }
    });
}

/// Has done what is due.
async fn keep(system: &System, checkpointed: &Checkpointed) -> JobResult {
    let record = Record::read(&system.config.dir);
    tally::known(&record);
    let cut = system.lake.lakehouse.cut();
    let since = checkpointed.lock().await.clone();
    let commits = commits(&cut, since.as_ref());
    let jobs = due(system.state.clock.now(), &record, &system.config, commits);
    if jobs.is_empty() {
        return Ok(Value::Null);
    }
    let task = task(&system.config, &jobs).map_err(|error| JobError::of(&error))?;
    let task = Task { rolled_up: rolled_up(&cut), ..task };
    let assignment = Assignment { dir: system.config.dir.clone(), erasure: None, task };
    match in_child(&system.program, &assignment).await {
        Ok(Some(report)) => {
            tally::done(&report, &jobs);
            tally::known(&Record::read(&system.config.dir));
            system.lake.lakehouse.refresh().await;
            if jobs.contains(&Job::Checkpoint) && report.is_done(Job::Checkpoint) {
                *checkpointed.lock().await = Some(versions(&cut));
            }
            let done: Vec<_> = jobs.iter().map(|job| job.name()).collect();
            match report.is_clean() {
                true => Ok(json!({"done": done})),
                false => Err(JobError::temporary("upkeep did not succeed for every table")),
            }
        }
        // Somebody runs `aihub maintain`.
        Ok(None) => Ok(Value::Null),
        Err(error) => {
            tally::lost(&jobs);
            Err(JobError::of(&error))
        }
    }
}

/// The LSN that all rollups hold.
fn rolled_up(cut: &Cut) -> Option<u64> {
    cut.rollups.values().map(|mark| mark.txn).min()
}

fn versions(cut: &Cut) -> BTreeMap<String, u64> {
    cut.tables.iter().map(|(table, mark)| (table.clone(), mark.version)).collect()
}

/// The most commits that a table got since these versions; all of them without any.
fn commits(cut: &Cut, since: Option<&BTreeMap<String, u64>>) -> u64 {
    let before = |table: &String| since.and_then(|since| since.get(table)).copied().unwrap_or(0);
    let new = versions(cut).into_iter().map(|(table, now)| now.saturating_sub(before(&table)));
    new.max().unwrap_or(0)
}

/// Has an assignment done. `None` when another process is at it.
pub(crate) async fn in_child(
    program: &Path,
    assignment: &Assignment,
) -> Result<Option<Report>, ChildError> {
    let mut child = background::command(program, WORKER).spawn()?;
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(ChildError::Silent);
    };
    let mut line = serde_json::to_vec(assignment).map_err(std::io::Error::from)?;
    line.push(b'\n');
    input.write_all(&line).await?;
    let mut answer = Vec::new();
    output.read_to_end(&mut answer).await?;
    drop(input);
    child.wait().await?;
    match serde_json::from_slice(&answer).map_err(|_| ChildError::Silent)? {
        Outcome::Done(report) => Ok(Some(report)),
        Outcome::Busy => Ok(None),
        Outcome::Failed(reason) => Err(ChildError::Failed(reason)),
    }
}

#[cfg(test)]
mod tests {
    use pipeline::TableVersion;

    use super::*;

    #[test]
    fn commits_are_counted_from_the_last_checkpoint() {
        let mark = |version| TableVersion { version, txn: 0 };
        let tables = [("a".to_owned(), mark(40)), ("b".to_owned(), mark(7))];
        let cut = Cut { log: 1, tables: tables.into(), ..Cut::default() };
        assert_eq!(commits(&cut, None), 40);
        let since = BTreeMap::from([("a".to_owned(), 38)]);
        assert_eq!(commits(&cut, Some(&since)), 7);
        assert_eq!(commits(&cut, Some(&versions(&cut))), 0);
    }
}
