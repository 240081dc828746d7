//! Prediction intervals from past mistakes.
//!
//! Split conformal prediction: the half-width at a level is a quantile of the absolute errors that
//! were made out of sample. Nothing is assumed about their distribution.
//! Source: Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference
//! for regression", JASA 113 (2018).

/// A prediction interval: the value falls in `[lower, upper]` in a share `level` of the cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Between 0 and 1, exclusive.
    pub level: f64,
    /// The lower end, in the unit of the series.
    pub lower: f64,
    /// The upper end, in the unit of the series.
    pub upper: f64,
}

impl Interval {
    /// Whether `value` lies inside, ends included.
    pub fn holds(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

/// The half-width at each step ahead: the `ceil((n + 1) level)`-th smallest of `n` errors.
///
/// `errors` holds one row per origin, each as long as the horizon. With fewer origins than the
/// rank needs, the errors of neighboring steps are pooled, the fewest that suffice. Widths never
/// shrink with the horizon: a later step that looks easier did so by luck or by its phase.
/// `None` when all errors together are too few.
pub(crate) fn half_widths(errors: &[Vec<f64>], level: f64) -> Option<Vec<f64>> {
    let origins = errors.len();
    let horizon = errors.first()?.len();
    let needed = errors_needed(level);
    if origins * horizon < needed {
        return None;
    }
    let pooled = needed.div_ceil(origins).min(horizon);
    let mut widest = 0.0_f64;
    let widths = (0..horizon).map(|step| {
        let from = step.saturating_sub(pooled / 2).min(horizon - pooled);
        let mut pool: Vec<f64> =
            errors.iter().flat_map(|row| &row[from..from + pooled]).copied().collect();
        let rank = ((pool.len() + 1) as f64 * level - SLACK).ceil() as usize;
        let index = rank.clamp(1, pool.len()) - 1;
        let (_, width, _) = pool.select_nth_unstable_by(index, f64::total_cmp);
        widest = widest.max(*width);
        widest
    });
    Some(widths.collect())
}

/// The fewest errors whose largest is a bound at `level`: 4 for 0.8, 19 for 0.95, 99 for 0.99.
pub(crate) fn errors_needed(level: f64) -> usize {
    (level / (1.0 - level) - SLACK).ceil().max(1.0) as usize
}

/// Keeps `0.9 / (1 - 0.9)`, in binary a little above 9, from asking for a tenth error.
const SLACK: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::{errors_needed, half_widths};

    #[test]
    fn the_rank_decides_how_many_errors_are_needed() {
        for (level, needed) in [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)] {
            assert_eq!(errors_needed(level), needed, "{level}");
        }
    }

    #[test]
    fn widths_are_quantiles_that_never_shrink() {
        // Nine errors at 0.8: rank ceil(10 · 0.8) = 8.
        let errors: Vec<Vec<f64>> =
            (1..=9).map(|size| vec![f64::from(size), f64::from(size) / 2.0]).collect();
        assert_eq!(half_widths(&errors, 0.8), Some(vec![8.0, 8.0]));
        let growing: Vec<Vec<f64>> = errors.iter().map(|row| vec![row[1], row[0]]).collect();
        assert_eq!(half_widths(&growing, 0.8), Some(vec![4.0, 8.0]));
    }

    #[test]
    fn few_origins_pool_their_neighbors() {
        let errors = vec![vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]];
        // Two steps are pooled for four errors, of which 0.8 takes the largest.
        assert_eq!(half_widths(&errors, 0.8), Some(vec![6.0, 6.0, 7.0, 8.0]));
        assert_eq!(half_widths(&errors, 0.95), None);
        assert_eq!(half_widths(&[], 0.8), None);
    }
}
