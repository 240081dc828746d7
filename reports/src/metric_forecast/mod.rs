//! From a metric's answer to its forecast: the one place where numbers of the business meet the models.

mod business;
mod page;
mod past;
mod said;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use forecast::Explanation;
use query::{
    Zone,
    metric::{Grain, Group, MetricAnswer, MetricRequest, Number},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    business::{MonthEnd, Peak, Reached, Scenarios, month_end, peak, reached, scenarios},
    page::{ForecastCard, ForecastsPage, forecasts_page},
    past::{PastAccuracy, past_accuracy},
    said::{forecast_word, said},
};
use crate::{Band, Forecasts};

/// A forecast of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricForecast {
    /// The models of the pool with their weights, heaviest first.
    pub models: Vec<(&'static str, f64)>,
    pub backtest: Accuracy,
    pub explanation: Option<Explanation>,
    /// Buckets that were far from what was usual, and were not learned from.
    pub outliers: Vec<DateTime<Utc>>,
    /// Buckets of history that it was learned from.
    pub learned: usize,
    pub points: Vec<Point>,
    /// For money its currency.
    pub currency: Option<String>,
    /// What the forecasts of the past were off, for sums over several buckets.
    past: Vec<forecast::Origin>,
}

/// How the forecasts of the past did.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ForecastAccuracy)]
pub struct Accuracy {
    /// The mean absolute error, in units of the seasonal naive forecast's own in the history; absent where the history
    /// repeats itself exactly.
    pub mase: Option<f64>,
    /// The symmetric percentage error, from 0 to 200.
    pub smape: f64,
    /// The same of the last season, repeated.
    pub naive_mase: Option<f64>,
    pub naive_smape: Option<f64>,
    /// The share of values inside of the widest interval, measured on other forecasts of the past than those that made it;
    /// absent where they are too few.
    pub coverage: Option<f64>,
    /// How many times the past was forecast, and how far ahead.
    pub origins: usize,
    pub horizon: usize,
}

/// The forecast of one bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ForecastPoint)]
pub struct Point {
    pub at: DateTime<Utc>,
    pub value: f64,
    /// From the narrowest to the widest.
    pub intervals: Vec<Interval>,
}

/// The value falls into it with the probability `level`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = PredictionInterval)]
pub struct Interval {
    pub level: f64,
    pub lower: f64,
    pub upper: f64,
}

/// The forecast of one group, so that those of all groups add up to that of the total.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupForecast {
    pub group: Group,
    /// All groups that are not shown separately.
    pub other: bool,
    pub points: Vec<Point>,
}

#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    #[error("`{0}` has no history yet")]
    NoHistory(String),
    #[error("a forecast needs buckets of an hour, a day, a week or a month")]
    Grain,
    #[error(
        "the history has {learned} buckets, which is enough for {most} ahead; {horizon} need {needed}"
    )]
    TooFar { learned: usize, most: usize, horizon: usize, needed: usize },
    #[error("the history of `{metric}` cannot be learned from: {source}")]
    Model {
        metric: String,
        #[source]
        source: forecast::Error,
    },
}

pub const LEVELS: [f64; 2] = [0.8, 0.95];

/// Values of history for one value ahead.
const LEARNED_FOR_ONE: usize = 3;
/// Years of weeks and of months before the season of the year is learned.
const YEARS: usize = 3;

/// The question whose answer a forecast is made from: enough seasons to learn the rhythm.
pub fn history(metric: &str, grain: Grain, to: DateTime<Utc>) -> MetricRequest {
    let days = match grain {
        Grain::Minute | Grain::Hour => 91,
        Grain::Day => 364,
        Grain::Week => 4 * 364,
        Grain::Month | Grain::Quarter | Grain::Year => 6 * 365,
    };
    let from = grain.start(to - Duration::days(days), Zone::UTC);
    MetricRequest::new(metric, from, to).with_grain(grain)
}

/// How far ahead any forecast of this grain looks.
pub fn horizon_max(grain: Grain) -> Option<usize> {
    match grain {
        Grain::Hour => Some(168),
        Grain::Day => Some(90),
        Grain::Week => Some(26),
        Grain::Month => Some(12),
        _ => None,
    }
}

/// How far ahead a forecast looks, whatever is asked for: so that the forecast of tomorrow is the same in every question.
fn horizon(grain: Grain, learned: usize) -> Option<usize> {
    Some(horizon_max(grain)?.min((learned / LEARNED_FOR_ONE).max(1)))
}

