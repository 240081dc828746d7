//! Paying by a provider: for customers and staff.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use rest::{
    body::Body,
    principal::{Administer, Authorized, ManageBilling, ReadMetrics},
    problem::{Denied, Problem},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use state::jobs::JobError;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Payment, hooks,
    online::{CHARGE, forget_method, method},
    refunds::{REFUND, Refund},
};
use crate::{Billing, own::own_organization};

pub(super) fn routes(config: &mut ServiceConfig<'_>, _: &Billing) {
    config.service(pay).service(get_methods).service(set_up).service(remove_method).service(refund);
    hooks::routes(config);
}

/// The work that waits for providers.
pub(super) fn register(billing: &Billing) {
    let shared = billing.clone();
    billing.state.jobs.handle(CHARGE, move |job| {
        let billing = shared.clone();
        async move {
            let invoice_id = job.payload["invoice_id"].as_str().unwrap_or_default().to_owned();
            let attempt = job.payload["attempt"].as_i64().unwrap_or(0);
            let done = Box::pin(billing.charge(&invoice_id, attempt)).await;
            done.map_err(|fault| JobError::of(&fault))
        }
    });
    let shared = billing.clone();
    billing.state.jobs.handle(REFUND, move |job| {
        let billing = shared.clone();
        async move {
            let wanted: Refund = serde_json::from_value(job.payload)
                .map_err(|error| JobError::permanent(error.to_string()))?;
            let done = Box::pin(billing.ask_refund(&wanted)).await;
            done.map_err(|fault| JobError::of(&fault))
        }
    });
}

/// By whom an invoice is paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PayBody {
    /// `stripe` or `paypal`.
    provider: String,
}

/// Where it is paid.
#[derive(Debug, Serialize, ToSchema)]
struct PayPage {
    /// A page of the provider.
    url: String,
}

/// Opens a page of a payment provider on which an invoice of the own organization is paid.
#[utoipa::path(
    operation_id = "pay_invoice",
    tag = "billing",
    params(("invoice_id" = String, Path)),
    request_body = PayBody,
    responses((status = 200, body = PayPage), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem))
)]
#[post("/v1/invoices/{invoice_id}/pay")]
async fn pay(
    principal: Authorized<ManageBilling>,
    invoice_id: web::Path<String>,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?.to_owned();
    let PayBody { provider } = body.json(&principal).await?;
    let url = Box::pin(billing.pay_online(&id, &invoice_id, &provider)).await?;
    Ok(HttpResponse::Ok().json(PayPage { url }))
}

/// How the own organization can pay.
#[derive(Debug, Serialize, ToSchema)]
struct MethodView {
    /// The providers that are configured: `stripe`, `paypal`.
    providers: Vec<String>,
    /// The method that is charged for new invoices, such as `visa 4242`.
    method: Option<String>,
}

/// How the own organization can pay, and the method that it keeps.
#[utoipa::path(operation_id = "get_payment_methods", tag = "billing", responses((status = 200, body = MethodView), Denied))]
#[get("/v1/billing/payment-method")]
async fn get_methods(
    principal: Authorized<ReadMetrics>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let kept = method(billing.state.store.db(), own_organization(&principal)?).await?;
    let providers = billing.providers().into_iter().map(ToOwned::to_owned).collect();
    Ok(HttpResponse::Ok().json(MethodView { providers, method: kept.map(|kept| kept.label) }))
}

/// Opens a page of Stripe on which the own organization names a method for its later invoices.
#[utoipa::path(
    operation_id = "set_up_payment_method",
    tag = "billing",
    responses((status = 200, body = PayPage), Denied, (status = 409, body = Problem), (status = 503, body = Problem))
)]
#[post("/v1/billing/payment-method")]
async fn set_up(
    principal: Authorized<ManageBilling>,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?.to_owned();
    let url = Box::pin(billing.set_up_method(&id)).await?;
    Ok(HttpResponse::Ok().json(PayPage { url }))
}

/// Forgets the method of the own organization: later invoices are not charged.
#[utoipa::path(operation_id = "remove_payment_method", tag = "billing", responses((status = 204), Denied))]
#[delete("/v1/billing/payment-method")]
async fn remove_method(
    principal: Authorized<ManageBilling>,
    request: HttpRequest,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let id = own_organization(&principal)?.to_owned();
    let write = billing.state.store.write().await?;
    let now = billing.state.clock.now();
    forget_method(&write, &id, (&principal.origin(&request), now)).await?;
    write.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What is given back of a payment.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RefundBody {
    /// At most the credit of the organization, and what is left of the payment; left out: as much as that.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    amount: Option<Decimal>,
}

/// Gives a part of a payment back by its provider, out of the credit of its organization: issue a credit note first.
#[utoipa::path(
    operation_id = "refund_payment",
    tag = "billing",
    params(("payment_id" = String, Path)),
    request_body = RefundBody,
    responses((status = 202, body = Payment), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/admin/payments/{payment_id}/refund")]
async fn refund(
    admin: Authorized<Administer>,
    payment_id: web::Path<String>,
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let RefundBody { amount } = body.json(&admin).await?;
    let origin = admin.origin(&request);
    Ok(HttpResponse::Accepted().json(billing.refund(&payment_id, amount, &origin).await?))
}
