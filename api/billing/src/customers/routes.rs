//! `/v1/billing/customer`: who pays, as customers and staff state it.

use actix_web::{HttpRequest, HttpResponse, get, put, web};
use rest::{
    body::Body,
    principal::{Administer, Authorized, ManageBilling, ReadMetrics},
    problem::{Denied, Problem},
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Customer, customer, store_customer};
use crate::{Billing, own::own_organization};

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Billing) {
    config.service(get_own).service(put_own).service(get_customer).service(put_customer);
}

/// Who pays for the own organization.
#[utoipa::path(operation_id = "get_billing_customer", tag = "billing", responses((status = 200, body = Customer), Denied))]
#[get("/v1/billing/customer")]
async fn get_own(
    principal: Authorized<ReadMetrics>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?;
    Ok(HttpResponse::Ok().json(customer(billing.state.store.db(), id).await?))
}

/// States who pays for the own organization. Tax is what staff says.
#[utoipa::path(
    operation_id = "update_billing_customer",
    tag = "billing",
    request_body = Customer,
    responses((status = 200, body = Customer), (status = 400, body = Problem), Denied)
)]
#[put("/v1/billing/customer")]
async fn put_own(
    principal: Authorized<ManageBilling>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?.to_owned();
    let stated: Customer = body.json(&principal).await?;
    let stored = state_own(&billing, &id, stated, &principal.origin(&request)).await?;
    Ok(HttpResponse::Ok().json(stored))
}

/// Stores what an organization says of itself: its tax stays.
pub(crate) async fn state_own(
    billing: &Billing,
    organization_id: &str,
    stated: Customer,
    origin: &state::audit::AuditOrigin,
) -> Result<Customer, crate::fault::Fault> {
    let now = billing.state.clock.now();
    let write = billing.state.store.write().await?;
    let known = customer(write.db(), organization_id).await?;
    let Customer { tax_percent, reverse_charge, .. } = known;
    let stated = Customer { tax_percent, reverse_charge, ..stated };
    store_customer(&write, organization_id, &stated, origin, now).await?;
    write.commit().await?;
    Ok(stated)
}

/// Who pays for an organization.
#[utoipa::path(
    operation_id = "get_organization_billing_customer",
    tag = "billing",
    params(("organization_id" = String, Path)),
    responses((status = 200, body = Customer), Denied)
)]
#[get("/v1/admin/organizations/{organization_id}/billing")]
async fn get_customer(
    _: Authorized<Administer>,
    organization_id: web::Path<String>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(customer(billing.state.store.db(), &organization_id).await?))
}

/// States who pays for an organization, and its tax.
#[utoipa::path(
    operation_id = "update_organization_billing_customer",
    tag = "billing",
    params(("organization_id" = String, Path)),
    request_body = Customer,
    responses((status = 200, body = Customer), (status = 400, body = Problem), Denied, (status = 404, body = Problem))
)]
#[put("/v1/admin/organizations/{organization_id}/billing")]
async fn put_customer(
    admin: Authorized<Administer>,
    organization_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let stated: Customer = body.json(&admin).await?;
    let now = billing.state.clock.now();
    let write = billing.state.store.write().await?;
    store_customer(&write, &organization_id, &stated, &admin.origin(&request), now).await?;
    write.commit().await?;
    Ok(HttpResponse::Ok().json(stated))
}
