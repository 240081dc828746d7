//! Waves around a straight line, and what the last errors say.

use std::f64::consts::TAU;

use ndarray::Array2;

use super::ridge;
use crate::{
    Error, Fitted, Model, Seasonality,
    scale::{Scale, bounds},
};

/// A regression on a straight line and on sines and cosines of the seasons, and an autoregression of its residuals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fourier;

/// Penalties, as shares of the mean variance of a column.
const PENALTY: f64 = 1e-4;
const RESIDUAL_PENALTY: f64 = 1e-3;
const WAVES: usize = 10;
/// Residuals that are learned from.
const RESIDUALS: usize = 24;
/// The mean month and year, in days: what a weekly season may have beside it.
const MONTH: f64 = 365.25 / 12.0;
const YEAR: f64 = 365.25;

/// The waves of one season.
struct Waves {
    period: f64,
    /// How often each goes up and down in it.
    counts: Vec<f64>,
    /// The cosine and the sine of each wave at each step of a season; none when a season is no number of steps.
    table: Vec<f64>,
}

struct Curve {
    level: f64,
    /// By step.
    slope: f64,
    seasons: Vec<SeasonCurve>,
    /// The weights of the residual before, of the one before that, and so on.
    residuals: Vec<f64>,
    scale: Scale,
    bounds: (f64, f64),
}

/// What a season adds.
enum SeasonCurve {
    /// At each step of it.
    Steps(Vec<f64>),
    /// By its waves, when it is no number of steps.
    Waves(Waves, Vec<f64>),
}

impl Model for Fourier {
    fn name(&self) -> &'static str {
        "fourier"
    }

    /// # Errors
    /// [`Error::TooShort`] below two seasons, or too few values for the columns;
    /// [`Error::Unsolvable`] when the regression fails.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        _: usize,
    ) -> Result<Box<dyn Fitted>, Error> {
        let waves = waves(seasonality, history.len());
        let columns = 2 + waves.iter().map(|waves| 2 * waves.counts.len()).sum::<usize>();
        super::check(history, seasonality, (2 * seasonality.season).max(3 * columns).max(12))?;
        let scale = Scale::of(history);
        let scaled: Vec<f64> = history.iter().map(|&value| scale.apply(value)).collect();
        let length = history.len() as f64;
        let row = |step: usize, row: &mut Vec<f64>| terms(&waves, length, step, row);
        let weights = regression(&scaled, 0, row, columns, PENALTY)?;
        let lags = RESIDUALS.min(seasonality.season.max(4)).min(history.len() / 4);
        let mut curve = Curve {
            level: weights[0],
            slope: weights[1] / length,
            seasons: season_curves(waves, &weights[2..]),
            residuals: Vec::new(),
            scale,
            bounds: bounds(history),
        };
        let residuals = curve.residuals_of(&scaled, 0);
        let before = |step: usize, row: &mut Vec<f64>| {
            row.clear();
            row.extend(residuals[step - lags..step].iter().rev());
        };
        curve.residuals = regression(&residuals, lags, before, lags, RESIDUAL_PENALTY)?;
        Ok(Box::new(curve))
    }
}

fn waves(Seasonality { season, long_season }: Seasonality, length: usize) -> Vec<Waves> {
    let mut waves = Vec::new();
    let mut add = |period: f64, counts: Vec<f64>| {
        if !counts.is_empty() && length as f64 >= 2.0 * period {
            waves.push(Waves::new(period, counts));
        }
    };
    let count = |number: usize| number as f64;
    add(season as f64, (1..=WAVES.min(season.saturating_sub(1) / 2)).map(count).collect());
    if long_season > season {
        // What is a wave of the shorter season is there already.
        let is_new = |number: &usize| !(number * season).is_multiple_of(long_season);
        let counts = (1..=WAVES.min((long_season - 1) / 2)).filter(is_new).map(count).collect();
        add(long_season as f64, counts);
    } else if season == 7 {
        add(MONTH, vec![1.0, 2.0]);
        add(YEAR, vec![1.0, 2.0]);
    }
    waves
}

impl Waves {
    fn new(period: f64, counts: Vec<f64>) -> Self {
        let mut waves = Self { period, counts, table: Vec::new() };
        if period.fract() == 0.0 {
            let mut table = Vec::new();
            for step in 0..period as usize {
                waves.extend(&mut table, step);
            }
            waves.table = table;
        }
        waves
    }

    /// Adds the cosine and the sine of each wave at a step.
    fn extend(&self, terms: &mut Vec<f64>, step: usize) {
        if self.table.is_empty() {
            let turn = TAU * (step as f64 / self.period).fract();
            let both = |count: &f64| [(turn * count).cos(), (turn * count).sin()];
            terms.extend(self.counts.iter().flat_map(both));
        } else {
            let width = 2 * self.counts.len();
            let first = step % (self.table.len() / width) * width;
            terms.extend_from_slice(&self.table[first..first + width]);
        }
    }
}

