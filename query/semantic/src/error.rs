//! Why a question about metrics has no answer.

use crate::{UnknownZone, window::RANGES};

/// A question that cannot be answered. Each is one sentence for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no metric of that name, or it is not for the one who asks.
    #[error("there is no metric `{name}`")]
    UnknownMetric {
        /// The name that was asked for.
        name: String,
        /// The most similar name if there is one, and the names of all metrics that the one who asks may see.
        hint: String,
    },
    /// The source of the metric has no dimension of that name, or it is not for the one who asks.
    #[error("`{metric}` has no dimension `{dimension}`")]
    UnknownDimension {
        /// The name of the metric.
        metric: String,
        /// The name that was asked for.
        dimension: String,
        /// The most similar name if there is one, and the names of all dimensions that the one who asks may see.
        hint: String,
    },
    /// The window is empty or has too many buckets, or a parameter of it is wrong. The text is the whole message.
    #[error("{0}")]
    Window(String),
    /// No range has that name; the text is the name, such as `next_week`.
    #[error("there is no range `{0}`")]
    Range(String),
    /// A text names no time zone.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    /// A filter is not readable, too large, or has a value of the wrong type. The text is the whole message.
    #[error("{0}")]
    Filter(String),
    /// The question is split by too much or by a dimension twice, or a source is wrong. The text is the whole message.
    #[error("{0}")]
    Invalid(String),
    /// The answer would have more rows than an answer may have.
    #[error("{0}")]
    TooLarge(String),
    /// Only a role that sees persons may ask that.
    #[error("{0}")]
    Persons(String),
}

impl Error {
    /// What may be asked instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownMetric { hint, .. } | Self::UnknownDimension { hint, .. } => {
                Some(hint.clone())
            }
            Self::Range(_) => Some(format!("ranges: {RANGES}")),
            _ => None,
        }
    }
}
