//! What is done to one rollup: its first build, its steps, and the days that are computed anew.

use std::{collections::BTreeSet, time::Duration};

use chrono::NaiveDate;
use ingest::log::Lsn;
use pipeline::{Lakehouse, Month, RollupChange, RollupFiles, RollupTable, RollupWriter};
use query::{BatchStream, Engine, QueryError, Reason, Request, Rollup, RowAccess, rollup};
use state::clock::Clock;
use tokio::time::Instant;

use super::days;

/// Log sequence numbers of one step, at most: one that is broken off is not long.
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

/// Computes rollups, one at a time.
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

    /// Takes erased persons out of the rollups that name some: tables of former definitions go, and so do days that the
    /// ledger does not have any more. Where rows of the ledger were changed, all is computed anew, each month in one commit.
    ///
    /// # Errors
    /// Months that were done stay so. Done again, all are.
    pub async fn forget_persons(&self, is_changed: bool) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        for kept in all().into_iter().filter(|kept| kept.rollup.is_of_persons()) {
            self.lakehouse.remove_other_rollups(&[kept.table]).await?;
            let Some(mark) = self.lakehouse.open_rollup(kept.table).await? else { continue };
            self.expire(kept).await?;
            if is_changed {
                for found in self.lakehouse.rollup_months(kept.table).await? {
                    self.rebuild(kept, found.month, mark.txn).await?;
                }
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
        let months: BTreeSet<_> = days.iter().map(|day| Month::of(*day)).collect();
        for kept in all().into_iter().filter(|kept| kept.rollup.name == name) {
            if let Some(mark) = self.lakehouse.rollup(kept.table) {
                for month in &months {
                    self.rebuild(kept, *month, mark.txn).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes one to an LSN, up to which the tables hold all rows.
    pub(super) async fn advance(&self, kept: Kept, lsn: Lsn) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        let mut mark = match self.lakehouse.rollup(kept.table) {
            Some(mark) => mark.txn,
            // What is stored is asked again: it may be there, and could not be read.
            None => self.lakehouse.open_rollup(kept.table).await?.map_or(0, |mark| mark.txn),
        };
        if mark == 0 {
            return self.build(kept, lsn).await;
        }
        while mark < lsn {
            let through = lsn.min(mark + STEP_ROWS);
            let mut writer = self.lakehouse.rollup_writer(kept.table, through).await?;
            self.write(kept.rollup.step(mark, through), &mut writer).await?;
            let files = writer.close().await?;
            self.change(kept, RollupChange::Append { after: mark, through, files }).await?;
            mark = through;
        }
        self.expire(kept).await?;
        for found in self.lakehouse.rollup_months(kept.table).await? {
            if days::is_to_fold(&found) {
                self.fold(kept, found.month).await?;
            }
        }
        Ok(())
    }

    /// Computes one that is not there, day by day. Broken off, it begins anew.
    async fn build(&self, kept: Kept, through: Lsn) -> Result<(), RollupError> {
        if through == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let mut listed = self.ask(kept.rollup.days_of_ledger(through)).await?;
        let mut days = Vec::new();
        while let Some(rows) = listed.next().await? {
            days.extend(days::read(&rows));
        }
        let files = self.sums_of_days(kept, &days, through).await?;
        self.change(kept, RollupChange::Append { after: 0, through, files }).await?;
        // In the order in which one organization's rows are together.
        for month in days.iter().map(|day| Month::of(*day)).collect::<BTreeSet<_>>() {
            self.fold(kept, month).await?;
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
        through: Lsn,
    ) -> Result<RollupFiles, RollupError> {
        let mut writer = self.lakehouse.rollup_writer(kept.table, through).await?;
        for day in days {
            self.write(kept.rollup.of_day(*day, through), &mut writer).await?;
        }
        Ok(writer.close().await?)
    }

    /// Puts the sums of the events of a month up to an LSN in the place of what is stored of it.
    async fn rebuild(&self, kept: Kept, month: Month, through: Lsn) -> Result<(), RollupError> {
        let days = month.first().iter_days();
        let days: Vec<_> = days.take_while(|day| Month::of(*day) == month).collect();
        let files = self.sums_of_days(kept, &days, through).await?;
        self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: false }).await
    }

    /// Adds up the rows of a month, which every step added some to.
    async fn fold(&self, kept: Kept, month: Month) -> Result<(), RollupError> {
        let Some(mark) = self.lakehouse.rollup(kept.table) else { return Ok(()) };
        match self.stored(kept, (month.first(), month.next().first()), mark.txn).await {
            Ok(files) => {
                self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: true }).await
            }
            // A file of it is lost, and its events are still there.
            Err(RollupError::Query(error)) if error.reason == Reason::Failed => {
                let (rollup, month_of) = (kept.rollup.name.as_str(), month.first());
                tracing::warn!(rollup, %month_of, %error, "a month of a rollup is computed anew");
                self.rebuild(kept, month, mark.txn).await
            }
            Err(error) => Err(error),
        }
    }

    /// The stored rows from a day on and before another, added up.
    async fn stored(
        &self,
        kept: Kept,
        (from, to): (NaiveDate, NaiveDate),
        through: Lsn,
    ) -> Result<RollupFiles, RollupError> {
        let mut writer = self.lakehouse.rollup_writer(kept.table, through).await?;
        self.write(kept.rollup.fold(from, to), &mut writer).await?;
        Ok(writer.close().await?)
    }

    /// Removes files that left it before `grace`, or were never part of it.
    pub(super) async fn tidy(&self, kept: Kept, grace: Duration) -> Result<(), RollupError> {
        let _working = self.lakehouse.rollup_work().await;
        if !self.lakehouse.has_rollup(kept.table).await {
            return Ok(());
        }
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let before_ms = self.clock.now().timestamp_millis() - grace_ms;
        self.change(kept, RollupChange::Tidy { before_ms }).await
    }

    /// Takes out the days that the ledger does not have any more, since they are too old. No rollup holds rows that only the
    /// log has, so what is missing in the ledger's files is gone.
    async fn expire(&self, kept: Kept) -> Result<(), RollupError> {
        let (Some(mark), Some(first)) = (
            self.lakehouse.rollup(kept.table),
            self.lakehouse.first_day(kept.rollup.ledger()).await?,
        ) else {
            return Ok(());
        };
        for found in self.lakehouse.rollup_months(kept.table).await? {
            if found.first >= first {
                continue;
            }
            let (month, end) = (found.month, found.month.next().first());
            let files = match first < end {
                true => self.stored(kept, (first, end), mark.txn).await?,
                false => RollupFiles::default(),
            };
            self.change(kept, RollupChange::ReplaceMonth { month, files, is_fold: false }).await?;
        }
        Ok(())
    }

    /// Writes the answer to a statement, as it comes.
    async fn write(&self, sql: String, writer: &mut RollupWriter) -> Result<(), RollupError> {
        let mut rows = self.ask(sql).await?;
        while let Some(rows) = rows.next().await? {
            writer.add(&rows).await?;
        }
        Ok(())
    }

    async fn change(&self, kept: Kept, change: RollupChange) -> Result<(), RollupError> {
        Ok(self.lakehouse.change_rollup(kept.table, change).await?)
    }

    /// Asks at the newest cut: what a statement sums up is bounded by an LSN in it.
    async fn ask(&self, sql: String) -> Result<BatchStream, QueryError> {
        let (cut, now) = (self.lakehouse.cut(), self.clock.now().timestamp_micros());
        let request = Request::of_ourselves(sql, RowAccess::Staff, cut, now, DEADLINE_MS);
        self.engine.batches(Request { gives_way: true, ..request }).await
    }
}
