//! Paths: what units do next after a step.

use chrono::TimeDelta;

use super::{
    Analysis, AnalysisScope, AnalysisStatement, EventFilter,
    acts::{AT, Acts, Select},
    check_events, check_length,
};
use crate::{Catalog, Error, Viewer, Window};

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Who does the step, and when.
    pub scope: AnalysisScope,
    /// The step that paths go from.
    pub start: EventFilter,
    /// What may be next; any of them.
    pub events: Vec<EventFilter>,
    /// A dimension that the next steps are told apart by, besides their event.
    pub by: Option<String>,
    /// Nothing that comes later is next.
    pub timeout: TimeDelta,
    /// How many next steps the answer shows.
    pub limit: usize,
}

const TIMEOUT_DAYS_MAX: i64 = 30;

impl Analysis for Paths {
    /// A row has a next step (`event` and `grp`; null where nothing came in time), how often it came (`n`), and of how many
    /// units.
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error> {
        check_events(&self.events)?;
        check_length("timeout", self.timeout, TimeDelta::days(TIMEOUT_DAYS_MAX))?;
        let Window { from, to, .. } = self.scope.window;
        let mut acts = Acts::new(catalog, viewer, self.scope);
        let none = || ("grp", "CAST(NULL AS VARCHAR)".to_owned());
        // The step may come again, so it is one of the events.
        for (event, is_start) in
            self.events.iter().map(|event| (event, false)).chain([(&self.start, true)])
        {
            let mut columns = vec![
                ("is_start", format!("{is_start} AND {AT} < {}", to.timestamp_micros())),
                ("event", catalog.event(event)?.0.of_row()),
                ("source", "source".to_owned()),
            ];
            let has_dimension = self.by.as_deref().filter(|by| acts.has(event, by));
            if has_dimension.is_none() {
                columns.push(none());
            }
            let until = to + self.timeout;
            acts.add(
                event,
                &Select { from: Some(from), to: until, columns: &columns, by: has_dimension },
            )?;
        }
        if let Some(by) = &self.by
            && !self.events.iter().chain([&self.start]).any(|event| acts.has(event, by))
        {
            return Err(Error::Invalid(format!("none of the events has a dimension `{by}`")));
        }
        // An act may be of several of them.
        let sql = format!(
            "{}, once AS (SELECT unit, at, id, bool_or(is_start) AS is_start, \
             max(event) AS event, max(grp) AS grp FROM acts GROUP BY unit, at, id, source), \
             followed AS (SELECT *, lead(at) OVER by_time AS next_at, lead(event) OVER by_time AS next_event, \
             lead(grp) OVER by_time AS next_grp FROM once WINDOW by_time AS (PARTITION BY unit ORDER BY at, id)), \
             ends AS (SELECT unit, CASE WHEN next_at - at <= {timeout} THEN next_event END AS event, \
             CASE WHEN next_at - at <= {timeout} THEN next_grp END AS grp FROM followed WHERE is_start) \
             SELECT event, grp, count(*) AS n, count(DISTINCT unit) AS units FROM ends GROUP BY event, grp \
             ORDER BY n DESC, event NULLS LAST, grp NULLS LAST",
            acts.sql(),
            timeout = self.timeout.num_microseconds().unwrap_or(i64::MAX)
        );
        Ok(AnalysisStatement { sql, reads: acts.reads() })
    }

    fn scope(&self) -> AnalysisScope {
        self.scope
    }

    fn events(&self) -> Vec<&EventFilter> {
        self.events.iter().chain([&self.start]).collect()
    }

    fn is_narrowed(&self) -> bool {
        true
    }
}
