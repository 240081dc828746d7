//! The promises of the crate, checked on the bytes.

mod bytes;
mod rules;
mod truth;

use std::collections::HashMap;

use chrono::NaiveDate;
use serde_json::Value;

use crate::{Business, Profile};

/// A small business of 60 days that has every kind of anomaly.
fn small() -> Profile {
    let end = NaiveDate::from_ymd_opt(2026, 3, 15).expect("a date");
    Profile::ending(7, 20, 60, end).expect("a profile within the limits")
}

fn bytes(profile: Profile) -> Vec<u8> {
    Business::new(profile).days().flat_map(|day| day.ndjson).collect()
}

/// All events, parsed by a reader that shares no code with the writer.
fn events(profile: Profile) -> Vec<Value> {
    bytes(profile)
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect()
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_else(|| panic!("{key} is text in {event}"))
}

/// A count in `data`; 0 when left out.
fn count(event: &Value, key: &str) -> u64 {
    event["data"].get(key).map_or(0, |value| value.as_u64().expect("a count"))
}

fn by_type(events: &[Value]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for event in events {
        *counts.entry(text(event, "type")).or_default() += 1;
    }
    counts
}
