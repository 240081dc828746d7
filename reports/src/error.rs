//! What can go wrong between a definition and its page.

use chrono::{DateTime, Utc};

/// Everything this crate can refuse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the dashboard is not readable")]
    Unreadable(#[source] serde_yaml_ng::Error),

    #[error("dashboard {dashboard}: {reason}")]
    Definition { dashboard: String, reason: String },

    #[error("{file}: {reason}")]
    File { file: String, reason: String },

    /// A time that is none, or an end before its begin.
    #[error("{0}")]
    Window(String),

    /// A filter or a grain that the page cannot have.
    #[error("{0}")]
    Filter(String),

    #[error("the window from {from} to {to} is empty")]
    EmptyWindow { from: DateTime<Utc>, to: DateTime<Utc> },

    #[error("the window from {from} to {to} is longer than {most_days} days")]
    LongWindow { from: DateTime<Utc>, to: DateTime<Utc>, most_days: i64 },

    #[error("the time is out of range")]
    TimeRange,

    #[error("the question {metric} from {from} to {to} was not answered")]
    Unanswered { metric: String, from: DateTime<Utc>, to: DateTime<Utc> },

    #[error("drawing the chart of {metric}")]
    Chart {
        metric: String,
        #[source]
        source: charts_rs::Error,
    },

    #[error(transparent)]
    Page(#[from] pages::Error),
}

impl Error {
    /// The error with its causes: where a text is not YAML, and what of it.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |said, cause| format!("{said}: {cause}"))
    }
}
