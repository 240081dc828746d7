//! `GET /v1/events`: did it arrive, and where is it?

use actix_web::{HttpResponse, web};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use ingest::{OrganizationId, Table};
use pipeline::{Cut, Lakehouse};
use query::{Engine, Request, engine::Author};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::own_organization;
use crate::{
    clock::Clock,
    config,
    principal::{Authorized, SendEvents},
    problem::Problem,
    queries::{problem, reach},
};

/// The identity of an event.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) source: String,
    pub(crate) id: String,
    /// For keys of the platform. Left out: an event of a visitor, who belongs to none.
    pub(crate) organization: Option<String>,
}

/// An event that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Whereabouts {
    pub(crate) organization_id: Option<String>,
    pub(crate) source: String,
    pub(crate) id: String,
    /// The table that holds it, or will.
    #[schema(value_type = String)]
    pub(crate) table: &'static str,
    /// `table`, or `log` while the table does not hold it yet. Queries see it in either place.
    #[schema(value_type = String)]
    pub(crate) durability: &'static str,
    /// Its number in the log.
    pub(crate) lsn: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) occurred_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) ingested_at: DateTime<Utc>,
    /// The cut at which this was read.
    pub(crate) as_of: String,
}

const TABLES: [Table; 3] = [Table::UsageLedger, Table::BillingEvents, Table::ActivityEvents];

/// Finds an accepted event by its identity.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(Identity),
    responses(
        (status = 200, description = "It arrived.", body = Whereabouts),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such event was accepted.", body = Problem),
        (status = 503, body = Problem),
    ),
)]
pub(crate) async fn find_event(
    sender: Authorized<SendEvents>,
    asked: Result<web::Query<Identity>, actix_web::Error>,
    lakehouse: web::Data<Lakehouse>,
    engine: web::Data<Engine>,
    limits: web::Data<config::Query>,
    clock: web::Data<Clock>,
) -> Result<HttpResponse, Problem> {
    let asked = asked
        .map_err(|error| Problem::bad_request("invalid_parameters", error.to_string()))?
        .into_inner();
    let named = asked.organization.as_deref().map(|id| {
        OrganizationId::parse(id).ok_or_else(|| {
            Problem::bad_request("invalid_parameters", "`organization` is not an organization's id")
        })
    });
    let organization = match (own_organization(&sender)?, named.transpose()?) {
        (Some(own), Some(named)) if own != named => {
            return Err(Problem::forbidden("forbidden", "the key belongs to another organization"));
        }
        (Some(own), _) => Some(own),
        (None, named) => named,
    };
    let cut = lakehouse.cut();
    let question = Request {
        sql: sql(organization.as_ref(), &asked),
        reach: reach(&sender),
        cut: cut.clone(),
        now: clock.now().timestamp_micros(),
        deadline_ms: limits.deadline_seconds * 1_000,
        max_rows: None,
        truncate: false,
    };
    let answer = engine.run(Author::Ourselves, question).await.map_err(problem)?;
    let found = answer.batches.iter().find(|rows| rows.num_rows() > 0).ok_or_else(|| {
        Problem::not_found("no event with this organization, source and id was accepted")
    })?;
    let found = read(found, &cut, organization, asked).ok_or_else(Problem::internal)?;
    Ok(HttpResponse::Ok().json(found))
}

fn sql(organization: Option<&OrganizationId>, asked: &Identity) -> String {
    let owner = organization.map_or("is null".into(), |id| format!("= {}", literal(id.as_str())));
    let (source, id) = (literal(&asked.source), literal(&asked.id));
    let selects = TABLES.iter().enumerate().map(|(place, table)| {
        format!(
            "select {place} as place, lsn, occurred_at, ingested_at from {} \
             where organization_id {owner} and source = {source} and event_id = {id}",
            table.name()
        )
    });
    selects.collect::<Vec<_>>().join(" union all ")
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn read(
    rows: &RecordBatch,
    cut: &Cut,
    organization: Option<OrganizationId>,
    asked: Identity,
) -> Option<Whereabouts> {
    let table = *TABLES.get(usize::try_from(first::<Int64Type>(rows, "place")?).ok()?)?;
    let lsn = first::<Int64Type>(rows, "lsn")?.unsigned_abs();
    let time =
        |name| DateTime::from_timestamp_micros(first::<TimestampMicrosecondType>(rows, name)?);
    let stored = cut.mark(table).is_some_and(|mark| lsn <= mark.txn);
    Some(Whereabouts {
        organization_id: organization.map(|id| id.to_string()),
        source: asked.source,
        id: asked.id,
        table: table.name(),
        durability: if stored { "table" } else { "log" },
        lsn,
        occurred_at: time("occurred_at")?,
        ingested_at: time("ingested_at")?,
        as_of: cut.token(),
    })
}

fn first<T: ArrowPrimitiveType>(rows: &RecordBatch, name: &str) -> Option<T::Native> {
    rows.column_by_name(name)?.as_primitive_opt::<T>()?.iter().next()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_quoted() {
        let asked =
            Identity { source: "/s' or 1=1 --".into(), id: "''".into(), organization: None };
        let sql = sql(None, &asked);
        assert!(sql.contains("organization_id is null and source = '/s'' or 1=1 --'"), "{sql}");
        assert!(sql.contains("event_id = ''''''"), "{sql}");
        assert_eq!(sql.matches("union all").count(), 2);
    }
}
