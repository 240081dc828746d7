//! The lifecycle.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::{
    QueryError,
    analysis::{AnalysisScope, Lifecycle},
    metric::Grain,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, AnalysisQuestion, ResultColumns,
    question::{Event, events_or_acts},
};

/// What is asked of a lifecycle.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct LifecycleQuestion {
    /// What makes a unit active, any of 1 to 10 events; `activity.*` without it.
    #[serde(default)]
    events: Vec<Event>,
    /// `day`, `week` (the default), `month`, `quarter` or `year`.
    #[serde(default)]
    period: Option<String>,
}

/// Who came, stayed and left.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LifecycleView {
    #[serde(flatten)]
    head: AnalysisHead,
    #[schema(value_type = String)]
    period: Grain,
    rows: Vec<LifecycleRow>,
}

/// The units of a period. Those that are active are the new, the returning and the resurrecting ones. A number is null
/// where it is of too few to be shown.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LifecycleRow {
    /// The start of the period.
    #[schema(value_type = String, format = DateTime)]
    at: DateTime<Utc>,
    active: Option<u64>,
    /// Active for the first time ever.
    new: Option<u64>,
    /// Active in the period before too.
    returning: Option<u64>,
    /// Active before, but not in the period before.
    resurrecting: Option<u64>,
    /// Active in the period before, and not in this one.
    dormant: Option<u64>,
    /// The period is not over yet, or has just ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

/// The counts of a period.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    active: u64,
    returning: u64,
    new: u64,
}

impl AnalysisQuestion for LifecycleQuestion {
    type Analysis = Lifecycle;
    type View = LifecycleView;

    fn resolve(self, scope: AnalysisScope) -> Result<Lifecycle, QueryError> {
        let period = crate::metrics::grain(self.period.as_deref().unwrap_or("week"))?;
        Ok(Lifecycle { scope, period, events: events_or_acts(self.events) })
    }

    fn view(
        question: Lifecycle,
        mut head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<LifecycleView, QueryError> {
        let (starts, end) = question.periods()?;
        head.from = starts.first().copied().unwrap_or(head.from);
        head.to = end;
        let counts = rows.counts("active")?.into_iter().zip(rows.counts("returning")?);
        let counts = counts.zip(rows.counts("new")?).map(|((active, returning), new)| Counts {
            active,
            returning,
            new,
        });
        let counts: BTreeMap<u64, Counts> = rows.counts("n")?.into_iter().zip(counts).collect();
        let of = |n: u64| counts.get(&n).copied().unwrap_or_default();
        // A period that has not begun says nothing of who left.
        let begun = (1..).zip(&starts).filter(|(_, at)| **at <= question.scope.now);
        let rows = begun.map(|(n, at)| {
            let Counts { active, returning, new } = of(n);
            let resurrecting = active.saturating_sub(returning).saturating_sub(new);
            let dormant = of(n - 1).active.saturating_sub(returning);
            LifecycleRow {
                at: *at,
                active: rows.shown(active),
                new: rows.shown(new),
                returning: rows.shown(returning),
                resurrecting: rows.shown(resurrecting),
                dormant: rows.shown(dormant),
                incomplete: rows
                    .is_incomplete(question.period.end(*at, question.scope.window.zone)),
            }
        });
        Ok(LifecycleView { period: question.period, rows: rows.collect(), head })
    }
}
