//! Seasonal adjustment by classical decomposition.

/// The season of a series, taken out of it.
#[derive(Debug, Clone)]
pub(super) struct Adjustment {
    /// The factor, or what is added, of each phase; one neutral phase when there is no season.
    phases: Vec<f64>,
    is_factor: bool,
}

/// The quantile of the normal distribution for the test of a season at 90 %.
const SIGNIFICANT: f64 = 1.645;

/// The season, if the autocorrelation at its lag is significant at 90 %; or else 1. The test is that of the benchmarks of
/// the M4 competition.
pub(super) fn found_season(history: &[f64], season: usize) -> usize {
    if season > 1 && history.len() >= 3 * season && is_seasonal(history, season) {
        season
    } else {
        1
    }
}

impl Adjustment {
    /// The ratio of each phase to (or, with values that are not positive, the difference from) a centered moving average.
    pub(super) fn of(history: &[f64], season: usize) -> Self {
        let is_factor = history.iter().all(|value| *value > 0.0);
        if season < 2 {
            return Self { phases: vec![if is_factor { 1.0 } else { 0.0 }], is_factor };
        }
        let half = season / 2;
        let mut sums = vec![0.0; season];
        let mut counts = vec![0_u32; season];
        let mut inside: f64 = history[..2 * half + 1].iter().sum();
        for middle in half..history.len() - half {
            let (first, last) = (middle - half, middle + half);
            let ends =
                if season.is_multiple_of(2) { (history[first] + history[last]) / 2.0 } else { 0.0 };
            let trend = (inside - ends) / season as f64;
            let here = history[middle];
            sums[middle % season] += if is_factor { here / trend } else { here - trend };
            counts[middle % season] += 1;
            inside += history.get(last + 1).copied().unwrap_or(0.0) - history[first];
        }
        let mut phases: Vec<f64> =
            sums.iter().zip(&counts).map(|(sum, count)| sum / f64::from(*count)).collect();
        let mean = super::mean(&phases);
        for phase in &mut phases {
            *phase = if is_factor { (*phase / mean).max(1e-6) } else { *phase - mean };
        }
        Self { phases, is_factor }
    }

    /// Values without their season; the first of them is at a step, counted from the start of the history.
    pub(super) fn apply(&self, first: usize, values: &[f64]) -> impl Iterator<Item = f64> {
        let value = |(step, value): (usize, &f64)| {
            let phase = self.phases[step % self.phases.len()];
            if self.is_factor { value / phase } else { value - phase }
        };
        (first..).zip(values).map(value)
    }

    /// Gives the season back to a value at a step, counted from the start of the history.
    pub(super) fn undo(&self, step: usize, value: f64) -> f64 {
        let phase = self.phases[step % self.phases.len()];
        if self.is_factor { value * phase } else { value + phase }
    }
}

/// Whether the autocorrelation at the lag of the season is beyond 90 % of what noise has.
fn is_seasonal(history: &[f64], season: usize) -> bool {
    let mean = super::mean(history);
    let covariance = |lag: usize| -> f64 {
        history.iter().zip(&history[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let variance = covariance(0);
    if variance <= 0.0 {
        return false;
    }
    let squares: f64 = (1..season).map(|lag| (covariance(lag) / variance).powi(2)).sum();
    let limit = SIGNIFICANT * ((1.0 + 2.0 * squares) / history.len() as f64).sqrt();
    (covariance(season) / variance).abs() > limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_is_found_and_taken_out() {
        for (season, factors) in [(4, vec![0.5, 1.0, 2.0, 0.5]), (3, vec![0.5, 1.0, 1.5])] {
            let history: Vec<f64> = (0..40).map(|step| 10.0 * factors[step % season]).collect();
            let adjustment = Adjustment::of(&history, found_season(&history, season));
            for (step, value) in adjustment.apply(0, &history).enumerate() {
                assert!((value - 10.0).abs() < 1e-9, "{value}");
                assert!((adjustment.undo(step, value) - history[step]).abs() < 1e-9);
            }
            let below: Vec<f64> = history.iter().map(|value| value - 12.0).collect();
            for value in Adjustment::of(&below, found_season(&below, season)).apply(0, &below) {
                assert!((value + 2.0).abs() < 1e-9, "{value}");
            }
        }
    }

    #[test]
    fn what_has_no_season_is_left_alone() {
        let line: Vec<f64> = (1..30).map(f64::from).collect();
        for (history, season) in [(&line[..], 12), (&line[..5], 4), (&[7.0; 40], 4), (&line, 1)] {
            assert_eq!(found_season(history, season), 1);
            let same: Vec<f64> = Adjustment::of(history, 1).apply(0, history).collect();
            assert_eq!(same, history);
        }
    }
}
