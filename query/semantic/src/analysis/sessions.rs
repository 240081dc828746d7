//! Sessions: acts of a unit with no long pause between them.

use chrono::TimeDelta;

use super::{
    Analysis, AnalysisScope, AnalysisStatement, EventFilter,
    acts::{Acts, Select, bucket},
    check_buckets, check_events, check_length,
};
use crate::{Catalog, Error, Grain, Viewer, Window};

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Whose sessions, and when they begin.
    pub scope: AnalysisScope,
    /// The buckets of their beginnings; without it, one for the window.
    pub grain: Option<Grain>,
    /// What is an act; any of them.
    pub events: Vec<EventFilter>,
    /// Without an act for longer, a session ends.
    pub timeout: TimeDelta,
}

const TIMEOUT_DAYS_MAX: i64 = 1;

impl Sessions {
    /// A session that began in the window is followed for so long after it.
    pub const FOLLOWED: TimeDelta = TimeDelta::days(1);
}

impl Analysis for Sessions {
    /// A row has the start of a bucket in microseconds (`bucket`), and of the sessions that begin in it their number, their
    /// units, their acts, those with one act only (`bounces`), and their mean and median seconds.
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error> {
        check_events(&self.events)?;
        check_length("timeout", self.timeout, TimeDelta::days(TIMEOUT_DAYS_MAX))?;
        let Window { from, to, zone, .. } = self.scope.window;
        if let Some(grain) = self.grain {
            check_buckets(&self.scope.window, grain)?;
        }
        let mut acts = Acts::new(catalog, viewer, self.scope);
        // A session with an act shortly before the window began before it.
        let (first, last) = (from - self.timeout, to + Self::FOLLOWED);
        let bucket = match self.grain {
            Some(grain) => bucket(grain, first, last, zone),
            None => from.timestamp_micros().to_string(),
        };
        for event in &self.events {
            let columns = [("bucket", bucket.clone()), ("source", "source".into())];
            acts.add(event, &Select { from: Some(first), to: last, columns: &columns, by: None })?;
        }
        let timeout = self.timeout.num_microseconds().unwrap_or(i64::MAX);
        let sql = format!(
            "{}, once AS (SELECT DISTINCT unit, at, id, source, bucket FROM acts), \
             begun AS (SELECT *, CASE WHEN at - lag(at) OVER by_time <= {timeout} THEN 0 ELSE 1 END AS begins \
             FROM once WINDOW by_time AS (PARTITION BY unit ORDER BY at, id)), \
             numbered AS (SELECT *, sum(begins) OVER (PARTITION BY unit ORDER BY at, id \
             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS place FROM begun), \
             sessions AS (SELECT unit, min(at) AS began, min(bucket) AS bucket, count(*) AS acts, \
             CAST(max(at) - min(at) AS DOUBLE) / 1000000 AS seconds FROM numbered GROUP BY unit, place) \
             SELECT bucket, count(*) AS sessions, count(DISTINCT unit) AS units, \
             CAST(sum(acts) AS BIGINT) AS acts, count(*) FILTER (WHERE acts = 1) AS bounces, \
             avg(seconds) AS mean, median(seconds) AS median FROM sessions \
             WHERE began >= {} AND began < {} GROUP BY bucket ORDER BY bucket",
            acts.sql(),
            from.timestamp_micros(),
            to.timestamp_micros()
        );
        Ok(AnalysisStatement { sql, reads: acts.reads() })
    }

    fn scope(&self) -> AnalysisScope {
        self.scope
    }

    fn events(&self) -> Vec<&EventFilter> {
        self.events.iter().collect()
    }

    fn is_narrowed(&self) -> bool {
        true
    }
}
