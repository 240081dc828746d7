//! A detector that reads a series value by value.

use std::collections::VecDeque;

use super::tail::Tail;

/// What a series is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectorOptions {
    /// Values after which it repeats itself: 24 for hours with a daily rhythm; 0 or 1 for none.
    pub season: usize,
    /// A longer rhythm, such as 168 for the hours of a week; 0 for none.
    pub long_season: usize,
    /// Whether the values are counts: then a value is expected to differ from its mean by the root of the mean.
    pub counts: bool,
}

/// What there is to say of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// How unusual it is, from 0 to 1. Only the first values of something unusual have a high one, until something more
    /// unusual comes.
    pub score: f64,
    /// The probability of a value that is at least as unusual, by what was seen.
    pub p_value: f64,
    /// What was expected.
    pub expected: f64,
    /// The interval that 99 of 100 values fall into.
    pub lower: f64,
    /// See `lower`.
    pub upper: f64,
}

/// Six scores of how unusual a value is, each by its own tail: the residual of the forecast, the distance to the same slot
/// of former seasons, to the level, a shift of the mean, one of the variance, a jump. Their logarithms are summed.
#[derive(Debug, Clone)]
pub struct Detector {
    options: DetectorOptions,
    /// The last values; gaps are filled with what was expected.
    values: VecDeque<f64>,
    kept: usize,
    seen: usize,
    /// Gaps, too.
    steps: usize,
    forecasters: Vec<Forecaster>,
    /// The usual step from one value to the next.
    step: Scale,
    /// The usual distance to the slots of former seasons.
    slot: Scale,
    tails: [Tail; SCORES],
    /// Of the sum.
    total: Tail,
    sums: VecDeque<f64>,
}

const SCORES: usize = 6;
/// Values that each tail is known by.
const TAIL: usize = 1_500;
/// Seasons whose slots are looked at.
const SLOTS: usize = 5;
/// The values that say the level, and those of the short and the long window of a shift.
const LEVEL: usize = 48;
const SHORT: usize = 8;
const LONG: usize = 96;
/// The sum is smoothed over so many values.
const SMOOTH: usize = 5;
/// A score is high only if it is the highest of so many.
const REFRACTORY: usize = 150;
/// A tail that is rarer counts no more: the logarithm to the base of 10.
const MOST: f64 = 6.0;
/// Before so many values, and before the longest season came twice, nothing is unusual.
const WARM_UP: usize = 40;
const WARM_UP_SEASONS: usize = 2;
/// How fast scales follow.
const FOLLOW: f64 = 0.02;
/// An interval of 99 of 100 of normal errors, in mean absolute errors: 2.576 · 1.2533.
const WIDTH: f64 = 3.228;
/// More of the usual size is not told apart.
const TIMES_MAX: f64 = 1e9;

/// The usual size of something: a mean that follows slowly, and that no single value moves far.
#[derive(Debug, Clone, Copy, Default)]
struct Scale {
    mean: f64,
    seen: usize,
}

impl Scale {
    fn add(&mut self, size: f64) {
        self.seen += 1;
        let rate = FOLLOW.max(1.0 / self.seen as f64);
        let bounded = if self.seen > WARM_UP { size.min(4.0 * self.mean) } else { size };
        self.mean += rate * (bounded - self.mean);
        // One that fell to nothing must be able to grow again.
        if self.mean == 0.0 {
            self.mean = size * rate;
        }
    }
}

/// How many usual sizes this is. Where nothing is usual, whatever is there is many.
fn times(size: f64, usual: f64) -> f64 {
    if size == 0.0 {
        0.0
    } else if usual > 0.0 {
        (size / usual).min(TIMES_MAX)
    } else {
        TIMES_MAX
    }
}

/// A way to expect the next value, and how wrong it is.
#[derive(Debug, Clone)]
struct Forecaster {
    kind: Kind,
    error: Scale,
    /// How much the last values lay above what was expected.
    drift: f64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The middle of the last values.
    Level(usize),
    /// The middle of the same slot of former seasons, and the drift.
    Slot(usize),
}