/// Forecasts the next buckets after an answer, as many as the history is good for: so that the value of tomorrow is the same
/// however far somebody looks. Of several currencies the one with the largest total.
pub fn forecast_metric(
    answer: &MetricAnswer,
    levels: &[f64],
    zone: Zone,
) -> Result<MetricForecast, ForecastError> {
    let grain = answer.grain.ok_or(ForecastError::Grain)?;
    let none = || ForecastError::NoHistory(answer.metric.clone());
    let currency = largest_currency(answer);
    let rows: Vec<_> = answer.rows.iter().filter(|row| row.currency == currency).collect();
    let last = rows.last().and_then(|row| row.at).ok_or_else(none)?;
    let values = learned_from(rows.iter().map(|row| row.value.map(Number::to_f64)));
    if values.is_empty() {
        return Err(none());
    }
    let learned = values.len();
    let most = horizon(grain, learned).ok_or(ForecastError::Grain)?;
    let refuse = |source| ForecastError::Model { metric: answer.metric.clone(), source };
    let series = series_of(values, grain).map_err(refuse)?;
    let forecast = forecast::forecast(&series, most, levels).map_err(refuse)?;
    let first = rows.len() - learned;
    let outliers = forecast.outliers.iter().filter_map(|index| rows.get(first + index)?.at);
    let widest = levels.iter().copied().fold(0.5, f64::max);
    let accuracy = Accuracy {
        mase: forecast.backtest.mase,
        smape: forecast.backtest.smape,
        naive_mase: forecast.naive.as_ref().and_then(|naive| naive.mase),
        naive_smape: forecast.naive.as_ref().map(|naive| naive.smape),
        coverage: forecast.backtest.coverage(widest),
        origins: forecast.backtest.origins.len(),
        horizon: forecast.backtest.horizon,
    };
    Ok(MetricForecast {
        models: forecast.weights.clone(),
        backtest: accuracy,
        explanation: forecast::explain_series(&series),
        outliers: outliers.collect(),
        learned,
        points: placed(&forecast.points, last, grain, zone),
        currency,
        past: forecast.backtest.origins,
    })
}

impl MetricForecast {
    /// Leaves the first buckets.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn up_to(&mut self, horizon: usize) -> Result<(), ForecastError> {
        if horizon > self.points.len() {
            return Err(ForecastError::TooFar {
                learned: self.learned,
                most: self.points.len(),
                horizon,
                needed: horizon * LEARNED_FOR_ONE,
            });
        }
        self.points.truncate(horizon);
        Ok(())
    }
}

/// Points at the buckets after the last one. A bucket ends where the next begins, also where the clock changes.
fn placed(points: &[forecast::Point], last: DateTime<Utc>, grain: Grain, zone: Zone) -> Vec<Point> {
    let starts =
        std::iter::successors(Some(grain.end(last, zone)), |at| Some(grain.end(*at, zone)));
    let interval =
        |i: &forecast::Interval| Interval { level: i.level, lower: i.lower, upper: i.upper };
    let point = |(at, point): (DateTime<Utc>, &forecast::Point)| Point {
        at,
        value: point.value,
        intervals: point.intervals.iter().map(interval).collect(),
    };
    starts.zip(points).map(point).collect()
}

/// Forecasts the groups of an answer of the same history, as far ahead as the total. `adds_up`: a bucket without rows is zero. At each bucket, they are multiplied by one number, so that they
/// add up to the forecast of the total, which does not change.
pub fn forecast_groups(
    total: &MetricForecast,
    answer: &MetricAnswer,
    buckets: &[DateTime<Utc>],
    adds_up: bool,
    levels: &[f64],
    zone: Zone,
) -> Result<Vec<GroupForecast>, ForecastError> {
    let grain = answer.grain.ok_or(ForecastError::Grain)?;
    let last = *buckets.last().ok_or_else(|| ForecastError::NoHistory(answer.metric.clone()))?;
    let mut values = BTreeMap::<(bool, &Group), BTreeMap<DateTime<Utc>, f64>>::new();
    for row in answer.rows.iter().filter(|row| row.currency == total.currency) {
        let (Some(at), Some(value)) = (row.at, row.value) else { continue };
        values.entry((row.other, &row.group)).or_default().insert(at, value.to_f64());
    }
    let refuse = |source| ForecastError::Model { metric: answer.metric.clone(), source };
    let length = total.points.len();
    let mut groups = Vec::new();
    for ((other, group), of_group) in values {
        // What has no rows has a sum of zero, and a balance as before. A group that is new has a short history, with the
        // zeros before it.
        let mut before = 0.0;
        let value = |at: &DateTime<Utc>| {
            let value = of_group.get(at).copied();
            before = value.unwrap_or(if adds_up { 0.0 } else { before });
            before
        };
        let all: Vec<f64> = buckets.iter().map(value).collect();
        let began: Vec<f64> = all.iter().copied().skip_while(|value| *value == 0.0).collect();
        let shortest = LEARNED_FOR_ONE * length;
        let seen = if began.len() >= shortest { began } else { all };
        let most = horizon(grain, seen.len()).ok_or(ForecastError::Grain)?.max(length);
        let series = series_of(seen, grain).map_err(refuse)?;
        let forecast = forecast::forecast(&series, most, levels).map_err(refuse)?;
        let points = placed(&forecast.points[..length], last, grain, zone);
        groups.push(GroupForecast { group: group.clone(), other, points });
    }
    for (index, point) in total.points.iter().enumerate() {
        let sum: f64 = groups.iter().map(|group| group.points[index].value).sum();
        let factor = point.value / sum;
        let even = point.value / groups.len() as f64;
        for group in &mut groups {
            let point = &mut group.points[index];
            if factor.is_finite() && factor >= 0.0 {
                point.value *= factor;
                for interval in &mut point.intervals {
                    (interval.lower, interval.upper) =
                        (interval.lower * factor, interval.upper * factor);
                }
            } else {
                // All of them say zero: each has the same part.
                point.value = even;
                for interval in &mut point.intervals {
                    interval.lower = interval.lower.min(even);
                    interval.upper = interval.upper.max(even);
                }
            }
        }
    }
    Ok(groups)
}

