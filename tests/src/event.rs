//! Events as senders make them.

use std::sync::OnceLock;

use serde_json::{Value, json};

/// An hour before the tests began, to the second: recent, and the same for the whole run.
fn recent() -> &'static str {
    static RECENT: OnceLock<String> = OnceLock::new();
    RECENT.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "the server under test reads the clock too")]
        let now = chrono::Utc::now();
        (now - chrono::TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
    })
}

/// The date so many days before the tests began, as `2026-11-28`.
#[must_use]
pub fn days_ago(days: u32) -> String {
    let recent: chrono::DateTime<chrono::Utc> = recent().parse().unwrap_or_default();
    (recent - chrono::TimeDelta::days(days.into())).date_naive().to_string()
}

/// A usage event with the fields that a test cares about, an hour old.
#[must_use]
pub fn usage(organization: &str, id: &str, data: Value) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": "/test",
        "type": "usage.request",
        "subject": organization,
        "time": recent(),
        "data": {"model": "m", "input_tokens": 1, "output_tokens": 1},
    });
    if let (Some(into), Value::Object(data)) = (event["data"].as_object_mut(), data) {
        into.extend(data);
    }
    event
}

/// The same as an organization says it of itself, with its own key.
#[must_use]
pub fn own_usage(organization: &str, id: &str, data: Value) -> Value {
    let mut event = usage(organization, id, data);
    event["source"] = own_source(organization).into();
    event
}

/// Where an organization's own key sends.
#[must_use]
pub fn own_source(organization: &str) -> String {
    format!("/organizations/{organization}/test")
}
