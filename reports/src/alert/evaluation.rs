//! From the values of closed intervals to verdicts.

use chrono::{DateTime, Utc};
use query::{Zone, metric::Grain};
use rust_decimal::{
    Decimal,
    prelude::{FromPrimitive, ToPrimitive},
};
use serde::Serialize;

use super::{Against, AlertRule, Condition, NORM_INTERVALS, NORM_INTERVALS_MIN, Side, Watched};
use crate::{
    comparison::{DesiredDirection, change, median},
    metric_forecast,
};
use query::metric::Unit;

/// The values of one group and currency, an interval after the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertSeries {
    /// The value of the dimension.
    pub group: Option<String>,
    pub currency: Option<String>,
    /// The start of each interval and its value.
    pub points: Vec<(DateTime<Utc>, Option<Decimal>)>,
    /// What the metric of `at_least` has in each interval; empty where there is none.
    pub volumes: Vec<Option<Decimal>>,
}

/// What was found of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// The start of the interval.
    pub at: DateTime<Utc>,
    pub value: Option<Decimal>,
    /// What the value is held against.
    pub limit: Option<Decimal>,
    pub verdict: Verdict,
}

/// Whether a condition is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    Met,
    NotMet,
    /// There is no value, or nothing to hold it against.
    Unknown,
}

impl Verdict {
    fn of(is_met: Option<bool>) -> Self {
        match is_met {
            Some(true) => Self::Met,
            Some(false) => Self::NotMet,
            None => Self::Unknown,
        }
    }
}

/// Anomalies are told by forecasts of at least so many intervals.
const STEPS_MIN: usize = 7;

/// The limit of an interval, and whether it is met.
type Found = (Option<Decimal>, Option<bool>);

impl AlertRule {
    /// Looks at each interval from `first` on. Earlier ones are what it is compared with.
    pub fn evaluate(
        &self,
        series: &AlertSeries,
        watched: &Watched,
        first: DateTime<Utc>,
        zone: Zone,
    ) -> Vec<Evaluation> {
        let own = self.override_of(series.group.as_deref());
        if own.is_some_and(|own| own.muted) {
            return Vec::new();
        }
        let own = own.and_then(|own| own.value);
        let start = series.points.partition_point(|(at, _)| *at < first);
        let expected = self.expected(series, start, zone);
        let evaluation = |index: usize| {
            let (at, value) = series.points[index];
            let is_large_enough = self.at_least.as_ref().is_none_or(|least| {
                series.volumes.get(index).copied().flatten().is_some_and(|has| has >= least.value)
            });
            let (limit, is_met) = match is_large_enough {
                true => self.found(series, index, own, watched, &expected, zone),
                false => (None, None),
            };
            Evaluation { at, value, limit, verdict: Verdict::of(is_met) }
        };
        (start..series.points.len()).map(evaluation).collect()
    }

    fn found(
        &self,
        series: &AlertSeries,
        index: usize,
        own: Option<Decimal>,
        watched: &Watched,
        expected: &Expected,
        zone: Zone,
    ) -> Found {
        let (at, value) = series.points[index];
        let held = |limit: Decimal, is_met: fn(&Decimal, &Decimal) -> bool| {
            (Some(limit), value.map(|value| is_met(&value, &limit)))
        };
        match &self.condition {
            Condition::Above { value: limit } => held(own.unwrap_or(*limit), Decimal::gt),
            Condition::Below { value: limit } => held(own.unwrap_or(*limit), Decimal::lt),
            Condition::Rises { by, against } => {
                changed(series, index, own.unwrap_or(*by), *against, watched.unit, zone)
            }
            Condition::Falls { by, against } => {
                changed(series, index, -own.unwrap_or(*by), *against, watched.unit, zone)
            }
            Condition::AboveNorm { times } => match norm(series, index) {
                Some(norm) => match norm.checked_mul(own.unwrap_or(*times)) {
                    Some(limit) => held(limit, Decimal::gt),
                    None => (None, None),
                },
                None => (None, None),
            },
            Condition::GoalMissed => {
                let goal = watched.goal.and_then(|goal| Decimal::from_f64(goal.value));
                match (goal, watched.better) {
                    (None, _) => (None, None),
                    (Some(goal), DesiredDirection::Higher) => held(goal, Decimal::lt),
                    (Some(goal), DesiredDirection::Lower) => held(goal, Decimal::gt),
                }
            }
            Condition::NoData => (None, Some(value.is_none_or(|value| value.is_zero()))),
            Condition::ForecastAbove { value: limit, .. } => {
                let limit = own.unwrap_or(*limit);
                let peak = expected.peaks.get(&at).map(|(_, high)| *high > limit);
                (Some(limit), peak)
            }
            Condition::ForecastBelow { value: limit, .. } => {
                let limit = own.unwrap_or(*limit);
                let trough = expected.peaks.get(&at).map(|(low, _)| *low < limit);
                (Some(limit), trough)
            }
            Condition::Anomaly { direction, .. } => match (expected.bands.get(&at), value) {
                (Some((low, high)), Some(value)) => {
                    let (is_below, is_above) = (value < *low, value > *high);
                    let is_met = match direction {
                        Side::Both => is_below || is_above,
                        Side::Above => is_above,
                        Side::Below => is_below,
                    };
                    (Some(if is_below { *low } else { *high }), Some(is_met))
                }
                _ => (None, None),
            },
        }
    }

