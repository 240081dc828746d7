//! Calls of payment providers over HTTP.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, redirect::Policy};
use serde_json::Value;

/// A provider that says nothing for so long is given up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a provider is.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    client: Client,
    base: String,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFault {
    /// Whether it was done is not known: send it again, with the same key.
    #[error("the payment provider does not answer: {0}")]
    Unclear(String),
    /// It was refused: the code of the provider, and a sentence.
    #[error("the payment provider refused: {reason}")]
    Refused { code: String, reason: String },
    /// The answer is not what it should be.
    #[error("the answer of the payment provider is not readable")]
    Unreadable,
}

impl Call {
    /// Calls of a provider at an address such as `https://api.stripe.com`.
    pub(crate) fn new(base: &str) -> Result<Self, String> {
        let client = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build();
        let client = client.map_err(|error| format!("no HTTP client: {error}"))?;
        Ok(Self { client, base: base.trim_end_matches('/').to_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base))
    }

    /// The JSON of an answer.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, CallFault> {
        let unclear = |error: reqwest::Error| CallFault::Unclear(error.without_url().to_string());
        let answer = request.send().await.map_err(unclear)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unclear)?;
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        if status.is_success() {
            return if said.is_object() { Ok(said) } else { Err(CallFault::Unreadable) };
        }
        if status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 409 {
            return Err(CallFault::Unclear(format!("it answered {status}")));
        }
        // Stripe has `error.code` and `error.message`, PayPal `name` and `message`.
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let code = text(&said["error"]["code"]).or(text(&said["name"])).unwrap_or_default();
        let reason = text(&said["error"]["message"]).or(text(&said["message"]));
        let reason = reason.unwrap_or_else(|| format!("it answered {status}"));
        Err(CallFault::Refused { code, reason })
    }
}
