//! Why something was not sent.

/// Why something was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SendError {
    /// In English, for the one who sends.
    pub reason: String,
    /// Whether another attempt would fail as well: the address is wrong, or not allowed.
    pub is_final: bool,
    /// Whether it may have arrived all the same: the connection ended before the other side answered.
    pub may_have_arrived: bool,
}

impl SendError {
    pub(crate) fn temporary(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false, may_have_arrived: false }
    }

    pub(crate) fn permanent(reason: impl Into<String>) -> Self {
        Self { is_final: true, ..Self::temporary(reason) }
    }

    pub(crate) fn unclear(reason: impl Into<String>) -> Self {
        Self { may_have_arrived: true, ..Self::temporary(reason) }
    }
}
