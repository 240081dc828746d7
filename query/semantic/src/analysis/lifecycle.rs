//! The lifecycle: the units of each period that are new, returning, resurrecting, and dormant.

use chrono::{DateTime, Utc};

use super::{
    Analysis, AnalysisScope, AnalysisStatement, EventFilter,
    acts::{AT, Acts, Select, bucket},
    check_events, periods, periods_sql,
};
use crate::{Catalog, Error, Grain, Viewer};

/// The question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// Who is active, and when. The window is widened to whole periods.
    pub scope: AnalysisScope,
    /// The length of a period, on the clock of the window's zone.
    pub period: Grain,
    /// What makes a unit active; any of them.
    pub events: Vec<EventFilter>,
}

impl Lifecycle {
    /// The starts of the periods, and the end of the last one.
    ///
    /// # Errors
    /// When there are too many.
    pub fn periods(&self) -> Result<(Vec<DateTime<Utc>>, DateTime<Utc>), Error> {
        periods(&self.scope.window, self.period)
    }
}

impl Analysis for Lifecycle {
    /// A row has the number of a period (`n`, from 1; 0 is the one before the window), the units that are active in it, and
    /// of these those that were active in the period before (`returning`) and never before (`new`).
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error> {
        check_events(&self.events)?;
        let zone = self.scope.window.zone;
        let (mut starts, end) = self.periods()?;
        let first = starts.first().copied().unwrap_or(self.scope.window.from);
        let before = self.period.start(first - chrono::TimeDelta::microseconds(1), zone);
        starts.insert(0, before);
        let mut acts = Acts::new(catalog, viewer, self.scope);
        let bucket = bucket(self.period, before, end, zone);
        let bucket = format!("CASE WHEN {AT} >= {} THEN {bucket} END", before.timestamp_micros());
        for event in &self.events {
            let columns = [("bucket", bucket.clone())];
            acts.add(event, &Select { from: None, to: end, columns: &columns, by: None })?;
        }
        let sql = format!(
            "{}, {}, firsts AS (SELECT unit AS first_unit, min(at) AS first_at FROM acts GROUP BY unit), \
             active AS (SELECT DISTINCT unit, n, since FROM acts JOIN periods ON bucket = since) \
             SELECT active.n AS n, count(*) AS active, count(earlier.unit) AS returning, \
             count(*) FILTER (WHERE first_at >= active.since) AS new FROM active \
             JOIN firsts ON active.unit = first_unit \
             LEFT JOIN active AS earlier ON active.unit = earlier.unit AND active.n = earlier.n + 1 \
             GROUP BY active.n",
            acts.sql(),
            periods_sql(&starts)
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
        false
    }
}
