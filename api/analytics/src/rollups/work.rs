//! What is done to one rollup: its first build, its steps, and the days that are computed anew.

use std::{collections::BTreeSet, time::Duration};

use chrono::{Days, NaiveDate};
use ingest::log::Lsn;
use pipeline::{Cut, Lakehouse, Month, RollupChange, RollupFiles, RollupTable};
use query::{Engine, QueryError, Reason, Request, ResultSet, Rollup, RowAccess, rollup};
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

    /// Computes those that name persons anew, after an erasure: each month in one commit.
    ///
    /// # Errors
    /// Months that were done stay so. Done again, all are.
    pub async fn rebuild_of_persons(&self) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        let cut = self.lakehouse.cut();
        for kept in all().into_iter().filter(|kept| kept.rollup.is_of_persons()) {
            let Some(mark) = self.lakehouse.open_rollup(kept.table).await? else { continue };
            for found in self.lakehouse.rollup_months(kept.table).await? {
                self.rebuild(kept, found.month, &cut, mark.txn).await?;
            }
        }
        Ok(())
    }

    /// Computes the months of days anew that a check found to differ.
    ///
    /// # Errors
    /// Months that were done stay so.
    pub async fn rebuild_days(&self, name: &str, days: &[NaiveDate]) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        let cut = self.lakehouse.cut();
        let months: BTreeSet<_> = days.iter().map(|day| Month::of(*day)).collect();
        for kept in all().into_iter().filter(|kept| kept.rollup.name == name) {
            if let Some(mark) = self.lakehouse.rollup(kept.table) {
                for month in &months {
                    self.rebuild(kept, *month, &cut, mark.txn).await?;
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
            let mut writer = self.lakehouse.rollup_writer(kept.table, through).await?;
            writer.add(&self.ask(kept.rollup.step(mark, through), cut).await?.batches).await?;
            let files = writer.close().await?;
            self.change(kept, RollupChange::Append { after: mark, through, files }).await?;
            mark = through;
        }
        let today = self.today();
        for found in self.lakehouse.rollup_months(kept.table).await? {
            if days::is_to_fold(&found, today) {
                self.fold(kept, found.month, found.month.first()).await?;
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
        let through = cut.lsn;
        let days = days::read(&self.ask(kept.rollup.days_of_ledger(through), cut).await?);
        let files = self.sums_of_days(kept, &days, cut, through).await?;
        self.change(kept, RollupChange::Build { through, files }).await?;
        // In the order in which one organization's rows are together.
        for month in days.iter().map(|day| Month::of(*day)).collect::<BTreeSet<_>>() {
            self.fold(kept, month, month.first()).await?;
        }
        let seconds = begun.elapsed().as_secs();
        let name = kept.rollup.name.as_str();
        tracing::info!(rollup = name, days = days.len(), seconds, "a rollup was built");
        Ok(())
    }

    /// The sums of the events of some days up to an LSN.
    async fn sums_of_days(
        &self,
        kept: Kept,
        days: &[NaiveDate],
        cut: &Cut,
        through: Lsn,
    ) -> Result<RollupFiles, RollupError> {
        let mut writer = self.lakehouse.rollup_writer(kept.table, through).await?;
        for day in days {
            writer.add(&self.ask(kept.rollup.of_day(*day, through), cut).await?.batches).await?;
        }
        Ok(writer.close().await?)
    }

    /// Puts the sums of the events of a month up to an LSN in the place of what is stored of it.
    async fn rebuild(
        &self,
        kept: Kept,
        month: Month,
        cut: &Cut,
        through: Lsn,
    ) -> Result<(), RollupError> {
        let days: Vec<_> =
            month.first().iter_days().take_while(|day| Month::of(*day) == month).collect();
        let files = self.sums_of_days(kept, &days, cut, through).await?;
        self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: false }).await
    }

    /// Adds up the rows of a month, which every step added some to, from a day on.
    async fn fold(&self, kept: Kept, month: Month, from: NaiveDate) -> Result<(), RollupError> {
        let cut = self.lakehouse.cut();
        let Some(mark) = cut.usable_rollup(kept.table.name()) else { return Ok(()) };
        let sums = match self.ask(kept.rollup.fold(from, month.next().first()), &cut).await {
            Ok(sums) => sums,
            // A file of it is lost, and its events are still there.
            Err(error) if error.reason == Reason::Failed => {
                let rollup = kept.rollup.name.as_str();
                tracing::warn!(rollup, month = %month.first(), %error, "a month of a rollup is computed anew");
                return self.rebuild(kept, month, &cut, mark.txn).await;
            }
            Err(error) => return Err(error.into()),
        };
        let mut writer = self.lakehouse.rollup_writer(kept.table, mark.txn).await?;
        writer.add(&sums.batches).await?;
        let files = writer.close().await?;
        self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: true }).await
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
            let first = self.today() - Days::new(days.into());
            self.expire(kept, first).await?;
        }
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.clock.now().timestamp_millis() - grace_ms;
        self.change(kept, RollupChange::Tidy { before_ms }).await
    }

    /// Takes the days before `first` out.
    async fn expire(&self, kept: Kept, first: NaiveDate) -> Result<(), RollupError> {
        let month = Month::of(first);
        for found in self.lakehouse.rollup_months(kept.table).await? {
            if found.month < month {
                let (month, files) = (found.month, RollupFiles::default());
                self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: false })
                    .await?;
            } else if found.month == month && first > month.first() {
                self.fold(kept, month, first).await?;
            }
        }
        Ok(())
    }

    async fn change(&self, kept: Kept, change: RollupChange) -> Result<(), RollupError> {
        Ok(self.lakehouse.change_rollup(kept.table, change).await?)
    }

    async fn ask(&self, sql: String, cut: &Cut) -> Result<ResultSet, QueryError> {
        let now = self.clock.now().timestamp_micros();
        let cut = cut.clone();
        let request = Request::of_ourselves(sql, RowAccess::Staff, cut, now, DEADLINE_MS);
        self.engine.run_once(Request { gives_way: true, ..request }).await
    }

    fn today(&self) -> NaiveDate {
        self.clock.now().date_naive()
    }
}
