//! Signatures of webhooks, by Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`.

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use state::{ids::random_bytes, store::StoreError};

/// How secrets begin.
const PREFIX: &str = "whsec_";

/// What an endpoint checks signatures with: `whsec_` and 32 bytes in base 64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// A new one.
    pub(super) fn generate() -> Result<Self, StoreError> {
        Ok(Self(format!("{PREFIX}{}", STANDARD.encode(random_bytes::<32>()?))))
    }

    /// One that was kept.
    pub(super) fn of(text: String) -> Self {
        Self(text)
    }

    /// The text, to be shown this once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `v1,` and the signature in base 64.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let key = STANDARD.decode(self.0.trim_start_matches(PREFIX)).unwrap_or_default();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!("{id}.{timestamp}.{body}");
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_specification_is_signed_as_it_says() {
        let secret = WebhookSecret::of("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".into());
        let body = r#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn secrets_differ_and_are_not_shown_by_accident() {
        let (one, two) = (WebhookSecret::generate().unwrap(), WebhookSecret::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(STANDARD.decode(&one.reveal()[6..]).unwrap().len(), 32);
        assert_eq!(format!("{one:?}"), "WebhookSecret(…)");
    }
}
