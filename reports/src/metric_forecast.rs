//! From a metric's answer to its forecast: the one place where numbers of the business meet the models.

use chrono::{DateTime, Duration, Utc};
use query::{
    Zone,
    metric::{Grain, MetricAnswer, MetricRequest, Number},
};
use serde::Serialize;

use crate::{Band, Forecasts};

/// A forecast of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricForecast {
    /// The models that were blended, heaviest first.
    pub model: String,
    /// The mean absolute error in the backtest, in units of the seasonal naive forecast's own; absent where the
    /// history repeats itself exactly.
    pub mase: Option<f64>,
    /// The symmetric percentage error in the backtest, from 0 to 200.
    pub smape: f64,
    /// How many times the past was forecast.
    pub origins: usize,
    pub points: Vec<Point>,
    /// For money its currency.
    pub currency: Option<String>,
}

/// The forecast of one bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub at: DateTime<Utc>,
    pub value: f64,
    /// From the narrowest to the widest.
    pub intervals: Vec<Interval>,
}

/// The value falls into it with the probability `level`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub level: f64,
    pub lower: f64,
    pub upper: f64,
}

#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    #[error("`{0}` has no history yet")]
    NoHistory(String),
    #[error("a forecast needs buckets of an hour, a day or a week")]
    Grain,
    #[error("the history of `{metric}` cannot be learned from: {source}")]
    Model {
        metric: String,
        #[source]
        source: forecast::Error,
    },
}

const LEVELS: [f64; 2] = [0.8, 0.95];

/// The question whose answer a forecast is made from: enough seasons to learn the rhythm.
pub fn history(metric: &str, grain: Grain, to: DateTime<Utc>) -> MetricRequest {
    let days = match grain {
        Grain::Minute | Grain::Hour => 42,
        Grain::Day => 180,
        Grain::Week | Grain::Month | Grain::Quarter | Grain::Year => 3 * 364,
    };
    MetricRequest::new(metric, to - Duration::days(days), to).with_grain(grain)
}

/// Forecasts the next `horizon` buckets after an answer. Of several currencies the one with the largest total.
pub fn forecast_metric(
    answer: &MetricAnswer,
    horizon: usize,
    zone: Zone,
) -> Result<MetricForecast, ForecastError> {
    let grain = answer.grain.ok_or(ForecastError::Grain)?;
    let season = season(grain).ok_or(ForecastError::Grain)?;
    let none = || ForecastError::NoHistory(answer.metric.clone());
    let currency = largest_currency(answer);
    let rows: Vec<_> = answer.rows.iter().filter(|row| row.currency == currency).collect();
    let last = rows.last().and_then(|row| row.at).ok_or_else(none)?;
    let values = learned_from(rows.iter().map(|row| row.value.map(Number::to_f64)));
    if values.is_empty() {
        return Err(none());
    }
    let refuse = |source| ForecastError::Model { metric: answer.metric.clone(), source };
    let series = forecast::Series::new(values, season).map_err(refuse)?;
    let forecast = forecast::forecast(&series, horizon, &LEVELS).map_err(refuse)?;
    // A bucket ends where the next begins, also where the clock changes.
    let starts =
        std::iter::successors(Some(grain.end(last, zone)), |at| Some(grain.end(*at, zone)));
    let points = starts.zip(&forecast.points).map(|(at, point)| Point {
        at,
        value: point.value,
        intervals: point
            .intervals
            .iter()
            .map(|i| Interval { level: i.level, lower: i.lower, upper: i.upper })
            .collect(),
    });
    let models = forecast.weights.iter().map(|(name, weight)| format!("{name} {weight:.2}"));
    Ok(MetricForecast {
        model: models.collect::<Vec<_>>().join(", "),
        mase: forecast.backtest.mase,
        smape: forecast.backtest.smape,
        origins: forecast.backtest.origins.len(),
        points: points.collect(),
        currency,
    })
}

/// Intervals after which a metric repeats itself.
fn season(grain: Grain) -> Option<usize> {
    match grain {
        Grain::Hour => Some(24),
        Grain::Day => Some(7),
        Grain::Week => Some(1),
        _ => None,
    }
}

