//! Forecasts: what comes next in a series of numbers, and how sure that is.
//! A [`Series`] is a history of equally spaced values with a season, such as hourly request counts
//! with a rhythm of 24. [`forecast()`] asks every [`Model`] of a small pool what it would have said
//! in the past (a rolling-origin [`backtest()`]), weights the models by how wrong they were, and
//! lets them speak about the future. Each [`Point`] of the answer has a value and prediction
//! intervals, which are as wide as the mistakes of the backtest demand. [`forecast_panel`] does
//! this for every series of a `polars` frame.
//!
//! The pool: [`SeasonalNaive`] repeats the last season and is the guard rail that others must beat;
//! [`LagRidge`] and [`DirectRidge`] are ridge regressions on the past, [`Fourier`] is one on waves;
//! [`Theta`] and [`DampedTrend`] smooth. One more model is one more implementation of [`Model`].
//! [`explain_series`] says what a series is made of: a line and a season, fitted by `linfa`.
//!
//! The crate is pure: numbers in, numbers out. No I/O, no clock, no randomness: the same history
//! gives the same bits. [`accuracy`] measures forecasts as the M4 competition did.

#![warn(missing_docs)]

pub mod accuracy;
pub mod anomaly;
pub mod attribution;
mod backtest;
mod blend;
pub mod churn;
mod conformal;
mod error;
mod explanation;
mod models;
mod outliers;
mod panel;
#[cfg(test)]
mod properties;
mod scale;
mod series;

pub use backtest::{Backtest, Origin, backtest};
pub use blend::{Forecast, Point, forecast};
pub use conformal::Interval;
pub use error::Error;
pub use explanation::{Explanation, explain_series};
pub use models::{
    DampedTrend, DirectRidge, Fitted, Fourier, LagRidge, Model, SeasonalNaive, Seasonality, Theta,
};
pub use panel::{forecast_panel, forecast_values};
pub use series::Series;
