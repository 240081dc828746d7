//! `GET /v1/plans`, and the overrides of single organizations.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized, SignedIn},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    LimitOverride, Limits, Plan, Plans,
    overrides::{self, NewOverride},
};
use crate::{
    Directory,
    keys::KeyRing,
    organizations::{self, OrganizationError},
};

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    name: String,
    /// `en` and `zh-CN`.
    #[schema(value_type = pages::Text)]
    title: Value,
    /// What its organizations may call and use.
    limits: Limits,
    /// Names or globs of models; empty where all are.
    models: Vec<String>,
    /// The gateway lets calls through while this service is away.
    fail_open: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanList {
    plans: Vec<PlanView>,
}

/// Limits of one organization that differ from its plan.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OverrideView {
    override_id: String,
    organization_id: String,
    limits: Limits,
    #[schema(value_type = String, format = DateTime)]
    starts_at: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<DateTime<Utc>>,
    /// Whether it counts now.
    current: bool,
    note: String,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OverrideList {
    overrides: Vec<OverrideView>,
}

/// Limits that count instead of those of the plan, as far as they are named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideBody {
    limits: Limits,
    /// Left out: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<DateTime<Utc>>,
    /// Left out: for good.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<DateTime<Utc>>,
    /// Why: at most 500 characters.
    #[serde(default)]
    note: String,
}

impl OverrideView {
    fn of(one: LimitOverride, now: DateTime<Utc>) -> Self {
        Self {
            current: one.holds_at(now),
            override_id: one.override_id,
            organization_id: one.organization_id,
            limits: one.limits,
            starts_at: one.starts_at,
            ends_at: one.ends_at,
            note: one.note,
            created_by: one.created_by,
            created_at: one.created_at,
        }
    }
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config
        .app_data(directory.plans.clone())
        .service(list_plans)
        .service(list_overrides)
        .service(create_override)
        .service(end_override);
}

/// All plans, by name.
#[utoipa::path(tag = "plans", responses((status = 200, body = PlanList), Denied))]
#[get("/v1/plans")]
async fn list_plans(
    _: Authorized<SignedIn>,
    plans: web::Data<Plans>,
) -> Result<HttpResponse, Problem> {
    let view = |plan: &Plan| PlanView {
        name: plan.name.clone(),
        title: json!({"en": plan.title.en, "zh-CN": plan.title.zh_cn}),
        limits: plan.limits(),
        models: plan.models.clone(),
        fail_open: plan.fail_open,
    };
    Ok(HttpResponse::Ok().json(PlanList { plans: plans.all().map(view).collect() }))
}

/// The overrides of an organization, also those that ended, the newest first.
#[utoipa::path(
    tag = "plans",
    params(("organization_id" = String, Path)),
    responses((status = 200, body = OverrideList), Denied, (status = 404, body = Problem))
)]
#[get("/v1/admin/organizations/{organization_id}/overrides")]
async fn list_overrides(
    _: Authorized<Administer>,
    organization_id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    if organizations::get(&state.store, &organization_id).await?.is_none() {
        let organization_id = organization_id.into_inner();
        return Err(OrganizationError::Unknown { organization_id }.into());
    }
    let now = state.clock.now();
    let overrides = overrides::of_organization(&state.store, &organization_id).await?;
    let overrides = overrides.into_iter().map(|one| OverrideView::of(one, now)).collect();
    Ok(HttpResponse::Ok().json(OverrideList { overrides }))
}

/// Overrides limits of an organization. What it does not name stays as the plan says. Servers obey within a second.
#[utoipa::path(
    tag = "plans",
    params(("organization_id" = String, Path)),
    request_body = OverrideBody,
    responses(
        (status = 201, body = OverrideView), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem),
    )
)]
#[post("/v1/admin/organizations/{organization_id}/overrides")]
async fn create_override(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: OverrideBody = body.json(&admin).await?;
    let (origin, now) = (admin.origin(&request), state.clock.now());
    let new = NewOverride {
        limits: body.limits,
        starts_at: body.starts_at.unwrap_or(now),
        ends_at: body.ends_at,
        note: body.note,
    };
    let made = overrides::create(&state.store, &organization_id, new, &origin, now).await?;
    ring.forget();
    Ok(HttpResponse::Created().json(OverrideView::of(made, now)))
}

/// Ends an override now. One that has ended stays as it is.
#[utoipa::path(
    tag = "plans",
    params(("organization_id" = String, Path), ("override_id" = String, Path)),
    responses((status = 204), Denied, (status = 404, body = Problem))
)]
#[delete("/v1/admin/organizations/{organization_id}/overrides/{override_id}")]
async fn end_override(
    admin: Authorized<Administer>,
    path: web::Path<(String, String)>,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (organization_id, override_id) = path.into_inner();
    let (origin, now) = (admin.origin(&request), state.clock.now());
    overrides::end(&state.store, &organization_id, &override_id, &origin, now).await?;
    ring.forget();
    Ok(HttpResponse::NoContent().finish())
}
