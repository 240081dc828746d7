//! Why a question about metrics has no answer.

use crate::{UnknownZone, window::RANGES};

/// A question that cannot be answered. Each is one sentence for the one who asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no metric `{name}`")]
    UnknownMetric { name: String, hint: String },
    #[error("`{metric}` has no dimension `{dimension}`")]
    UnknownDimension { metric: String, dimension: String, hint: String },
    #[error("{0}")]
    Window(String),
    #[error("there is no range `{0}`")]
    Range(String),
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    #[error("{0}")]
    Filter(String),
    #[error("{0}")]
    Invalid(String),
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
