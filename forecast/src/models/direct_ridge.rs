//! A linear model of each step ahead on the last values.

use ndarray::Array2;

use super::ridge;
use crate::{
    Error, Fitted, Model, Seasonality,
    scale::{Scale, bounds},
};

/// Ridge regression of each step ahead on all values of a window, with one decomposition for all steps.
///
/// Values are put on a logarithmic scale when none is negative, and the mean of the window is taken from the window and
/// from the target, as in [`LagRidge`](super::LagRidge). No forecast is fed with another one, so errors do not add up.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectRidge;

/// The penalty, as a share of the mean variance of a value of the window.
const PENALTY: f64 = 0.02;

struct WindowWeights {
    window: usize,
    /// For each step ahead one per value of the window, the oldest first.
    weights: Vec<Vec<f64>>,
    scale: Scale,
    bounds: (f64, f64),
}

impl Model for DirectRidge {
    fn name(&self) -> &'static str {
        "direct_ridge"
    }

    /// # Errors
    /// [`Error::TooShort`] when there are fewer rows than values in the window of a season;
    /// [`Error::Unsolvable`] when the regression fails.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        horizon: usize,
    ) -> Result<Box<dyn Fitted>, Error> {
        let Seasonality { season, long_season } = seasonality;
        let least = season.max(4);
        super::check(history, seasonality, horizon.saturating_add(2 * least))?;
        let wanted = if long_season > 0 { long_season } else { (4 * season).max(8) };
        // No fewer rows than columns.
        let room = (history.len() - horizon) / 2;
        let window = if wanted <= room { wanted } else { room / season * season };
        let window = window.clamp(least, room);
        let scale = Scale::of(history);
        let scaled: Vec<f64> = history.iter().map(|&value| scale.apply(value)).collect();
        let (gram, moments) = normal_equations(&scaled, window, horizon);
        let solved = ridge::solve(gram, &moments, PENALTY)?;
        let weights = solved.columns().into_iter().map(|step| step.to_vec()).collect();
        Ok(Box::new(WindowWeights { window, weights, scale, bounds: bounds(history) }))
    }
}

/// `XᵀX` and `XᵀY` of all windows, less their means. A sum of the next diagonal element is the one before it, less the
/// first row and with the row after the last: no sum is made twice.
fn normal_equations(x: &[f64], window: usize, horizon: usize) -> (Array2<f64>, Array2<f64>) {
    let rows = x.len() - window - horizon + 1;
    let sum = |left: usize, right: usize| -> f64 {
        ridge::dot(&x[left..left + rows], &x[right..right + rows])
    };
    let next = |before: f64, left: usize, right: usize| {
        before - x[left] * x[right] + x[left + rows] * x[right + rows]
    };
    let mut gram = Array2::zeros((window, window));
    for column in 0..window {
        gram[(column, 0)] = sum(column, 0);
    }
    for row in 1..window {
        for column in 1..=row {
            gram[(row, column)] = next(gram[(row - 1, column - 1)], row - 1, column - 1);
        }
    }
    for row in 0..window {
        for column in row + 1..window {
            gram[(row, column)] = gram[(column, row)];
        }
    }
    let mut moments = Array2::zeros((window, horizon));
    for row in 0..window {
        for step in 0..horizon {
            moments[(row, step)] = if row == 0 || step == 0 {
                sum(row, window + step)
            } else {
                next(moments[(row - 1, step - 1)], row - 1, window + step - 1)
            };
        }
    }
    // The mean of a window is linear in its values, so it is taken from the sums.
    let means: Vec<f64> = gram.rows().into_iter().map(|row| row.sum() / window as f64).collect();
    let mean = super::mean(&means);
    for row in 0..window {
        for column in 0..window {
            gram[(row, column)] += mean - means[row] - means[column];
        }
    }
    for mut step in moments.columns_mut() {
        step.iter_mut().zip(&means).for_each(|(moment, mean)| *moment -= mean);
        let mean = step.sum() / window as f64;
        step.mapv_inplace(|moment| moment - mean);
    }
    (gram, moments)
}

impl Fitted for WindowWeights {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let (least, most) = self.bounds;
        let window = &history[history.len() - self.window..];
        let mut window: Vec<f64> = window.iter().map(|&value| self.scale.apply(value)).collect();
        let mean = super::mean(&window);
        window.iter_mut().for_each(|value| *value -= mean);
        let ahead = |weights: &Vec<f64>| {
            self.scale.undo(mean + ridge::dot(&window, weights)).clamp(least, most)
        };
        self.weights.iter().take(horizon).map(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rows() {
        let x: Vec<f64> = (0..23).map(|step| f64::from(step * step % 11)).collect();
        let (gram, moments) = normal_equations(&x, 5, 3);
        let mut expected = Array2::<f64>::zeros((5, 5));
        let mut targets = Array2::<f64>::zeros((5, 3));
        for first in 0..=23 - 8 {
            let window = &x[first..first + 5];
            let mean = window.iter().sum::<f64>() / 5.0;
            for row in 0..5 {
                for column in 0..5 {
                    expected[(row, column)] += (window[row] - mean) * (window[column] - mean);
                }
                for step in 0..3 {
                    targets[(row, step)] += (window[row] - mean) * (x[first + 5 + step] - mean);
                }
            }
        }
        assert!((&gram - &expected).iter().all(|off: &f64| off.abs() < 1e-9), "{gram} {expected}");
        assert!((&moments - &targets).iter().all(|off: &f64| off.abs() < 1e-9), "{moments}");
    }

    #[test]
    fn a_rhythm_goes_on() {
        let history: Vec<f64> =
            (0..70).map(|day| [5.0, 6.0, 7.0, 7.5, 6.0, 2.0, 1.0][day % 7]).collect();
        let ahead = DirectRidge.fit(&history, Seasonality::new(7), 7).unwrap().predict(&history, 7);
        for (value, expected) in ahead.iter().zip(&history) {
            assert!((value - expected).abs() < 0.05, "{ahead:?}");
        }
    }
}
