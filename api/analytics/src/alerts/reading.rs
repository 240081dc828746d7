//! The values that an alert looks at.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pipeline::Cut;
use query::{
    MetricContext, QueryError, RowAccess, Zone,
    metric::{
        Audience, Fill, Filter, Grain, Group, Groups, Metric, MetricAnswer, MetricRequest, Number,
        Unit, audience,
    },
};
use reports::{
    DesiredDirection,
    alert::{AlertRule, AlertSeries, Watched},
};
use rest::{
    principal::Principal,
    problem::{Code, Problem},
};
use rust_decimal::Decimal;
use state::{
    jobs::{self, JobFilter, JobState},
    store::{Store, StoreError},
};

use crate::{Lake, persons, queries::reach, reporting};

/// Whose rights the values are read with.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) reach: RowAccess,
    persons: bool,
    min_persons: Option<u32>,
}

impl Reader {
    pub(crate) async fn of(lake: &Lake, who: &Principal) -> Result<Self, StoreError> {
        Ok(Self {
            reach: reach(who),
            persons: persons::are_shown_to(&lake.state.store, who).await?,
            min_persons: lake.min_persons(who),
        })
    }

    /// What metrics are asked with, by work that nobody waits for.
    pub(crate) fn context<'a>(&'a self, lake: &'a Lake, cut: &'a Cut) -> MetricContext<'a> {
        MetricContext {
            catalog: &lake.catalog,
            reach: &self.reach,
            cut,
            persons: self.persons,
            min_persons: self.min_persons,
            now: lake.state.clock.now().timestamp_micros(),
            deadline_ms: lake.deadline_ms(),
            gives_way: true,
        }
    }

    /// What came with the program reads as staff, and shows no values of few persons.
    pub(crate) fn system(lake: &Lake) -> Self {
        let min_persons = Some(lake.metrics.min_persons).filter(|min| *min > 1);
        Self { reach: RowAccess::Staff, persons: false, min_persons }
    }
}

/// Where the values come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    Metric(&'a Metric),
    /// Reports that could not be made, and deliveries of them that failed.
    FailedReports,
    FailedJobs,
}

/// What is watched of the server itself.
pub(crate) const FAILED_REPORTS: &str = "system.failed_reports";
pub(crate) const FAILED_JOBS: &str = "system.failed_jobs";

/// Groups that are watched: the largest of all that is looked at, and those of the new intervals.
const GROUPS_MAX: usize = 100;
/// With forecasts: each takes its time.
const FORECAST_GROUPS_MAX: usize = 20;
/// Values that are asked for at once: an answer has at most 200,000 rows, and some metrics several for each currency.
const ROWS_AT_ONCE: usize = 40_000;
/// Failed jobs that are looked at.
const JOBS_MAX: u64 = 1_000;

impl<'a> Source<'a> {
    /// The source of a rule; refused where the reader does not know it, or cannot split or filter it so.
    pub(crate) fn of(lake: &'a Lake, reader: &Reader, rule: &AlertRule) -> Result<Self, Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        let audience = audience(&reader.reach);
        let own = match rule.metric.as_str() {
            FAILED_REPORTS => Some(Self::FailedReports),
            FAILED_JOBS => Some(Self::FailedJobs),
            _ => None,
        };
        if let Some(own) = own.filter(|_| audience == Audience::Staff) {
            let is_split = rule.by.is_some() || !rule.filters.is_empty() || rule.at_least.is_some();
            return match is_split {
                true => refuse(format!("`{}` is neither split nor filtered", rule.metric)),
                false => Ok(own),
            };
        }
        let metric = |name: &str| {
            lake.catalog.get(name, audience).map_err(|error| {
                Problem::bad_request(Code::InvalidField, format!("`metric`: {error}"))
            })
        };
        let found = metric(&rule.metric)?;
        let mut asked = vec![found];
        if let Some(least) = &rule.at_least {
            asked.push(metric(&least.metric)?);
        }
        for metric in asked {
            let knows = |name: &str| {
                lake.catalog.dimensions(metric, audience).any(|known| known.name == name)
            };
            if let Some(by) = rule.by.as_deref().filter(|by| !knows(by)) {
                return refuse(format!("`by`: `{}` is not split by `{by}`", metric.name));
            }
            for text in &rule.filters {
                let filter = Filter::parse(text).map_err(|error| {
                    Problem::bad_request(Code::InvalidField, format!("`filters`: {error}"))
                })?;
                let other = filter.conditions().into_iter().find(|one| !knows(&one.dimension));
                if let Some(other) = other {
                    let name = &other.dimension;
                    return refuse(format!("`{}` is not filtered by `{name}`", metric.name));
                }
            }
        }
        Ok(Self::Metric(found))
    }

