//! What a forecasting model is.

use crate::Error;

/// A way to learn from a history. Implementations are deterministic: the same history gives the
/// same bits.
pub trait Model {
    /// A stable name for reports, such as `lag_ridge`.
    fn name(&self) -> &'static str;

    /// Learns from `history` (oldest first, finite, `season` steps per season).
    ///
    /// # Errors
    /// [`Error::TooShort`] when there is too little to learn from.
    fn fit(&self, history: &[f64], season: usize) -> Result<Box<dyn Fitted>, Error>;
}

/// What a [`Model`] learned. It may be asked again as its history grows, without learning anew:
/// that is what makes a backtest over hundreds of origins cheap.
pub trait Fitted {
    /// The next `horizon` values after `history`, in the unit of the history.
    ///
    /// `history` is at least as long as the one that was learned from, and begins with it.
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64>;
}
