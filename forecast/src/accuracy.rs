//! How good a forecast was: the measures of the M4 competition.
//!
//! Formulas: Makridakis, Spiliotis and Assimakopoulos, "The M4 Competition: 100,000 time series
//! and 61 forecasting methods", International Journal of Forecasting 36 (2020). Every function
//! returns `None` when its inputs are empty or differ in length.

use crate::Interval;

/// The symmetric mean absolute percentage error, from 0 (perfect) to 200.
///
/// `mean(200 |y - f| / (|y| + |f|))`; a pair of zeros counts as 0.
pub fn smape(actual: &[f64], predicted: &[f64]) -> Option<f64> {
    mean_over(actual, predicted, |actual, predicted| {
        let size = actual.abs() + predicted.abs();
        if size == 0.0 { 0.0 } else { 200.0 * (actual - predicted).abs() / size }
    })
}

/// The mean absolute scaled error: 1 is as good as the seasonal naive method inside the history.
///
/// `mean(|y - f|) / mean(|x[t] - x[t - season]|)` over the history `x`. `None` also when the
/// denominator is zero (a history that repeats itself exactly) or no season is complete.
pub fn mase(history: &[f64], season: usize, actual: &[f64], predicted: &[f64]) -> Option<f64> {
    let error = mean_over(actual, predicted, |actual, predicted| (actual - predicted).abs())?;
    Some(error / seasonal_scale(history, season)?)
}

/// The overall weighted average: 1 is as good as the Naive2 method, less is better.
///
/// `(smape / naive2_smape + mase / naive2_mase) / 2`, from the means over all series.
pub fn owa(smape: f64, mase: f64, naive2_smape: f64, naive2_mase: f64) -> f64 {
    0.5 * (smape / naive2_smape + mase / naive2_mase)
}

/// The share of the actual values that lie inside their interval, ends included.
pub fn coverage(actual: &[f64], intervals: &[Interval]) -> Option<f64> {
    if actual.is_empty() || actual.len() != intervals.len() {
        return None;
    }
    let inside = actual.iter().zip(intervals).filter(|(actual, interval)| interval.holds(**actual));
    Some(inside.count() as f64 / actual.len() as f64)
}

/// The mean scaled interval score: narrow intervals that hold the actual values score low.
///
/// `mean(u - l + 2/a (l - y)+ + 2/a (y - u)+) / mean(|x[t] - x[t - season]|)` with
/// `a = 1 - level` of each interval. `None` as for [`mase`].
pub fn msis(history: &[f64], season: usize, actual: &[f64], intervals: &[Interval]) -> Option<f64> {
    if actual.is_empty() || actual.len() != intervals.len() {
        return None;
    }
    let scores = actual.iter().zip(intervals).map(|(actual, interval)| {
        let penalty = 2.0 / (1.0 - interval.level);
        let below = (interval.lower - actual).max(0.0);
        let above = (actual - interval.upper).max(0.0);
        interval.upper - interval.lower + penalty * (below + above)
    });
    Some(scores.sum::<f64>() / actual.len() as f64 / seasonal_scale(history, season)?)
}

/// The mean absolute change over one season: the unit of scaled errors.
fn seasonal_scale(history: &[f64], season: usize) -> Option<f64> {
    let earlier = history.get(..history.len().checked_sub(season)?)?;
    let scale = mean_over(&history[season..], earlier, |late, early| (late - early).abs())?;
    (scale > 0.0).then_some(scale)
}

fn mean_over(left: &[f64], right: &[f64], term: impl Fn(f64, f64) -> f64) -> Option<f64> {
    if left.is_empty() || left.len() != right.len() {
        return None;
    }
    let sum: f64 = left.iter().zip(right).map(|(left, right)| term(*left, *right)).sum();
    Some(sum / left.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::{coverage, mase, msis, owa, smape};
    use crate::Interval;

    fn close(got: Option<f64>, expected: f64) {
        let got = got.unwrap();
        assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
    }

    #[test]
    fn measures_match_hand_computed_values() {
        // 200·(10/210 + 20/180)/2 = 1000/63; the season-2 scale of 1,2,3,5 is (2 + 3)/2.
        close(smape(&[100.0, 100.0], &[110.0, 80.0]), 1000.0 / 63.0);
        close(smape(&[0.0, 5.0], &[0.0, -5.0]), 100.0);
        close(mase(&[1.0, 2.0, 3.0, 5.0], 2, &[4.0, 6.0], &[5.0, 9.0]), 2.0 / 2.5);
        // The official M4 hourly figures of the seasonal naive method give its official OWA.
        close(Some((owa(13.912, 1.193, 18.383, 2.395) * 1e3).round()), 627.0);
    }

    #[test]
    fn intervals_are_scored() {
        let band = |lower, upper| Interval { level: 0.8, lower, upper };
        let bands = [band(0.0, 2.0), band(0.0, 2.0), band(0.0, 2.0), band(0.0, 2.0)];
        close(coverage(&[0.0, 2.0, 3.0, -1.0], &bands), 0.5);
        // Widths of 2, and two misses by 1 at 2/0.2 = 10 each: (4·2 + 20)/4 = 7, scale 0.5.
        close(msis(&[0.0, 0.5, 1.0], 1, &[0.0, 2.0, 3.0, -1.0], &bands), 14.0);
    }

    #[test]
    fn what_cannot_be_measured_is_none() {
        assert_eq!(smape(&[], &[]), None);
        assert_eq!(smape(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(mase(&[3.0, 3.0, 3.0], 1, &[3.0], &[3.0]), None);
        assert_eq!(mase(&[3.0], 2, &[3.0], &[3.0]), None);
        assert_eq!(coverage(&[1.0], &[]), None);
    }
}