/// The values with the season of their grain. The year is a season of what has three of them.
fn series_of(values: Vec<f64>, grain: Grain) -> Result<forecast::Series, forecast::Error> {
    let season = match grain {
        Grain::Hour => 24,
        Grain::Day => 7,
        Grain::Week if values.len() >= YEARS * 52 => 52,
        Grain::Month if values.len() >= YEARS * 12 => 12,
        _ => 1,
    };
    forecast::Series::new(values, season)
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
    wanted: usize,
    levels: &[f64],
) -> Vec<forecast::Point> {
    let made = || {
        let values = learned_from(values);
        let most = horizon(grain, values.len())?;
        let series = series_of(values, grain).ok()?;
        let mut points = forecast::forecast(&series, most, levels).ok()?.points;
        points.truncate(wanted);
        Some(points)
    };
    made().unwrap_or_default()
}

/// Adds the band of a metric to the forecasts of a page. A history that is too short gives none, or a shorter one.
pub fn add_bands(forecasts: &mut Forecasts, answer: &MetricAnswer, horizon: usize, zone: Zone) {
    let Ok(ahead) = forecast_metric(answer, &LEVELS, zone) else { return };
    let bands = ahead.points.iter().take(horizon).filter_map(|point| {
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
pub(crate) mod tests {
    use query::metric::{MetricRow, Unit};

    use super::*;

    fn forecast(answer: &MetricAnswer) -> Result<MetricForecast, ForecastError> {
        forecast_metric(answer, &LEVELS, Zone::UTC)
    }

    fn ahead(answer: &MetricAnswer, horizon: usize) -> Result<MetricForecast, ForecastError> {
        let mut made = forecast(answer)?;
        made.up_to(horizon)?;
        Ok(made)
    }

    pub(super) fn answer(values: impl IntoIterator<Item = i64>) -> MetricAnswer {
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
        let ahead = ahead(&answer((0..84).map(|day| week[day % 7])), 7).unwrap();
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
        let error = forecast(&answer([0, 0, 0])).unwrap_err();
        assert!(matches!(error, ForecastError::NoHistory(_)), "{error}");
        assert!(forecast(&answer((0..60).map(|day| if day < 30 { 0 } else { 50 }))).is_ok());
    }

    fn busy(day: i64) -> i64 {
        500 + day + [100, 110, 120, 115, 105, 40, 30][(day % 7) as usize] + day * 31 % 13
    }

    #[test]
    fn the_value_of_tomorrow_does_not_depend_on_the_horizon() {
        let history = answer((0..120).map(busy));
        let [short, long] = [1, 40].map(|horizon| ahead(&history, horizon).unwrap());
        assert_eq!(short.points[0], long.points[0]);
        assert_eq!((short.points.len(), long.points.len(), short.backtest.horizon), (1, 40, 40));
        let refused = ahead(&history, 41).unwrap_err().to_string();
        assert!(refused.contains("120 buckets, which is enough for 40 ahead; 41 need 123"));
        let few = forecast(&answer((0..9).map(busy))).unwrap_err().to_string();
        assert!(few.contains("cannot be learned from"), "{few}");
    }

    #[test]
    fn the_forecasts_of_groups_add_up_to_the_total() {
        let total = answer((0..120).map(busy));
        let buckets: Vec<_> = total.rows.iter().filter_map(|row| row.at).collect();
        let mut parts = total.clone();
        parts.rows = ["a", "b", "new"]
            .into_iter()
            .flat_map(|name| {
                let of = move |(day, row): (usize, &MetricRow)| {
                    let busy = busy(day as i64);
                    let new = if day < 100 { 0 } else { 40 };
                    let value = match name {
                        "a" => busy / 3,
                        "b" => busy - busy / 3 - new,
                        _ => new,
                    };
                    let group = vec![Some(name.to_owned())];
                    let has_rows = value > 0;
                    has_rows.then(|| MetricRow { group, value: Some(value.into()), ..row.clone() })
                };
                total.rows.iter().enumerate().filter_map(of).collect::<Vec<_>>()
            })
            .collect();
        let whole = ahead(&total, 30).unwrap();
        let groups = forecast_groups(&whole, &parts, &buckets, true, &LEVELS, Zone::UTC).unwrap();
        assert_eq!(groups.len(), 3);
        for (index, point) in whole.points.iter().enumerate() {
            let sum: f64 = groups.iter().map(|group| group.points[index].value).sum();
            assert!((sum - point.value).abs() < 1e-6, "{sum} {point:?}");
        }
        let new = &groups[2];
        assert_eq!(new.group, [Some("new".to_owned())]);
        assert!((20.0..60.0).contains(&new.points[0].value), "{:?}", new.points[0]);
    }
}
