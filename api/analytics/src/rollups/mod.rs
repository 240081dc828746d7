//! Keeps the rollups: sums of the usage ledger that metrics are read from. Workers compute them, and the process that takes
//! events in commits them.

pub mod days;
mod work;

use std::{sync::Arc, time::Duration};

use rest::feature::Feature;
use tokio::time::Instant;

pub use work::{RollupError, RollupWork};

use crate::Lake;
use work::Kept;

/// The rollups, kept up to date.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("rollups").with_tasks(|lake| {
    let (tasks, lake) = (lake.state.tasks.clone(), Arc::new(lake.clone()));
    tasks.keep("rollups", move || {
        let lake = Arc::clone(&lake);
        async move { keep(&lake).await }
    });
});

/// How often it is asked whether enough rows came.
const POLL: Duration = Duration::from_secs(1);
/// The first step waits so long, at most: whoever starts a server wants to see something else first.
const FIRST: Duration = Duration::from_secs(30);
/// How often files are removed.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
/// Files that left a rollup are there so long: for queries, and for a check that began before.
const GRACE: Duration = Duration::from_secs(6 * 3_600);

/// Keeps all of them, until the future is dropped.
async fn keep(lake: &Lake) {
    let all = work::all();
    let Some(every) = lake.metrics.rollup_every else {
        remove_all(lake, &all).await;
        return std::future::pending().await;
    };
    let work = RollupWork::new(&lake.lakehouse, &lake.engine, &lake.state.clock);
    for kept in &all {
        if let Err(error) = lake.lakehouse.open_rollup(kept.table).await {
            report(kept, &error.into());
        }
    }
    wait(lake, &all, every.min(FIRST)).await;
    let mut tidied: Option<Instant> = None;
    loop {
        // What the tables hold: the log is read by whoever asks.
        let lsn = lake.lakehouse.cut().floor;
        let mut failures = 0;
        // Those that are there first: others may take long to build.
        let (built, others): (Vec<&Kept>, Vec<&Kept>) =
            all.iter().partition(|kept| lake.lakehouse.rollup(kept.table).is_some());
        for kept in built.into_iter().chain(others) {
            match work.advance(*kept, lsn).await {
                Ok(()) => publish(lake, kept),
                Err(error) => {
                    failures += 1;
                    report(kept, &error);
                }
            }
        }
        if tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
            tidied = Some(Instant::now());
            tidy(lake, &work, &all).await;
        }
        match failures {
            0 => wait(lake, &all, every).await,
            // Whatever came: at once it would fail again.
            _ => tokio::time::sleep(every).await,
        }
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

/// Until the time is over, or many rows wait.
async fn wait(lake: &Lake, all: &[Kept], patience: Duration) {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        tokio::time::sleep(POLL.min(patience)).await;
        let lsn = lake.lakehouse.cut().floor;
        let marks = all.iter().filter_map(|kept| lake.lakehouse.rollup(kept.table));
        let waiting = marks.map(|mark| lsn.saturating_sub(mark.txn)).max();
        if waiting >= Some(lake.metrics.rollup_rows) {
            return;
        }
    }
}

/// Removes files that nobody reads any more, and the tables of former definitions.
async fn tidy(lake: &Lake, work: &RollupWork<'_>, all: &[Kept]) {
    for kept in all {
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
