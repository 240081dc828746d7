//! Retention: of the units that started in a period, how many return in the periods after it.

use super::{
    Analysis, AnalysisScope, AnalysisStatement, EventFilter,
    acts::{AT, Acts, Select, bucket},
    periods, periods_sql,
};
use crate::{Catalog, Error, Grain, Viewer};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};

/// Periods after the first.
const AFTER_MAX: u32 = 60;

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Who returns, and when units start. The window is widened to whole periods.
    pub scope: AnalysisScope,
    /// The length of a period, on the clock of the window's zone.
    pub period: Grain,
    /// How many periods are looked at after the one of the start.
    pub periods: u32,
    /// What begins it.
    pub start: EventFilter,
    /// What is a return.
    pub again: EventFilter,
    /// In which periods a return counts.
    pub mode: RetentionMode,
    /// Whether a unit starts once or in each period.
    pub cohort: CohortKind,
    /// So many returns count as one, at least 1.
    pub at_least: u32,
    /// An amount of the returns that is added up instead of counting units.
    pub value: Option<RetentionValue>,
}

/// In which periods a return counts.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RetentionMode {
    /// In its own.
    #[default]
    On,
    /// In its own and all before it: who comes back later was not lost.
    OnOrAfter,
}

/// When a unit is of a cohort.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CohortKind {
    /// In the period of its first start ever.
    #[default]
    First,
    /// In every period in which it starts.
    Recurring,
}

/// An amount of the returning events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RetentionValue {
    /// The list price of `usage.request`.
    ListPrice,
    /// The amount of a billing event.
    Amount,
}

impl Retention {
    /// The starts of the periods of the cohorts, and the end of the last one.
    ///
    /// # Errors
    /// When there are too many.
    pub fn cohorts(&self) -> Result<(Vec<DateTime<Utc>>, DateTime<Utc>), Error> {
        periods(&self.scope.window, self.period)
    }

    /// The starts of all periods: of the cohorts, and of the returns up to now.
    fn all_periods(&self, cohorts: &[DateTime<Utc>]) -> Result<Vec<DateTime<Utc>>, Error> {
        let mut all = cohorts.to_vec();
        let wanted = cohorts.len() + self.periods as usize;
        while let Some(last) = all.last() {
            let next = self.period.end(*last, self.scope.window.zone);
            let is_enough = self.mode == RetentionMode::On && all.len() >= wanted;
            if next > self.scope.now || is_enough {
                break;
            }
            if all.len() >= super::PERIODS_MAX {
                return Err(Error::Window(
                    "there are too many periods until now: take longer ones".into(),
                ));
            }
            all.push(next);
        }
        Ok(all)
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::Invalid(message));
        if !(1..=AFTER_MAX).contains(&self.periods) {
            return refuse(format!("`periods` is 1 to {AFTER_MAX}"));
        }
        if !(1..=1_000).contains(&self.at_least) {
            return refuse("`at_least` is 1 to 1000".into());
        }
        let Some(value) = self.value else { return Ok(()) };
        let (name, family): (&str, _) = match value {
            RetentionValue::ListPrice => (value.into(), "usage."),
            RetentionValue::Amount => (value.into(), "billing."),
        };
        if !self.again.event.starts_with(family) {
            return refuse(format!(
                "`value` is `{name}` of {family} events: `return` is one of those"
            ));
        }
        if self.mode != RetentionMode::On || self.at_least != 1 {
            return refuse(
                "a `value` is added up by period: it has no `at_least`, and the mode is `on`"
                    .into(),
            );
        }
        Ok(())
    }
}

