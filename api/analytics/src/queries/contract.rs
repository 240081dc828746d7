//! The answer of a query, as the contract describes it: it is encoded row by row, and never stands in memory as a whole.

use query::Cost as QueryCost;
use rest::schema::AnyObject;
use utoipa::ToSchema;

/// Rows of a query's answer in JSON.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct QueryAnswer {
    columns: Vec<AnswerColumn>,
    /// One object for each row, by the names of the columns.
    rows: Vec<AnyObject>,
    row_count: u64,
    /// There are more rows than were asked for.
    truncated: bool,
    /// The cut it was read at.
    as_of: Option<String>,
    /// What the query read; empty for an organization.
    statistics: QueryCost,
}

/// A column of a query's answer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct AnswerColumn {
    name: String,
    /// The type in Arrow's words.
    #[schema(rename = "type")]
    kind: String,
}
