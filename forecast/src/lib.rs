//! Forecasts: what comes next in a series of numbers, and how sure that is.
//! A [`Series`] is a history of equally spaced values with a season, such as hourly request counts
//! with a rhythm of 24. [`forecast()`] asks every [`Model`] of a small pool what it would have said
//! in the past (a rolling-origin [`backtest()`]), weights the models by how wrong they were, and
//! lets them speak about the future. Each [`Point`] of the answer has a value and prediction
//! intervals, which are as wide as the mistakes of the backtest demand. [`forecast_panel`] does
//! this for every series of a `polars` frame.
//!
//! Two models make the pool: [`SeasonalNaive`] repeats the last season and is the guard rail that
//! others must beat; [`LagRidge`] is a ridge regression on the past, fitted by `linfa`. One more
//! model is one more implementation of [`Model`].
//!
//! The crate is pure: numbers in, numbers out. No I/O, no clock, no randomness: the same history
//! gives the same bits. [`accuracy`] measures forecasts as the M4 competition did.

#![warn(missing_docs)]

pub mod accuracy;
pub mod anomaly;
pub mod attribution;
mod backtest;
mod blend;
mod conformal;
mod error;
mod lag_ridge;
mod model;
mod panel;
#[cfg(test)]
mod properties;
mod scale;
mod seasonal_naive;
mod series;

pub use backtest::{Backtest, Origin, backtest};
pub use blend::{Forecast, Point, forecast};
pub use conformal::Interval;
pub use error::Error;
pub use lag_ridge::LagRidge;
pub use model::{Fitted, Model};
pub use panel::{forecast_panel, forecast_values};
pub use seasonal_naive::SeasonalNaive;
pub use series::Series;