impl Detector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new(options: DetectorOptions) -> Self {
        let seasons: Vec<usize> = [options.season, options.long_season]
            .into_iter()
            .filter(|season| *season > 1)
            .collect();
        let longest = seasons.iter().copied().max().unwrap_or(0);
        let slots = seasons.iter().map(|season| Kind::Slot(*season));
        let kinds = [Kind::Level(1), Kind::Level(SHORT)].into_iter().chain(slots);
        Self {
            kept: (longest * SLOTS).max(LONG) + 1,
            forecasters: kinds
                .map(|kind| Forecaster { kind, error: Scale::default(), drift: 0.0 })
                .collect(),
            options,
            values: VecDeque::new(),
            seen: 0,
            steps: 0,
            step: Scale::default(),
            slot: Scale::default(),
            tails: std::array::from_fn(|_| Tail::new(TAIL)),
            total: Tail::new(TAIL),
            sums: VecDeque::new(),
        }
    }

    /// Reads the next value; NaN is a gap, which is not unusual. An infinite value is taken for a gap.
    pub fn observe(&mut self, value: f64) -> Observation {
        let predicted: Vec<f64> =
            self.forecasters.iter().map(|forecaster| self.predict(forecaster)).collect();
        let best = (0..predicted.len())
            .filter(|index| self.forecasters[*index].error.seen > 0)
            .min_by(|a, b| {
                let error = |index: &usize| self.forecasters[*index].error.mean;
                error(a).total_cmp(&error(b))
            });
        let expected = best.map_or(f64::NAN, |best| predicted[best]);
        let usual = best.map_or(0.0, |best| self.usual(best, expected));
        if !value.is_finite() {
            self.keep(if expected.is_finite() { expected } else { 0.0 });
            let (lower, upper) = (expected - WIDTH * usual, expected + WIDTH * usual);
            return Observation { score: 0.0, p_value: 1.0, expected, lower, upper };
        }
        let (score, p_value) = match expected.is_finite() {
            true => self.scored(value, expected, usual),
            false => (0.0, 1.0),
        };
        self.learn(value, &predicted);
        self.keep(value);
        let (lower, upper) = (expected - WIDTH * usual, expected + WIDTH * usual);
        Observation { score, p_value, expected, lower, upper }
    }

    /// The error that a forecaster usually has, at a value.
    fn usual(&self, forecaster: usize, expected: f64) -> f64 {
        let error = self.forecasters[forecaster].error.mean;
        match self.options.counts {
            // The mean absolute error of a Poisson count is 0.8 of the root of its mean.
            true => error.max(0.8 * expected.abs().max(1.0).sqrt()),
            false => error,
        }
    }

    fn predict(&self, forecaster: &Forecaster) -> f64 {
        match forecaster.kind {
            Kind::Level(count) => median(self.last(count)),
            Kind::Slot(season) => median(self.slots(season)) + forecaster.drift,
        }
    }

    fn last(&self, count: usize) -> impl Iterator<Item = f64> + '_ {
        self.values.iter().rev().take(count).copied()
    }

    /// The values of the next slot in former seasons, the last first.
    fn slots(&self, season: usize) -> impl Iterator<Item = f64> + '_ {
        (1..=SLOTS).map_while(move |back| {
            let place = self.values.len().checked_sub(back * season)?;
            self.values.get(place).copied()
        })
    }

    fn scored(&mut self, value: f64, expected: f64, usual: f64) -> (f64, f64) {
        let residual = times((value - expected).abs(), usual);
        let season = self.options.long_season.max(self.options.season);
        let slots = if season > 1 { median(self.slots(season)) } else { f64::NAN };
        let slot =
            if slots.is_finite() { times((value - slots).abs(), self.slot.mean) } else { 0.0 };
        let level = median(self.last(LEVEL));
        let spread = median(self.last(LEVEL).map(|other| (other - level).abs()));
        let level = times((value - level).abs(), spread.max(usual * 0.1));
        let (near, far) = (self.moments(value, SHORT), self.moments(value, LONG));
        let floor = usual * 0.1;
        let shift = times((near.0 - far.0).abs(), far.1.max(floor));
        let variance = times(near.1.max(floor), far.1.max(floor)).max(1e-9).ln().abs();
        let before = self.values.back().copied().unwrap_or(value);
        let jump = times((value - before).abs(), self.step.mean);
        let scores = [residual, slot, level, shift, variance, jump];
        let mut sum = 0.0;
        for (tail, score) in self.tails.iter_mut().zip(scores) {
            let score = if score.is_finite() { score } else { 0.0 };
            sum += (-tail.probability(score).log10()).clamp(0.0, MOST);
            tail.add(score);
        }
        if season > 1 && slots.is_finite() {
            self.slot.add((value - slots).abs());
        }
        if self.seen < WARM_UP || self.steps < season * WARM_UP_SEASONS {
            return (0.0, 1.0);
        }
        self.sums.push_front(sum);
        self.sums.truncate(REFRACTORY);
        let smooth = self.sums.iter().take(SMOOTH).sum::<f64>() / SMOOTH as f64;
        let p_value = self.total.probability(sum);
        self.total.add(sum);
        // What was as unusual a moment ago is no news.
        let is_news = self.sums.iter().skip(1).all(|other| *other < sum);
        let score = smooth.max(sum * 0.7) / (MOST * SCORES as f64);
        (if is_news { score } else { score * 0.3 }.clamp(0.0, 1.0), p_value)
    }

    /// Mean and standard deviation of the last values, with this one.
    fn moments(&self, value: f64, count: usize) -> (f64, f64) {
        let values = || std::iter::once(value).chain(self.last(count - 1));
        let (mut number, mut sum) = (0.0, 0.0);
        for value in values() {
            number += 1.0;
            sum += value;
        }
        let mean = sum / number;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / number;
        (mean, variance.sqrt())
    }

    fn learn(&mut self, value: f64, predicted: &[f64]) {
        for (forecaster, predicted) in self.forecasters.iter_mut().zip(predicted) {
            if !predicted.is_finite() {
                continue;
            }
            let error = value - predicted;
            let bound = 4.0 * forecaster.error.mean;
            forecaster.error.add(error.abs());
            if let Kind::Slot(_) = forecaster.kind {
                let bounded = if bound > 0.0 { error.clamp(-bound, bound) } else { error };
                forecaster.drift += 0.15 * bounded;
            }
        }
        if let Some(before) = self.values.back() {
            self.step.add((value - before).abs());
        }
        self.seen += 1;
    }

    fn keep(&mut self, value: f64) {
        self.steps += 1;
        self.values.push_back(value);
        if self.values.len() > self.kept {
            self.values.pop_front();
        }
    }
}

