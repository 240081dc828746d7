//! `/v1/admin/audit`: who did what, and whether the log is still whole.

use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream;
use rest::schema::AnyObject;
use rest::{
    feature::Feature,
    principal::{Administer, Authorized},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::{
    State,
    audit::{AuditFilter, ChainHead, ChainState, Record, head, list, verify_against},
    store::rfc3339,
};
use utoipa::{IntoParams, ToSchema};

use crate::Directory;

const ROWS: u64 = 100;
const ROWS_MAX: u64 = 1_000;

/// Which rows, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AuditParameters {
    /// The id of a principal, `anonymous` or `command-line`.
    actor: Option<String>,
    /// Such as `user.disabled`.
    action: Option<String>,
    /// The id of what it was done to.
    target: Option<String>,
    /// From then on: RFC 3339.
    #[param(value_type = Option<String>)]
    from: Option<DateTime<Utc>>,
    /// Before then: RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<DateTime<Utc>>,
    /// At most 1,000; 100 unless this says otherwise.
    limit: Option<u64>,
    /// `next` of the answer before.
    cursor: Option<i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct VerifyParameters {
    /// `head` of an earlier answer: the row must still be the same, and none after it missing at the end.
    head: Option<String>,
}

/// An act.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditView {
    pub seq: i64,
    /// Of a row that somebody edited, it may be a number of microseconds.
    #[schema(format = DateTime)]
    pub at: String,
    /// The id of a principal, `anonymous` or `command-line`.
    pub actor: String,
    /// `noun.verb_in_past`
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    #[schema(value_type = AnyObject)]
    pub detail: Value,
    pub request_id: Option<String>,
    /// The client's network address.
    pub ip: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    pub acts: Vec<AuditView>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<i64>,
}

/// Whether the rows are those that were written.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditVerdict {
    pub intact: bool,
    /// How many rows the chain has, as far as it is intact.
    pub rows: u64,
    /// The first row that was edited or is missing.
    pub broken_at: Option<i64>,
    /// `seq:hash` of the newest row. Keep it elsewhere: rows cut off at the end leave no other trace.
    pub head: Option<String>,
}

/// The audit log as administrators read it.
pub(crate) const FEATURE: Feature<Directory> = Feature::new("audit").with_routes(|config, _| {
    config.service(list_acts).service(export_acts).service(verify_acts);
});

/// Security-relevant acts, newest first.
#[utoipa::path(
    operation_id = "list_audit_log",
    tag = "audit",
    params(AuditParameters),
    responses(
        (status = 200, body = AuditList),
        (status = 400, body = Problem),
        Denied,
    )
)]
#[get("/v1/admin/audit")]
async fn list_acts(
    _: Authorized<Administer>,
    asked: Result<web::Query<AuditParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let limit = asked.limit.unwrap_or(ROWS);
    if !(1..=ROWS_MAX).contains(&limit) {
        let detail = format!("`limit` must be 1 to {ROWS_MAX}");
        return Err(Problem::invalid_parameters(detail));
    }
    let AuditParameters { actor, action, target, cursor, from, to, .. } = asked;
    let filter = AuditFilter { actor, action, target, before: cursor, from, to };
    // One more than wanted tells whether there are more.
    let mut records = list(&state.store, &filter, limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = records.len() > wanted;
    records.truncate(wanted);
    let next = records.last().filter(|_| has_more).map(|record| record.seq);
    let acts = records.into_iter().map(AuditView::from).collect();
    Ok(HttpResponse::Ok().json(AuditList { acts, next }))
}

/// Security-relevant acts as NDJSON, newest first: all that the filters leave.
#[utoipa::path(
    operation_id = "export_audit_log",
    tag = "audit",
    params(AuditParameters),
    responses(
        (status = 200, content_type = "application/x-ndjson", body = String), (status = 400, body = Problem), Denied,
    )
)]
#[get("/v1/admin/audit/export")]
async fn export_acts(
    _: Authorized<Administer>,
    asked: Result<web::Query<AuditParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let AuditParameters { actor, action, target, cursor, from, to, limit } = parameters(asked)?;
    if limit.is_some() {
        return Err(Problem::invalid_parameters("an export has no `limit`: it holds all"));
    }
    let filter = AuditFilter { actor, action, target, before: cursor, from, to };
    // The first page before the answer begins, so that a failure has its own status.
    let first = list(&state.store, &filter, ROWS_MAX).await?;
    let store = state.store.clone();
    let pages = stream::unfold(Some((first, filter)), move |rest| {
        let store = store.clone();
        async move {
            let (records, filter) = rest?;
            let last = records.last()?.seq;
            let mut lines = Vec::new();
            for record in records {
                let view = AuditView::from(record);
                if serde_json::to_writer(&mut lines, &view).is_err() {
                    return Some((Err(actix_web::error::ErrorInternalServerError("")), None));
                }
                lines.push(b'\n');
            }
            let filter = AuditFilter { before: Some(last), ..filter };
            match list(&store, &filter, ROWS_MAX).await {
                Ok(next) => Some((Ok(Bytes::from(lines)), Some((next, filter)))),
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the audit log");
                    Some((Err(actix_web::error::ErrorInternalServerError("")), None))
                }
            }
        }
    });
    Ok(HttpResponse::Ok().content_type("application/x-ndjson").streaming(Box::pin(pages)))
}

/// Walks the whole log and says whether it is what was written.
#[utoipa::path(
    operation_id = "verify_audit_log",
    tag = "audit",
    params(VerifyParameters),
    responses(
        (status = 200, body = AuditVerdict),
        (status = 400, body = Problem),
        Denied,
    )
)]
#[get("/v1/admin/audit/verify")]
async fn verify_acts(
    _: Authorized<Administer>,
    kept: Result<web::Query<VerifyParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let kept = parameters(kept)?.head.map(|text| {
        let invalid = || Problem::invalid_parameters("`head` is not `seq:hash`");
        ChainHead::parse(&text).ok_or_else(invalid)
    });
    // Before the walk: a row that comes meanwhile is not vouched for.
    let newest = head(&state.store).await?;
    Ok(HttpResponse::Ok().json(match verify_against(&state.store, kept.transpose()?).await? {
        ChainState::Intact { rows } => {
            let head = newest.map(|head| head.to_string());
            AuditVerdict { intact: true, rows, broken_at: None, head }
        }
        ChainState::Broken { seq } => {
            let rows = u64::try_from(seq.saturating_sub(1)).unwrap_or_default();
            AuditVerdict { intact: false, rows, broken_at: Some(seq), head: None }
        }
    }))
}

impl From<Record> for AuditView {
    fn from(record: Record) -> Self {
        Self {
            seq: record.seq,
            at: DateTime::from_timestamp_micros(record.at)
                .map_or_else(|| record.at.to_string(), rfc3339),
            actor: record.origin.actor,
            action: record.action,
            target: record.target,
            detail: serde_json::from_str(&record.detail).unwrap_or(Value::String(record.detail)),
            request_id: record.origin.request_id,
            ip: record.ip,
        }
    }
}
