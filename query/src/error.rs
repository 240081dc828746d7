use serde::{Deserialize, Serialize};

/// Why a query gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    pub reason: Reason,
    /// A sentence for the one who asked; never a value of a row, or a path.
    pub message: String,
    /// Line and column, from 1, of what is wrong in the text.
    pub position: Option<(u64, u64)>,
    /// What may have been meant.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The closed list of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The text is not SQL.
    Syntax,
    /// It is SQL, and names something that is not there, or mixes types.
    Invalid,
    /// It is larger or harder than a statement may be.
    TooComplex,
    /// A value for a parameter is missing, not needed, or of another type.
    Parameters,
    /// It would write, or reach outside the session.
    NotAllowed,
    /// It would show what says something of persons to one who may not see that.
    Persons,
    /// It failed on the rows.
    Failed,
    /// It needed more memory than it may use.
    Memory,
    /// The answer has more rows than were asked for.
    TooLarge,
    /// It did not end in time, and was stopped.
    Deadline,
    /// Somebody stopped it.
    Canceled,
    /// Every worker is busy.
    Busy,
    /// The one who asks has as many waiting as one may have.
    TooMany,
    /// The worker died.
    Lost,
    /// The lake could not be read.
    Unavailable,
}

impl QueryError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), position: None, hint: None }
    }
}
