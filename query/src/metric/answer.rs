//! What a metric question looks like, and its answer.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Number;

/// The width of one bucket of a time axis, in UTC. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// How a value is to be read and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A plain number of things.
    Count,
    /// A share between 0 and 1, printed as a percentage.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// An amount of money; its currency is in the row.
    Money,
}

/// One question: a metric over the half-open window `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRequest {
    pub metric: String,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Without a grain the answer is one row for the whole window (per group).
    pub grain: Option<Grain>,
    /// The dimensions to split by, in this order.
    pub by: Vec<String>,
}

/// The answer: its rows are ordered by time, then by group. Every bucket of the window is present
/// when the metric is not split by dimensions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricAnswer {
    pub metric: String,
    pub title: String,
    pub unit: Unit,
    pub grain: Option<Grain>,
    pub by: Vec<String>,
    pub rows: Vec<MetricRow>,
    /// The SQL that was run.
    pub sql: String,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// The start of the bucket; absent when no grain was asked for.
    pub at: Option<DateTime<Utc>>,
    /// One value per dimension of `by`; absent where the event has none.
    pub group: Vec<Option<String>>,
    /// The ISO 4217 code, for metrics of money only: amounts of different currencies are never added.
    pub currency: Option<String>,
    /// Absent where there is nothing to divide (an error rate of no requests).
    pub value: Option<Number>,
}
