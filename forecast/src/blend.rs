//! The forecast of a series: every model of the pool, weighted by how it did in the backtest.

use crate::backtest::Origin;
use crate::conformal::errors_needed;
use crate::scale::floor;
use crate::{Backtest, Error, Fitted, Interval, LagRidge, Model, SeasonalNaive, Series, backtest};

/// How sharply a worse backtest costs weight. Of 1, 2, 4 and 6, this one was best in validation on
/// M4 Weekly (OWA 0.705; with 2: 0.752), and picking only the best model was worse (0.757).
const SHARPNESS: i32 = 6;

/// Fewer origins than this say nothing about a model.
const FEWEST_ORIGINS: usize = 4;

/// More origins than this refine no quantile in use; longer series space them further apart.
const MOST_ORIGINS: usize = 240;

/// The next values of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// The models that were blended and their weights, which sum to 1, heaviest first.
    pub weights: Vec<(&'static str, f64)>,
    /// One per step ahead.
    pub points: Vec<Point>,
    /// How this blend would have done on the end of the series.
    pub backtest: Backtest,
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
/// Every model forecasts the held-out end of the series. The blend is the mean of the models with
/// weights proportional to `1 / e^6`, where `e` is the mean absolute error of that [`backtest`]:
/// soft, because the best in the backtest is often not the best afterwards, yet sharp enough that
/// a model twice as bad keeps only 1.5 % and cannot spoil the mean.
///
/// Intervals are split conformal, from the errors of the blend in the backtest. They never shrink
/// with the horizon, and do not go below zero when the history does not. About a third of the
/// series is held out, up to half when the levels need more origins. A short series has few
/// origins, so neighboring steps are pooled and the intervals come out wide.
///
/// # Errors
/// [`Error::HorizonZero`], [`Error::Level`], and [`Error::TooShort`] when the series has no room
/// for four origins after two seasons, or when all errors together are too few for a level
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
    let origins = origins(series, horizon, levels.last().copied().unwrap_or(0.5))?;

    let pool: [&dyn Model; 2] = [&LagRidge, &SeasonalNaive];
    let mut backtests = Vec::with_capacity(pool.len());
    let mut fitted = Vec::with_capacity(pool.len());
    for model in pool {
        backtests.push(backtest(model, series, horizon, origins)?);
        fitted.push(model.fit(series.values(), series.season())?);
    }
    let weights = weights(&backtests);
    let backtest = blend_backtests(series, &backtests, &weights);
    let values = blend_values(series, horizon, &fitted, &weights);
    let points = points(&values, &backtest, &levels, floor(series.values()))?;

    let mut weights: Vec<(&'static str, f64)> =
        pool.iter().map(|model| model.name()).zip(weights).collect();
    weights.sort_by(|left, right| right.1.total_cmp(&left.1));
    Ok(Forecast { weights, points, backtest })
}

/// How many origins the series has room for, after at least two seasons to learn from.
fn origins(series: &Series, horizon: usize, level: f64) -> Result<usize, Error> {
    let length = series.values().len();
    let learned = (2 * series.season()).max(8);
    let fewest = horizon.saturating_add(FEWEST_ORIGINS - 1);
    if length < learned.saturating_add(fewest) {
        return Err(Error::TooShort { needed: learned.saturating_add(fewest), got: length });
    }
    let wanted = (horizon.saturating_add(errors_needed(level) - 1)).max(length / 3);
    let held_out = wanted.min(length / 2).min(length - learned).max(fewest);
    Ok((held_out - horizon + 1).min(MOST_ORIGINS))
}

/// `1 / e^6` over the sum of them. Models without any error share all the weight.
fn weights(backtests: &[Backtest]) -> Vec<f64> {
    let errors: Vec<f64> = backtests.iter().map(Backtest::mean_absolute_error).collect();
    let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let merits: Vec<f64> = errors
        .iter()
        .map(|&error| if error == least { 1.0 } else { (least / error).powi(SHARPNESS) })
        .collect();
    let sum: f64 = merits.iter().sum();
    merits.iter().map(|merit| merit / sum).collect()
}

fn blend_backtests(series: &Series, backtests: &[Backtest], weights: &[f64]) -> Backtest {
    let count = backtests.first().map_or(0, |backtest| backtest.origins.len());
    let origins = (0..count).map(|index| {
        let rows: Vec<&Origin> =
            backtests.iter().map(|backtest| &backtest.origins[index]).collect();
        let predicted: Vec<&[f64]> = rows.iter().map(|row| &row.predicted[..]).collect();
        Origin {
            at: rows[0].at,
            predicted: mean(&predicted, weights),
            actual: rows[0].actual.clone(),
        }
    });
    Backtest::new("blend".to_owned(), series, origins.collect())
}

fn blend_values(
    series: &Series,
    horizon: usize,
    fitted: &[Box<dyn Fitted>],
    weights: &[f64],
) -> Vec<f64> {
    let predicted: Vec<Vec<f64>> =
        fitted.iter().map(|fitted| fitted.predict(series.values(), horizon)).collect();
    let predicted: Vec<&[f64]> = predicted.iter().map(Vec::as_slice).collect();
    mean(&predicted, weights)
}

/// The weighted mean of `rows`, column by column. The weights sum to 1.
fn mean(rows: &[&[f64]], weights: &[f64]) -> Vec<f64> {
    let columns = rows.first().map_or(0, |row| row.len());
    (0..columns)
        .map(|column| rows.iter().zip(weights).map(|(row, weight)| row[column] * weight).sum())
        .collect()
}

/// Puts intervals around `values`. `levels` ascend.
fn points(
    values: &[f64],
    backtest: &Backtest,
    levels: &[f64],
    floor: f64,
) -> Result<Vec<Point>, Error> {
    let mut points: Vec<Point> =
        values.iter().map(|&value| Point { value, intervals: Vec::new() }).collect();
    for &level in levels {
        let widths = backtest.half_widths(level)?;
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
