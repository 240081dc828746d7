//! A history of equally spaced values, with its gaps filled.

use crate::{Error, Seasonality};

/// Equally spaced values, oldest first, and how many of them make one season.
///
/// The unit of the values is the caller's: every error, interval and forecast comes back in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    values: Vec<f64>,
    seasonality: Seasonality,
    filled: usize,
}

impl Series {
    /// Takes `values`, where NaN marks a gap, and the length of the season in steps: 24 for hours
    /// with a daily rhythm, 7 for days with a weekly one, 1 for none.
    ///
    /// A gap of at most an eighth of a season (and any gap of one value) is filled by a straight
    /// line between its neighbors. A longer one takes the values one season earlier, or later when
    /// there are none earlier, because a line through a night and a day would be wrong at both.
    /// What neither can reach takes the nearest known value.
    ///
    /// # Errors
    /// [`Error::SeasonZero`]; [`Error::TooShort`] below two values; [`Error::Infinite`];
    /// [`Error::OnlyGaps`].
    pub fn new(mut values: Vec<f64>, season: usize) -> Result<Self, Error> {
        if season == 0 {
            return Err(Error::SeasonZero);
        }
        if values.len() < 2 {
            return Err(Error::TooShort { needed: 2, got: values.len() });
        }
        if let Some(index) = values.iter().position(|value| value.is_infinite()) {
            return Err(Error::Infinite { index });
        }
        let filled = values.iter().filter(|value| value.is_nan()).count();
        if filled == values.len() {
            return Err(Error::OnlyGaps);
        }
        if filled > 0 {
            fill(&mut values, season);
        }
        Ok(Self { values, seasonality: Seasonality::new(season), filled })
    }

    /// The values, oldest first, without gaps.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The number of steps in one season.
    pub fn season(&self) -> usize {
        self.seasonality.season
    }

    /// The seasons. Hours have a week too.
    pub fn seasonality(&self) -> Seasonality {
        self.seasonality
    }

    /// Other values with the same seasons.
    pub(crate) fn with_values(&self, values: Vec<f64>) -> Self {
        Self { values, ..*self }
    }

    /// The same values with a longer season; 0 for none.
    #[must_use]
    pub fn with_long_season(mut self, long_season: usize) -> Self {
        self.seasonality.long_season = long_season;
        self
    }

    /// How many of the values were gaps.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

/// Fills in three passes, so that a season is copied from values that are known or interpolated.
fn fill(values: &mut [f64], season: usize) {
    let short = (season / 8).max(1);
    bridge(values, short);
    for index in season..values.len() {
        if values[index].is_nan() {
            values[index] = values[index - season];
        }
    }
    for index in (0..values.len().saturating_sub(season)).rev() {
        if values[index].is_nan() {
            values[index] = values[index + season];
        }
    }
    bridge(values, usize::MAX);
    extend(values);
}

/// Draws straight lines across gaps of at most `longest` values that have both neighbors.
fn bridge(values: &mut [f64], longest: usize) {
    let mut known: Option<usize> = None;
    for right in 0..values.len() {
        if values[right].is_nan() {
            continue;
        }
        if let Some(left) = known
            && right - left > 1
            && right - left - 1 <= longest
        {
            let (from, to) = (values[left], values[right]);
            for (step, value) in values[left + 1..right].iter_mut().enumerate() {
                let share = (step + 1) as f64 / (right - left) as f64;
                *value = from * (1.0 - share) + to * share;
            }
        }
        known = Some(right);
    }
}

/// Carries the first known value to the start and the last one to the end.
fn extend(values: &mut [f64]) {
    let known: Vec<usize> = (0..values.len()).filter(|&index| !values[index].is_nan()).collect();
    if let (Some(&first), Some(&last)) = (known.first(), known.last()) {
        let (head, tail) = (values[first], values[last]);
        values[..first].fill(head);
        values[last + 1..].fill(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::Series;
    use crate::Error;

    const GAP: f64 = f64::NAN;

    #[test]
    fn gaps_are_filled() {
        let table: [(&str, &[f64], usize, &[f64]); 5] = [
            ("one value, by a line", &[1.0, GAP, 3.0], 1, &[1.0, 2.0, 3.0]),
            (
                "a season, from the one before",
                &[1.0, 9.0, GAP, GAP, 5.0],
                2,
                &[1.0, 9.0, 1.0, 9.0, 5.0],
            ),
            (
                "the first season, from the one after",
                &[GAP, GAP, 1.0, 9.0],
                2,
                &[1.0, 9.0, 1.0, 9.0],
            ),
            ("no season to copy, by a line", &[0.0, GAP, GAP, 6.0], 7, &[0.0, 2.0, 4.0, 6.0]),
            ("the ends, by the nearest", &[GAP, 4.0, 5.0, GAP], 7, &[4.0, 4.0, 5.0, 5.0]),
        ];
        for (name, values, season, expected) in table {
            let series = Series::new(values.to_vec(), season).unwrap();
            assert_eq!(series.values(), expected, "{name}");
            assert!(series.filled() > 0, "{name}");
        }
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(Series::new(vec![1.0, 2.0], 0), Err(Error::SeasonZero)));
        assert!(matches!(Series::new(vec![1.0], 1), Err(Error::TooShort { needed: 2, got: 1 })));
        assert!(matches!(
            Series::new(vec![1.0, f64::INFINITY], 1),
            Err(Error::Infinite { index: 1 })
        ));
        assert!(matches!(Series::new(vec![GAP, GAP], 1), Err(Error::OnlyGaps)));
    }
}
