//! What is watched, and its values.

use chrono::{DateTime, TimeDelta, Utc};
use query::metric::{Grain, Unit};
use reports::{
    alert::{AlertRule, AlertSeries, AtLeast, Condition, Watched},
    anomaly::{AnomalySeries, SeriesName},
};
use rust_decimal::{Decimal, prelude::ToPrimitive};

use crate::{
    Lake,
    alerts::reading::{self, ReadError, Reader, Source, Span},
    annotations,
};

/// A metric, and how it is split.
struct Watch {
    metric: &'static str,
    by: Option<&'static str>,
    grain: Grain,
    /// Of what is divided: buckets of fewer requests say nothing.
    least_requests: u32,
}

const fn hourly(metric: &'static str, by: Option<&'static str>, least_requests: u32) -> Watch {
    Watch { metric, by, grain: Grain::Hour, least_requests }
}

const fn daily(metric: &'static str) -> Watch {
    Watch { metric, by: None, grain: Grain::Day, least_requests: 0 }
}

/// The main metrics: of everything, of the largest organizations, of each model.
const WATCHED: [Watch; 12] = [
    hourly("requests", None, 0),
    hourly("requests", Some("organization_id"), 0),
    hourly("requests", Some("model"), 0),
    hourly("usage_revenue", None, 0),
    hourly("usage_revenue", Some("organization_id"), 0),
    hourly("error_rate", None, 30),
    hourly("error_rate", Some("model"), 50),
    hourly("p95_latency", None, 30),
    hourly("p95_latency", Some("model"), 50),
    daily("sign_ups"),
    daily("failed_payments"),
    daily("paid"),
];

/// Days that are looked at, and those before them that say what is usual.
pub(super) const LOOKED_DAYS: i64 = 56;
const LEARNED_DAYS: i64 = 21;
const DAILY_LEARNED_DAYS: i64 = 120;
/// A value of a dimension matters if it differs by this part of the whole; amounts vary more.
const PART: f64 = 0.1;
const PART_OF_MONEY: f64 = 0.2;
/// The whole matters if it differs by this part of its mean.
const OF_WHOLE: f64 = 0.1;

/// The series of one grain, until the last bucket that is over.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) series: Vec<AnomalySeries>,
    pub(super) since: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

/// Reads the series of one grain.
pub(super) async fn fleet(lake: &Lake, grain: Grain) -> Result<Fleet, ReadError> {
    let (now, zone) = (lake.state.clock.now(), lake.metrics.zone);
    let until = grain.start(now - lake.metrics.lateness, zone);
    let learned = if grain == Grain::Hour { LEARNED_DAYS } else { DAILY_LEARNED_DAYS };
    let since = grain.start(until - TimeDelta::days(LOOKED_DAYS), zone);
    let first = grain.start(since - TimeDelta::days(learned), zone);
    let reader = Reader::system(lake);
    let maintenance = annotations::maintenance(&lake.state.store, first, until).await?;
    let mut series: Vec<AnomalySeries> = Vec::new();
    for watch in WATCHED.iter().filter(|watch| watch.grain == grain) {
        let rule = watch.rule();
        // A deployment may have replaced a metric by one without this dimension.
        let Ok(source) = Source::of(lake, &reader, &rule) else { continue };
        let Source::Metric(metric) = source else { continue };
        let span = Span { first, to: until, zone };
        let found = Box::pin(reading::series(lake, &reader, &rule, source, span)).await?;
        let whole = |currency: &Option<String>| {
            let is_whole = |one: &&AnomalySeries| {
                let key = &one.key;
                key.metric == watch.metric && key.dimension.is_none() && key.currency == *currency
            };
            series.iter().find(is_whole).map(|one| one.least / OF_WHOLE)
        };
        let made: Vec<AnomalySeries> = found
            .into_iter()
            .map(|one| {
                let mut made = watch.series(one, metric.unit, Watched::from(metric).better);
                made.leave_out(&maintenance, |at| grain.end(at, zone));
                made.additive = metric.additive_by_time();
                made.least = match metric.unit {
                    Unit::Ratio | Unit::Milliseconds | Unit::Number => 0.0,
                    unit => match (watch.by, whole(&made.key.currency)) {
                        (Some(_), Some(whole)) if unit == Unit::Money => PART_OF_MONEY * whole,
                        (Some(_), Some(whole)) => PART * whole,
                        _ => OF_WHOLE * mean(&made.points),
                    },
                };
                made
            })
            .collect();
        series.extend(made);
    }
    cut_silence(&mut series);
    Ok(Fleet { series, since, until })
}

/// Buckets at the end in which there is no request at all say that no events came yet, and not that everything fell.
fn cut_silence(series: &mut [AnomalySeries]) {
    let whole =
        series.iter().find(|one| one.key.metric == "requests" && one.key.dimension.is_none());
    let Some(whole) = whole else { return };
    let is_silent = |(_, value): &&(DateTime<Utc>, Option<f64>)| value.unwrap_or_default() == 0.0;
    let silent = whole.points.iter().rev().take_while(is_silent).count();
    for one in series {
        one.points.truncate(one.points.len().saturating_sub(silent));
    }
}

fn mean(points: &[(DateTime<Utc>, Option<f64>)]) -> f64 {
    let values = points.iter().filter_map(|(_, value)| *value);
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

impl Watch {
    fn rule(&self) -> AlertRule {
        AlertRule {
            metric: self.metric.to_owned(),
            filters: Vec::new(),
            by: self.by.map(str::to_owned),
            interval: self.grain,
            condition: Condition::Above { value: Decimal::ZERO },
            at_least: (self.least_requests > 0).then(|| AtLeast {
                metric: "requests".to_owned(),
                value: self.least_requests.into(),
            }),
            for_intervals: 1,
            recover_after: 1,
            overrides: Vec::new(),
        }
    }

    fn series(
        &self,
        found: AlertSeries,
        unit: Unit,
        better: reports::DesiredDirection,
    ) -> AnomalySeries {
        let AlertSeries { group, currency, points, volumes } = found;
        let least = Decimal::from(self.least_requests);
        let enough = |place: usize| {
            self.least_requests == 0
                || volumes.get(place).copied().flatten().is_some_and(|volume| volume >= least)
        };
        let points: Vec<_> = points
            .iter()
            .enumerate()
            .map(|(place, (at, value))| {
                let value = value.filter(|_| enough(place)).and_then(|value| value.to_f64());
                (*at, value)
            })
            // The time before the business began is no history.
            .skip_while(|(_, value)| value.is_none_or(|value| value == 0.0))
            .collect();
        AnomalySeries {
            key: SeriesName {
                metric: self.metric.to_owned(),
                dimension: self.by.map(str::to_owned),
                value: self.by.map(|_| group.unwrap_or_default()),
                currency,
            },
            unit,
            better,
            grain: self.grain,
            additive: true,
            points,
            least: 0.0,
            dismissed: 0.0,
        }
    }
}

/// The metrics that are watched at a grain.
pub(super) fn metrics(grain: Grain) -> Vec<&'static str> {
    let mut metrics: Vec<_> =
        WATCHED.iter().filter(|watch| watch.grain == grain).map(|watch| watch.metric).collect();
    metrics.dedup();
    metrics
}
