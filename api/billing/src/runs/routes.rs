//! `/v1/billing/runs`: what runs did, and how one is begun.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use rest::{
    principal::{Administer, Authorized},
    problem::{Denied, Problem},
};
use serde::Serialize;
use serde_json::json;
use state::audit::{self, AuditAction};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{BillingRun, RunReport, RunScope};
use crate::Billing;

const LISTED: u64 = 100;

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Billing) {
    config.service(list_runs).service(begin_run);
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BillingRunList)]
struct RunList {
    runs: Vec<BillingRun>,
}

/// The last runs, the newest first, at most 100.
#[utoipa::path(operation_id = "list_billing_runs", tag = "billing", responses((status = 200, body = RunList), Denied))]
#[get("/v1/billing/runs")]
async fn list_runs(
    _: Authorized<Administer>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(RunList { runs: billing.runs(LISTED).await? }))
}

/// Brings all subscriptions up to date now, as the schedule does every ten minutes. It may be begun at any time: nothing is
/// billed twice.
#[utoipa::path(operation_id = "start_billing_run", tag = "billing", responses((status = 200, body = RunReport), Denied))]
#[post("/v1/billing/runs")]
async fn begin_run(
    admin: Authorized<Administer>,
    request: HttpRequest,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let (run_id, report) = Box::pin(billing.run(&admin.id, &RunScope::default())).await?;
    let write = billing.state.store.write().await?;
    let (target, detail) = (run_id.to_string(), json!({"invoices": report.invoices}));
    let act = AuditAction { action: "billing.run", target, detail };
    audit::append(&write, &admin.origin(&request), act, billing.state.clock.now()).await?;
    write.commit().await?;
    Ok(HttpResponse::Ok().json(report))
}
