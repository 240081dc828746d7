//! `GET /v1/dev/requests`.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{LoggedRequest, RequestFilter, RequestSummary, SKIP_MAX, status_of, window};
use crate::{Portal, own::own_organization};

const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 500;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_requests).service(get_request_summary);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RequestParameters {
    /// RFC 3339; a week before `to` without it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<DateTime<Utc>>,
    /// RFC 3339; now without it. A window has at most 93 days.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<DateTime<Utc>>,
    /// The id of a request: that of its event.
    request_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
    /// `error`, or a status such as `429`.
    status: Option<String>,
    /// At most so many: 50 without it, and at most 500.
    limit: Option<u64>,
    /// `next_page` of the answer before.
    page: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SummaryParameters {
    /// RFC 3339; a week before `to` without it.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<DateTime<Utc>>,
    /// RFC 3339; now without it.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct RequestList {
    requests: Vec<LoggedRequest>,
    /// Send it as `page` for older ones.
    next_page: Option<u64>,
}

/// The own requests, the newest first.
#[utoipa::path(
    tag = "developer",
    params(RequestParameters),
    responses((status = 200, body = RequestList), (status = 400, body = Problem), Denied),
)]
#[get("/v1/dev/requests")]
async fn list_requests(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<RequestParameters>, actix_web::Error>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let (from, to) = window(asked.from, asked.to, portal.state.clock.now())?;
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let skip = asked.page.unwrap_or_default();
    if skip > SKIP_MAX {
        let detail = format!("`page` is at most {SKIP_MAX}: take a shorter window");
        return Err(Problem::invalid_parameters(detail));
    }
    let filter = RequestFilter {
        from,
        to,
        request_id: asked.request_id,
        api_key_id: asked.api_key_id,
        model: asked.model,
        status: asked.status.as_deref().map(status_of).transpose()?,
        page: (skip, limit),
    };
    let requests = portal.requests.requests(own_organization(&principal)?, &filter).await?;
    let next = skip + limit;
    let has_more = requests.len() as u64 == limit && next <= SKIP_MAX;
    Ok(HttpResponse::Ok().json(RequestList { requests, next_page: has_more.then_some(next) }))
}

/// What the own requests come to.
#[utoipa::path(
    tag = "developer",
    params(SummaryParameters),
    responses((status = 200, body = RequestSummary), (status = 400, body = Problem), Denied),
)]
#[get("/v1/dev/requests/summary")]
async fn get_request_summary(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<SummaryParameters>, actix_web::Error>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let (from, to) = window(asked.from, asked.to, portal.state.clock.now())?;
    let summary = portal.requests.summary(own_organization(&principal)?, from, to).await?;
    Ok(HttpResponse::Ok().json(summary))
}
