//! The models of the pool.

mod adjustment;
#[cfg(test)]
mod agreement;
mod damped_trend;
mod direct_ridge;
mod fourier;
mod lag_ridge;
mod ridge;
mod seasonal_naive;
mod theta;

use crate::Error;

pub use damped_trend::DampedTrend;
pub use direct_ridge::DirectRidge;
pub use fourier::Fourier;
pub use lag_ridge::LagRidge;
pub use seasonal_naive::SeasonalNaive;
pub use theta::Theta;

/// After how many steps a series repeats itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seasonality {
    /// The steps in one season: 24 for hours with a daily rhythm; 1 for none.
    pub season: usize,
    /// The steps in a longer one, such as 168 for hours; 0 for none.
    pub long_season: usize,
}

impl Seasonality {
    /// A season. That of a day (13 to 48 steps) has the week of seven of them beside it.
    #[must_use]
    pub fn new(season: usize) -> Self {
        Self { season, long_season: if (13..=48).contains(&season) { 7 * season } else { 0 } }
    }
}

/// A way to learn from a history. Implementations are deterministic: the same history gives the
/// same bits.
pub trait Model: Sync {
    /// A stable name for reports, such as `lag_ridge`.
    fn name(&self) -> &'static str;

    /// Learns from `history` (oldest first, finite) to forecast up to `horizon` steps.
    ///
    /// # Errors
    /// [`Error::TooShort`] when there is too little to learn from.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        horizon: usize,
    ) -> Result<Box<dyn Fitted>, Error>;
}

/// What a [`Model`] learned. It may be asked again as its history grows, without learning anew:
/// that is what makes a backtest over hundreds of origins cheap.
pub trait Fitted {
    /// The next `horizon` values after `history`, in the unit of the history.
    ///
    /// `history` is at least as long as the one that was learned from, and begins with it;
    /// `horizon` is at most the one that was learned for.
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64>;
}

/// Below four values not even two lags have two rows.
const SHORTEST: usize = 4;

/// Refuses a season of zero, and a history that is shorter than `needed`.
fn check(history: &[f64], seasonality: Seasonality, needed: usize) -> Result<(), Error> {
    if seasonality.season == 0 {
        return Err(Error::SeasonZero);
    }
    if history.len() < needed {
        return Err(Error::TooShort { needed, got: history.len() });
    }
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
