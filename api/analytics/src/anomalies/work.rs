//! Looks for anomalies, and for what is behind them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use query::{
    QueryError,
    metric::{Audience, Filter, Grain},
};
use reports::anomaly::{AnomalySeries, FoundAnomaly, find};
use rest::problem::Problem;
use serde_json::{Value, json};
use state::{
    jobs::{JobError, JobKind, Repeat},
    store::StoreError,
};

use super::{
    anomaly::{self, Anomaly, AnomalyFilter, KeptCause, ORGANIZATION, Verdict},
    watch::{self, Fleet},
    why::{self, Question},
};
use crate::{
    Lake,
    alerts::reading::{ReadError, Reader},
};

const EVERY: Duration = Duration::from_secs(3_600);
/// The first look after a start waits for the rollups, and for those who open pages.
const FIRST: TimeDelta = TimeDelta::seconds(30);
const AGAIN: Duration = Duration::from_secs(120);
const OF_ERRORS: [&str; 2] = ["error_code", "status_class"];
/// Causes that one look finds, the newest.
const CAUSES: usize = 20;
/// What was dismissed has to be so much larger to be shown again.
const LARGER: f64 = 1.5;

pub(super) fn register(lake: &Lake) {
    let looking = lake.clone();
    let kind = JobKind { backoff: |_| Some(AGAIN), ..JobKind::new("anomalies") };
    let first = lake.state.clock.now() + FIRST;
    lake.state.jobs.repeat_from(kind, Repeat::Every(EVERY), AGAIN, first, move |_| {
        let lake = looking.clone();
        async move { look(&lake).await.map_err(|error| JobError::of(&error)) }
    });
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("it was cut off")]
    Stopped,
}

async fn look(lake: &Lake) -> Result<Value, LookError> {
    let mut counts = json!({});
    for grain in [Grain::Hour, Grain::Day] {
        let fleet = Box::pin(watch::fleet(lake, grain)).await?;
        let (series, since, until) = (fleet.series.len(), fleet.since, fleet.until);
        let found = found(lake, fleet).await?;
        let now = lake.state.clock.now();
        let write = lake.state.store.write().await?;
        anomaly::replace(&write, &watch::metrics(grain), since, &found, now).await?;
        anomaly::note_look(&write, grain.name(), now, until).await?;
        write.commit().await?;
        counts[grain.name()] = json!({"series": series, "found": found.len()});
    }
    counts["explained"] = json!(explain(lake).await?);
    Ok(counts)
}

async fn found(lake: &Lake, fleet: Fleet) -> Result<Vec<FoundAnomaly>, LookError> {
    let judged = anomaly::judged(&lake.state.store).await?;
    let looking = tokio::task::spawn_blocking(move || {
        let Fleet { mut series, since, .. } = fleet;
        series.iter_mut().for_each(|one| take_in(one, &judged));
        find(&series, since)
    });
    looking.await.map_err(|_| LookError::Stopped)
}

/// What people said: what is confirmed is not learned from, and what is dismissed has to be larger to be found again.
fn take_in(series: &mut AnomalySeries, judged: &[Anomaly]) {
    for one in judged.iter().filter(|one| one.found.key == series.key) {
        match one.verdict {
            Some(Verdict::Confirmed) => {
                for (at, value) in &mut series.points {
                    if one.found.from <= *at && *at < one.found.to {
                        *value = None;
                    }
                }
            }
            Some(Verdict::Dismissed) => {
                let buckets = series
                    .points
                    .iter()
                    .filter(|(at, _)| one.found.from <= *at && *at < one.found.to)
                    .count()
                    .max(1);
                let of_bucket = match series.additive {
                    true => one.found.impact().abs() / buckets as f64,
                    false => one.found.impact().abs(),
                };
                series.dismissed = series.dismissed.max(LARGER * of_bucket);
            }
            None => {}
        }
    }
}

/// Looks for what is behind those that nobody looked at yet, and gives how many.
async fn explain(lake: &Lake) -> Result<usize, LookError> {
    let all = anomaly::list(&lake.state.store, &AnomalyFilter::default()).await?;
    let is_open = |one: &&Anomaly| one.cause.is_none() && one.same_as.is_none();
    let open: Vec<&Anomaly> = all.iter().filter(is_open).take(CAUSES).collect();
    for one in &open {
        let cause = match Box::pin(cause(lake, &one.found)).await {
            Ok(KeptCause::Unknown) => shows_in(one, &all),
            Ok(cause) => cause,
            // A later look may find it.
            Err(error) => {
                tracing::warn!(%error, anomaly = one.id, "an anomaly is not explained");
                continue;
            }
        };
        let write = lake.state.store.write().await?;
        anomaly::set_cause(&write, &one.id, &cause).await?;
        write.commit().await?;
    }
    Ok(open.len())
}

/// Where the same metric is unusual at the same time.
fn shows_in(head: &Anomaly, all: &[Anomaly]) -> KeptCause {
    let of_it = all.iter().filter(|one| {
        one.same_as.as_deref() == Some(head.id.as_str())
            && one.found.key.metric == head.found.key.metric
    });
    let mut parts: Vec<_> =
        of_it.filter_map(|one| Some((one.found.key.dimension.as_ref()?, one))).collect();
    parts.sort_by_key(|(dimension, _)| dimension.as_str());
    let Some((dimension, _)) = parts.first().copied() else { return KeptCause::Unknown };
    let values = parts.iter().filter(|(other, _)| *other == dimension);
    KeptCause::Shows {
        dimension: dimension.clone(),
        values: values.map(|(_, one)| one.found.key.value.clone()).collect(),
    }
}

/// The values that an anomaly comes from, compared with the same time a week before.
async fn cause(lake: &Lake, found: &FoundAnomaly) -> Result<KeptCause, LookError> {
    let key = &found.key;
    // Of a rate, what is counted above the line.
    let metric = if key.metric == "error_rate" { "errors" } else { &key.metric };
    let Some(metric) = lake.catalog.metric(metric).filter(|metric| metric.additive_by_group())
    else {
        return Ok(KeptCause::Unknown);
    };
    let filter = match (&key.dimension, &key.value) {
        (Some(dimension), Some(value)) if !value.is_empty() => {
            Filter::parse(&format!("{dimension}={value}")).ok().filter(|_| !value.contains(','))
        }
        (Some(_), _) => return Ok(KeptCause::Unknown),
        (None, _) => None,
    };
    let week_before = |at: DateTime<Utc>| lake.metrics.zone.days_before(at, 7);
    let reader = Reader::system(lake);
    let question = Question {
        metric,
        filter,
        window: (found.from, found.to),
        before: (week_before(found.from), week_before(found.to)),
        earlier: Vec::new(),
        cut: lake.lakehouse.cut(),
        zone: lake.metrics.zone,
        currency: key.currency.clone(),
        // Members see what is of their organization: of that, only what they may split by.
        dimensions: {
            let audience = match key.dimension.as_deref() {
                Some(ORGANIZATION) => Audience::Organization,
                _ => Audience::Staff,
            };
            let mut all = why::dimensions(lake, metric, audience, key.dimension.as_deref());
            // What errors are called says what happened, and not where.
            all.retain(|name| metric.name != "errors" || !OF_ERRORS.contains(&name.as_str()));
            all
        },
    };
    let parts = Box::pin(why::parts(lake, &reader, &question)).await?;
    Ok(why::cause(&parts))
}
