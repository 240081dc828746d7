//! The forecast of a series: the weighted median of a pool of models.

use crate::backtest::Origin;
use crate::backtest::backtest_seen;
use crate::conformal::errors_needed;
use crate::outliers::without_outliers;
use crate::scale::floor;
use crate::{
    Backtest, DampedTrend, DirectRidge, Error, Fitted, Fourier, Interval, LagRidge, Model,
    SeasonalNaive, Series, Theta,
};

/// How sharply a worse backtest costs weight. Of 1, 2, 4 and 6, this one was best on the last 48 training values of the M4
/// hourly series.
const SHARPNESS: i32 = 2;

/// Fewer origins than this say nothing about a model.
const FEWEST_ORIGINS: usize = 4;

/// More origins than this refine no quantile in use; longer series space them further apart.
const MOST_ORIGINS: usize = 60;

/// The next values of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The models of the pool and their weights, which sum to 1, heaviest first.
    pub weights: Vec<(&'static str, f64)>,
    /// One per step ahead.
    pub points: Vec<Point>,
    /// How this forecast would have done on the end of the series.
    pub backtest: Backtest,
    /// How the seasonal naive forecast would have done there.
    pub naive: Option<Backtest>,
    /// Values far from what was usual for their phase, by their index: they were not learned from.
    pub outliers: Vec<usize>,
}

/// One step ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The forecast, in the unit of the series.
    pub value: f64,
    /// One per level, narrowest first. Each holds `value` and the interval before it.
    pub intervals: Vec<Interval>,
}

