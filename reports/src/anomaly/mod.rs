//! Anomalies of metrics: which values of many series are hardly ever there, and which of them have one cause.

mod pages;

use chrono::{DateTime, TimeDelta, Utc};
use forecast::anomaly::{Detector, DetectorOptions, Observation, discoveries};
use query::metric::{Grain, Unit};
use serde::{Deserialize, Serialize};

use crate::DesiredDirection;

pub(crate) use pages::WORDS;
pub use pages::{AnomaliesPage, AnomalyRow, anomalies_page, anomaly_word};

/// A series that is watched: a metric, of everything or of one value of a dimension.
#[derive(Debug, Clone)]
pub struct AnomalySeries {
    pub key: SeriesName,
    pub unit: Unit,
    pub better: DesiredDirection,
    pub grain: Grain,
    /// Whether the values of buckets add up.
    pub additive: bool,
    /// The buckets, one after the other.
    pub points: Vec<(DateTime<Utc>, Option<f64>)>,
    /// What it has to be more than, in a bucket, to matter: a part of the whole.
    pub least: f64,
    /// What it has to be more than in any case, since people dismissed less.
    pub dismissed: f64,
}

/// What a series is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesName {
    pub metric: String,
    /// `organization_id` or `model`; none for everything.
    pub dimension: Option<String>,
    pub value: Option<String>,
    pub currency: Option<String>,
}

/// Something unusual: buckets of one series, one after the other, that were too many or too few.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundAnomaly {
    pub key: SeriesName,
    /// The start of its first bucket.
    pub from: DateTime<Utc>,
    /// The end of its last bucket.
    pub to: DateTime<Utc>,
    pub is_high: bool,
    /// Of what adds up the sums over its buckets, of everything else the value of the bucket that is furthest off.
    pub observed: f64,
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    /// The smallest of its buckets.
    pub p_value: f64,
    /// It has the cause of this one: the place among all that were found.
    pub same_as: Option<usize>,
}

/// Of all that is found in one bucket of a family of series, this share is expected to be false.
const FALSE_RATE: f64 = 0.001;
/// Of the values of a dimension, only this part of it: there are many, and what matters shows in the whole.
const OF_PARTS: f64 = 0.2;
/// A value that differs by less of what was expected is no news.
const LEAST_CHANGE: f64 = 0.4;
/// Of a small value of a dimension: so many more, and so many times more, in more than one bucket.
const MANY_COUNTS: f64 = 10.0;
const MANY_TIMES: f64 = 5.0;
/// Durations vary more: one matters when it is twice as long.
const LEAST_LONGER: f64 = 1.0;
/// A ratio differs by so much, and that of a value of a dimension, of which there are fewer, by twice as much.
const LEAST_RATIO: f64 = 0.05;
/// Buckets in which nothing is unusual do not end an anomaly, if they are so few.
const PAUSE: usize = 3;
/// A bucket belongs to an anomaly beside it if it is as rare as this.
const BESIDE: f64 = 0.01;

impl AnomalySeries {
    fn options(&self) -> DetectorOptions {
        let (season, long_season) = match self.grain {
            Grain::Hour => (24, 168),
            Grain::Day => (7, 0),
            _ => (0, 0),
        };
        DetectorOptions { season, long_season, counts: self.unit == Unit::Count }
    }

    /// Leaves out the buckets that touch a maintenance window: they are neither judged nor learned from.
    pub fn leave_out(
        &mut self,
        maintenance: &[(DateTime<Utc>, DateTime<Utc>)],
        end_of: impl Fn(DateTime<Utc>) -> DateTime<Utc>,
    ) {
        for (at, value) in &mut self.points {
            if maintenance.iter().any(|(from, until)| *from < end_of(*at) && *at < *until) {
                *value = None;
            }
        }
    }

    fn observed(&self) -> Vec<Observation> {
        let mut detector = Detector::new(self.options());
        self.points.iter().map(|(_, value)| detector.observe(value.unwrap_or(f64::NAN))).collect()
    }

    /// Whether a value of a dimension, however small its part of the whole, is many times what was expected.
    fn is_many_times(&self, off: f64, expected: f64) -> bool {
        self.unit == Unit::Count
            && self.key.dimension.is_some()
            && off >= MANY_COUNTS
            && off >= MANY_TIMES * expected.abs()
    }

