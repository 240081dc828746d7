//! The Theta method.

use super::{
    SHORTEST,
    adjustment::{Adjustment, found_season},
};
use crate::{Error, Fitted, Model, Seasonality, scale::bounds};

/// Exponential smoothing of the seasonally adjusted values, with half the slope of their straight
/// line as drift. It won the M3 competition.
///
/// Source: Assimakopoulos and Nikolopoulos, "The theta model: a decomposition approach to
/// forecasting", International Journal of Forecasting 16 (2000); in the form of Hyndman and Billah,
/// "Unmasking the Theta method", ibid. 19 (2003).
#[derive(Debug, Clone, Copy, Default)]
pub struct Theta;

/// What was learned, and where the values that it was learned from end.
struct Smoothing {
    adjustment: Adjustment,
    alpha: f64,
    learned: usize,
    level: f64,
    line: Line,
    bounds: (f64, f64),
}

impl Model for Theta {
    fn name(&self) -> &'static str {
        "theta"
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
        let squares = |alpha: f64| smooth(&adjusted, alpha).1;
        let coarse = (1..20).map(|step| f64::from(step) * 0.05);
        let least =
            |best: f64, alpha: f64| if squares(alpha) < squares(best) { alpha } else { best };
        let alpha = coarse.fold(0.5, least);
        let fine = (-4..=4).map(|step| (alpha + f64::from(step) * 0.01).clamp(0.01, 0.99));
        let alpha = fine.fold(alpha, least);
        let mut line = Line::default();
        adjusted.iter().for_each(|value| line.add(*value));
        Ok(Box::new(Smoothing {
            adjustment,
            alpha,
            learned: history.len(),
            level: smooth(&adjusted, alpha).0,
            line,
            bounds: bounds(history),
        }))
    }
}

/// The level after the last value, and the squared errors of one step.
fn smooth(values: &[f64], alpha: f64) -> (f64, f64) {
    let (mut level, mut squares) = (values[0], 0.0);
    for value in &values[1..] {
        let error = value - level;
        squares += error * error;
        level += alpha * error;
    }
    (level, squares)
}

/// Sums for the straight line through values at 0, 1, 2 and so on.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    count: f64,
    values: f64,
    products: f64,
}

impl Line {
    fn add(&mut self, value: f64) {
        self.products += self.count * value;
        self.values += value;
        self.count += 1.0;
    }

    fn slope(self) -> f64 {
        let Self { count, values, products } = self;
        (products - (count - 1.0) / 2.0 * values) / (count * (count * count - 1.0) / 12.0)
    }
}

impl Fitted for Smoothing {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let (mut level, mut line) = (self.level, self.line);
        for value in self.adjustment.apply(self.learned, &history[self.learned..]) {
            level += self.alpha * (value - level);
            line.add(value);
        }
        let drift = line.slope() / 2.0;
        let steps = history.len().try_into().unwrap_or(i32::MAX);
        let remembered = 1.0 - (1.0 - self.alpha).powi(steps);
        let ahead = |step: usize| {
            let value = level + drift * (step as f64 + remembered / self.alpha);
            self.adjustment.undo(history.len() + step, value).clamp(self.bounds.0, self.bounds.1)
        };
        (0..horizon).map(ahead).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_with_its_slope() {
        // The level follows a line with a lag that the drift makes up for: with alpha near one, half the slope is left.
        let line: Vec<f64> = (0..30).map(|step| 10.0 + 2.0 * f64::from(step)).collect();
        let mut sums = Line::default();
        line.iter().for_each(|value| sums.add(*value));
        assert!((sums.slope() - 2.0).abs() < 1e-12);
        let ahead = Theta.fit(&line, Seasonality::new(1), 3).unwrap().predict(&line, 3);
        assert!((ahead[0] - 69.0).abs() < 0.2, "{ahead:?}");
        assert!((ahead[2] - ahead[0] - 2.0).abs() < 1e-9, "half the slope: {ahead:?}");
    }

    #[test]
    fn smoothing_is_that_of_the_textbook() {
        // Levels 1, 1.5, 2.75; errors 1 and 2.5.
        assert_eq!(smooth(&[1.0, 2.0, 4.0], 0.5), (2.75, 7.25));
    }
}
