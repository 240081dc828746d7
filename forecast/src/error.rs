//! What can go wrong between numbers in and numbers out.

/// Everything this crate can refuse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the season is zero; a series without one has season 1")]
    SeasonZero,

    #[error("the horizon is zero")]
    HorizonZero,

    #[error("a backtest needs at least one origin")]
    OriginsZero,

    #[error("the level {level} of an interval is not between 0 and 1")]
    Level { level: f64 },

    #[error("the value at {index} is infinite; only NaN marks a gap")]
    Infinite { index: usize },

    #[error("the series holds {got} values, {needed} are needed")]
    TooShort { needed: usize, got: usize },

    #[error("the series holds only gaps")]
    OnlyGaps,

    #[error("the ridge of {lags} lags has no solution")]
    Unsolvable {
        lags: usize,
        #[source]
        source: linfa_linear::LinearError<f64>,
    },

    #[error("reading the column {column} of the panel")]
    Column {
        column: &'static str,
        #[source]
        source: polars::prelude::PolarsError,
    },

    #[error("row {row} of the panel has no {column}")]
    Missing { row: usize, column: &'static str },

    #[error("two rows of the panel are at {at}")]
    Repeated { at: i64 },

    #[error("the panel steps by {step}, but one row is at {at}, off that grid")]
    OffGrid { at: i64, step: u64 },

    #[error("the panel has {got} rows for {steps} steps; too many are absent")]
    Sparse { got: usize, steps: u64 },
}
