//! What a model would have said in the past, against what then happened.

use crate::conformal::half_widths;
use crate::{Error, Model, Series, accuracy};

/// At most this share of a series is held out, unless the origins that were asked for need more.
const HELD_OUT: usize = 3;

/// Forecasts from several origins in the held-out end of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// The name of the model.
    pub model: String,
    /// Steps ahead, as many as each origin was asked for.
    pub horizon: usize,
    /// Oldest first, equally spaced.
    pub origins: Vec<Origin>,
    /// The mean absolute error of each step ahead, over the origins, in the unit of the series.
    pub absolute_errors: Vec<f64>,
    /// [`accuracy::mase`] over all origins, scaled by the values before the first one. `None`
    /// when those repeat themselves exactly or do not fill two seasons.
    pub mase: Option<f64>,
    /// [`accuracy::smape`] over all origins, from 0 to 200.
    pub smape: f64,
}

/// One origin of a backtest: a forecast made from the values before it, and the outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The index in the series of the first forecast value.
    pub at: usize,
    /// The forecast values, one for each step ahead.
    pub predicted: Vec<f64>,
    /// The values of the series at the same steps.
    pub actual: Vec<f64>,
}

/// Forecasts `horizon` values from each of `origins` origins.
///
/// The model learns once, from what is older than every origin, and is then asked at each of them
/// with the values known by then. No held-out value is learned from, so the errors are those of a
/// model that has not been refitted for the whole held-out time: a little pessimistic, and far
/// cheaper than one fit per origin. Origins are as far apart as a third of the series allows, one
/// step at least.
///
/// # Errors
/// [`Error::HorizonZero`], [`Error::OriginsZero`], [`Error::TooShort`] when nothing is left to
/// learn from, and whatever the model refuses.
pub fn backtest(
    model: &dyn Model,
    series: &Series,
    horizon: usize,
    origins: usize,
) -> Result<Backtest, Error> {
    backtest_seen(model, series, series.values(), horizon, origins)
}

/// A backtest of a model that sees `seen` instead of the values of the series, and is measured on those.
pub(crate) fn backtest_seen(
    model: &dyn Model,
    series: &Series,
    seen: &[f64],
    horizon: usize,
    origins: usize,
) -> Result<Backtest, Error> {
    if horizon == 0 {
        return Err(Error::HorizonZero);
    }
    if origins == 0 {
        return Err(Error::OriginsZero);
    }
    let values = series.values();
    let room = (values.len() / HELD_OUT).saturating_sub(horizon);
    let stride = room.checked_div(origins - 1).unwrap_or(1).max(1);
    let held_out = horizon.saturating_add((origins - 1).saturating_mul(stride));
    let Some(first) = values.len().checked_sub(held_out).filter(|&first| first > 0) else {
        return Err(Error::TooShort { needed: held_out.saturating_add(1), got: values.len() });
    };
    let fitted = model.fit(&seen[..first], series.seasonality(), horizon)?;
    let origins = (0..origins).map(|count| {
        let at = first + count * stride;
        let predicted = fitted.predict(&seen[..at], horizon);
        Origin { at, predicted, actual: values[at..at + horizon].to_vec() }
    });
    Ok(Backtest::new(model.name().to_owned(), series, origins.collect()))
}

impl Backtest {
    /// Scores `origins`, of which there is at least one.
    pub(crate) fn new(model: String, series: &Series, origins: Vec<Origin>) -> Self {
        let horizon = origins.first().map_or(0, |origin| origin.actual.len());
        let first = origins.first().map_or(0, |origin| origin.at);
        let predicted: Vec<f64> =
            origins.iter().flat_map(|origin| &origin.predicted).copied().collect();
        let actual: Vec<f64> = origins.iter().flat_map(|origin| &origin.actual).copied().collect();
        let learned = &series.values()[..first];
        let mut absolute_errors = vec![0.0; horizon];
        for origin in &origins {
            for (sum, error) in absolute_errors.iter_mut().zip(origin.errors()) {
                *sum += error / origins.len() as f64;
            }
        }
        Self {
            model,
            horizon,
            absolute_errors,
            mase: accuracy::mase(learned, series.season(), &actual, &predicted),
            smape: accuracy::smape(&actual, &predicted).unwrap_or(0.0),
            origins,
        }
    }

    /// The mean absolute error over all steps and origins, in the unit of the series.
    pub fn mean_absolute_error(&self) -> f64 {
        self.absolute_errors.iter().sum::<f64>() / self.absolute_errors.len() as f64
    }