impl Analysis for Retention {
    /// A row has the number of a cohort (`cohort`, from 0), the periods after it (`k`; -1 for the size of the cohort), and
    /// `n` units. Of a value there are rows with `currency` and `value`, and `n` 0.
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error> {
        self.check()?;
        let zone = self.scope.window.zone;
        let (cohorts, end) = self.cohorts()?;
        let from = cohorts.first().copied().unwrap_or(self.scope.window.from);
        let all = self.all_periods(&cohorts)?;
        let until = all.last().map_or(end, |last| self.period.end(*last, zone)).max(end);
        let mut acts = Acts::new(catalog, viewer, self.scope);
        let bucket = bucket(self.period, from, until, zone);
        let of_window = format!("CASE WHEN {AT} >= {} THEN {bucket} END", from.timestamp_micros());
        let value = match self.value {
            Some(RetentionValue::ListPrice) => "list_price",
            Some(RetentionValue::Amount) => "amount",
            None => "CAST(NULL AS DECIMAL(38, 12))",
        };
        let currency = if self.value.is_some() { "currency" } else { "CAST(NULL AS VARCHAR)" };
        let columns = |step: u32, bucket: &str, value: &str, currency: &str| {
            [
                ("step", step.to_string()),
                ("bucket", bucket.to_owned()),
                ("value", value.to_owned()),
                ("currency", currency.to_owned()),
            ]
        };
        // A first start may have been before the window: then it is of no cohort.
        let history = (self.cohort == CohortKind::Recurring).then_some(from);
        let none = ("CAST(NULL AS DECIMAL(38, 12))", "CAST(NULL AS VARCHAR)");
        let starts = columns(1, &of_window, none.0, none.1);
        acts.add(&self.start, &Select { from: history, to: end, columns: &starts, by: None })?;
        let returns = columns(2, &bucket, value, currency);
        acts.add(
            &self.again,
            &Select { from: Some(from), to: until, columns: &returns, by: None },
        )?;
        let by_cohort = match self.cohort {
            CohortKind::First => "min(bucket) AS bucket FROM acts WHERE step = 1 GROUP BY unit",
            CohortKind::Recurring => "bucket FROM acts WHERE step = 1 GROUP BY unit, bucket",
        };
        let sql = format!(
            "{acts}, {periods}, starts AS (SELECT unit, min(at) AS started, {by_cohort}), \
             cohorts AS (SELECT unit, started, n AS cohort FROM starts JOIN periods ON bucket = since \
             WHERE started >= {from} AND n < {count}), \
             again AS (SELECT cohorts.unit AS unit, cohort, n - cohort AS k, at, value, currency FROM cohorts \
             JOIN acts ON cohorts.unit = acts.unit AND at >= started AND step = 2 JOIN periods ON bucket = since) \
             SELECT cohort, -1 AS k, count(*) AS n, CAST(NULL AS VARCHAR) AS currency, \
             CAST(NULL AS DECIMAL(38, 12)) AS value FROM cohorts GROUP BY cohort UNION ALL {cells}",
            acts = acts.sql(),
            periods = periods_sql(&all),
            from = from.timestamp_micros(),
            count = cohorts.len(),
            cells = self.cells(),
        );
        Ok(AnalysisStatement { sql, reads: acts.reads() })
    }

    fn scope(&self) -> AnalysisScope {
        self.scope
    }

    fn events(&self) -> Vec<&EventFilter> {
        vec![&self.start, &self.again]
    }

    fn is_narrowed(&self) -> bool {
        self.value.is_some() || self.at_least > 1
    }
}

impl Retention {
    fn cells(&self) -> String {
        let (least, periods) = (self.at_least, self.periods);
        let on = format!(
            "SELECT cohort, k, count(*) AS n, CAST(NULL AS VARCHAR), CAST(NULL AS DECIMAL(38, 12)) FROM \
             (SELECT unit, cohort, k FROM again WHERE k <= {periods} GROUP BY unit, cohort, k \
             HAVING count(*) >= {least}) AS visits GROUP BY cohort, k"
        );
        match (self.value, self.mode) {
            (Some(_), _) => format!(
                "{on} UNION ALL SELECT cohort, k, 0 AS n, currency, sum(value) AS value FROM again \
                 WHERE k <= {periods} AND value IS NOT NULL GROUP BY cohort, k, currency"
            ),
            (None, RetentionMode::On) => on,
            // The last period from which on there are enough returns.
            (None, RetentionMode::OnOrAfter) => format!(
                "SELECT cohort, k, count(*) AS n, CAST(NULL AS VARCHAR), CAST(NULL AS DECIMAL(38, 12)) FROM \
                 (SELECT cohort, k, row_number() OVER (PARTITION BY unit, cohort ORDER BY at DESC) AS place FROM again) \
                 AS ranked WHERE place = {least} GROUP BY cohort, k"
            ),
        }
    }
}
