//! A query on its way to a worker, and what comes back besides rows.

use std::collections::BTreeMap;

use ingest::OrganizationId;
use pipeline::Cut;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Cost, Estimate, Parameters, Zone};

/// Whose rows a session may hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowAccess {
    /// Every organization, and the dead letters.
    Admin,
    /// Every organization.
    Staff,
    /// One organization, behind the barrier.
    Organization(String),
}

impl RowAccess {
    pub(crate) fn organization(&self) -> Option<OrganizationId> {
        match self {
            Self::Organization(id) => OrganizationId::parse(id),
            _ => None,
        }
    }
}

/// Whose text a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// It passes the gate first.
    Stranger,
    Ourselves,
}

/// One query.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    pub author: Author,
    pub sql: String,
    pub reach: RowAccess,
    pub cut: Cut,
    /// Microseconds since 1970: what `now()` answers.
    pub now: i64,
    pub deadline_ms: u64,
    /// More rows than this are an error, or cut off with `truncate`.
    pub max_rows: Option<u64>,
    pub truncate: bool,
    /// Whether short queries go first from its start: nobody waits for it at once, or its tenant has more that wait, or is
    /// not interactive.
    #[serde(default)]
    pub gives_way: bool,
    #[serde(default)]
    pub terms: QueryOptions,
}

impl Request {
    /// A question of our own: all rows in reach, persons as well.
    pub fn of_ourselves(
        sql: String,
        reach: RowAccess,
        cut: Cut,
        now: i64,
        deadline_ms: u64,
    ) -> Self {
        Self {
            author: Author::Ourselves,
            sql,
            reach,
            cut,
            now,
            deadline_ms,
            max_rows: None,
            truncate: false,
            gives_way: false,
            terms: QueryOptions { persons: true, ..QueryOptions::default() },
        }
    }
}

/// What a query may say besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryOptions {
    pub parameters: Parameters,
    pub zone: Zone,
    /// Whether columns that say something of a person are shown; else they are null.
    pub persons: bool,
    pub task: QueryMode,
}

/// What is wanted of a statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryMode {
    #[default]
    Rows,
    /// How it would run.
    Explain,
    /// Whether it is right, and what it gives and takes.
    Validate,
}

/// How a query ended well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuerySummary {
    pub rows: u64,
    pub truncated: bool,
    /// Whether the same question at the same cut has the same answer at any time.
    #[serde(default)]
    pub repeatable: bool,
    #[serde(default)]
    pub cost: Cost,
    /// Columns that are left out, since the one who asks may not see what they say of persons.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// The answer to [`QueryMode::Explain`] and [`QueryMode::Validate`].
    #[serde(default)]
    pub planned: Option<Box<Planned>>,
}

/// A statement that was planned and not run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// `[{"name": …, "type": …}, …]`
    pub columns: Value,
    /// The type of each parameter; absent where any will do.
    pub parameters: BTreeMap<String, Option<String>>,
    /// One operator a line, indented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Absent for an organization: others' rows are in the same files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan: Option<Estimate>,
}
