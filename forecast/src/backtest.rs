//! What a model would have said in the past, against what then happened.

use crate::conformal::{errors_needed, half_widths};
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
    pub predicted: Vec<f64>,
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
    let fitted = model.fit(&values[..first], series.season())?;
    let origins = (0..origins).map(|count| {
        let at = first + count * stride;
        let predicted = fitted.predict(&values[..at], horizon);
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

    /// The half-widths of intervals at `level`, one per step ahead, from all origins.
    pub(crate) fn half_widths(&self, level: f64) -> Result<Vec<f64>, Error> {
        half_widths(&errors(&self.origins), level).ok_or_else(|| Error::TooShort {
            needed: errors_needed(level).div_ceil(self.horizon.max(1)) + self.horizon,
            got: self.origins.len() + self.horizon,
        })
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
        self.actual.iter().zip(&self.predicted).map(|(actual, predicted)| (actual - predicted).abs())
    }
}

fn errors(origins: &[Origin]) -> Vec<Vec<f64>> {
    origins.iter().map(|origin| origin.errors().collect()).collect()
}
