//! `/v1/hooks/stripe`, `/v1/hooks/paypal`: what payment providers tell. Each is checked on the body as it came, and taken once,
//! in any order.

use actix_web::{HttpRequest, HttpResponse, post, web};
use rest::schema::AnyObject;
use rest::{
    body::Body,
    problem::{Code, Problem},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    online::{PAYPAL, Received, STRIPE, is_new},
    paypal::captured,
    stripe::is_signed,
};
use crate::{
    Billing,
    fault::Fault,
    invoices::{self, major},
};

const BYTES_MAX: usize = 256 << 10;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(stripe_hook).service(paypal_hook);
}

fn refused(detail: &str) -> Problem {
    Problem::bad_request(Code::InvalidHeader, detail)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[derive(Debug, Serialize, ToSchema)]
struct HookAnswer {
    received: bool,
}

/// An event of Stripe. Members that are not named here are there too.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct StripeEvent {
    id: String,
    /// Such as `checkout.session.completed`.
    #[schema(rename = "type")]
    kind: String,
    /// Seconds since 1970.
    created: i64,
    data: StripeData,
}

#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct StripeData {
    /// What the event is of, as Stripe describes it.
    object: AnyObject,
}

/// An event of PayPal. Members that are not named here are there too.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PaypalEvent {
    id: String,
    /// Such as `CHECKOUT.ORDER.APPROVED`.
    event_type: String,
    /// What the event is of, as PayPal describes it.
    resource: AnyObject,
}

/// Takes what Stripe tells. `Stripe-Signature` is checked on the body as it came; an event counts once, however often it comes.
#[utoipa::path(
    operation_id = "receive_stripe_event",
    tag = "billing",
    security(()),
    request_body(content = StripeEvent, content_type = "application/json"),
    responses((status = 200, body = HookAnswer), (status = 400, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/hooks/stripe")]
async fn stripe_hook(
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let body = body.raw_of_stranger(BYTES_MAX).await?;
    let not_configured = || Fault::PaymentsNotConfigured("Stripe is not configured here".into());
    let stripe = billing.stripe.as_ref().ok_or_else(not_configured)?;
    let header = request.headers().get("stripe-signature");
    let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = billing.state.clock.now();
    if !is_signed(stripe.webhook_secret.reveal(), header, &body, now) {
        return Err(refused("`Stripe-Signature` is not of this body, or too old"));
    }
    let event: Value = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request(Code::InvalidJson, "the event is not JSON"))?;
    Box::pin(billing.stripe_told(&event)).await?;
    Ok(HttpResponse::Ok().json(HookAnswer { received: true }))
}

/// Takes what PayPal tells. PayPal is asked whether it is its own.
#[utoipa::path(
    operation_id = "receive_paypal_event",
    tag = "billing",
    security(()),
    request_body(content = PaypalEvent, content_type = "application/json"),
    responses((status = 200, body = HookAnswer), (status = 400, body = Problem), (status = 409, body = Problem))
)]
#[post("/v1/hooks/paypal")]
async fn paypal_hook(
    request: HttpRequest,
    body: Body,
    billing: web::Data<Billing>,
) -> Result<HttpResponse, Problem> {
    let body = body.raw_of_stranger(BYTES_MAX).await?;
    let not_configured = || Fault::PaymentsNotConfigured("PayPal is not configured here".into());
    let paypal = billing.paypal.as_ref().ok_or_else(not_configured)?;
    let event: Value = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request(Code::InvalidJson, "the event is not JSON"))?;
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let is_own = paypal.is_own(header, &event).await;
    if !is_own.map_err(|fault| Fault::ProviderAway(fault.to_string()))? {
        return Err(refused("the signature is not of this body"));
    }
    Box::pin(billing.paypal_told(&event)).await?;
    Ok(HttpResponse::Ok().json(HookAnswer { received: true }))
}