/// What a forecast is learned from. What lies before the first value is no history but the time before the business began.
fn learned_from(values: impl Iterator<Item = Option<f64>>) -> Vec<f64> {
    values
        .map(|value| value.unwrap_or(f64::NAN))
        .skip_while(|value| value.is_nan() || *value == 0.0)
        .collect()
}

/// The next intervals after these values; none where they are too few, or of a length that is not forecast.
pub(crate) fn ahead(
    values: impl Iterator<Item = Option<f64>>,
    grain: Grain,
    horizon: usize,
    levels: &[f64],
) -> Vec<forecast::Point> {
    let made = || {
        let series = forecast::Series::new(learned_from(values), season(grain)?).ok()?;
        forecast::forecast(&series, horizon, levels).ok()
    };
    made().map(|forecast| forecast.points).unwrap_or_default()
}

/// Adds the band of a metric to the forecasts of a page. A history that is too short gives none.
pub fn add_bands(forecasts: &mut Forecasts, answer: &MetricAnswer, horizon: usize, zone: Zone) {
    let Ok(ahead) = forecast_metric(answer, horizon, zone) else { return };
    let bands = ahead.points.iter().filter_map(|point| {
        let widest = point.intervals.last()?;
        Some(Band { at: point.at, value: point.value, lower: widest.lower, upper: widest.upper })
    });
    forecasts.insert(&answer.metric, ahead.currency.as_deref(), bands.collect());
}

fn largest_currency(answer: &MetricAnswer) -> Option<String> {
    let mut totals = std::collections::BTreeMap::<_, Number>::new();
    for row in &answer.rows {
        let total = totals.entry(&row.currency).or_default();
        // It only orders the currencies.
        *total = total.checked_add(row.value.unwrap_or_default()).unwrap_or(*total);
    }
    totals.into_iter().max_by_key(|(_, total)| *total).and_then(|(currency, _)| currency.clone())
}

#[cfg(test)]
mod tests {
    use query::metric::{MetricRow, Unit};

    use super::*;

    fn answer(values: impl IntoIterator<Item = i64>) -> MetricAnswer {
        let start: DateTime<Utc> = "2026-01-05T00:00:00Z".parse().unwrap();
        let rows = (0..).zip(values).map(|(day, value)| MetricRow {
            at: Some(start + Duration::days(day)),
            group: Vec::new(),
            other: false,
            currency: None,
            value: Some(value.into()),
            suppressed: false,
        });
        MetricAnswer {
            metric: "requests".into(),
            unit: Unit::Count,
            grain: Some(Grain::Day),
            by: Vec::new(),
            rows: rows.collect(),
            sql: String::new(),
            read: Default::default(),
        }
    }

    #[test]
    fn a_weekly_rhythm_goes_on() {
        let week = [100, 110, 120, 115, 105, 40, 30];
        let ahead =
            forecast_metric(&answer((0..84).map(|day| week[day % 7])), 7, Zone::UTC).unwrap();
        assert_eq!(ahead.points.len(), 7);
        assert_eq!(ahead.points[0].at.to_rfc3339(), "2026-03-30T00:00:00+00:00");
        for (point, expected) in ahead.points.iter().zip(week) {
            assert!(
                (point.value - expected as f64).abs() < 15.0,
                "{point:?} is not near {expected}"
            );
            let [narrow, wide] = point.intervals[..] else { panic!("two levels") };
            assert!(wide.lower <= narrow.lower && narrow.upper <= wide.upper);
        }
    }

    #[test]
    fn the_time_before_the_business_is_no_history() {
        let error = forecast_metric(&answer([0, 0, 0]), 7, Zone::UTC).unwrap_err();
        assert!(matches!(error, ForecastError::NoHistory(_)), "{error}");
        assert!(
            forecast_metric(
                &answer((0..60).map(|day| if day < 30 { 0 } else { 50 })),
                7,
                Zone::UTC
            )
            .is_ok()
        );
    }
}
