//! A funnel: how many units do one thing after another, within a time.
//!
//! A unit starts whenever it does the first step in the window. The state of each step is the latest start from which it
//! was reached: a later start leaves the most time for the rest. So one pass over a unit's acts by time finds the furthest
//! step that any start reaches. Of acts at the same time, those of an earlier step come first.

use chrono::TimeDelta;

use super::{
    Analysis, AnalysisScope, AnalysisStatement, EventFilter,
    acts::{Acts, Select},
    check_length,
};
use crate::{Catalog, Error, Viewer};

/// Steps of one funnel.
const STEPS_MAX: usize = 10;
const EXCLUSIONS_MAX: usize = 5;
const WITHIN_DAYS_MAX: i64 = 366;

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funnel {
    /// Who goes through it, and when the first step is done. Later steps may be done after the window.
    pub scope: AnalysisScope,
    /// 2 to 10 of them, in their order.
    pub steps: Vec<EventFilter>,
    /// The time from the first step to the last.
    pub within: TimeDelta,
    /// Whoever does one of these after the first step and before the last is not in the funnel.
    pub exclusions: Vec<EventFilter>,
    /// A dimension of the first step: units are split by the first value that they had.
    pub by: Option<String>,
    /// How many groups the answer shows.
    pub limit: usize,
}

impl Analysis for Funnel {
    /// A row has the group, whether it is the total, the units that reached each step (`n1` …), and for each step but the
    /// first the median and mean seconds since the first (`median2`, `mean2` …).
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error> {
        if !(2..=STEPS_MAX).contains(&self.steps.len()) {
            return Err(Error::Invalid(format!("a funnel has 2 to {STEPS_MAX} steps")));
        }
        if self.exclusions.len() > EXCLUSIONS_MAX {
            return Err(Error::Invalid(format!(
                "a funnel has at most {EXCLUSIONS_MAX} exclusions"
            )));
        }
        check_length("within", self.within, TimeDelta::days(WITHIN_DAYS_MAX))?;
        let mut acts = Acts::new(catalog, viewer, self.scope);
        let exclusions = self.exclusions.iter().map(|event| (0, event));
        for (step, event) in (1..).zip(&self.steps).chain(exclusions) {
            let by = self.by.as_deref().filter(|_| step == 1);
            // An act that is several steps is the latest of them first, so that it does not follow itself. One that is an
            // exclusion too ends what began before it.
            let place = if step == 0 { 3 } else { 2 * step };
            let mut columns = vec![("step", step.to_string()), ("place", place.to_string())];
            if by.is_none() {
                columns.push(("grp", "CAST(NULL AS VARCHAR)".into()));
            }
            let to =
                if step == 1 { self.scope.window.to } else { self.scope.window.to + self.within };
            acts.add(
                event,
                &Select { from: Some(self.scope.window.from), to, columns: &columns, by },
            )?;
        }
        let sql = format!(
            "{}, placed AS (SELECT *, min(place) OVER (PARTITION BY unit, at, id) AS first_place FROM acts), \
             {}, reached AS ({}) {}",
            acts.sql(),
            self.states(),
            self.reached(),
            self.counts()
        );
        Ok(AnalysisStatement { sql, reads: acts.reads() })
    }

    fn scope(&self) -> AnalysisScope {
        self.scope
    }

    fn events(&self) -> Vec<&EventFilter> {
        self.steps.iter().chain(&self.exclusions).collect()
    }

    /// The minute in which somebody took a step is that of one.
    fn is_narrowed(&self) -> bool {
        let is_of_days = self.within == TimeDelta::days(self.within.num_days());
        self.by.is_some() || !self.exclusions.is_empty() || !is_of_days
    }
}

impl Funnel {
    fn last(&self) -> usize {
        self.steps.len()
    }

    /// Whether an act continues a start: of a step, the one before must have been reached in time.
    fn continues(&self, step: usize) -> String {
        let micros = self.within.num_microseconds().unwrap_or(i64::MAX);
        format!("step = {step} AND at <= start{} + {micros}", step - 1)
    }

    /// One table expression per step: `start{n}` is the latest start from which the step was reached so far.
    fn states(&self) -> String {
        let states = (1..=self.last()).map(|step| {
            let (condition, start, before) = match step {
                1 => ("step = 1".to_owned(), "at".to_owned(), "placed".to_owned()),
                _ => (self.continues(step), format!("start{}", step - 1), format!("state{}", step - 1)),
            };
            format!(
                "state{step} AS (SELECT *, max(CASE WHEN {condition} THEN {start} END) OVER (PARTITION BY unit \
                 ORDER BY at, first_place, id, place DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS start{step} \
                 FROM {before})"
            )
        });
        states.collect::<Vec<_>>().join(", ")
    }

    /// One row per unit: its group, and the microseconds in which it first came to each step.
    fn reached(&self) -> String {
        let micros = self.within.num_microseconds().unwrap_or(i64::MAX);
        let times: String = (2..=self.last())
            .map(|step| {
                format!(
                    ", first_value(at - start{} ORDER BY at, first_place, id) FILTER (WHERE {}) AS took{step}",
                    step - 1,
                    self.continues(step)
                )
            })
            .collect();
        let excluded = match self.exclusions.is_empty() {
            true => "false".to_owned(),
            false => format!(
                "coalesce(bool_or(step = 0 AND at <= start1 + {micros} AND start{} IS NULL), false)",
                self.last()
            ),
        };
        format!(
            "SELECT unit, first_value(grp ORDER BY at, first_place, id) FILTER (WHERE step = 1 AND grp IS NOT NULL) AS grp, \
             {excluded} AS excluded{times} FROM state{} GROUP BY unit HAVING count(*) FILTER (WHERE step = 1) > 0",
            self.last()
        )
    }

    fn counts(&self) -> String {
        let counts: String = (2..=self.last())
            .map(|step| {
                let seconds = format!("CAST(took{step} AS DOUBLE) / 1000000");
                format!(", count(took{step}) AS n{step}, median({seconds}) AS median{step}, avg({seconds}) AS mean{step}")
            })
            .collect();
        let of = |group: &str, is_total: bool| {
            format!(
                "SELECT {group} AS grp, {is_total} AS total, count(*) AS n1{counts} FROM reached WHERE NOT excluded"
            )
        };
        let total = of("CAST(NULL AS VARCHAR)", true);
        match self.by {
            None => total,
            Some(_) => format!("{total} UNION ALL {} GROUP BY grp", of("grp", false)),
        }
    }
}
