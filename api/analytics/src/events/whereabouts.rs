//! `GET /v1/events`: did it arrive, and where is it?

use actix_web::{HttpResponse, get, web};
use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use ingest::{OrganizationId, Table};
use pipeline::{Cut, correction::ledger};
use query::quoted;
use rest::{
    principal::{Authorized, Principal, SendEvents},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::own_organization;
use crate::Lake;

/// The identity of an event.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub source: String,
    pub id: String,
    /// For keys of the platform. Left out: an event of a visitor, who belongs to none.
    pub organization: Option<String>,
}

/// An event that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Whereabouts {
    pub organization_id: Option<String>,
    pub source: String,
    pub id: String,
    /// The table that holds it, or will.
    #[schema(value_type = String)]
    pub table: &'static str,
    /// `table`, or `log` while the table does not hold it yet. Queries see it in either place.
    #[schema(value_type = String)]
    pub durability: &'static str,
    /// Its number in the log. Absent for an organization: the log numbers everybody's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub ingested_at: DateTime<Utc>,
    /// The cut at which this was read.
    pub as_of: String,
}

/// Finds an accepted event by its identity.
#[utoipa::path(
    tag = "events",
    params(Identity),
    responses(
        (status = 200, description = "It arrived.", body = Whereabouts),
        (status = 400, body = Problem), Denied,
        (status = 404, description = "No such event was accepted.", body = Problem),
        (status = 503, body = Problem),
    ),
)]
#[get("/v1/events")]
pub(crate) async fn find_event(
    sender: Authorized<SendEvents>,
    asked: Result<web::Query<Identity>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let organization = owner(&sender, asked.organization.as_deref())?;
    if !sender.grant.reaches(&asked.source) {
        return Err(unknown());
    }
    let found = locate(&lake, &sender, organization, &asked.source, &asked.id).await?;
    found.map(|found| HttpResponse::Ok().json(found)).ok_or_else(unknown)
}

/// Whose event is meant: a key of an organization means its own.
pub(super) fn owner(
    sender: &Principal,
    named: Option<&str>,
) -> Result<Option<OrganizationId>, Problem> {
    let named = named.map(|id| {
        OrganizationId::parse(id).ok_or_else(|| {
            Problem::invalid_parameters("`organization` is not an organization's id")
        })
    });
    match (own_organization(sender)?, named.transpose()?) {
        (Some(own), Some(named)) if own != named => {
            Err(Problem::forbidden(Code::Forbidden, "the key belongs to another organization"))
        }
        (Some(own), _) => Ok(Some(own)),
        (None, named) => Ok(named),
    }
}

pub(super) fn unknown() -> Problem {
    Problem::not_found("no event with this organization, source and id was accepted")
}

/// Where an accepted event is.
pub(super) async fn locate(
    lake: &Lake,
    sender: &Principal,
    organization: Option<OrganizationId>,
    source: &str,
    id: &str,
) -> Result<Option<Whereabouts>, Problem> {
    let (cut, answer) = lake.ask(sender, sql(organization.as_ref(), source, id)).await?;
    let Some(rows) = answer.batches.iter().find(|rows| rows.num_rows() > 0) else {
        return Ok(None);
    };
    let found = read(rows, &cut).ok_or_else(Problem::internal)?;
    let is_staff = sender.reach.organization_id().is_none();
    Ok(Some(Whereabouts {
        lsn: found.lsn.filter(|_| is_staff),
        as_of: lake.cut_cipher.token(&cut, sender)?,
        organization_id: organization.map(|id| id.to_string()),
        source: source.to_owned(),
        id: id.to_owned(),
        ..found
    }))
}

fn sql(organization: Option<&OrganizationId>, source: &str, id: &str) -> String {
    let owner = organization.map_or("is null".into(), |id| format!("= {}", quoted(id.as_str())));
    let (source, id) = (quoted(source), quoted(id));
    let selects = Table::OF_EVENTS.iter().enumerate().map(|(place, table)| {
        format!(
            "select {place} as place, lsn, occurred_at, ingested_at from {} \
             where organization_id {owner} and source = {source} and event_id = {id}",
            ledger(*table)
        )
    });
    selects.collect::<Vec<_>>().join(" union all ")
}

/// What the row says; the identity is the lake's.
fn read(rows: &RecordBatch, cut: &Cut) -> Option<Whereabouts> {
    let table = *Table::OF_EVENTS.get(usize::try_from(first::<Int64Type>(rows, "place")?).ok()?)?;
    let lsn = first::<Int64Type>(rows, "lsn")?.unsigned_abs();
    let time =
        |name| DateTime::from_timestamp_micros(first::<TimestampMicrosecondType>(rows, name)?);
    let stored = cut.mark(table).is_some_and(|mark| lsn <= mark.txn);
    Some(Whereabouts {
        organization_id: None,
        source: String::new(),
        id: String::new(),
        table: table.name(),
        durability: if stored { "table" } else { "log" },
        lsn: Some(lsn),
        occurred_at: time("occurred_at")?,
        ingested_at: time("ingested_at")?,
        as_of: String::new(),
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
        let sql = sql(None, "/s' or 1=1 --", "''");
        assert!(sql.contains("organization_id is null and source = '/s'' or 1=1 --'"), "{sql}");
        assert!(sql.contains("event_id = ''''''"), "{sql}");
        assert_eq!(sql.matches("union all").count(), 2);
    }
}