impl Billing {
    /// What an event of Stripe says. What it is about is in the event: the order of events does not matter.
    pub(super) async fn stripe_told(&self, event: &Value) -> Result<(), Fault> {
        let (id, kind, of) = (text(&event["id"]), text(&event["type"]), &event["data"]["object"]);
        let invoice_id = text(&of["metadata"]["invoice_id"]);
        let mut keep = None;
        let now = self.state.clock.now();
        let write = self.state.store.write().await?;
        if !is_new(&write, STRIPE, (id, kind), now).await? {
            return Ok(());
        }
        let paid = match kind {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                if of["mode"] == "setup" {
                    let organization = text(&of["metadata"]["organization_id"]);
                    keep =
                        Some((organization.to_owned(), text(&of["setup_intent"]).to_owned(), true));
                }
                (of["payment_status"] == "paid")
                    .then(|| (text(&of["payment_intent"]), &of["amount_total"]))
            }
            "payment_intent.succeeded" => Some((text(&of["id"]), &of["amount_received"])),
            _ => None,
        };
        if let Some((intent, units)) = paid.filter(|_| !invoice_id.is_empty()) {
            let unknown = || Fault::Unknown(format!("invoice `{invoice_id}`"));
            let invoice = invoices::get(write.db(), invoice_id).await?.ok_or_else(unknown)?;
            let units = units.as_i64().ok_or_else(|| Fault::invalid("amount", "is missing"))?;
            let received = Received {
                provider: STRIPE,
                reference: intent,
                invoice_id,
                amount: major(units, invoice.currency)?,
                currency: text(&of["currency"]),
            };
            self.receive(&write, &received, now).await?;
            keep = Some((invoice.organization_id, intent.to_owned(), false));
        }
        if kind == "payment_intent.payment_failed" && !invoice_id.is_empty() {
            let reason = text(&of["last_payment_error"]["message"]);
            self.payment_failed(&write, invoice_id, reason, now).await?;
        }
        write.commit().await?;
        self.state.jobs.wake();
        if let Some((organization, intent, is_setup)) =
            keep.filter(|(organization, ..)| !organization.is_empty())
        {
            self.keep_told(&organization, &intent, is_setup).await;
        }
        Ok(())
    }

    /// Keeps the method of a payment. Without an answer the next payment says it again.
    async fn keep_told(&self, organization: &str, intent: &str, is_setup: bool) {
        let Some(stripe) = &self.stripe else { return };
        let found = match is_setup {
            true => stripe.setup_intent(intent).await,
            false => stripe.payment_intent(intent).await,
        };
        let kept = match found {
            Ok(intent) => {
                self.keep_method(organization, &intent).await.map_err(|fault| fault.to_string())
            }
            Err(fault) => Err(fault.to_string()),
        };
        if let Err(reason) = kept {
            tracing::warn!(reason, organization, "a payment method was not kept");
        }
    }

    /// What an event of PayPal says.
    pub(super) async fn paypal_told(&self, event: &Value) -> Result<(), Fault> {
        let (id, kind, of) = (text(&event["id"]), text(&event["event_type"]), &event["resource"]);
        let now = self.state.clock.now();
        match kind {
            // Both are taken once by what they name.
            "CHECKOUT.ORDER.APPROVED" => self.capture(text(&of["id"])).await.map(drop),
            "PAYMENT.CAPTURE.COMPLETED" => match captured(of) {
                Ok(capture) => self.receive_capture(&capture).await,
                // Of another shop.
                Err(_) => Ok(()),
            },
            "PAYMENT.CAPTURE.DENIED" => {
                let write = self.state.store.write().await?;
                if is_new(&write, PAYPAL, (id, kind), now).await? {
                    let invoice_id = text(&of["custom_id"]);
                    self.payment_failed(&write, invoice_id, "PayPal denied the payment", now)
                        .await?;
                    write.commit().await?;
                    self.state.jobs.wake();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
