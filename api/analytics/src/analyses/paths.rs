//! Paths.

use query::{
    QueryError,
    analysis::{AnalysisScope, Paths},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, AnalysisQuestion, ResultColumns,
    question::{Event, events_or_acts, length, refused},
    rows::share,
};

/// Next steps that are shown.
const LIMIT: usize = 20;
const LIMIT_MAX: usize = 100;

/// What is asked of paths.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PathsQuestion {
    /// The step that paths go from, such as `activity.signed_up`.
    start: Event,
    /// What may be next, any of 1 to 10 events; `activity.*` without it.
    #[serde(default)]
    events: Vec<Event>,
    /// A dimension that next steps are told apart by, such as `feature`.
    #[serde(default)]
    by: Option<String>,
    /// What comes later than this is not next: `30m` (the default), at most `30d`.
    #[serde(default)]
    timeout: Option<String>,
    /// How many next steps are shown, 1 to 100; 20 without it. The others are one.
    #[serde(default)]
    limit: Option<usize>,
}

/// What came next.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PathsView {
    #[serde(flatten)]
    head: AnalysisHead,
    timeout_seconds: i64,
    /// How often the step was done.
    starts: u64,
    /// The most frequent first.
    next: Vec<NextStep>,
}

/// A next step.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NextStep {
    /// The type of the event; null where nothing came in time.
    event: Option<String>,
    /// The value of `by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// All steps beyond `limit`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other: bool,
    count: u64,
    /// Its part of all starts.
    share: Option<f64>,
    /// How many units did it; null for `other`.
    units: Option<u64>,
}

impl AnalysisQuestion for PathsQuestion {
    type Analysis = Paths;
    type View = PathsView;

    fn resolve(self, scope: AnalysisScope) -> Result<Paths, QueryError> {
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(refused(format!("`limit` is from 1 to {LIMIT_MAX}")));
        }
        Ok(Paths {
            scope,
            start: self.start.0,
            events: events_or_acts(self.events),
            by: self.by,
            timeout: length("timeout", self.timeout.as_deref().unwrap_or("30m"))?,
            limit,
        })
    }

    fn view(
        question: Paths,
        head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<PathsView, QueryError> {
        let (counts, units) = (rows.counts("n")?, rows.counts("units")?);
        let names = rows.texts("event")?.into_iter().zip(rows.texts("grp")?);
        let starts: u64 = counts.iter().sum();
        let all = names.zip(counts).zip(units).map(|(((event, value), count), units)| NextStep {
            event,
            value,
            other: false,
            count,
            share: share(Some(count), Some(starts)),
            units: Some(units),
        });
        let mut next: Vec<_> = all.collect();
        let others = next.split_off(question.limit.min(next.len()));
        let count = others.iter().map(|step| step.count).sum();
        if !others.is_empty() {
            let share = share(Some(count), Some(starts));
            next.push(NextStep {
                event: None,
                value: None,
                other: true,
                count,
                share,
                units: None,
            });
        }
        Ok(PathsView { head, timeout_seconds: question.timeout.num_seconds(), starts, next })
    }
}