    /// What is expected of the intervals from `start` on, each by what was known before it.
    fn expected(&self, series: &AlertSeries, start: usize, zone: Zone) -> Expected {
        let mut expected = Expected::default();
        match self.condition {
            Condition::ForecastAbove { within, .. } | Condition::ForecastBelow { within, .. } => {
                for index in start..series.points.len() {
                    let ahead = self.ahead(&series.points[..=index], within as usize, None);
                    let values = ahead.iter().map(|(value, _, _)| *value);
                    let range = values.fold(None, |range: Option<(Decimal, Decimal)>, value| {
                        Some(range.map_or((value, value), |(low, high)| {
                            (low.min(value), high.max(value))
                        }))
                    });
                    expected.peaks.extend(range.map(|range| (series.points[index].0, range)));
                }
            }
            Condition::Anomaly { level, .. } => {
                let mut index = start;
                while index < series.points.len() {
                    // Of hours, a whole day is expected at once.
                    let day = Grain::Day.start(series.points[index].0, zone);
                    let is_same = |(at, _): &(DateTime<Utc>, _)| {
                        self.interval == Grain::Hour && Grain::Day.start(*at, zone) == day
                    };
                    let rest = &series.points[index..];
                    let count = rest.iter().take_while(|point| is_same(point)).count().max(1);
                    let origin = match self.interval {
                        Grain::Hour => series.points.partition_point(|(at, _)| *at < day),
                        _ => index,
                    };
                    // The errors of several steps together are enough for a high level.
                    let horizon = (index + count - origin).max(STEPS_MIN);
                    let ahead = self.ahead(&series.points[..origin], horizon, Some(level));
                    let skipped = ahead.iter().skip(index - origin);
                    for ((at, _), (_, low, high)) in rest[..count].iter().zip(skipped) {
                        expected.bands.insert(*at, (*low, *high));
                    }
                    index += count;
                }
            }
            _ => {}
        }
        expected
    }

    /// Value, lower and upper bound of each of the next intervals. Empty where the past is too short.
    fn ahead(
        &self,
        past: &[(DateTime<Utc>, Option<Decimal>)],
        horizon: usize,
        level: Option<f64>,
    ) -> Vec<(Decimal, Decimal, Decimal)> {
        let values = past.iter().map(|(_, value)| value.and_then(|value| value.to_f64()));
        let levels: Vec<f64> = level.into_iter().collect();
        let points = metric_forecast::ahead(values, self.interval, horizon, &levels);
        let points = points.into_iter().map(|point| {
            let (low, high) = point
                .intervals
                .last()
                .map_or((point.value, point.value), |interval| (interval.lower, interval.upper));
            Some((
                Decimal::from_f64(point.value)?,
                Decimal::from_f64(low)?,
                Decimal::from_f64(high)?,
            ))
        });
        points.map_while(|point| point).collect()
    }
}

#[derive(Default)]
struct Expected {
    /// By the interval from whose end it is looked ahead: the lowest and the highest of what is expected.
    peaks: std::collections::BTreeMap<DateTime<Utc>, (Decimal, Decimal)>,
    /// By the interval: what it should lie between.
    bands: std::collections::BTreeMap<DateTime<Utc>, (Decimal, Decimal)>,
}

/// Whether the value changed by more than `by`, down if that is below zero.
fn changed(
    series: &AlertSeries,
    index: usize,
    by: Decimal,
    against: Against,
    unit: Unit,
    zone: Zone,
) -> Found {
    let (at, value) = series.points[index];
    let before = match against {
        Against::Previous => index.checked_sub(1),
        Against::DayBefore => place(series, zone.days_before(at, 1)),
        Against::WeekBefore => place(series, zone.days_before(at, 7)),
    };
    let before = before.and_then(|place| series.points[place].1);
    let (Some(value), Some(before)) = (value, before) else { return (None, None) };
    let limit = match unit {
        Unit::Ratio => before.checked_add(by),
        _ => Decimal::ONE.checked_add(by).and_then(|factor| before.checked_mul(factor)),
    };
    let is_met = change(value, before, unit)
        .map(|change| if by.is_sign_negative() { change < by } else { change > by });
    (limit, is_met)
}

fn place(series: &AlertSeries, at: DateTime<Utc>) -> Option<usize> {
    series.points.binary_search_by_key(&at, |(at, _)| *at).ok()
}

/// The median of the intervals before one, where there are enough, and it is above zero.
fn norm(series: &AlertSeries, index: usize) -> Option<Decimal> {
    let first = index.saturating_sub(NORM_INTERVALS as usize);
    let values: Vec<Decimal> =
        series.points[first..index].iter().filter_map(|(_, value)| *value).collect();
    if values.len() < NORM_INTERVALS_MIN {
        return None;
    }
    median(&values).filter(|norm| *norm > Decimal::ZERO)
}
