//! Funnels.

use query::{
    QueryError,
    analysis::{AnalysisScope, EventFilter, Funnel},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, AnalysisQuestion, ResultColumns,
    question::{Event, events, length, refused},
    rows::share,
};

/// Groups that are shown.
const LIMIT: usize = 10;
const LIMIT_MAX: usize = 100;

/// What is asked of a funnel.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct FunnelQuestion {
    /// 2 to 10 events in their order, such as `activity.page_viewed`, `activity.page_viewed:country=DE` or
    /// `{"event": "usage.request", "filter": {…}}`. Filters are those of metrics.
    steps: Vec<Event>,
    /// The time from the first step to the last: `30m`, `12h`, `14d` (the default), `2w`; at most 366 days.
    #[serde(default)]
    within: Option<String>,
    /// Whoever does one of these between the first step and the last is not in the funnel.
    #[serde(default)]
    exclusions: Vec<Event>,
    /// A dimension of the first step: units are split by the first value that they had.
    #[serde(default)]
    by: Option<String>,
    /// How many groups are shown, 1 to 100; 10 without it. The others are one.
    #[serde(default)]
    limit: Option<usize>,
}

/// How many came how far.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunnelView {
    #[serde(flatten)]
    head: AnalysisHead,
    /// Seconds from the first step to the last.
    within_seconds: i64,
    /// Whoever started last still has time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    steps: Vec<FunnelStep>,
    /// The same for each value of `by`, the most units first.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<FunnelGroup>>,
}

/// Those who reached a step.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunnelStep {
    event: String,
    /// Units. Null where they are too few to be shown.
    count: Option<u64>,
    /// Their share of those who did the first step.
    conversion: Option<f64>,
    /// Their share of those who reached the step before.
    step_conversion: Option<f64>,
    /// How long they took since the first step, in seconds; half of them took less. Null for the first step, and for
    /// `other`.
    median_seconds: Option<f64>,
    mean_seconds: Option<f64>,
}

/// The funnel of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FunnelGroup {
    /// Null where the first step has no value.
    group: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    other: bool,
    steps: Vec<FunnelStep>,
}

/// The units that came to each step, and the median and mean times of each step but the first.
#[derive(Debug, Clone, Default)]
struct StepCounts {
    counts: Vec<u64>,
    times: Vec<(Option<f64>, Option<f64>)>,
}

impl AnalysisQuestion for FunnelQuestion {
    type Analysis = Funnel;
    type View = FunnelView;

    fn resolve(self, scope: AnalysisScope) -> Result<Funnel, QueryError> {
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(refused(format!("`limit` is from 1 to {LIMIT_MAX}")));
        }
        Ok(Funnel {
            scope,
            steps: events(self.steps),
            within: length("within", self.within.as_deref().unwrap_or("14d"))?,
            exclusions: events(self.exclusions),
            by: self.by,
            limit,
        })
    }

    fn view(
        question: Funnel,
        head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<FunnelView, QueryError> {
        let all = step_counts(&question, rows)?;
        let is_total = rows.texts("total")?;
        let (mut total, mut groups) = (StepCounts::none(&question), Vec::new());
        for ((counts, group), is_total) in all.into_iter().zip(rows.texts("grp")?).zip(is_total) {
            match is_total.as_deref() {
                Some("true") => total = counts,
                _ => groups.push((group, counts)),
            }
        }
        let groups = question.by.is_some().then(|| {
            // By size, then by name.
            groups.sort_by(|(a, left), (b, right)| {
                right.counts.cmp(&left.counts).then_with(|| (a.is_none(), a).cmp(&(b.is_none(), b)))
            });
            let others = groups.split_off(question.limit.min(groups.len()));
            let other = others.into_iter().map(|(_, counts)| counts).reduce(StepCounts::and);
            let shown = groups.into_iter().map(|(group, counts)| (group, false, counts));
            let shown = shown.chain(other.map(|counts| (None, true, counts)));
            shown
                .map(|(group, other, counts)| FunnelGroup {
                    group,
                    other,
                    steps: counts.steps(&question.steps, rows),
                })
                .collect()
        });
        Ok(FunnelView {
            within_seconds: question.within.num_seconds(),
            incomplete: rows.is_incomplete(question.scope.window.to + question.within),
            steps: total.steps(&question.steps, rows),
            groups,
            head,
        })
    }
}

/// Each row's counts and times.
fn step_counts(question: &Funnel, rows: &ResultColumns) -> Result<Vec<StepCounts>, QueryError> {
    let first = rows.counts("n1")?;
    let mut all: Vec<_> = first
        .into_iter()
        .map(|count| StepCounts { counts: vec![count], times: Vec::new() })
        .collect();
    for step in 2..=question.steps.len() {
        let counts = rows.counts(&format!("n{step}"))?;
        let (medians, means) =
            (rows.numbers(&format!("median{step}"))?, rows.numbers(&format!("mean{step}"))?);
        let found = counts.into_iter().zip(medians.into_iter().zip(means));
        for (row, (count, times)) in all.iter_mut().zip(found) {
            row.counts.push(count);
            row.times.push(times);
        }
    }
    Ok(all)
}

impl StepCounts {
    /// Nobody came.
    fn none(question: &Funnel) -> Self {
        let steps = question.steps.len();
        Self { counts: vec![0; steps], times: vec![(None, None); steps.saturating_sub(1)] }
    }

    /// Both together. Their times are not known.
    fn and(self, other: Self) -> Self {
        let counts = self.counts.iter().zip(&other.counts).map(|(a, b)| a + b).collect();
        Self { counts, times: vec![(None, None); self.times.len()] }
    }

    fn steps(&self, events: &[EventFilter], rows: &ResultColumns) -> Vec<FunnelStep> {
        let counts: Vec<_> = self.counts.iter().map(|count| rows.shown(*count)).collect();
        let times = std::iter::once((None, None)).chain(self.times.iter().copied());
        let steps = events.iter().zip(&counts).zip(times).enumerate();
        steps
            .map(|(i, ((event, count), (median_seconds, mean_seconds)))| FunnelStep {
                event: event.event.clone(),
                count: *count,
                conversion: share(*count, counts[0]),
                step_conversion: share(*count, counts[i.saturating_sub(1)]),
                median_seconds: rows.time(median_seconds),
                mean_seconds: rows.time(mean_seconds),
            })
            .collect()
    }
}
