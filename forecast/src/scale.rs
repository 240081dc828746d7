//! The scale on which a model sees its history.

/// How far a forecast may leave the largest absolute value of the history.
const REACH: f64 = 3.0;

/// Where the logarithm bends into a straight line, as a share of the mean: so that a zero is a
/// low value and not minus infinity.
const BEND: f64 = 0.05;

/// Usage grows and swings by factors, so a history without negative values is seen through
/// `ln(1 + y / bend)`. With negative values there is no logarithm, only a unit.
///
/// Both are relative to the mean absolute value: multiplying a history by a constant multiplies
/// its forecast by it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Logarithmic { bend: f64 },
    Linear { unit: f64 },
}

impl Scale {
    pub(crate) fn of(history: &[f64]) -> Self {
        let mean = mean_size(history);
        if mean == 0.0 || history.iter().any(|&value| value < 0.0) {
            Self::linear(history)
        } else {
            Self::Logarithmic { bend: BEND * mean }
        }
    }

    pub(crate) fn linear(history: &[f64]) -> Self {
        let mean = mean_size(history);
        Self::Linear { unit: if mean == 0.0 { 1.0 } else { mean } }
    }

    pub(crate) fn apply(self, value: f64) -> f64 {
        match self {
            // A later value may be negative where the fitted history had none.
            Self::Logarithmic { bend } => (value.max(0.0) / bend).ln_1p(),
            Self::Linear { unit } => value / unit,
        }
    }

    pub(crate) fn undo(self, scaled: f64) -> f64 {
        match self {
            Self::Logarithmic { bend } => scaled.exp_m1() * bend,
            Self::Linear { unit } => scaled * unit,
        }
    }
}

fn mean_size(history: &[f64]) -> f64 {
    // The mean of parts, because a sum of large values may overflow.
    let count = history.len() as f64;
    history.iter().map(|value| value.abs() / count).sum()
}

/// The least and the greatest forecast that is believed after `history`.
pub(crate) fn bounds(history: &[f64]) -> (f64, f64) {
    let most = history.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    (floor(history).max(-REACH * most), REACH * most)
}

/// Zero for a history without negative values: such a quantity does not become negative.
pub(crate) fn floor(history: &[f64]) -> f64 {
    if history.iter().any(|&value| value < 0.0) { f64::NEG_INFINITY } else { 0.0 }
}
