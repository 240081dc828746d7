//! Where usage is read from. The binary fills it from the lake.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use rest::{principal::Principal, problem::Problem};
use serde_json::Value;

use crate::DailyUsage;

/// A point in the log up to which events are read. Reading at it again gives the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCut {
    /// As staff is told it: `as_of` of a query.
    pub token: String,
    /// The log.
    pub log: i64,
    /// The last event that is read.
    pub lsn: i64,
}

/// Whose usage, and of which days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuestion {
    /// Only of this one; none: of all.
    pub organization_id: Option<String>,
    /// Days begin at midnight there.
    pub zone: Tz,
    /// The first day.
    pub from: NaiveDate,
    /// The first day after the last.
    pub to: NaiveDate,
}

/// The events behind a line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsQuestion {
    /// Whose they are.
    pub organization_id: String,
    /// The first time.
    pub from: DateTime<Utc>,
    /// The first time after the last.
    pub to: DateTime<Utc>,
    /// Names or globs of models; none: all.
    pub models: Vec<String>,
    /// How many are left out, and how many are wanted.
    pub page: (u64, u64),
}

/// Why usage cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct UsageError {
    /// What happened.
    pub detail: String,
    /// What a client is told.
    pub problem: Box<Problem>,
}

impl From<UsageError> for Problem {
    fn from(error: UsageError) -> Self {
        *error.problem
    }
}

/// Reads what organizations used, as the metrics of staff count it: corrections are applied, and what organizations say of
/// themselves is left out.
#[async_trait::async_trait]
pub trait UsageSource: Send + Sync + fmt::Debug {
    /// Everything that is acknowledged now.
    async fn cut(&self) -> Result<UsageCut, UsageError>;

    /// The usage of organizations by day and model.
    async fn read(
        &self,
        cut: &UsageCut,
        question: &UsageQuestion,
    ) -> Result<HashMap<String, DailyUsage>, UsageError>;

    /// Events, the oldest first.
    async fn events(&self, cut: &str, question: &EventsQuestion) -> Result<Vec<Value>, UsageError>;

    /// A cut as somebody is told it.
    fn token(&self, cut: &str, who: &Principal) -> Result<String, Problem>;

    /// The same as a statement in SQL.
    fn events_sql(&self, question: &EventsQuestion) -> String;
}
