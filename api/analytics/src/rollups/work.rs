//! What is done to one rollup: its first build, its steps, and the days that are computed anew.

use std::time::Duration;

use ingest::log::Lsn;
use pipeline::{Cut, Lakehouse, RollupChange, RollupRows, RollupTable};
use query::{Engine, QueryError, Request, ResultSet, Rollup, RowAccess, rollup};
use state::clock::Clock;
use tokio::time::Instant;

use super::days;

/// Log sequence numbers of one step, at most: its rows are in memory.
const STEP_ROWS: u64 = 4_000_000;
/// What one statement may take.
const DEADLINE_MS: u64 = 900_000;

/// Why a rollup is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// The engine refused or failed.
    #[error("the sums cannot be computed: {0}")]
    Query(#[from] QueryError),
    /// They are not stored.
    #[error("the sums cannot be stored")]
    Lake(#[from] pipeline::Error),
}

/// A rollup and its table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) rollup: &'static Rollup,
    pub(super) table: &'static RollupTable,
}

/// All of them.
pub(super) fn all() -> Vec<Kept> {
    rollup::all().map(|(rollup, table)| Kept { rollup, table }).collect()
}

/// Computes rollups. Whoever does holds [`Lakehouse::rollup_work`].
#[derive(Debug)]
pub struct RollupWork<'a> {
    lakehouse: &'a Lakehouse,
    engine: &'a Engine,
    clock: &'a Clock,
}

impl<'a> RollupWork<'a> {
    /// Work on the rollups of a lakehouse, of which the engine reads the same folder.
    pub fn new(lakehouse: &'a Lakehouse, engine: &'a Engine, clock: &'a Clock) -> Self {
        Self { lakehouse, engine, clock }
    }

    /// Computes those that name persons anew, after an erasure: each day in one commit.
    ///
    /// # Errors
    /// Days that were done stay so. Done again, all are.
    pub async fn rebuild_of_persons(&self) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        let cut = self.lakehouse.cut();
        for kept in all().into_iter().filter(|kept| kept.rollup.is_of_persons()) {
            let Some(mark) = self.lakehouse.open_rollup(kept.table).await? else { continue };
            if mark.txn == 0 {
                // What was built of one is not read, and is stored all the same.
                self.change(kept, RollupChange::Begin).await?;
                continue;
            }
            for day in self.lakehouse.rollup_days(kept.table).await? {
                self.rebuild(kept, day.date, &cut, mark.txn).await?;
            }
        }
        Ok(())
    }

    /// Computes days of a rollup anew, which a check found to differ.
    ///
    /// # Errors
    /// Days that were done stay so.
    pub async fn rebuild_days(&self, name: &str, dates: &[i32]) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        let cut = self.lakehouse.cut();
        for kept in all().into_iter().filter(|kept| kept.rollup.name == name) {
            if let Some(mark) = self.lakehouse.rollup(kept.table) {
                for date in dates {
                    self.rebuild(kept, *date, &cut, mark.txn).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes one to a cut.
    pub(super) async fn advance(&self, kept: Kept, cut: &Cut) -> Result<(), RollupError> {
        let Some(mut mark) = self.lakehouse.rollup(kept.table).map(|mark| mark.txn) else {
            return self.build(kept, cut).await;
        };
        while mark < cut.lsn {
            let through = cut.lsn.min(mark + STEP_ROWS);
            let sums = self.ask(kept.rollup.step(mark, through), cut).await?;
            let rows = RollupRows { rows: &sums.batches, through };
            self.change(kept, RollupChange::Append { after: mark, rows }).await?;
            mark = through;
        }
        let today = self.today();
        for day in self.lakehouse.rollup_days(kept.table).await? {
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
        let dates = days::read(&self.ask(kept.rollup.days_of_ledger(cut.lsn), cut).await?);
        for date in &dates {
            self.rebuild(kept, *date, cut, cut.lsn).await?;
        }
        self.change(kept, RollupChange::Complete { through: cut.lsn }).await?;
        let seconds = begun.elapsed().as_secs();
        let name = kept.rollup.name.as_str();
        tracing::info!(rollup = name, days = dates.len(), seconds, "a rollup was built");
        Ok(())
    }

    /// Puts the sums of the events of a day up to an LSN in the place of what is stored of it.
    async fn rebuild(
        &self,
        kept: Kept,
        date: i32,
        cut: &Cut,
        through: Lsn,
    ) -> Result<(), RollupError> {
        let sums = self.ask(kept.rollup.of_day(&days::text(date), through), cut).await?;
        let rows = RollupRows { rows: &sums.batches, through };
        self.change(kept, RollupChange::ReplaceDay { date, rows, is_fold: false }).await
    }

    /// Adds up the rows of a day, which every step added some to.
    async fn fold(&self, kept: Kept, date: i32) -> Result<(), RollupError> {
        let cut = self.lakehouse.cut();
        let Some(mark) = cut.usable_rollup(kept.table.name()) else { return Ok(()) };
        let sums = match self.ask(kept.rollup.fold(&days::text(date)), &cut).await {
            Ok(sums) => sums,
            // A file of it is lost, and its events are still there.
            Err(error) => {
                let rollup = kept.rollup.name.as_str();
                tracing::warn!(rollup, date, %error, "a day of a rollup is computed anew");
                return self.rebuild(kept, date, &cut, mark.txn).await;
            }
        };
        let rows = RollupRows { rows: &sums.batches, through: mark.txn };
        self.change(kept, RollupChange::ReplaceDay { date, rows, is_fold: true }).await
    }

    /// Removes days that are too old, and files that left it before `grace`.
    pub(super) async fn tidy(
        &self,
        kept: Kept,
        retention_days: Option<u32>,
        grace: Duration,
    ) -> Result<(), RollupError> {
        if self.lakehouse.rollup(kept.table).is_none() {
            return Ok(());
        }
        if let Some(days) = retention_days {
            let first = self.today() - i32::try_from(days).unwrap_or(i32::MAX);
            self.change(kept, RollupChange::Expire { first }).await?;
        }
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.clock.now().timestamp_millis() - grace_ms;
        self.change(kept, RollupChange::Tidy { before_ms }).await
    }

    async fn change(&self, kept: Kept, change: RollupChange<'_>) -> Result<(), RollupError> {
        Ok(self.lakehouse.change_rollup(kept.table, change).await?)
    }

    async fn ask(&self, sql: String, cut: &Cut) -> Result<ResultSet, QueryError> {
        let now = self.clock.now().timestamp_micros();
        let cut = cut.clone();
        let request = Request::of_ourselves(sql, RowAccess::Staff, cut, now, DEADLINE_MS);
        self.engine.run_once(Request { gives_way: true, ..request }).await
    }

    fn today(&self) -> i32 {
        days::of(self.clock.now())
    }
}