    /// Whether a bucket is far enough off to matter to somebody.
    fn matters(&self, value: f64, seen: &Observation) -> bool {
        let off = value - seen.expected;
        let is_wanted = match self.better {
            // Fewer errors are no reason to look.
            DesiredDirection::Lower => off > 0.0,
            DesiredDirection::Higher => true,
        };
        let least = match self.unit {
            Unit::Ratio if self.key.dimension.is_some() => self.least.max(2.0 * LEAST_RATIO),
            Unit::Ratio => self.least.max(LEAST_RATIO),
            _ => self.least,
        };
        let least_change =
            if self.unit == Unit::Milliseconds { LEAST_LONGER } else { LEAST_CHANGE };
        is_wanted
            && (value > seen.upper || value < seen.lower)
            && off.abs() >= self.dismissed
            && off.abs() >= least_change * seen.expected.abs()
            && (off.abs() >= least || self.is_many_times(off, seen.expected))
    }
}

/// Finds what is unusual from a time on. Series of the same grain end with the same bucket; some begin later.
#[must_use]
pub fn find(series: &[AnomalySeries], since: DateTime<Utc>) -> Vec<FoundAnomaly> {
    let seen: Vec<Vec<Observation>> = series.iter().map(AnomalySeries::observed).collect();
    let mut is_discovery: Vec<Vec<bool>> =
        series.iter().map(|one| vec![false; one.points.len()]).collect();
    // Each family for itself: many small organizations must not hide what everything does.
    let family = |one: &AnomalySeries| (one.grain, one.key.dimension.clone());
    let families: Vec<_> = series.iter().map(family).collect();
    let mut known = families.clone();
    known.sort_by(|a, b| (a.0.name(), &a.1).cmp(&(b.0.name(), &b.1)));
    known.dedup();
    for of in known {
        let places: Vec<usize> = (0..series.len()).filter(|place| families[*place] == of).collect();
        let rate = if of.1.is_some() { FALSE_RATE * OF_PARTS } else { FALSE_RATE };
        let longest = places.iter().map(|place| series[*place].points.len()).max().unwrap_or(0);
        for back in 1..=longest {
            let bucket = |place: usize| seen[place].len().checked_sub(back);
            let p_value = |place: &usize| bucket(*place).map_or(1.0, |at| seen[*place][at].p_value);
            let p_values: Vec<f64> = places.iter().map(p_value).collect();
            for (place, found) in places.iter().zip(discoveries(&p_values, rate)) {
                if let Some(at) = bucket(*place) {
                    is_discovery[*place][at] = found;
                }
            }
        }
    }
    let mut found = Vec::new();
    for ((one, seen), is_discovery) in series.iter().zip(&seen).zip(&is_discovery) {
        found.extend(one.gathered(seen, is_discovery).into_iter().filter(|found| found.to > since));
    }
    found.sort_by(|a, b| (a.from, &a.key).cmp(&(b.from, &b.key)));
    join(&mut found);
    found
}

impl AnomalySeries {
    /// The buckets that were discovered, with those beside them that are unusual in the same way.
    fn gathered(&self, seen: &[Observation], is_discovery: &[bool]) -> Vec<FoundAnomaly> {
        let side = |bucket: usize| {
            let value = self.points[bucket].1?;
            let of = &seen[bucket];
            (of.p_value <= BESIDE && self.matters(value, of)).then_some(value > of.expected)
        };
        let mut found = Vec::new();
        let mut bucket = 0;
        while bucket < seen.len() {
            let Some(is_high) = side(bucket).filter(|_| is_discovery[bucket]) else {
                bucket += 1;
                continue;
            };
            let (first, mut last, mut next) = (bucket, bucket, bucket + 1);
            while next < seen.len() && next - last <= PAUSE {
                if side(next) == Some(is_high) {
                    last = next;
                }
                next += 1;
            }
            // What is a small part of the whole has to last.
            let is_large = (first..=last).any(|bucket| {
                let off = self.points[bucket].1.map(|value| value - seen[bucket].expected);
                off.is_some_and(|off| off.abs() >= self.least)
            });
            if is_large || first < last {
                found.push(self.summed_up(seen, (first, last), is_high));
            }
            bucket = last + PAUSE;
        }
        found
    }

