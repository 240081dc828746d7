//! Jobs: work that is done in the background at its time, once.
//!
//! A job is a row: what is to be done (its kind and payload), when, and how it went. [`enqueue`] adds one in the
//! transaction of whatever makes it necessary. No two jobs of a kind have the same deduplication key, so what is
//! enqueued twice is done once. [`Jobs`] does them: a process takes a job by a lease, which it renews while it works. A
//! lease that is not renewed runs out, and another process takes the job. So the work of a kind must be such that it can
//! be begun again.

mod queue;
mod repeat;
mod row;
mod runner;

use std::{error::Error, fmt::Write as _};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

pub use queue::{JobCounts, JobFilter, counts, enqueue, find, list, retry};
pub use repeat::Repeat;
pub use runner::{JobKind, Jobs};

/// A job that is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// The kind, as it is registered with [`Jobs::handle`].
    pub kind: &'static str,
    /// Unique among the jobs of the kind, as long as the job is kept.
    pub dedup_key: String,
    /// What the work needs to know.
    pub payload: Value,
    /// Not before this time.
    pub run_at: DateTime<Utc>,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Job {
    /// The number of the job.
    pub id: i64,
    /// What kind of work it is.
    pub kind: String,
    /// Unique among the jobs of the kind.
    pub dedup_key: String,
    /// What the work needs to know.
    #[schema(schema_with = any_value)]
    pub payload: Value,
    /// How far it is.
    pub state: JobState,
    /// When it is due, or was.
    pub run_at: DateTime<Utc>,
    /// How often it was begun.
    pub attempts: u32,
    /// What came of it.
    #[schema(schema_with = any_value)]
    pub result: Option<Value>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When the last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done, or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

/// How far a job is. In texts it is the name in lower case.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    IntoStaticStr,
    EnumString,
    VariantArray,
    ToSchema,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its time, or for its next attempt.
    Queued,
    /// A process works on it.
    Running,
    /// It came to its end.
    Done,
    /// It failed, and is not tried again by itself.
    Failed,
}

/// The schema of a value of any type.
fn any_value() -> utoipa::openapi::Object {
    use utoipa::openapi::{ObjectBuilder, Type, schema::SchemaType};
    let types = [Type::Null, Type::Boolean, Type::Number, Type::String, Type::Array, Type::Object];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).build()
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct JobError {
    reason: String,
    is_final: bool,
}

impl JobError {
    /// It may go better the next time.
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: false }
    }

    /// Another attempt would fail as well.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_final: true }
    }

    /// An error with its causes; it may go better the next time.
    pub fn of(error: &dyn Error) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(reason, ": {cause}");
            source = cause.source();
        }
        Self::temporary(reason)
    }
}

/// What an attempt came to.
pub type JobResult = Result<Value, JobError>;

#[cfg(test)]
mod tests;
