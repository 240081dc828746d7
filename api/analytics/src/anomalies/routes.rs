//! `/v1/anomalies`.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Authorized, Principal, ReadMetrics},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::audit::{self, AuditAction, AuditOrigin};
use utoipa::{IntoParams, ToSchema};

use super::{
    BODY_BYTES_MAX,
    anomaly::{self, Anomaly, AnomalyFilter, KeptCause, Verdict},
};
use crate::Lake;

/// An anomaly.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnomalyView {
    id: String,
    metric: String,
    /// The dimension and the value that it is of; null for everything.
    dimension: Option<String>,
    value: Option<String>,
    currency: Option<String>,
    /// The start of its first bucket.
    #[schema(value_type = String, format = DateTime)]
    from: DateTime<Utc>,
    /// The end of its last bucket.
    #[schema(value_type = String, format = DateTime)]
    to: DateTime<Utc>,
    /// `high` or `low`.
    direction: &'static str,
    /// Of what adds up the sum over its buckets; else the value of the bucket that is furthest off.
    observed: f64,
    expected: f64,
    /// 99 of 100 values lie between `lower` and `upper`.
    lower: f64,
    upper: f64,
    /// `observed` less `expected`: an amount in `currency`, or in the unit of the metric.
    impact: f64,
    /// The probability of something at least as unusual.
    p_value: f64,
    /// `kind`: `everywhere`, `in` (with `dimension`, `values`, `share`), `shows` (the same without a share) or `unknown`; null as long as nobody looked.
    cause: Option<KeptCause>,
    /// The anomaly of the same cause that stands for this one.
    same_as: Option<String>,
    /// `confirmed`, `dismissed`, or null.
    #[schema(value_type = Option<String>)]
    verdict: Option<Verdict>,
    note: Option<String>,
    judged_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    found_at: DateTime<Utc>,
}

impl From<Anomaly> for AnomalyView {
    fn from(one: Anomaly) -> Self {
        let impact = one.found.impact();
        let found = one.found;
        Self {
            id: one.id,
            direction: if found.is_high { "high" } else { "low" },
            metric: found.key.metric,
            dimension: found.key.dimension,
            value: found.key.value,
            currency: found.key.currency,
            from: found.from,
            to: found.to,
            observed: found.observed,
            expected: found.expected,
            lower: found.lower,
            upper: found.upper,
            p_value: found.p_value,
            impact,
            cause: one.cause,
            same_as: one.same_as,
            verdict: one.verdict,
            note: one.note,
            judged_by: one.judged_by,
            found_at: one.found_at,
        }
    }
}

/// Which anomalies.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AnomalyParameters {
    /// Those that end after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<DateTime<Utc>>,
    /// Those that begin before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<DateTime<Utc>>,
    metric: Option<String>,
    /// `true`: also those that were dismissed.
    #[serde(default)]
    dismissed: bool,
}

/// What somebody says of an anomaly.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JudgeBody {
    /// `confirmed`: it is not learned from. `dismissed`: it is not shown, and the same series has to be half as far off
    /// again. Null: neither.
    #[schema(value_type = Option<String>)]
    verdict: Option<Verdict>,
    /// At most 500 characters.
    #[serde(default)]
    note: Option<String>,
}

const NOTE_MAX: usize = 500;

/// Anomalies, and when the hours were looked at last.
#[derive(Debug, Serialize, ToSchema)]
struct AnomalyList {
    anomalies: Vec<AnomalyView>,
    looked_at: Option<DateTime<Utc>>,
    /// The end of the last hour that was looked at.
    until: Option<DateTime<Utc>>,
}

/// Anomalies, the newest first; at most 500. Staff see all; a member sees those of the organization.
#[utoipa::path(
    tag = "anomalies",
    params(AnomalyParameters),
    responses((status = 200, body = AnomalyList), (status = 400, body = Problem), Denied),
)]
#[get("/v1/anomalies")]
pub(super) async fn list_anomalies(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<AnomalyParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let AnomalyParameters { from, to, metric, dismissed } = parameters(asked)?;
    let filter = AnomalyFilter { from, to, metric, with_dismissed: dismissed, organization: None };
    let store = &lake.state.store;
    let found = anomaly::list(store, &filter.seen_by(&principal)).await?;
    let look = anomaly::last_look(store, "hour").await?;
    let found = found.into_iter().map(|one| AnomalyView::from(one.seen_by(&principal)));
    let found: Vec<AnomalyView> = found.collect();
    let (looked_at, until) = look.unzip();
    Ok(HttpResponse::Ok().json(AnomalyList { anomalies: found, looked_at, until }))
}

/// An anomaly, and those that have the same cause.
#[utoipa::path(
    tag = "anomalies",
    params(("id" = String, Path)),
    responses((status = 200, body = AnomalyView), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/anomalies/{id}")]
pub(super) async fn get_anomaly(
    principal: Authorized<ReadMetrics>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = found(&lake, &principal, &id).await?;
    Ok(HttpResponse::Ok().json(AnomalyView::from(found)))
}

async fn found(lake: &Lake, who: &Principal, id: &str) -> Result<Anomaly, Problem> {
    let absent = || Problem::not_found(format!("there is no anomaly `{id}`"));
    anomaly::visible(&lake.state.store, who, id).await?.ok_or_else(absent)
}

/// Says what an anomaly is. It counts for all that have the same cause. Only staff do.
#[utoipa::path(
    tag = "anomalies",
    params(("id" = String, Path)),
    request_body = JudgeBody,
    responses((status = 200, body = AnomalyView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[post("/v1/anomalies/{id}/feedback")]
pub(super) async fn judge_anomaly(
    principal: Authorized<ReadMetrics>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: JudgeBody = body.json(&principal).await?;
    let origin = principal.origin(&request);
    let judged = judge(&lake, &principal, &origin, &id, body.verdict, body.note).await?;
    Ok(HttpResponse::Ok().json(AnomalyView::from(judged)))
}

/// Whether somebody may say what an anomaly is: what one says counts for everybody.
pub(super) fn may_judge(who: &Principal) -> bool {
    who.reach.organization_id().is_none()
}

pub(super) async fn judge(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    id: &str,
    verdict: Option<Verdict>,
    note: Option<String>,
) -> Result<Anomaly, Problem> {
    if !may_judge(who) {
        return Err(Problem::forbidden(Code::Forbidden, "only staff say what an anomaly is"));
    }
    let note = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty());
    if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_MAX) {
        let detail = format!("`note` has more than {NOTE_MAX} characters");
        return Err(Problem::bad_request(Code::InvalidField, detail));
    }
    let one = found(lake, who, id).await?;
    let now = lake.state.clock.now();
    let write = lake.state.store.write().await?;
    anomaly::judge(&write, &one, verdict, note, who, now).await?;
    let detail = json!({"metric": one.found.key.metric, "verdict": verdict});
    let act = AuditAction { action: "anomaly.judged", target: one.id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    found(lake, who, id).await
}
