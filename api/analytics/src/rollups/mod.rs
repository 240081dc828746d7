//! Keeps the rollups: sums of the usage ledger that metrics are read from. Workers compute them, and the process that takes
//! events in commits them.

mod days;

use std::{sync::Arc, time::Duration};

use pipeline::{Cut, RollupChange, RollupRows, RollupTable};
use query::{QueryError, Request, ResultSet, Rollup, RowAccess, rollup};
use rest::feature::Feature;
use tokio::time::Instant;

use crate::Lake;

/// The rollups, kept up to date.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("rollups").with_tasks(|lake| {
    let (tasks, lake) = (lake.state.tasks.clone(), Arc::new(lake.clone()));
    tasks.keep("rollups", move || {
        let lake = Arc::clone(&lake);
        async move { Keeper::new(&lake).run().await }
    });
});

/// How often it is asked whether enough rows came.
const POLL: Duration = Duration::from_secs(1);
/// The first step waits so long, at most: whoever starts a server wants to see something else first.
const FIRST: Duration = Duration::from_secs(30);
/// Log sequence numbers of one step, at most: its rows are in memory.
const STEP_ROWS: u64 = 4_000_000;
/// What one statement may take.
const DEADLINE_MS: u64 = 900_000;
/// How often old days and files are removed.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Why a rollup is not up to date.
#[derive(Debug, thiserror::Error)]
enum RollupError {
    #[error("the sums cannot be computed: {0}")]
    Query(#[from] QueryError),
    #[error("the sums cannot be stored")]
    Lake(#[from] pipeline::Error),
}

struct Keeper<'a> {
    lake: &'a Lake,
    tidied: Option<Instant>,
}

/// A rollup and its table.
#[derive(Clone, Copy)]
struct Kept {
    rollup: &'static Rollup,
    table: &'static RollupTable,
}

impl<'a> Keeper<'a> {
    fn new(lake: &'a Lake) -> Self {
        Self { lake, tidied: None }
    }

    /// Keeps all of them, until the future is dropped.
    async fn run(mut self) {
        let Some(every) = self.lake.metrics.rollup_every else {
            return std::future::pending().await;
        };
        let all: Vec<_> = rollup::all().map(|(rollup, table)| Kept { rollup, table }).collect();
        for kept in &all {
            if let Err(error) = self.lake.lakehouse.open_rollup(kept.table).await {
                report(kept, &error.into());
            }
        }
        self.wait(&all, every.min(FIRST)).await;
        loop {
            let cut = self.lake.lakehouse.cut();
            for kept in &all {
                match self.advance(*kept, &cut).await {
                    Ok(()) => self.publish(kept),
                    Err(error) => report(kept, &error),
                }
            }
            if self.tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
                self.tidied = Some(Instant::now());
                for kept in &all {
                    if let Err(error) = self.tidy(*kept).await {
                        report(kept, &error);
                    }
                }
            }
            self.wait(&all, every).await;
        }
    }

