//! What can go wrong between numbers in and numbers out.

/// Everything this crate can refuse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A season of zero steps was asked for.
    #[error("the season is zero; a series without one has season 1")]
    SeasonZero,

    /// A forecast of zero steps was asked for.
    #[error("the horizon is zero")]
    HorizonZero,

    /// A backtest with zero origins was asked for.
    #[error("a backtest needs at least one origin")]
    OriginsZero,

    /// The level of an interval is not between 0 and 1, exclusive.
    #[error("the level {level} of an interval is not between 0 and 1")]
    Level {
        /// The level that was asked for.
        level: f64,
    },

    /// A value of the series is infinite.
    #[error("the value at {index} is infinite; only NaN marks a gap")]
    Infinite {
        /// The index of the first such value, from 0.
        index: usize,
    },

    /// The series has too few values for what was asked for.
    #[error("the series holds {got} values, {needed} are needed")]
    TooShort {
        /// The smallest number of values that is enough.
        needed: usize,
        /// The number of values that the series has.
        got: usize,
    },

    /// Every value of the series is NaN.
    #[error("the series holds only gaps")]
    OnlyGaps,

    /// A regression failed.
    #[error("the regression on {columns} columns has no solution")]
    Unsolvable {
        /// The number of its columns.
        columns: usize,
    },

    /// A column of the panel is absent, or has another type.
    #[error("reading the column {column} of the panel")]
    Column {
        /// The name of the column: `series`, `value` or `at`.
        column: &'static str,
        /// The error of the data frame.
        #[source]
        source: polars::prelude::PolarsError,
    },

    /// A row of the panel is null in a column that needs a value.
    #[error("row {row} of the panel has no {column}")]
    Missing {
        /// The index of the row, from 0.
        row: usize,
        /// The name of the column: `series` or `at`.
        column: &'static str,
    },

    /// Two rows of one series have the same `at`.
    #[error("two rows of the panel are at {at}")]
    Repeated {
        /// The `at` of both rows.
        at: i64,
    },

    /// A row of a series is not a whole number of steps after its first row.
    #[error("the panel steps by {step}, but one row is at {at}, off that grid")]
    OffGrid {
        /// The `at` of the row.
        at: i64,
        /// The step of the series, in the unit of `at`: the smallest difference of two rows.
        step: u64,
    },

    /// A series has fewer rows than one per ten steps.
    #[error("the panel has {got} rows for {steps} steps; too many are absent")]
    Sparse {
        /// The number of rows of the series.
        got: usize,
        /// The number of steps from the first row to the last, both included.
        steps: u64,
    },
}