/// Forecasts `horizon` steps, with an interval for each of `levels`, such as `[0.8, 0.95]`.
///
/// Every model of the pool forecasts the held-out end of the series. The forecast is their weighted
/// median at each step, between the middles of the weights, with weights proportional to `1 / e²`, where `e` is
/// the mean absolute error of that [`backtest`](crate::backtest()). A mean would follow one model that is far off.
///
/// The pool depends on the season and on the length. [`Theta`], [`DampedTrend`] and [`SeasonalNaive`] are for
/// months, quarters, years, and whatever is short. Hours and days have rows enough for regressions: from five
/// seasons on [`LagRidge`] on both scales, [`DirectRidge`] and [`Fourier`] join, and [`DampedTrend`] leaves.
///
/// Single outliers are not learned from, but the backtest is measured on what was: see [`Forecast::outliers`].
///
/// Intervals are split conformal, from the errors of this forecast in the backtest. They never shrink
/// with the horizon, and do not go below zero when the history does not. About a third of the
/// series is held out, up to half when the levels need more origins. A short series has few
/// origins, and the errors of neighboring steps are pooled. Those resemble each other, so the
/// intervals then promise a little much; [`Backtest::coverage`] is `None` there. Where even one origin of the whole horizon
/// does not fit, a shorter one is backtested, and intervals grow with the square root of the steps beyond it.
///
/// # Errors
/// [`Error::HorizonZero`], [`Error::Level`], and [`Error::TooShort`] when the series has no room
/// for four origins after a season (eight values at least), is shorter than two seasons or than the horizon, or when all errors together are too few for a level
/// (0.95 needs 19 of them, 0.99 needs 99).
pub fn forecast(series: &Series, horizon: usize, levels: &[f64]) -> Result<Forecast, Error> {
    if horizon == 0 {
        return Err(Error::HorizonZero);
    }
    if let Some(&level) = levels.iter().find(|&&level| !(level > 0.0 && level < 1.0)) {
        return Err(Error::Level { level });
    }
    let mut levels = levels.to_vec();
    levels.sort_by(f64::total_cmp);
    let (cleaned, outliers) = without_outliers(series.values(), series.season());
    let seen = series.with_values(cleaned);
    let tested = tested_horizon(series, horizon)?;
    let origins = origins(series, tested, levels.last().copied().unwrap_or(0.5));

    let mut members = Vec::new();
    for model in pool(series) {
        match member(model, series, &seen, horizon, tested, origins) {
            Ok(member) => members.push(member),
            // What a model cannot learn from is left to the others.
            Err(Error::TooShort { .. } | Error::Unsolvable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if members.is_empty() {
        return Err(Error::TooShort { needed: shortest(series), got: series.values().len() });
    }
    let weights = weights(members.iter().map(|member| member.backtest.mean_absolute_error()));
    let backtest = blend_backtests(series, &members, &weights);
    let predicted: Vec<Vec<f64>> =
        members.iter().map(|member| member.fitted.predict(seen.values(), horizon)).collect();
    let values = medians(&predicted.iter().map(Vec::as_slice).collect::<Vec<_>>(), &weights);
    let points = points(series, &values, &backtest, &levels)?;

    let mut weights: Vec<(&'static str, f64)> =
        members.iter().map(|member| member.name).zip(weights).collect();
    weights.sort_by(|left, right| right.1.total_cmp(&left.1));
    let naive = members.into_iter().find(|member| member.name == SeasonalNaive.name());
    Ok(Forecast { weights, points, backtest, naive: naive.map(|member| member.backtest), outliers })
}

/// A model that learned from the series, and how it did on its end.
struct Member {
    name: &'static str,
    fitted: Box<dyn Fitted>,
    backtest: Backtest,
}

fn member(
    model: &dyn Model,
    series: &Series,
    seen: &Series,
    horizon: usize,
    tested: usize,
    origins: usize,
) -> Result<Member, Error> {
    let backtest = backtest_seen(model, series, seen.values(), tested, origins)?;
    let fitted = model.fit(seen.values(), seen.seasonality(), horizon)?;
    Ok(Member { name: model.name(), fitted, backtest })
}

/// Months, quarters and years need so many seasons, and so many values, before a regression on lags is better.
const MANY_SEASONS: usize = 20;
const MANY_VALUES: usize = 100;
/// Hours and days need so many.
const FEW_SEASONS: usize = 5;

fn pool(series: &Series) -> Vec<&'static dyn Model> {
    let (length, season) = (series.values().len(), series.season());
    let has_rows = match season {
        1 | 4 | 12 => length >= (MANY_SEASONS * season).max(MANY_VALUES),
        _ => length >= FEW_SEASONS.saturating_mul(season),
    };
    if has_rows {
        let (logarithmic, linear) = (&LagRidge::LOGARITHMIC, &LagRidge::LINEAR);
        vec![logarithmic, linear, &DirectRidge, &Fourier, &SeasonalNaive, &Theta]
    } else {
        vec![&Theta, &DampedTrend, &SeasonalNaive]
    }
}

/// The steps ahead that the backtest asks for: all, or what a short series has room for.
fn tested_horizon(series: &Series, horizon: usize) -> Result<usize, Error> {
    let (length, learned) = (series.values().len(), learned(series));
    // Nothing is said of a longer time than is known.
    let needed = shortest(series).max(horizon);
    if length < needed {
        return Err(Error::TooShort { needed, got: length });
    }
    let room = length - learned;
    Ok(if horizon.saturating_add(FEWEST_ORIGINS - 1) <= room { horizon } else { room / 2 })
}

/// How many origins the series has room for, after what is to be learned from.
fn origins(series: &Series, horizon: usize, level: f64) -> usize {
    let length = series.values().len();
    let errors = errors_needed(level);
    let wanted = horizon.saturating_add(errors - 1).max(length / 3);
    let fewest = horizon + FEWEST_ORIGINS - 1;
    let room = length - learned(series);
    let held_out = wanted.min(length / 2).max(fewest).min(room);
    let most = MOST_ORIGINS.max(errors.div_ceil(horizon));
    (held_out - horizon + 1).min(most)
}

/// The shortest series with enough origins for intervals at `level`.
fn needed(series: &Series, horizon: usize, level: f64) -> usize {
    let held_out = horizon.saturating_add(errors_needed(level).div_ceil(horizon) - 1);
    held_out.saturating_add(held_out.max(learned(series)))
}

/// The shortest series that is forecast.
fn shortest(series: &Series) -> usize {
    series.season().saturating_mul(2).max(learned(series).saturating_add(FEWEST_ORIGINS))
}

/// The fewest values that a model is asked to learn from.
fn learned(series: &Series) -> usize {
    series.season().max(8)
}

/// `1 / e²` over the sum of them. Models without any error share all the weight.
fn weights(errors: impl Iterator<Item = f64>) -> Vec<f64> {
    let errors: Vec<f64> = errors.collect();
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let merits: Vec<f64> = errors
        .iter()
        .map(|&error| if error == least { 1.0 } else { (least / error).powi(SHARPNESS) })
        .collect();
    let sum: f64 = merits.iter().sum();
    merits.iter().map(|merit| merit / sum).collect()
}

fn blend_backtests(series: &Series, members: &[Member], weights: &[f64]) -> Backtest {
    let count = members.first().map_or(0, |member| member.backtest.origins.len());
    let origins = (0..count).map(|index| {
        let rows: Vec<&Origin> =
            members.iter().map(|member| &member.backtest.origins[index]).collect();
        let predicted: Vec<&[f64]> = rows.iter().map(|row| &row.predicted[..]).collect();
        Origin {
            at: rows[0].at,
            predicted: medians(&predicted, weights),
            actual: rows[0].actual.clone(),
        }
    });
    Backtest::new("blend".to_owned(), series, origins.collect())
}

/// The weighted median of `rows`, column by column.
fn medians(rows: &[&[f64]], weights: &[f64]) -> Vec<f64> {
    let columns = rows.first().map_or(0, |row| row.len());
    let mut sorted: Vec<(f64, f64)> = Vec::with_capacity(rows.len());
    let column = |column: usize| {
        sorted.clear();
        sorted.extend(rows.iter().zip(weights).map(|(row, weight)| (row[column], *weight)));
        sorted.sort_by(|left, right| left.0.total_cmp(&right.0));
        median(&sorted)
    };
    (0..columns).map(column).collect()
}

/// The median of ascending values with weights that sum to 1: each value is at the middle of its weight, and what lies
/// between two of them is on a straight line.
fn median(sorted: &[(f64, f64)]) -> f64 {
    let (mut below, mut last) = (0.0, None);
    for &(value, weight) in sorted {
        let middle = below + weight / 2.0;
        match last {
            Some((before, at)) if middle >= 0.5 => {
                let share: f64 = (0.5 - at) / (middle - at);
                return before * (1.0 - share) + value * share;
            }
            None if middle >= 0.5 => return value,
            _ => {}
        }
        below += weight;
        last = Some((value, middle));
    }
    last.map_or(f64::NAN, |(value, _)| value)
}

/// Puts intervals around `values`. `levels` ascend.
fn points(
    series: &Series,
    values: &[f64],
    backtest: &Backtest,
    levels: &[f64],
) -> Result<Vec<Point>, Error> {
    let floor = floor(series.values());
    let mut points: Vec<Point> =
        values.iter().map(|&value| Point { value, intervals: Vec::new() }).collect();
    for &level in levels {
        let widths = backtest.half_widths(level).ok_or_else(|| Error::TooShort {
            needed: needed(series, backtest.horizon, level),
            got: series.values().len(),
        })?;
        let (tested, last) = (widths.len(), widths.last().copied().unwrap_or_default());
        let beyond = |step: usize| last * (step as f64 / tested as f64).sqrt();
        let widths = widths.iter().copied().chain((tested + 1..).map(beyond));
        for (point, width) in points.iter_mut().zip(widths) {
            // Two levels may pool differently; the higher one is never the narrower.
            let inner = point.intervals.last().copied();
            let inner = inner.unwrap_or(Interval { level, lower: point.value, upper: point.value });
            point.intervals.push(Interval {
                level,
                lower: (point.value - width).max(floor).min(inner.lower),
                upper: (point.value + width).max(inner.upper),
            });
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::{forecast, medians, weights};
    use crate::{Error, Series};

    fn weekly(length: usize) -> impl Iterator<Item = f64> {
        (0..length).map(|day| {
            let day = day as f64;
            100.0 + 0.5 * day + 20.0 * (TAU * day / 7.0).sin()
        })
    }

    #[test]
    fn a_clean_week_with_a_trend_is_continued() {
        let series = Series::new(weekly(140).collect(), 7).unwrap();
        let ahead = forecast(&series, 14, &[0.8, 0.95]).unwrap();
        for (point, actual) in ahead.points.iter().zip(weekly(154).skip(140)) {
            assert!((point.value - actual).abs() < 0.01 * actual, "{point:?} is not {actual}");
            assert!(point.intervals.iter().all(|interval| interval.holds(point.value)));
        }
        assert_eq!(ahead.weights[0].0, "lag_ridge_linear");
        assert!(ahead.backtest.smape < 1.0 && ahead.backtest.mase.unwrap() < 0.5);
    }

    #[test]
    fn a_gap_hardly_matters() {
        let values = weekly(140).enumerate();
        let gaps = values.map(|(day, value)| if day % 17 == 3 { f64::NAN } else { value });
        let ahead = forecast(&Series::new(gaps.collect(), 7).unwrap(), 7, &[]).unwrap();
        for (point, actual) in ahead.points.iter().zip(weekly(147).skip(140)) {
            assert!((point.value - actual).abs() < 0.1 * actual, "{point:?} is not {actual}");
        }
    }

    #[test]
    fn constant_series_stay_constant() {
        for level in [0.0, 7.0, -7.0] {
            let series = Series::new(vec![level; 60], 7).unwrap();
            let ahead = forecast(&series, 7, &[0.95]).unwrap();
            for point in &ahead.points {
                let interval = point.intervals[0];
                assert!((point.value - level).abs() < 1e-9, "{point:?} is not {level}");
                assert!(interval.upper - interval.lower < 1e-9, "{interval:?}");
            }
            assert_eq!(ahead.backtest.mase, None);
            assert!(ahead.backtest.smape < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_forecast_is_refused() {
        let run = |length, horizon, levels: &[f64]| {
            forecast(&Series::new(weekly(length).collect(), 7).unwrap(), horizon, levels)
                .unwrap_err()
        };
        assert!(matches!(run(60, 0, &[]), Error::HorizonZero));
        assert!(matches!(run(60, 7, &[0.8, 1.0]), Error::Level { level: 1.0 }));
        assert!(matches!(run(60, 7, &[f64::NAN]), Error::Level { .. }));
        // Two weeks.
        assert!(matches!(run(13, 7, &[]), Error::TooShort { needed: 14, got: 13 }));
        assert!(matches!(run(60, 61, &[]), Error::TooShort { needed: 61, got: 60 }));
        assert!(matches!(run(60, usize::MAX, &[]), Error::TooShort { .. }));
        // Thirty errors of one step each cannot tell a level that needs 999.
        assert!(matches!(run(60, 1, &[0.999]), Error::TooShort { needed: 1998, got: 60 }));
    }

    #[test]
    fn twice_the_error_is_a_quarter_of_the_weight() {
        let of = |errors: [f64; 2]| weights(errors.into_iter());
        assert_eq!(of([1.0, 2.0]), [0.8, 0.2]);
        assert_eq!(of([0.0, 2.0]), [1.0, 0.0]);
        assert_eq!(of([0.0, 0.0]), [0.5, 0.5]);
    }

    #[test]
    fn the_median_lies_between_the_middles_of_the_weights() {
        let of = |values: &[f64], weights: &[f64]| {
            let rows: Vec<Vec<f64>> = values.iter().map(|value| vec![*value]).collect();
            medians(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), weights)[0]
        };
        assert_eq!(of(&[3.0, 1.0], &[0.5, 0.5]), 2.0, "two of one weight: their mean");
        assert_eq!(of(&[9.0, 1.0, 2.0], &[0.25, 0.25, 0.5]), 2.0);
        assert_eq!(of(&[1.0, 1e9, 2.0], &[0.45, 0.1, 0.45]), 1.0 + (0.5 - 0.225) / 0.45);
        assert_eq!(of(&[1.0, 5.0], &[0.9, 0.1]), 1.0 + 4.0 * 0.1, "a little of the other");
        assert_eq!(of(&[1.0, 5.0], &[1.0, 0.0]), 1.0);
        assert_eq!(of(&[7.0], &[1.0]), 7.0);
    }

    #[test]
    fn models_far_off_do_not_matter_and_short_series_have_wider_intervals() {
        let years: Vec<f64> = (0..14).map(|year| 100.0 + 10.0 * f64::from(year % 3)).collect();
        let ahead = forecast(&Series::new(years, 1).unwrap(), 9, &[0.8]).unwrap();
        let width =
            |step: usize| ahead.points[step - 1].intervals[0].upper - ahead.points[step - 1].value;
        assert_eq!(ahead.backtest.horizon, 3);
        assert!((width(6) - width(3) * 2.0_f64.sqrt()).abs() < 1e-9, "{ahead:?}");
    }
}
