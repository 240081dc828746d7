//! Exponential smoothing with a trend that fades.

use super::{
    SHORTEST,
    adjustment::{Adjustment, found_season},
};
use crate::{Error, Fitted, Model, Seasonality, scale::bounds};

/// Holt's linear exponential smoothing of the seasonally adjusted values, with a damped trend.
///
/// Source: Gardner and McKenzie, "Forecasting trends in time series", Management Science 31 (1985).
#[derive(Debug, Clone, Copy, Default)]
pub struct DampedTrend;

#[derive(Clone, Copy)]
struct Parameters {
    alpha: f64,
    beta: f64,
    /// What is left of the trend after a step.
    phi: f64,
}

/// What was learned, and where the values that it was learned from end.
struct Smoothing {
    adjustment: Adjustment,
    parameters: Parameters,
    learned: usize,
    state: State,
    bounds: (f64, f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    level: f64,
    trend: f64,
}

/// A coarse grid, and how far a finer one goes around its best point.
const ALPHAS: [f64; 5] = [0.05, 0.2, 0.4, 0.65, 0.92];
const BETAS: [f64; 4] = [0.0, 0.05, 0.2, 0.5];
const PHIS: [f64; 3] = [0.82, 0.91, 0.98];
const AROUND: [(f64, f64, f64); 3] =
    [(0.06, 0.04, 0.03), (0.03, 0.02, 0.015), (0.015, 0.01, 0.008)];

impl Model for DampedTrend {
    fn name(&self) -> &'static str {
        "damped_trend"
    }

    /// # Errors
    /// [`Error::TooShort`] below four values.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        _: usize,
    ) -> Result<Box<dyn Fitted>, Error> {
        super::check(history, seasonality, SHORTEST)?;
        let season = found_season(history, seasonality.season);
        let adjustment = Adjustment::of(history, season);
        let adjusted: Vec<f64> = adjustment.apply(0, history).collect();
        let mut best = (f64::INFINITY, Parameters { alpha: 0.5, beta: 0.0, phi: 0.9 });
        let consider = |alpha: f64, beta: f64, phi: f64, best: &mut (f64, Parameters)| {
            let parameters = Parameters {
                alpha: alpha.clamp(0.01, 0.99),
                beta: beta.clamp(0.0, 0.9),
                phi: phi.clamp(0.8, 0.98),
            };
            let squares = smooth(&adjusted, parameters).1;
            if squares < best.0 {
                *best = (squares, parameters);
            }
        };
        for alpha in ALPHAS {
            for beta in BETAS {
                for phi in PHIS {
                    consider(alpha, beta, phi, &mut best);
                }
            }
        }
        for (alpha, beta, phi) in AROUND {
            let Parameters { alpha: a, beta: b, phi: p } = best.1;
            for sign in [-1.0, 1.0] {
                consider(a + sign * alpha, b, p, &mut best);
                consider(a, b + sign * beta, p, &mut best);
                consider(a, b, p + sign * phi, &mut best);
            }
        }
        Ok(Box::new(Smoothing {
            adjustment,
            parameters: best.1,
            learned: history.len(),
            state: smooth(&adjusted, best.1).0,
            bounds: bounds(history),
        }))
    }
}

impl State {
    /// Goes on by a value, and says how far it was off.
    fn observe(&mut self, value: f64, Parameters { alpha, beta, phi }: Parameters) -> f64 {
        let expected = self.level + phi * self.trend;
        let error = value - expected;
        self.level = expected + alpha * error;
        self.trend = phi * self.trend + alpha * beta * error;
        error
    }
}

/// The state after the last value, and the squared errors of one step.
fn smooth(values: &[f64], parameters: Parameters) -> (State, f64) {
    let first = values.len().min(5) - 1;
    let mut state = State { level: values[0], trend: (values[first] - values[0]) / first as f64 };
    let squares = values[1..].iter().map(|value| state.observe(*value, parameters).powi(2)).sum();
    (state, squares)
}

impl Fitted for Smoothing {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let mut state = self.state;
        for value in self.adjustment.apply(self.learned, &history[self.learned..]) {
            state.observe(value, self.parameters);
        }
        let ahead = |step: usize| {
            state.trend *= self.parameters.phi;
            state.level += state.trend;
            self.adjustment
                .undo(history.len() + step, state.level)
                .clamp(self.bounds.0, self.bounds.1)
        };
        (0..horizon).map(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_is_that_of_the_textbook() {
        // Level 1 and trend 1; expected 1.5, error 0.5: level 1.75, trend 0.5 + 0.125.
        // Expected 2.0625, error 0.9375: level 2.53125, trend 0.3125 + 0.234375.
        let parameters = Parameters { alpha: 0.5, beta: 0.5, phi: 0.5 };
        let (state, squares) = smooth(&[1.0, 2.0, 3.0], parameters);
        assert_eq!(state, State { level: 2.53125, trend: 0.546875 });
        assert_eq!(squares, 0.25 + 0.9375 * 0.9375);
    }

    #[test]
    fn a_trend_fades() {
        let line: Vec<f64> = (0..40).map(|step| 10.0 + 2.0 * f64::from(step)).collect();
        let fitted = DampedTrend.fit(&line, Seasonality::new(1), 50).unwrap();
        let ahead = fitted.predict(&line, 50);
        assert!(ahead.is_sorted(), "{ahead:?}");
        assert!(ahead[1] - ahead[0] > ahead[49] - ahead[48], "{ahead:?}");
    }
}
