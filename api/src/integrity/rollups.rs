//! Whether rollups are the sums of the events.

use std::collections::BTreeMap;

use analytics::rollups::days;
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use pipeline::{
    Cut, TableVersion,
    check::{Difference, DifferenceKind, Proof},
};
use query::{Engine, QueryError, Reason, Request, Rollup, RowAccess, rollup};
use serde::{Deserialize, Serialize};
use state::clock::Clock;

use super::proof::DEADLINE_MS;

/// What came of the comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RollupCheck {
    /// Days of rollups that were compared.
    pub(crate) compared: u64,
    /// Those that differ, by the name of the rollup.
    pub(crate) differing: BTreeMap<String, Vec<NaiveDate>>,
}

/// Compares each day of each rollup with the events up to the LSN that it holds, and adds what differs to the proof.
pub(super) async fn compare(
    engine: &Engine,
    cut: &Cut,
    clock: &Clock,
    proof: &mut Proof,
) -> RollupCheck {
    let mut check = RollupCheck::default();
    let difference = |rollup: &Rollup, detail: String| Difference {
        kind: DifferenceKind::Rollup,
        table: Some(rollup.name.clone()),
        detail,
    };
    for (rollup, table) in rollup::all() {
        let Some(mark) = cut.usable_rollup(table.name()) else { continue };
        let comparing = Comparing { engine, cut, clock, rollup, mark };
        match comparing.run(&mut check).await {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                let days: Vec<_> = found.iter().map(ToString::to_string).collect();
                let detail = format!("not the sums of the events: {}", days.join(", "));
                proof.add(difference(rollup, detail));
                check.differing.insert(rollup.name.clone(), found);
            }
            Err(error) => {
                proof.add(difference(rollup, format!("queries do not answer: {error}")));
            }
        }
    }
    check
}

struct Comparing<'a> {
    engine: &'a Engine,
    cut: &'a Cut,
    clock: &'a Clock,
    rollup: &'a Rollup,
    mark: TableVersion,
}

impl Comparing<'_> {
    /// The days that differ.
    async fn run(&self, check: &mut RollupCheck) -> Result<Vec<NaiveDate>, QueryError> {
        let list = async |sql| -> Result<Vec<NaiveDate>, QueryError> {
            Ok(self.ask(sql).await?.iter().flat_map(days::read).collect())
        };
        let first = list(self.rollup.days_of_ledger(self.mark.txn)).await?.into_iter().min();
        let mut differing = Vec::new();
        for date in list(self.rollup.days(self.mark.txn)).await? {
            // Days that retention took out of the ledger leave the rollups with their next update.
            if first.is_none_or(|first| date < first) {
                continue;
            }
            check.compared += 1;
            let sql = self.rollup.differences(date, self.mark.txn);
            // A file that is lost is a difference, too.
            let is_sound = match self.ask(sql).await {
                Ok(found) => found.iter().all(|rows| rows.num_rows() == 0),
                Err(error) if error.reason == Reason::Failed => false,
                Err(error) => return Err(error),
            };
            if !is_sound {
                differing.push(date);
            }
        }
        Ok(differing)
    }

    async fn ask(&self, sql: String) -> Result<Vec<RecordBatch>, QueryError> {
        let now = self.clock.now().timestamp_micros();
        let cut = self.cut.clone();
        let request = Request::of_ourselves(sql, RowAccess::Staff, cut, now, DEADLINE_MS);
        let mut rows = self.engine.batches(Request { gives_way: true, ..request }).await?;
        let mut found = Vec::new();
        while let Some(rows) = rows.next().await? {
            found.push(rows);
        }
        Ok(found)
    }
}
