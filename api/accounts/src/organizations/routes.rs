//! `/v1/admin/organizations`: organizations as administrators see and handle them.

use actix_web::{HttpRequest, HttpResponse, get, put, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Found, OrganizationStatus, search, set_key_max_age, set_status};
use crate::{Directory, keys::KeyRing};

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrganizationView {
    organization_id: String,
    name: String,
    /// individual or business
    kind: &'static str,
    plan: String,
    country: String,
    /// active, suspended or disabled
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    signed_up_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrganizationList {
    organizations: Vec<OrganizationView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchParameters {
    search: Option<String>,
    limit: Option<u64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusBody {
    /// active, suspended or disabled
    status: String,
}

const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

/// What an organization demands of its keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPolicyBody {
    /// Days after its creation for which a key works: 1 to 3650. Null: as long as its own end says.
    key_max_age_days: Option<u16>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Directory) {
    config.service(list_organizations).service(change_status).service(change_key_policy);
}

/// Changes for how long keys of an organization work after their creation. Those that are older end at once.
#[utoipa::path(
    tag = "organizations",
    params(("organization_id" = String, Path)),
    request_body = KeyPolicyBody,
    responses((status = 204), (status = 400, body = Problem), Denied, (status = 404, body = Problem))
)]
#[put("/v1/admin/organizations/{organization_id}/key-policy")]
async fn change_key_policy(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: KeyPolicyBody = body.json(&admin).await?;
    let (origin, now) = (admin.origin(&request), state.clock.now());
    let days = body.key_max_age_days;
    set_key_max_age(&state.store, &organization_id, days, &origin, now).await?;
    ring.forget();
    state.departures.notify_waiters();
    Ok(HttpResponse::NoContent().finish())
}

/// Organizations by id: all, or those whose id or name holds a text, whatever its case.
#[utoipa::path(
    tag = "organizations",
    params(("search" = Option<String>, Query), ("limit" = Option<u64>, Query, description = "1 to 1000; left out: 100")),
    responses((status = 200, body = OrganizationList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/admin/organizations")]
async fn list_organizations(
    _: Authorized<Administer>,
    asked: Result<web::Query<SearchParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid_parameters(format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let found = search(&state.store, asked.search.as_deref().unwrap_or_default(), limit).await?;
    let organizations = found.into_iter().map(OrganizationView::from).collect();
    Ok(HttpResponse::Ok().json(OrganizationList { organizations }))
}

/// Suspends, disables or activates an organization. Of a suspended one the members sign in, and its keys do not work; of a
/// disabled one neither.
#[utoipa::path(
    tag = "organizations",
    params(("organization_id" = String, Path)),
    request_body = StatusBody,
    responses((status = 204), (status = 400, body = Problem), Denied, (status = 404, body = Problem))
)]
#[put("/v1/admin/organizations/{organization_id}/status")]
async fn change_status(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: StatusBody = body.json(&admin).await?;
    let status = OrganizationStatus::parse(&body.status).ok_or_else(|| {
        let detail = "`status` is active, suspended or disabled";
        Problem::bad_request(Code::InvalidField, detail).with("field", "status")
    })?;
    let (origin, now) = (admin.origin(&request), state.clock.now());
    set_status(&state.store, &organization_id, status, &origin, now).await?;
    ring.forget();
    state.departures.notify_waiters();
    Ok(HttpResponse::NoContent().finish())
}

impl From<Found> for OrganizationView {
    fn from(Found { organization, status }: Found) -> Self {
        Self {
            organization_id: organization.organization_id,
            name: organization.name,
            kind: organization.kind.as_str(),
            plan: organization.plan,
            country: organization.country,
            status: status.as_str(),
            signed_up_at: organization.signed_up_at,
        }
    }
}
