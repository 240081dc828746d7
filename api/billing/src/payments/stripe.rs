//! Stripe, by its HTTP API: hosted Checkout, payments without the customer, refunds, and the signature of its webhooks.

use chrono::{DateTime, Utc};
use ring::hmac;
use serde_json::Value;
use state::secret::Secret;

use super::call::{Call, CallFault};

/// A signed webhook is as old as this at most.
const TOLERANCE_S: i64 = 300;

/// An account of Stripe.
#[derive(Debug, Clone)]
pub(crate) struct Stripe {
    pub(crate) call: Call,
    pub(crate) key: Secret,
    pub(crate) webhook_secret: Secret,
}

/// What is to be paid, in the units of Stripe: minor ones, and the currency in small letters.
#[derive(Debug, Clone)]
pub(crate) struct Charged<'a> {
    pub(crate) invoice_id: &'a str,
    pub(crate) number: &'a str,
    pub(crate) units: i64,
    pub(crate) currency: String,
}

/// A page of Stripe on which something is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) url: String,
}

/// What came of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) id: String,
    /// `succeeded`, `requires_action`, `processing` and others.
    pub(crate) status: String,
    pub(crate) customer: Option<String>,
    pub(crate) method: Option<String>,
}

impl Stripe {
    /// Opens a page on which an invoice is paid once. The method is kept for later invoices.
    pub(crate) async fn checkout(
        &self,
        of: &Charged<'_>,
        (customer, back): (Option<&str>, &str),
        idempotency_key: &str,
    ) -> Result<Session, CallFault> {
        let name = format!("Invoice {}", of.number);
        let units = of.units.to_string();
        let mut form = vec![
            ("mode", "payment"),
            ("success_url", back),
            ("cancel_url", back),
            ("client_reference_id", of.invoice_id),
            ("metadata[invoice_id]", of.invoice_id),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", &of.currency),
            ("line_items[0][price_data][unit_amount]", &units),
            ("line_items[0][price_data][product_data][name]", &name),
            ("payment_intent_data[metadata][invoice_id]", of.invoice_id),
            ("payment_intent_data[setup_future_usage]", "off_session"),
        ];
        match customer {
            Some(customer) => form.push(("customer", customer)),
            None => form.push(("customer_creation", "always")),
        }
        let found = self.post("/v1/checkout/sessions", &form, Some(idempotency_key)).await?;
        session(&found)
    }

    /// Opens a page on which a method is kept for later invoices, and nothing is paid.
    pub(crate) async fn set_up(
        &self,
        organization_id: &str,
        (customer, back): (Option<&str>, &str),
    ) -> Result<Session, CallFault> {
        let mut form = vec![
            ("mode", "setup"),
            ("currency", "usd"),
            ("success_url", back),
            ("cancel_url", back),
            ("client_reference_id", organization_id),
            ("metadata[organization_id]", organization_id),
        ];
        match customer {
            Some(customer) => form.push(("customer", customer)),
            None => form.push(("customer_creation", "always")),
        }
        session(&self.post("/v1/checkout/sessions", &form, None).await?)
    }

    /// Takes a payment by a method that was kept. A repetition with the same key is the same payment.
    pub(crate) async fn charge(
        &self,
        of: &Charged<'_>,
        (customer, method): (&str, &str),
        idempotency_key: &str,
    ) -> Result<Intent, CallFault> {
        let units = of.units.to_string();
        let form = [
            ("amount", units.as_str()),
            ("currency", &of.currency),
            ("customer", customer),
            ("payment_method", method),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[invoice_id]", of.invoice_id),
        ];
        intent(&self.post("/v1/payment_intents", &form, Some(idempotency_key)).await?)
    }

    /// A payment as it stands.
    pub(crate) async fn payment_intent(&self, id: &str) -> Result<Intent, CallFault> {
        intent(&self.get(&format!("/v1/payment_intents/{id}")).await?)
    }

    /// The method and customer that a page kept.
    pub(crate) async fn setup_intent(&self, id: &str) -> Result<Intent, CallFault> {
        intent(&self.get(&format!("/v1/setup_intents/{id}")).await?)
    }

