//! A query on its way to a worker, and what comes back besides rows.

use ingest::OrganizationId;
use pipeline::Cut;
use serde::{Deserialize, Serialize};

/// Whose rows a session may hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Every organization, and the dead letters.
    Admin,
    /// Every organization.
    Staff,
    /// One organization, behind the barrier.
    Organization(String),
}

impl Reach {
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
    pub reach: Reach,
    pub cut: Cut,
    /// Microseconds since 1970: what `now()` answers.
    pub now: i64,
    pub deadline_ms: u64,
    /// More rows than this are an error, or cut off with `truncate`.
    pub max_rows: Option<u64>,
    pub truncate: bool,
}

/// How a query ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub rows: u64,
    pub truncated: bool,
}