    /// What the rules must know. The goals are of the whole business, not of one organization.
    pub(crate) fn watched(self, reader: &Reader) -> Watched {
        match self {
            Self::Metric(metric) => {
                let is_staff = audience(&reader.reach) == Audience::Staff;
                let watched = Watched::from(metric);
                Watched { goal: watched.goal.filter(|_| is_staff), ..watched }
            }
            Self::FailedReports | Self::FailedJobs => Watched {
                unit: Unit::Count,
                better: DesiredDirection::Lower,
                goal: None,
                matures_days: 0,
            },
        }
    }
}

/// Why an alert was not looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The intervals that are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// The first that is looked at. Earlier ones are what it is compared with.
    pub(crate) first: DateTime<Utc>,
    /// The end of the last.
    pub(crate) to: DateTime<Utc>,
    pub(crate) zone: Zone,
}

/// The values of every group, an interval after the other.
pub(crate) async fn series(
    lake: &Lake,
    reader: &Reader,
    rule: &AlertRule,
    source: Source<'_>,
    span: Span,
) -> Result<Vec<AlertSeries>, ReadError> {
    let from = rule.known_from(span.first, span.zone);
    let starts = starts(rule.interval, from, span.to, span.zone);
    if !matches!(source, Source::Metric(_)) {
        let times = failures(lake, source, from, span.to).await?;
        return Ok(vec![counted(&starts, &times)]);
    }
    let cut = lake.lakehouse.cut();
    let asking = reader.context(lake, &cut);
    let filters: Vec<Filter> =
        rule.filters.iter().filter_map(|text| Filter::parse(text).ok()).collect();
    let request = |metric: &str, groups: Groups| MetricRequest {
        zone: span.zone,
        by: rule.by.iter().cloned().collect(),
        filter: (!filters.is_empty()).then(|| Filter::all(filters.clone())),
        groups,
        fill: Fill::Zero,
        ..MetricRequest::new(metric, from, span.to).with_grain(rule.interval)
    };
    let groups = match &rule.by {
        None => Groups::All,
        Some(_) => {
            let most = if rule.is_of_forecast() { FORECAST_GROUPS_MAX } else { GROUPS_MAX };
            Groups::These(largest(lake, asking, &request, span, (&rule.metric, most)).await?)
        }
    };
    let count = match &groups {
        Groups::These(these) if these.is_empty() => return Ok(Vec::new()),
        Groups::These(these) => these.len() + 1,
        _ => 1,
    };
    let (mut all, mut volumes) = (ByKey::new(), rule.at_least.is_some().then(ByKey::new));
    for piece in starts.chunks((ROWS_AT_ONCE / count).max(1)) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { continue };
        let of_piece = |request: MetricRequest| MetricRequest {
            from: *first,
            to: rule.interval.end(*last, span.zone).min(span.to),
            ..request
        };
        let mut asked = vec![of_piece(request(&rule.metric, groups.clone()))];
        let least = rule.at_least.iter();
        asked.extend(least.map(|least| of_piece(request(&least.metric, groups.clone()))));
        let mut answers = ask(lake, &asked, asking).await?.into_iter();
        for (found, answer) in std::iter::once(&mut all).chain(&mut volumes).zip(&mut answers) {
            for (key, values) in values(&answer) {
                found.entry(key).or_default().extend(values);
            }
        }
    }
    Ok(assembled(&starts, all, volumes.as_ref()))
}

/// The series, each with what the other metric has.
fn assembled(starts: &[DateTime<Utc>], all: ByKey, volumes: Option<&ByKey>) -> Vec<AlertSeries> {
    let made = all.into_iter().map(|((group, currency), values)| {
        let volume = volumes.map(|volumes| {
            // What it has to have at least is of no currency, or of the same.
            let same = [(group.clone(), currency.clone()), (group.clone(), None)];
            same.iter().find_map(|key| volumes.get(key))
        });
        AlertSeries {
            points: starts.iter().map(|at| (*at, values.get(at).copied().flatten())).collect(),
            volumes: volume
                .map(|volume| {
                    let of = |at| volume.and_then(|volume| volume.get(at).copied().flatten());
                    starts.iter().map(of).collect()
                })
                .unwrap_or_default(),
            group,
            currency,
        }
    });
    made.collect()
}