    fn summed_up(
        &self,
        seen: &[Observation],
        (first, last): (usize, usize),
        is_high: bool,
    ) -> FoundAnomaly {
        let buckets = || (first..=last).filter(|bucket| self.points[*bucket].1.is_some());
        let value = |bucket: usize| self.points[bucket].1.unwrap_or_default();
        let p_value = buckets().map(|bucket| seen[bucket].p_value).fold(1.0, f64::min);
        let sum = |of: &dyn Fn(usize) -> f64| buckets().map(of).sum::<f64>();
        let furthest = buckets()
            .max_by(|a, b| {
                let off = |bucket: &usize| (value(*bucket) - seen[*bucket].expected).abs();
                off(a).total_cmp(&off(b))
            })
            .unwrap_or(first);
        let (observed, expected, lower, upper) = match self.additive {
            true => (
                sum(&value),
                sum(&|bucket| seen[bucket].expected),
                sum(&|bucket| seen[bucket].lower),
                sum(&|bucket| seen[bucket].upper),
            ),
            false => {
                let of = &seen[furthest];
                (value(furthest), of.expected, of.lower, of.upper)
            }
        };
        let length = match self.grain {
            Grain::Hour => TimeDelta::hours(1),
            _ => TimeDelta::days(1),
        };
        let floor = if self.unit == Unit::Number { f64::NEG_INFINITY } else { 0.0 };
        FoundAnomaly {
            key: self.key.clone(),
            from: self.points[first].0,
            to: self.points[last].0 + length,
            is_high,
            observed,
            expected,
            lower: lower.max(floor),
            upper,
            p_value,
            same_as: None,
        }
    }
}

/// What begins within these of each other may have one cause.
const TOGETHER: TimeDelta = TimeDelta::hours(3);

/// Notes which of those that were found have one cause: they are there at the same time, and are of the same value of a
/// dimension, or one of them is of everything.
fn join(found: &mut [FoundAnomaly]) {
    for place in 0..found.len() {
        let (before, rest) = found.split_at_mut(place);
        let one = &mut rest[0];
        let is_same = |other: &FoundAnomaly| {
            let overlaps = other.from < one.to && one.from < other.to;
            let is_near = (one.from - other.from).abs() <= TOGETHER;
            let is_of_all = one.key.dimension.is_none() || other.key.dimension.is_none();
            let is_of_one =
                (&one.key.dimension, &one.key.value) == (&other.key.dimension, &other.key.value);
            overlaps && is_near && (is_of_all || is_of_one)
        };
        one.same_as = before
            .iter()
            .enumerate()
            .rev()
            .find(|(_, other)| is_same(other))
            .map(|(found, other)| other.same_as.unwrap_or(found));
    }
    // That of everything stands for the others: its cause says where it comes from.
    for first in 0..found.len() {
        if found[first].same_as.is_some() {
            continue;
        }
        let group: Vec<usize> = (first..found.len())
            .filter(|place| *place == first || found[*place].same_as == Some(first))
            .collect();
        let head = group
            .iter()
            .copied()
            .min_by(|a, b| {
                let (a, b) = (&found[*a], &found[*b]);
                let is_part = |one: &FoundAnomaly| one.key.dimension.is_some();
                is_part(a).cmp(&is_part(b)).then(a.weight().total_cmp(&b.weight()))
            })
            .unwrap_or(first);
        for place in group {
            found[place].same_as = (place != head).then_some(head);
        }
    }
}

impl FoundAnomaly {
    /// The lighter, the better it stands for those of the same cause: the rarer, and the further off.
    fn weight(&self) -> f64 {
        let off = (self.observed - self.expected).abs();
        let share = off / self.expected.abs().max(off * 0.01).max(f64::MIN_POSITIVE);
        self.p_value.max(1e-6).log10() - share.min(100.0).ln_1p()
    }

    /// How much more there was than expected.
    #[must_use]
    pub fn impact(&self) -> f64 {
        self.observed - self.expected
    }

    /// The same for the same series and first bucket, whenever it is found.
    #[must_use]
    pub fn identity(&self) -> String {
        let SeriesName { metric, dimension, value, currency } = &self.key;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let at = self.from.timestamp();
        [metric.clone(), text(dimension), text(value), text(currency), at.to_string()]
            .join("\u{1f}")
    }
}

#[cfg(test)]
mod tests;
