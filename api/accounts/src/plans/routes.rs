//! `GET /v1/plans`

use actix_web::{HttpResponse, get, web};
use rest::{
    principal::{Authorized, SignedIn},
    problem::{Denied, Problem},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::Plans;
use crate::Directory;

/// A plan. What is null is not limited.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    name: String,
    /// `en` and `zh-CN`.
    #[schema(value_type = Object)]
    title: Value,
    /// Calls of an organization in a minute.
    requests_per_minute: Option<u32>,
    /// Calls of an organization in a day.
    requests_per_day: Option<u32>,
    /// Names or globs of models; empty where all are.
    models: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanList {
    plans: Vec<PlanView>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config.app_data(directory.plans.clone()).service(list_plans);
}

/// All plans, by name.
#[utoipa::path(tag = "plans", responses((status = 200, body = PlanList), Denied))]
#[get("/v1/plans")]
async fn list_plans(
    _: Authorized<SignedIn>,
    plans: web::Data<Plans>,
) -> Result<HttpResponse, Problem> {
    let view = |plan: &super::Plan| PlanView {
        name: plan.name.clone(),
        title: json!({"en": plan.title.en, "zh-CN": plan.title.zh_cn}),
        requests_per_minute: plan.requests_per_minute.map(u32::from),
        requests_per_day: plan.requests_per_day.map(u32::from),
        models: plan.models.clone(),
    };
    Ok(HttpResponse::Ok().json(PlanList { plans: plans.all().map(view).collect() }))
}
