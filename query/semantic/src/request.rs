//! What a metric question looks like, and its answer.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Filter, Grain, Number, Unit, Window, Zone};

/// One question: a metric over the half-open window `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricRequest {
    /// The name of the metric.
    pub metric: String,
    /// The first instant of the window.
    pub from: DateTime<Utc>,
    /// The first instant after the window. It must be later than `from`.
    pub to: DateTime<Utc>,
    /// Without a grain the answer is one row for the whole window (per group).
    pub grain: Option<Grain>,
    /// The clock that the buckets follow.
    #[serde(default)]
    pub zone: Zone,
    /// The dimensions to split by, in this order.
    pub by: Vec<String>,
    /// The rows that count; `None` means all rows.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// The groups that are shown separately.
    #[serde(default)]
    pub groups: Groups,
    /// What is done about buckets that no row fell into.
    #[serde(default)]
    pub fill: Fill,
    /// The options that are not as they are by default, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Which groups of a split answer are shown separately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// All of them: each group has rows of its own.
    #[default]
    All,
    /// Those with the largest values, of each currency; the others are left out.
    Largest(usize),
    /// These; all others are one, with the value that their rows have together.
    These(Vec<Group>),
}

/// One value per dimension of `by`; absent where the event has none.
pub type Group = Vec<Option<String>>;

/// What stands in a bucket that no row fell into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, strum::EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Fill {
    /// Every bucket is there when the answer is not split; a group has those that rows fell into.
    #[default]
    Auto,
    /// Every bucket of every group is there: nothing is 0 of a count or an amount, and no value of a ratio.
    Zero,
    /// Every bucket of every group is there, without a value.
    Null,
    /// Only buckets that rows fell into.
    None,
}

/// The answer: its rows are ordered by time, then by group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricAnswer {
    /// The name of the metric.
    pub metric: String,
    /// How the values are to be read and printed.
    pub unit: Unit,
    /// The bucket length; `None` where a value is that of the whole window.
    pub grain: Option<Grain>,
    /// The dimensions that the answer is split by, in the order of the values in each row's `group`.
    pub by: Vec<String>,
    /// One row for each bucket, group and currency.
    pub rows: Vec<MetricRow>,
    /// The SQL that was run.
    pub sql: String,
    /// What its statement read, which other answers may share.
    #[serde(default)]
    pub read: ReadCost,
}

/// Where values were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadSource {
    /// The events themselves.
    #[default]
    Raw,
    /// Sums that are kept of them, and the events that are not summed yet.
    Rollup,
}

/// What a statement read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadCost {
    /// What it read.
    pub source: ReadSource,
    /// Rows that the scans gave.
    pub rows: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// The start of the bucket; absent when no grain was asked for.
    pub at: Option<DateTime<Utc>>,
    /// One value per dimension of `by`.
    pub group: Group,
    /// It stands for all groups that are not shown separately.
    #[serde(default)]
    pub other: bool,
    /// The ISO 4217 code, for metrics of money only: amounts of different currencies are never added.
    pub currency: Option<String>,
    /// Absent where there is nothing to divide (an error rate of no requests), and where it is suppressed.
    pub value: Option<Number>,
    /// The value would say something of a few persons.
    #[serde(default)]
    pub suppressed: bool,
}

impl MetricRequest {
    /// A metric over a window, as one number.
    pub fn new(metric: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self {
            metric: metric.to_owned(),
            from,
            to,
            grain: None,
            zone: Zone::UTC,
            by: Vec::new(),
            filter: None,
            groups: Groups::All,
            fill: Fill::Auto,
            options: BTreeMap::new(),
        }
    }

    /// Whether the window and its buckets are of whole days.
    pub fn is_of_whole_days(&self) -> bool {
        self.grain.is_none_or(|grain| grain >= Grain::Day)
            && Window::new(self.from, self.to, self.zone).is_of_whole_days()
    }

    /// The same question with buckets: the answer has one row for each of them (per group).
    pub fn with_grain(self, grain: Grain) -> Self {
        Self { grain: Some(grain), ..self }
    }

    /// The same question, split by these dimensions in this order, instead of those it had.
    pub fn split_by(self, by: &[&str]) -> Self {
        Self { by: by.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }
}
