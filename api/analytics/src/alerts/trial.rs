//! A trial: when an alert would have fired, by the values of the past.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use query::metric::Grain;
use reports::alert::{AlertSeries, Evaluation, Firing, Verdict, firings};
use rest::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    alert::NewAlert,
    reading::{self, ReadError, Reader, Source, Span},
};
use crate::{Lake, queries::problem};

/// When an alert would have fired.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Trial {
    /// The start of the first interval that was looked at.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    /// The end of the last.
    #[schema(value_type = String, format = DateTime)]
    pub to: DateTime<Utc>,
    /// The values that were judged: intervals of groups.
    pub evaluations: usize,
    /// Those that met the condition.
    pub met: usize,
    /// Those that could not be judged: without a value, or anything to hold it against.
    pub unknown: usize,
    /// How often it would have fired.
    pub fired: usize,
    /// The first 500 of them, by time: `group`, `currency`, `opened`, `resolved`, `value`, `limit`.
    pub firings: Vec<Firing>,
}

/// A trial is over so many days.
pub(super) const DAYS: i64 = 90;
/// With forecasts of hours: a forecast of each day takes long.
const HOURLY_FORECAST_DAYS: i64 = 30;
const FIRINGS_MAX: usize = 500;

/// A trial that waits longer for its turn is refused.
const TURN: Duration = Duration::from_secs(30);
/// One trial at a time: it takes a core.
static TRIALS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);

/// Tries an alert on the past.
pub(super) async fn of(lake: &Lake, reader: &Reader, new: &NewAlert) -> Result<Trial, Problem> {
    let busy = || Problem::unavailable(TURN.as_secs()).explained("other trials are under way");
    let turn = tokio::time::timeout(TURN, TRIALS.acquire()).await.map_err(|_| busy())?;
    let _turn = turn.map_err(|_| Problem::internal())?;
    let rule = &new.rule;
    let source = Source::of(lake, reader, rule)?;
    let (watched, zone) = (source.watched(reader), new.zone(lake));
    let to = rule.closed_until(&watched, lake.state.clock.now(), lake.metrics.lateness, zone);
    let days = match rule.is_of_forecast() && rule.interval == Grain::Hour {
        true => HOURLY_FORECAST_DAYS,
        false => DAYS,
    };
    let first = rule.interval.start(to - TimeDelta::days(days), zone);
    let span = Span { first, to, zone };
    let series = reading::series(lake, reader, rule, source, span).await;
    let series = series.map_err(|error| match error {
        ReadError::Query(error) => problem(error),
        ReadError::Store(error) => error.into(),
    })?;
    let rule = rule.clone();
    let judged = tokio::task::spawn_blocking(move || {
        let judge = |series: &AlertSeries| {
            let found = rule.evaluate(series, &watched, first, zone);
            (firings(&rule, series, &found), found)
        };
        series.iter().map(judge).collect::<Vec<(Vec<Firing>, Vec<Evaluation>)>>()
    });
    let judged = judged.await.map_err(|_| Problem::internal())?;
    let count = |wanted: Verdict| {
        judged.iter().flat_map(|(_, found)| found).filter(|one| one.verdict == wanted).count()
    };
    let (met, unknown) = (count(Verdict::Met), count(Verdict::Unknown));
    let evaluations = judged.iter().map(|(_, found)| found.len()).sum();
    let mut all: Vec<Firing> = judged.into_iter().flat_map(|(firings, _)| firings).collect();
    all.sort_by(|a, b| a.opened.cmp(&b.opened).then_with(|| a.group.cmp(&b.group)));
    let fired = all.len();
    all.truncate(FIRINGS_MAX);
    Ok(Trial { from: first, to, evaluations, met, unknown, fired, firings: all })
}