async fn ask(
    lake: &Lake,
    requests: &[MetricRequest],
    asking: MetricContext<'_>,
) -> Result<Vec<MetricAnswer>, QueryError> {
    lake.engine.metrics(requests, asking).await
}

/// The groups of an answer, the largest first.
fn ranked(answer: MetricAnswer) -> Vec<Group> {
    let mut rows = answer.rows;
    rows.retain(|row| !row.other);
    rows.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.group.cmp(&b.group)));
    rows.into_iter().map(|row| row.group).collect()
}

/// The largest groups of everything, and of the intervals that are new: one that was small so far may be large now.
async fn largest(
    lake: &Lake,
    asking: MetricContext<'_>,
    request: &impl Fn(&str, Groups) -> MetricRequest,
    span: Span,
    (metric, most): (&str, usize),
) -> Result<Vec<Group>, QueryError> {
    let whole =
        MetricRequest { grain: None, fill: Fill::Auto, ..request(metric, Groups::Largest(most)) };
    let new = MetricRequest { from: span.first, ..whole.clone() };
    let answers = ask(lake, &[whole, new], asking).await?;
    let ranked: Vec<Vec<Group>> = answers.into_iter().map(ranked).collect();
    let longest = ranked.iter().map(Vec::len).max().unwrap_or_default();
    // By turns: those that were always large, and those that are now.
    let by_turns = (0..longest).flat_map(|place| ranked.iter().filter_map(move |of| of.get(place)));
    let mut groups: Vec<Group> = Vec::new();
    for group in by_turns {
        if groups.len() < most && !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    Ok(groups)
}

type Key = (Option<String>, Option<String>);
type ByKey = BTreeMap<Key, Values>;
type Values = BTreeMap<DateTime<Utc>, Option<Decimal>>;

fn values(answer: &MetricAnswer) -> ByKey {
    let mut all = ByKey::new();
    for row in answer.rows.iter().filter(|row| !row.other) {
        let Some(at) = row.at else { continue };
        let key = (row.group.first().cloned().flatten(), row.currency.clone());
        all.entry(key).or_default().insert(at, row.value.map(Number::to_decimal));
    }
    // A row of no currency beside rows of money is a bucket without any amount.
    if all.keys().any(|(_, currency)| currency.is_some()) {
        all.retain(|(_, currency), _| currency.is_some());
    }
    all
}

fn starts(
    interval: Grain,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    zone: Zone,
) -> Vec<DateTime<Utc>> {
    let first = interval.start(from, zone);
    std::iter::successors(Some(first), |at| Some(interval.end(*at, zone)))
        .take_while(|at| *at < to)
        .collect()
}

/// When something of the server failed.
async fn failures(
    lake: &Lake,
    source: Source<'_>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<DateTime<Utc>>, StoreError> {
    let store: &Store = &lake.state.store;
    let times = match source {
        Source::FailedReports => reporting::failed_at(store, from, to).await?,
        _ => {
            let failed = JobFilter { state: Some(JobState::Failed), ..JobFilter::default() };
            let jobs = jobs::list(store, &failed, JOBS_MAX).await?;
            jobs.into_iter().filter_map(|job| job.finished_at).collect()
        }
    };
    Ok(times)
}

fn counted(starts: &[DateTime<Utc>], times: &[DateTime<Utc>]) -> AlertSeries {
    let mut counts = vec![0_i64; starts.len()];
    for at in times {
        let after = starts.partition_point(|start| start <= at);
        if let Some(count) = after.checked_sub(1).and_then(|place| counts.get_mut(place)) {
            *count += 1;
        }
    }
    let points = starts.iter().zip(counts);
    AlertSeries {
        points: points.map(|(at, count)| (*at, Some(Decimal::from(count)))).collect(),
        ..AlertSeries::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_in_the_interval_that_they_came_in() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (from, to) = (at("2026-03-01T00:00:00Z"), at("2026-03-01T03:00:00Z"));
        let starts = starts(Grain::Hour, from, to, Zone::UTC);
        let times = ["00:00:00", "00:59:59", "02:30:00"];
        let times = times.map(|time| at(&format!("2026-03-01T{time}Z")));
        let early = [at("2026-02-28T23:59:59Z")];
        let series = counted(&starts, &[&times[..], &early].concat());
        let counts: Vec<_> = series.points.iter().map(|(_, count)| count.unwrap()).collect();
        assert_eq!(counts, [2, 0, 1].map(Decimal::from));
    }
}
