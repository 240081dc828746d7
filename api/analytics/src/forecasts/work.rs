//! Makes the forecasts of the main metrics once a day, and keeps them.

use std::time::Duration;

use chrono::TimeDelta;
use pipeline::Cut;
use query::{MetricContext, QueryError, metric::Grain};
use reports::metric_forecast::{ForecastError, horizon_max};
use serde_json::{Value, json};
use state::{
    jobs::{JobError, JobKind, Repeat},
    store::StoreError,
};

use super::kept::{self, Kept};
use crate::{
    Lake,
    alerts::reading::Reader,
    as_of::CutCipher,
    metrics::{ForecastParameters, ForecastView},
};

/// The metrics that are forecast, with their grain.
pub(super) const MAIN: [(&str, Grain); 7] = [
    ("usage_revenue", Grain::Day),
    ("requests", Grain::Day),
    ("tokens", Grain::Day),
    ("active_organizations", Grain::Day),
    ("sign_ups", Grain::Day),
    ("requests", Grain::Hour),
    ("mrr", Grain::Day),
];

const EVERY: Duration = Duration::from_secs(86_400);
/// The first time after a start waits for the rollups.
const FIRST: TimeDelta = TimeDelta::seconds(60);
const AGAIN: Duration = Duration::from_secs(600);
/// Nobody waits for it.
const DEADLINE_MS: u64 = 600_000;

pub(super) fn register(lake: &Lake) {
    let making = lake.clone();
    let kind = JobKind { backoff: |_| Some(AGAIN), ..JobKind::new("forecasts") };
    let first = lake.state.clock.now() + FIRST;
    lake.state.jobs.repeat_from(kind, Repeat::Every(EVERY), AGAIN, first, move |_| {
        let lake = making.clone();
        async move { Box::pin(make(&lake)).await.map_err(|error| JobError::of(&error)) }
    });
}

#[derive(Debug, thiserror::Error)]
enum ForecastJobError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Forecast(#[from] ForecastError),
    #[error("it was cut off")]
    Stopped,
}

async fn make(lake: &Lake) -> Result<Value, ForecastJobError> {
    let (mut made, mut skipped) = (Vec::new(), json!({}));
    let cut = lake.lakehouse.cut();
    for (name, grain) in MAIN {
        let label = format!("{name} by {}", grain.name());
        match Box::pin(one(lake, &cut, name, grain)).await {
            Ok(Some(view)) => {
                let kept = Kept {
                    from: view.from,
                    made_at: lake.state.clock.now(),
                    as_of: view.as_of.clone(),
                    forecast: serde_json::to_value(&view).unwrap_or_default(),
                };
                let write = lake.state.store.write().await?;
                kept::keep(&write, name, grain, &kept).await?;
                write.commit().await?;
                made.push(label);
            }
            // One that cannot be made leaves the others alone.
            Err(error) => skipped[label] = error.to_string().into(),
            // A deployment may have replaced the metric.
            Ok(None) => {}
        }
    }
    let write = lake.state.store.write().await?;
    kept::trim(&write, lake.state.clock.now()).await?;
    write.commit().await?;
    Ok(json!({"made": made, "skipped": skipped}))
}

async fn one(
    lake: &Lake,
    cut: &Cut,
    name: &str,
    grain: Grain,
) -> Result<Option<ForecastView>, ForecastJobError> {
    let Some(metric) = lake.catalog.metric(name).cloned() else { return Ok(None) };
    let asked = ForecastParameters {
        grain: Some(grain.name().to_owned()),
        ..ForecastParameters::default()
    };
    let now = lake.state.clock.now();
    let question = asked.question(&metric, &lake.metrics, now)?;
    let reader = Reader::system(lake);
    let context = MetricContext { deadline_ms: DEADLINE_MS, ..reader.context(lake, cut) };
    let history = question.read(&lake.engine, context).await?;
    // Only staff see what is kept.
    let as_of = CutCipher::for_staff(cut);
    let most = horizon_max(grain).unwrap_or_default();
    let made = tokio::task::spawn_blocking(move || {
        question.shown(most).forecast(&metric, &history, as_of)
    });
    Ok(Some(made.await.map_err(|_| ForecastJobError::Stopped)??))
}
