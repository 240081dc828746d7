//! What a series is made of, in numbers that can be said in a sentence.

use std::f64::consts::TAU;

use linfa::{Dataset, traits::Fit};
use linfa_linear::LinearRegression;
use ndarray::Array2;

use crate::{Series, outliers::without_outliers};

/// A straight line and a season: what they say of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explanation {
    /// What the line adds in one step, in the unit of the series.
    pub slope: f64,
    /// The mean of the series.
    pub mean: f64,
    /// The parts of the variance that the line and the season say, and what neither says; they sum to 1.
    pub trend_share: f64,
    /// See `trend_share`.
    pub season_share: f64,
    /// See `trend_share`.
    pub rest_share: f64,
}

/// Waves of each season.
const WAVES: usize = 3;

/// Fits a line and waves of the seasons by ordinary least squares, without outliers. `None` where nothing varies, or where the series is too short.
#[must_use]
pub fn explain_series(series: &Series) -> Option<Explanation> {
    let seasonality = series.seasonality();
    let (values, _) = without_outliers(series.values(), seasonality.season);
    let length = values.len();
    let periods = [seasonality.season, seasonality.long_season];
    let periods = periods.into_iter().filter(|period| *period > 1 && length >= 2 * period);
    let waves: Vec<f64> = periods
        .flat_map(|period| {
            (1..=WAVES.min((period - 1) / 2)).map(move |count| TAU * count as f64 / period as f64)
        })
        .collect();
    if length < 3 * (2 + 2 * waves.len()) {
        return None;
    }
    let column = |step: usize, column: usize| {
        let step = step as f64;
        match column.checked_sub(1) {
            None => step / length as f64,
            Some(wave) if wave % 2 == 0 => (step * waves[wave / 2]).cos(),
            Some(wave) => (step * waves[wave / 2]).sin(),
        }
    };
    let size = values.iter().fold(0.0_f64, |size, value| size.max(value.abs()));
    let columns =
        Array2::from_shape_fn((length, 1 + 2 * waves.len()), |(step, at)| column(step, at));
    let targets = values.iter().map(|value| value / size).collect();
    let fitted = LinearRegression::new().fit(&Dataset::new(columns.clone(), targets)).ok()?;
    let weights = fitted.params();
    let variance = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let line: Vec<f64> = (0..length).map(|step| columns[(step, 0)] * weights[0]).collect();
    let season: Vec<f64> = (0..length)
        .map(|step| (1..weights.len()).map(|at| columns[(step, at)] * weights[at]).sum())
        .collect();
    let rest: Vec<f64> =
        (0..length).map(|step| values[step] / size - line[step] - season[step]).collect();
    let parts = [variance(&line), variance(&season), variance(&rest)];
    let sum: f64 = parts.iter().sum();
    (sum > 1e-12 && sum.is_finite()).then(|| Explanation {
        slope: weights[0] * size / length as f64,
        mean: values.iter().map(|value| value / length as f64).sum(),
        trend_share: parts[0] / sum,
        season_share: parts[1] / sum,
        rest_share: parts[2] / sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: impl Fn(f64) -> f64) -> Option<Explanation> {
        let values = (0..140).map(|step| value(f64::from(step)));
        explain_series(&Series::new(values.collect(), 7).unwrap())
    }

    #[test]
    fn a_line_and_a_week_are_told_apart() {
        let line = of(|step| 5.0 + 2.0 * step).unwrap();
        assert!((line.slope - 2.0).abs() < 1e-9 && line.trend_share > 0.999, "{line:?}");
        let week = of(|step| 50.0 + 10.0 * (TAU * step / 7.0).sin()).unwrap();
        assert!(week.slope.abs() < 1e-2 && week.season_share > 0.99, "{week:?}");
        assert!((week.mean - 50.0).abs() < 1e-9);
        let both = of(|step| 1e12 * (5.0 + step / 70.0 + (TAU * step / 7.0).sin())).unwrap();
        assert!(both.rest_share < 0.01 && both.trend_share > 0.2 && both.season_share > 0.5);
        assert_eq!(of(|_| 7.0), None);
        assert_eq!(explain_series(&Series::new(vec![1.0, 2.0, 4.0], 7).unwrap()), None);
    }
}