    /// How people know a method, such as `visa 4242`.
    pub(crate) async fn label(&self, method: &str) -> Result<String, CallFault> {
        let found = self.get(&format!("/v1/payment_methods/{method}")).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let card = &found["card"];
        Ok(match card["last4"].as_str() {
            Some(last) => format!("{} {last}", text(&card["brand"])),
            None => text(&found["type"]),
        })
    }

    /// Gives a part of a payment back. A repetition with the same key is the same refund.
    pub(crate) async fn refund(
        &self,
        payment_intent: &str,
        units: i64,
        idempotency_key: &str,
    ) -> Result<(), CallFault> {
        let units = units.to_string();
        let form = [("payment_intent", payment_intent), ("amount", &units)];
        self.post("/v1/refunds", &form, Some(idempotency_key)).await.map(drop)
    }

    async fn get(&self, path: &str) -> Result<Value, CallFault> {
        self.call.json(self.call.get(path).bearer_auth(self.key.reveal())).await
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        idempotency_key: Option<&str>,
    ) -> Result<Value, CallFault> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = self
            .call
            .post(path)
            .bearer_auth(self.key.reveal())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        self.call.json(request).await
    }
}

fn session(found: &Value) -> Result<Session, CallFault> {
    let text = |name: &str| found[name].as_str().map(ToOwned::to_owned);
    let (id, url) = text("id").zip(text("url")).ok_or(CallFault::Unreadable)?;
    Ok(Session { id, url })
}

fn intent(found: &Value) -> Result<Intent, CallFault> {
    let text = |name: &str| found[name].as_str().map(ToOwned::to_owned);
    let (id, status) = text("id").zip(text("status")).ok_or(CallFault::Unreadable)?;
    Ok(Intent { id, status, customer: text("customer"), method: text("payment_method") })
}

/// Whether a header `Stripe-Signature` is of a body, and not too old. Any of several signatures may fit.
pub(crate) fn is_signed(secret: &str, header: &str, body: &[u8], now: DateTime<Utc>) -> bool {
    let mut at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", time)) => at = time.parse::<i64>().ok(),
            Some(("v1", signature)) => signatures.push(signature),
            _ => {}
        }
    }
    let Some(at) = at.filter(|at| (now.timestamp() - at).abs() <= TOLERANCE_S) else {
        return false;
    };
    if secret.is_empty() {
        return false;
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut signed = format!("{at}.").into_bytes();
    signed.extend_from_slice(body);
    signatures.into_iter().filter_map(bytes).any(|one| hmac::verify(&key, &signed, &one).is_ok())
}

/// The bytes of a text in hex.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.bytes().map(|digit| char::from(digit).to_digit(16));
    let digits: Vec<u32> = digits.collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok());
    digits.len().is_multiple_of(2).then(|| pairs.collect::<Option<_>>())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
    const SIGNED: &str = "2672d138c9a412830f3bfe2ecc5bfb3277cf6f5b49d0119d77dd6cb64da1257e";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_signature_is_of_its_body_its_time_and_its_secret() {
        let secret = "whsec_test_secret";
        let header = format!("t=12345,v0=00,v1=ab,v1={SIGNED}");
        assert!(is_signed(secret, &header, BODY, at(12345)));
        assert!(is_signed(secret, &header, BODY, at(12345 + 300)));
        assert!(!is_signed(secret, &header, BODY, at(12345 + 301)), "too old");
        assert!(!is_signed(secret, &header, BODY, at(12345 - 301)), "of the future");
        assert!(!is_signed("whsec_other", &header, BODY, at(12345)));
        assert!(!is_signed("", &header, BODY, at(12345)));
        assert!(!is_signed(secret, &header, b"{}", at(12345)));
        for header in [
            "",
            "t=12345",
            &format!("v1={SIGNED}"),
            &format!("t=12345,v0={SIGNED}"),
            &format!("t=12346,v1={SIGNED}"),
        ] {
            assert!(!is_signed(secret, header, BODY, at(12345)), "{header}");
        }
    }
}
