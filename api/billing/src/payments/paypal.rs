//! PayPal, by its HTTP API: orders that a customer approves, their capture, refunds, and whether a webhook is its own.

use rust_decimal::Decimal;
use serde_json::{Value, json};
use state::secret::Secret;

use super::call::{Call, CallFault};

/// An account of PayPal.
#[derive(Debug, Clone)]
pub(crate) struct PayPal {
    pub(crate) call: Call,
    pub(crate) client_id: String,
    pub(crate) secret: Secret,
    pub(crate) webhook_id: String,
}

/// A payment that was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) invoice_id: String,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
}

/// The headers of a webhook that its signature is of.
pub(crate) const SIGNED: [&str; 5] = [
    "paypal-auth-algo",
    "paypal-cert-url",
    "paypal-transmission-id",
    "paypal-transmission-sig",
    "paypal-transmission-time",
];

impl PayPal {
    /// An order over what is to be paid, and the address where the customer approves it.
    pub(crate) async fn order(
        &self,
        (invoice_id, number): (&str, &str),
        (amount, currency): (Decimal, &str),
        back: &str,
        request_id: &str,
    ) -> Result<(String, String), CallFault> {
        let body = json!({
            "intent": "CAPTURE",
            "purchase_units": [{
                "reference_id": invoice_id, "custom_id": invoice_id, "invoice_id": number,
                "amount": {"currency_code": currency, "value": amount.to_string()},
            }],
            "payment_source": {"paypal": {"experience_context": {
                "return_url": back, "cancel_url": back, "user_action": "PAY_NOW",
            }}},
        });
        let found = self.post("/v2/checkout/orders", &body, request_id).await?;
        let mut links = found["links"].as_array().into_iter().flatten();
        let approve = links.find(|link| {
            ["approve", "payer-action"].contains(&link["rel"].as_str().unwrap_or_default())
        });
        let href = approve.and_then(|link| link["href"].as_str());
        let (id, href) = found["id"].as_str().zip(href).ok_or(CallFault::Unreadable)?;
        Ok((id.to_owned(), href.to_owned()))
    }

    /// Takes the money of an order that the customer approved. A repetition is the same capture.
    pub(crate) async fn capture(&self, order: &str) -> Result<Capture, CallFault> {
        let path = format!("/v2/checkout/orders/{order}/capture");
        let found = match self.post(&path, &json!({}), &format!("capture-{order}")).await {
            // It was captured before: the order says it.
            Err(CallFault::Refused { code, .. }) if code == "UNPROCESSABLE_ENTITY" => {
                let path = format!("/v2/checkout/orders/{order}");
                let token = self.token().await?;
                self.call.json(self.call.get(&path).bearer_auth(token)).await?
            }
            found => found?,
        };
        let unit = &found["purchase_units"][0];
        let of = unit["payments"]["captures"][0].clone();
        let mut of = if of.is_object() { of } else { return Err(CallFault::Unreadable) };
        if of["custom_id"].is_null() {
            of["custom_id"] = unit["reference_id"].clone();
        }
        captured(&of)
    }

    /// Gives a part of a capture back. A repetition with the same id is the same refund.
    pub(crate) async fn refund(
        &self,
        capture: &str,
        (amount, currency): (Decimal, &str),
        request_id: &str,
    ) -> Result<(), CallFault> {
        let body = json!({"amount": {"currency_code": currency, "value": amount.to_string()}});
        let path = format!("/v2/payments/captures/{capture}/refund");
        self.post(&path, &body, request_id).await.map(drop)
    }

    /// Whether a webhook is of PayPal: it is asked.
    pub(crate) async fn is_own(
        &self,
        header: impl Fn(&str) -> String,
        event: &Value,
    ) -> Result<bool, CallFault> {
        let [algo, cert, id, signature, time] = SIGNED.map(header);
        let body = json!({
            "auth_algo": algo, "cert_url": cert, "transmission_id": id, "transmission_sig": signature,
            "transmission_time": time, "webhook_id": self.webhook_id, "webhook_event": event,
        });
        let found = self.post("/v1/notifications/verify-webhook-signature", &body, "").await?;
        Ok(found["verification_status"] == "SUCCESS")
    }

    async fn token(&self) -> Result<String, CallFault> {
        let request = self
            .call
            .post("/v1/oauth2/token")
            .basic_auth(&self.client_id, Some(self.secret.reveal()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("grant_type=client_credentials");
        let found = self.call.json(request).await?;
        found["access_token"].as_str().map(ToOwned::to_owned).ok_or(CallFault::Unreadable)
    }

    async fn post(&self, path: &str, body: &Value, request_id: &str) -> Result<Value, CallFault> {
        let mut request = self.call.post(path).bearer_auth(self.token().await?).json(body);
        if !request_id.is_empty() {
            request = request.header("PayPal-Request-Id", request_id);
        }
        self.call.json(request).await
    }
}

/// A capture, as an answer or a webhook describes it.
pub(crate) fn captured(of: &Value) -> Result<Capture, CallFault> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let amount = text(&of["amount"]["value"]).and_then(|amount| amount.parse().ok());
    let read = || {
        Some(Capture {
            id: text(&of["id"])?,
            status: text(&of["status"])?,
            invoice_id: text(&of["custom_id"])?,
            amount: amount?,
            currency: text(&of["amount"]["currency_code"])?,
        })
    };
    read().ok_or(CallFault::Unreadable)
}
