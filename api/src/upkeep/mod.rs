//! Keeping the tables in order, by itself and by `aihub maintain`. The work is done in a process of its own: it
//! reads and sorts whole days, which is no work for the process that takes events in.

mod schedule;
mod tally;
mod work;

use std::{collections::BTreeMap, path::Path, time::Duration};

use pipeline::{
    Cut,
    upkeep::{Job, Report, Task},
};
use rest::feature::Feature;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
    system.keep("upkeep", |system| async move { run(&system).await });
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

/// Looks now and then whether something is due, and has it done, until the future is dropped.
async fn run(system: &System) {
    let settings = &system.config.maintain;
    tally::begin();
    let mut checkpointed: Option<BTreeMap<String, u64>> = None;
    loop {
        tokio::time::sleep(Duration::from_secs(settings.every_seconds.max(1))).await;
        let record = Record::read(&system.config.dir);
        tally::known(&record);
        let cut = system.lake.lakehouse.cut();
        let commits = commits(&cut, checkpointed.as_ref());
        let jobs = due(system.state.clock.now(), &record, &system.config, commits);
        if jobs.is_empty() {
            continue;
        }
        let assignment = Assignment {
            dir: system.config.dir.clone(),
            erasure: None,
            task: match task(&system.config, &jobs) {
                Ok(task) => Task { rolled_up: rolled_up(&cut), ..task },
                Err(error) => {
                    tracing::error!(%error, "no upkeep");
                    return;
                }
            },
        };
        match in_child(&system.program, &assignment).await {
            Ok(Some(report)) => {
                tally::done(&report, &jobs);
                tally::known(&Record::read(&system.config.dir));
                system.lake.lakehouse.refresh().await;
                if jobs.contains(&Job::Checkpoint) && report.is_done(Job::Checkpoint) {
                    checkpointed = Some(versions(&cut));
                }
                if !report.is_clean() {
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
            // Somebody runs `aihub maintain`.
            Ok(None) => {}
            Err(error) => {
                tally::lost(&jobs);
                tracing::error!(%error, "upkeep did not end well; it is tried again later");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
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