    /// Until the time is over, or many rows wait.
    async fn wait(&self, all: &[Kept], patience: Duration) {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            tokio::time::sleep(POLL.min(patience)).await;
            let lsn = self.lake.lakehouse.cut().lsn;
            let waiting = |kept: &Kept| {
                let mark = self.lake.lakehouse.rollup(kept.table);
                mark.map_or(0, |mark| lsn.saturating_sub(mark.txn))
            };
            if all.iter().map(waiting).max() >= Some(self.lake.metrics.rollup_rows) {
                return;
            }
        }
    }

    /// Takes one to a cut.
    async fn advance(&self, kept: Kept, cut: &Cut) -> Result<(), RollupError> {
        let lakehouse = &self.lake.lakehouse;
        let Some(mut mark) = lakehouse.rollup(kept.table).map(|mark| mark.txn) else {
            return self.build(kept, cut).await;
        };
        while mark < cut.lsn {
            let through = cut.lsn.min(mark + STEP_ROWS);
            let sums = self.ask(kept.rollup.step(mark, through), cut.clone()).await?;
            let rows = RollupRows { rows: &sums.batches, through };
            self.change(kept, RollupChange::Append { after: mark, rows }).await?;
            mark = through;
        }
        let today = self.today();
        for day in lakehouse.rollup_days(kept.table).await? {
            if days::is_to_fold(&day, today) {
                self.fold(kept, day.date).await?;
            }
        }
        Ok(())
    }

    /// Computes one that is not there, day by day. Broken off, it begins anew.
    async fn build(&self, kept: Kept, cut: &Cut) -> Result<(), RollupError> {
        if cut.lsn == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        self.change(kept, RollupChange::Begin).await?;
        let listed = self.ask(days::statement(kept.rollup), cut.clone()).await?;
        let dates = days::read(&listed);
        for date in &dates {
            let sums = kept.rollup.of_day(&days::text(*date), cut.lsn);
            let sums = self.ask(sums, cut.clone()).await?;
            let rows = RollupRows { rows: &sums.batches, through: cut.lsn };
            let change = RollupChange::ReplaceDay { date: *date, rows, is_fold: false };
            self.change(kept, change).await?;
        }
        self.change(kept, RollupChange::Complete { through: cut.lsn }).await?;
        tracing::info!(
            rollup = kept.rollup.name,
            days = dates.len(),
            seconds = begun.elapsed().as_secs(),
            "a rollup was built"
        );
        Ok(())
    }

    /// Adds up the rows of a day, which every step added some to.
    async fn fold(&self, kept: Kept, date: i32) -> Result<(), RollupError> {
        let cut = self.lake.lakehouse.cut();
        let Some(mark) = cut.usable_rollup(kept.table.name()) else { return Ok(()) };
        let sums = self.ask(kept.rollup.fold(&days::text(date)), cut).await?;
        let rows = RollupRows { rows: &sums.batches, through: mark.txn };
        self.change(kept, RollupChange::ReplaceDay { date, rows, is_fold: true }).await
    }

    /// Removes what is too old, and files that no query reads any more.
    async fn tidy(&self, kept: Kept) -> Result<(), RollupError> {
        let ledger = kept.rollup.ledger().name();
        let days = self.lake.metrics.retention_days.get(ledger);
        let first = days.map(|days| self.today() - i32::try_from(*days).unwrap_or(i32::MAX));
        let lakehouse = &self.lake.lakehouse;
        if lakehouse.rollup(kept.table).is_none() {
            return Ok(());
        }
        let now = self.lake.state.clock.now().timestamp_millis();
        let before = now - i64::try_from(2 * self.lake.deadline_ms()).unwrap_or(i64::MAX) - 60_000;
        if let Some(first) = first {
            self.change(kept, RollupChange::Expire { first }).await?;
        }
        self.change(kept, RollupChange::Tidy { before_ms: before }).await
    }

    async fn change(&self, kept: Kept, change: RollupChange<'_>) -> Result<(), RollupError> {
        Ok(self.lake.lakehouse.change_rollup(kept.table, change).await?)
    }

    fn publish(&self, kept: &Kept) {
        let lakehouse = &self.lake.lakehouse;
        if let Some(mark) = lakehouse.rollup(kept.table) {
            let waiting = lakehouse.cut().lsn.saturating_sub(mark.txn);
            let name = kept.rollup.name.as_str();
            metrics::gauge!("rollup_waiting_rows", "rollup" => name).set(waiting as f64);
        }
    }

    async fn ask(&self, sql: String, cut: Cut) -> Result<ResultSet, QueryError> {
        let now = self.lake.state.clock.now().timestamp_micros();
        let request = Request::of_ourselves(sql, RowAccess::Staff, cut, now, DEADLINE_MS);
        self.lake.engine.run_once(Request { gives_way: true, ..request }).await
    }

    fn today(&self) -> i32 {
        days::of(self.lake.state.clock.now())
    }
}

fn report(kept: &Kept, error: &RollupError) {
    let rollup = kept.rollup.name.as_str();
    metrics::counter!("rollup_failures_total", "rollup" => rollup).increment(1);
    tracing::error!(rollup, error = error as &dyn std::error::Error, "a rollup is behind");
}