    /// The share of held-out values inside intervals at `level`, measured on origins that had no
    /// part in making these intervals.
    ///
    /// Widths come from the older half of the origins. The newer half begins a whole horizon
    /// later, so that no value counts on both sides. `None` when that leaves too few errors on one
    /// of them, or `level` is not between 0 and 1.
    pub fn coverage(&self, level: f64) -> Option<f64> {
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let middle = self.calibrating();
        let apart = self.origins.get(middle.checked_sub(1)?)?.at + self.horizon;
        let widths = half_widths(&errors(&self.origins[..middle]), level)?;
        let tested = self.origins.iter().filter(|origin| origin.at >= apart);
        let hits: Vec<bool> = tested
            .flat_map(|origin| origin.errors().zip(&widths).map(|(error, width)| error <= *width))
            .collect();
        let inside = hits.iter().filter(|&&hit| hit).count();
        (!hits.is_empty()).then(|| inside as f64 / hits.len() as f64)
    }

    /// The half-widths of intervals at `level`, one per step ahead, from all origins. `None` when
    /// their errors are too few.
    pub(crate) fn half_widths(&self, level: f64) -> Option<Vec<f64>> {
        half_widths(&errors(&self.origins), level)
    }

    /// How many of the origins make the intervals that the others test.
    fn calibrating(&self) -> usize {
        let stride = match self.origins[..] {
            [ref first, ref second, ..] => second.at - first.at,
            _ => return 0,
        };
        let skipped = self.horizon.div_ceil(stride) - 1;
        self.origins.len().saturating_sub(skipped) / 2
    }
}

impl Origin {
    /// The absolute error of each step ahead.
    fn errors(&self) -> impl Iterator<Item = f64> {
        self.actual
            .iter()
            .zip(&self.predicted)
            .map(|(actual, predicted)| (actual - predicted).abs())
    }
}

fn errors(origins: &[Origin]) -> Vec<Vec<f64>> {
    origins.iter().map(|origin| origin.errors().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::backtest;
    use crate::{Error, SeasonalNaive, Series};

    fn ramp(length: usize) -> Series {
        Series::new((0..length).map(|step| step as f64).collect(), 1).unwrap()
    }

    #[test]
    fn a_ramp_has_known_errors() {
        // The last value, repeated, is off by one per step ahead; so is the history by one.
        let backtest = backtest(&SeasonalNaive, &ramp(30), 3, 4).unwrap();
        assert_eq!(backtest.model, "seasonal_naive");
        assert_eq!(backtest.absolute_errors, [1.0, 2.0, 3.0]);
        assert_eq!(backtest.mean_absolute_error(), 2.0);
        assert_eq!(backtest.mase, Some(2.0));
        // A third of 30 has room for origins 7/3 = 2 apart, the last of which ends the series.
        let at: Vec<usize> = backtest.origins.iter().map(|origin| origin.at).collect();
        assert_eq!(at, [21, 23, 25, 27]);
        assert_eq!(backtest.origins[3].predicted, [26.0; 3]);
        assert_eq!(backtest.origins[3].actual, [27.0, 28.0, 29.0]);
    }

    #[test]
    fn coverage_is_measured_on_other_origins() {
        // Errors depend on the step alone, so widths of the older half hold in the newer half.
        let steady = backtest(&SeasonalNaive, &ramp(90), 3, 28).unwrap();
        assert_eq!(steady.coverage(0.8), Some(1.0));
        // Growth that sets in with the newer half is in no width that the older half made.
        let bent = (0..90).map(|step| f64::from((step - 75).max(0))).collect();
        let bent = backtest(&SeasonalNaive, &Series::new(bent, 1).unwrap(), 3, 28).unwrap();
        assert!(bent.coverage(0.8).unwrap() < 0.3);
        assert_eq!(backtest(&SeasonalNaive, &ramp(30), 3, 4).unwrap().coverage(0.95), None);
        assert_eq!(steady.coverage(1.0), None);
    }

    #[test]
    fn impossible_backtests_are_refused() {
        let run = |length, horizon, origins| {
            backtest(&SeasonalNaive, &ramp(length), horizon, origins).unwrap_err()
        };
        assert!(matches!(run(9, 0, 1), Error::HorizonZero));
        assert!(matches!(run(9, 1, 0), Error::OriginsZero));
        assert!(matches!(run(9, 5, 5), Error::TooShort { needed: 10, got: 9 }));
        assert!(matches!(run(9, usize::MAX, 2), Error::TooShort { .. }));
    }
}
