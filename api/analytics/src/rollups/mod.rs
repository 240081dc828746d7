//! Keeps the rollups: sums of the usage ledger that metrics are read from. Workers compute them, and the process that takes
//! events in commits them.

pub mod days;
mod work;

use std::{sync::Arc, time::Duration};

use rest::feature::Feature;
use serde_json::Value;
use state::jobs::{JobError, JobKind, Repeat};
use tokio::{sync::OnceCell, time::Instant};

pub use work::{RollupError, RollupWork};

use crate::Lake;
use work::Kept;

/// The rollups, kept up to date.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("rollups").with_tasks(register);

/// How often it is asked whether enough rows came.
const POLL: Duration = Duration::from_secs(1);
/// The first step waits so long, at most: whoever starts a server wants to see something else first.
const FIRST: Duration = Duration::from_secs(30);
/// How often files are removed.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
/// Files that left a rollup are there so long: for queries, and for a check that began before.
const GRACE: Duration = Duration::from_secs(6 * 3_600);

/// The job that brings all of them up to date.
const STEP: JobKind = JobKind::new("rollups");
/// The job that removes what nobody reads any more.
const TIDY: JobKind = JobKind::new("rollups_tidy");

fn register(lake: &Lake) {
    let (jobs, tasks) = (&lake.state.jobs, &lake.state.tasks);
    let Some(every) = lake.metrics.rollup_every else {
        let lake = lake.clone();
        tasks.run("rollups_removed", async move { remove_all(&lake, &work::all()).await });
        return;
    };
    let (shared, watching) = (lake.clone(), Arc::new(lake.clone()));
    let tidied = Arc::new(OnceCell::new());
    let begun = Instant::now();
    jobs.repeat(STEP, Repeat::Every(every), every, move |_| {
        let (lake, tidied) = (shared.clone(), Arc::clone(&tidied));
        async move {
            tokio::time::sleep_until(begun + every.min(FIRST)).await;
            open_all(&lake).await;
            step(&lake).await?;
            // What a former program left is of no use once all of them are there.
            tidied.get_or_init(|| tidy(&lake)).await;
            Ok(Value::Null)
        }
    });
    let shared = lake.clone();
    jobs.repeat(TIDY, Repeat::Every(TIDY_EVERY), TIDY_EVERY, move |_| {
        let lake = shared.clone();
        async move {
            tidy(&lake).await;
            Ok(Value::Null)
        }
    });
    tasks.keep("rollups", move || {
        let lake = Arc::clone(&watching);
        async move {
            open_all(&lake).await;
            watch(&lake).await;
        }
    });
}

/// Opens those that are there, once: from then on they are in the cuts of this process.
pub async fn open_all(lake: &Lake) {
    if lake.metrics.rollup_every.is_some() {
        lake.rollups_opened.get_or_init(|| open(lake)).await;
    }
}

async fn open(lake: &Lake) {
    for kept in &work::all() {
        if let Err(error) = lake.lakehouse.open_rollup(kept.table).await {
            report(kept, &error.into());
        }
    }
}

/// Brings all of them up to date with what the tables hold; the log is read by whoever asks.
async fn step(lake: &Lake) -> Result<(), JobError> {
    let (all, lsn) = (work::all(), lake.lakehouse.cut().floor);
    let work = RollupWork::new(&lake.lakehouse, &lake.engine, &lake.state.clock);
    let mut failed = Vec::new();
    // Those that are there first: others may take long to build.
    let (built, others): (Vec<&Kept>, Vec<&Kept>) =
        all.iter().partition(|kept| lake.lakehouse.rollup(kept.table).is_some());
    for kept in built.into_iter().chain(others) {
        match work.advance(*kept, lsn).await {
            Ok(()) => publish(lake, kept),
            Err(error) => {
                failed.push(kept.rollup.name.as_str());
                report(kept, &error);
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(JobError::temporary(format!("behind: {}", failed.join(", ")))),
    }
}

/// Removes all tables: what nobody keeps up to date is of no use.
async fn remove_all(lake: &Lake, all: &[Kept]) {
    let _working = lake.lakehouse.rollup_work().await;
    let tables: Vec<_> = all.iter().map(|kept| kept.table).collect();
    let removed = async {
        lake.lakehouse.remove_rollups(&tables).await?;
        lake.lakehouse.remove_other_rollups(&tables).await
    };
    if let Err(error) = removed.await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "tables of rollups stay");
    }
}

/// Has a step done sooner when many rows wait, until the future is dropped.
async fn watch(lake: &Lake) {
    let all = work::all();
    loop {
        tokio::time::sleep(POLL).await;
        let lsn = lake.lakehouse.cut().floor;
        let marks = all.iter().filter_map(|kept| lake.lakehouse.rollup(kept.table));
        let waiting = marks.map(|mark| lsn.saturating_sub(mark.txn)).max();
        if waiting >= Some(lake.metrics.rollup_rows)
            && let Err(error) = lake.state.jobs.hurry(STEP.name).await
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "rollups wait for their time");
        }
    }
}

/// Removes files that nobody reads any more, and the tables of former definitions.
async fn tidy(lake: &Lake) {
    let all = work::all();
    let work = RollupWork::new(&lake.lakehouse, &lake.engine, &lake.state.clock);
    for kept in &all {
        if let Err(error) = work.tidy(*kept, GRACE).await {
            report(kept, &error);
        }
    }
    // Once all of them are there, nobody reads those.
    if all.iter().all(|kept| lake.lakehouse.rollup(kept.table).is_some()) {
        let tables: Vec<_> = all.iter().map(|kept| kept.table).collect();
        if let Err(error) = lake.lakehouse.remove_other_rollups(&tables).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "tables of former rollups stay");
        }
    }
}

fn publish(lake: &Lake, kept: &Kept) {
    if let Some(mark) = lake.lakehouse.rollup(kept.table) {
        let waiting = lake.lakehouse.cut().lsn.saturating_sub(mark.txn);
        let name = kept.rollup.name.as_str();
        metrics::gauge!("rollup_waiting_rows", "rollup" => name).set(waiting as f64);
    }
}

fn report(kept: &Kept, error: &RollupError) {
    let rollup = kept.rollup.name.as_str();
    metrics::counter!("rollup_failures_total", "rollup" => rollup).increment(1);
    tracing::error!(rollup, error = error as &dyn std::error::Error, "a rollup is behind");
}