/// The columns at a step.
fn terms(waves: &[Waves], length: f64, step: usize, terms: &mut Vec<f64>) {
    terms.clear();
    terms.extend([1.0, step as f64 / length]);
    waves.iter().for_each(|waves| waves.extend(terms, step));
}

/// The weights of the columns for the targets from `first` on.
fn regression(
    targets: &[f64],
    first: usize,
    columns_at: impl Fn(usize, &mut Vec<f64>),
    columns: usize,
    penalty: f64,
) -> Result<Vec<f64>, Error> {
    let mut gram = vec![0.0; columns * columns];
    let mut moments = Array2::zeros((columns, 1));
    let mut row = Vec::with_capacity(columns);
    for (step, target) in targets.iter().enumerate().skip(first) {
        columns_at(step, &mut row);
        for (index, left) in row.iter().enumerate() {
            moments[(index, 0)] += left * target;
            let sums = &mut gram[index * columns..=index * columns + index];
            sums.iter_mut().zip(&row).for_each(|(sum, right)| *sum += left * right);
        }
    }
    let gram =
        Array2::from_shape_fn((columns, columns), |(row, column)| gram[row * columns + column]);
    Ok(ridge::solve(gram, &moments, penalty)?.column(0).to_vec())
}

fn season_curves(waves: Vec<Waves>, mut weights: &[f64]) -> Vec<SeasonCurve> {
    let mut seasons = Vec::with_capacity(waves.len());
    for waves in waves {
        let (own, rest) = weights.split_at(2 * waves.counts.len());
        weights = rest;
        seasons.push(if waves.table.is_empty() {
            SeasonCurve::Waves(waves, own.to_vec())
        } else {
            SeasonCurve::Steps(
                waves.table.chunks(own.len()).map(|row| ridge::dot(row, own)).collect(),
            )
        });
    }
    seasons
}

impl SeasonCurve {
    fn at(&self, step: usize) -> f64 {
        match self {
            Self::Steps(steps) => steps[step % steps.len()],
            Self::Waves(waves, weights) => {
                let mut row = Vec::with_capacity(weights.len());
                waves.extend(&mut row, step);
                ridge::dot(&row, weights)
            }
        }
    }
}

impl Curve {
    fn at(&self, step: usize) -> f64 {
        let seasons = self.seasons.iter().map(|season| season.at(step)).sum::<f64>();
        self.level + self.slope * step as f64 + seasons
    }

    /// What the curve leaves of scaled values, the first of which is at a step.
    fn residuals_of(&self, scaled: &[f64], first: usize) -> Vec<f64> {
        (first..).zip(scaled).map(|(step, value)| value - self.at(step)).collect()
    }
}

impl Fitted for Curve {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let (least, most) = self.bounds;
        let lags = self.residuals.len();
        let first = history.len() - lags;
        let tail: Vec<f64> = history[first..].iter().map(|&y| self.scale.apply(y)).collect();
        let mut residuals = self.residuals_of(&tail, first);
        let ahead = |step: usize| {
            let last = residuals.iter().rev().zip(&self.residuals);
            let residual: f64 = last.map(|(residual, weight)| residual * weight).sum();
            residuals.push(residual);
            let value = self.at(history.len() + step) + residual;
            self.scale.undo(value).clamp(least, most)
        };
        (0..horizon).map(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_on_a_line_goes_on() {
        let value = |step: usize| {
            let step = step as f64;
            50.0 + 0.1 * step + 10.0 * (TAU * step / 24.0).sin() + 5.0 * (TAU * step / 168.0).cos()
        };
        // Below zero too, so that there is no logarithm.
        let history: Vec<f64> = (0..600).map(|step| value(step) - 60.0).collect();
        let ahead = Fourier.fit(&history, Seasonality::new(24), 48).unwrap().predict(&history, 48);
        for (step, ahead) in ahead.iter().enumerate() {
            assert!((ahead - value(600 + step) + 60.0).abs() < 0.1, "{step}: {ahead}");
        }
    }

    #[test]
    fn waves_are_those_that_the_history_shows_twice() {
        let counts = |season: usize, length: usize| -> Vec<(f64, usize)> {
            let waves = waves(Seasonality::new(season), length);
            waves.iter().map(|waves| (waves.period, waves.counts.len())).collect()
        };
        assert_eq!(counts(24, 700), [(24.0, 10), (168.0, 9)]);
        assert_eq!(counts(24, 300), [(24.0, 10)]);
        assert_eq!(counts(7, 100), [(7.0, 3), (MONTH, 2)]);
        assert_eq!(counts(1, 100), []);
    }
}