/// The middle value; NaN of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut few = [0.0; LEVEL];
    let mut count = 0;
    for (place, value) in few.iter_mut().zip(values) {
        *place = value;
        count += 1;
    }
    let few = &mut few[..count];
    if count == 0 {
        return f64::NAN;
    }
    let (lower, middle, _) = few.select_nth_unstable_by(count / 2, f64::total_cmp);
    match count % 2 {
        1 => *middle,
        _ => {
            let below = lower.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            below / 2.0 + *middle / 2.0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const DAILY: DetectorOptions = DetectorOptions { season: 24, long_season: 168, counts: false };

    /// A day with some noise, the same each time.
    fn usual(hour: usize) -> f64 {
        let noise = ((hour * 7_919) % 101) as f64 / 101.0 - 0.5;
        100.0 + 40.0 * (TAU * hour as f64 / 24.0).sin() + 6.0 * noise
    }

    fn observed(
        values: impl IntoIterator<Item = f64>,
        options: DetectorOptions,
    ) -> Vec<Observation> {
        let mut detector = Detector::new(options);
        values.into_iter().map(|value| detector.observe(value)).collect()
    }

    #[test]
    fn what_is_injected_has_the_highest_score() {
        for (name, change) in [
            ("a spike", (|value: f64| value * 3.0) as fn(f64) -> f64),
            ("a drop", |_| 0.0),
            ("a night at noon", |value: f64| 200.0 - value),
        ] {
            let values =
                (0..1_000).map(|hour| if hour == 894 { change(usual(hour)) } else { usual(hour) });
            let seen = observed(values, DAILY);
            let highest = (0..seen.len())
                .max_by(|a, b| seen[*a].score.total_cmp(&seen[*b].score))
                .unwrap_or_default();
            assert_eq!(highest, 894, "{name}: {:?}", seen[highest]);
            assert!(seen[894].p_value < 0.01, "{name}: {:?}", seen[894]);
            assert!((seen[894].expected - usual(894)).abs() < 15.0, "{name}: {:?}", seen[894]);
        }
    }

    #[test]
    fn it_says_the_same_in_every_unit_and_never_a_nan() {
        let values: Vec<f64> =
            (0..600).map(|hour| if hour == 500 { 0.0 } else { usual(hour) }).collect();
        let plain = observed(values.clone(), DAILY);
        for factor in [2_f64.powi(-40), 2_f64.powi(40), -1.0] {
            let scaled = observed(values.iter().map(|value| value * factor), DAILY);
            for (a, b) in plain.iter().zip(&scaled) {
                assert!((a.score - b.score).abs() < 1e-6, "{factor}: {a:?} {b:?}");
            }
        }
        let odd = [f64::NAN, f64::INFINITY, -1e308, 1e308, 0.0, 5e-324];
        let values = (0..800)
            .map(|n: usize| if n.is_multiple_of(9) { odd[(n / 9) % odd.len()] } else { 7.0 });
        for seen in observed(values, DAILY) {
            assert!((0.0..=1.0).contains(&seen.score) && (0.0..=1.0).contains(&seen.p_value));
        }
        let constant = observed((0..500).map(|_| 7.0), DAILY);
        assert!(constant.iter().all(|seen| seen.score < 0.2), "nothing happened");
        assert_eq!(observed([1.0], DAILY)[0].score, 0.0);
    }

    #[test]
    fn a_gap_is_not_unusual() {
        let values =
            (0..800).map(|hour| if (700..710).contains(&hour) { f64::NAN } else { usual(hour) });
        let seen = observed(values, DAILY);
        assert!(seen[700..710].iter().all(|seen| seen.score == 0.0 && seen.p_value == 1.0));
        assert!(seen[710].p_value > 0.001, "{:?}", seen[710]);
    }

    #[test]
    fn small_counts_are_no_news() {
        let counts = |hour: usize| ((hour * 7_919) % 5) as f64;
        let values: Vec<f64> =
            (0..1_000).map(|hour| if hour == 800 { 40.0 } else { counts(hour) }).collect();
        let seen = observed(values, DetectorOptions { counts: true, ..DAILY });
        assert!(seen[800].p_value < 1e-3, "{:?}", seen[800]);
        assert!(seen[800].upper < 40.0, "{:?}", seen[800]);
    }
}
