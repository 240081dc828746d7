//! The forecast that every other one has to beat: the last season, again.

use crate::{Error, Fitted, Model, Seasonality};

/// Repeats the last season: the value `h` steps ahead is the latest known one in the same phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeasonalNaive;

struct LastSeason {
    season: usize,
}

impl Model for SeasonalNaive {
    fn name(&self) -> &'static str {
        "seasonal_naive"
    }

    /// # Errors
    /// [`Error::TooShort`] below one season.
    fn fit(
        &self,
        history: &[f64],
        seasonality: Seasonality,
        _: usize,
    ) -> Result<Box<dyn Fitted>, Error> {
        super::check(history, seasonality, seasonality.season)?;
        Ok(Box::new(LastSeason { season: seasonality.season }))
    }
}

impl Fitted for LastSeason {
    fn predict(&self, history: &[f64], horizon: usize) -> Vec<f64> {
        let last = &history[history.len() - self.season..];
        last.iter().copied().cycle().take(horizon).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::SeasonalNaive;
    use crate::{Error, Model, Seasonality};

    #[test]
    fn the_last_season_repeats() {
        let history = [9.0, 9.0, 1.0, 2.0, 3.0];
        let table: [(usize, usize, &[f64]); 3] = [
            (3, 7, &[1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]),
            (1, 2, &[3.0, 3.0]),
            (5, 2, &[9.0, 9.0]),
        ];
        for (season, horizon, expected) in table {
            let fitted = SeasonalNaive.fit(&history, Seasonality::new(season), horizon).unwrap();
            assert_eq!(fitted.predict(&history, horizon), expected);
        }
    }

    #[test]
    fn less_than_a_season_is_refused() {
        let refused = SeasonalNaive.fit(&[1.0, 2.0], Seasonality::new(3), 1).err().unwrap();
        assert!(matches!(refused, Error::TooShort { needed: 3, got: 2 }));
    }
}
