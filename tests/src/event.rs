//! Events as senders make them.

use std::sync::OnceLock;

use serde_json::{Value, json};

/// The time by the clock that the server under test reads too.
fn now() -> chrono::DateTime<chrono::Utc> {
    #[expect(clippy::disallowed_methods, reason = "there is no other clock in a test")]
    let now = chrono::Utc::now();
    now
}

/// An hour before the tests began, to the second: recent, and the same for the whole run.
fn recent() -> &'static str {
    static RECENT: OnceLock<String> = OnceLock::new();
    RECENT.get_or_init(|| {
        (now() - chrono::TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
    })
}

/// The date so many days ago, as `2026-11-28`. The server counts its days from now, too: a run may begin before midnight.
#[must_use]
pub fn days_ago(days: u32) -> String {
    (now() - chrono::TimeDelta::days(days.into())).date_naive().to_string()
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> i64 {
    now().timestamp()
}

/// The same time tomorrow.
#[must_use]
pub fn tomorrow() -> String {
    (now() + chrono::TimeDelta::days(1)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
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

/// The same at the start of today: an event an hour old is of yesterday, and perhaps of another month, soon after midnight.
#[must_use]
pub fn usage_today(organization: &str, id: &str, data: Value) -> Value {
    let mut event = usage(organization, id, data);
    event["time"] = format!("{}T00:00:00Z", days_ago(0)).into();
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
