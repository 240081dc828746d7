//! What holds for every event.

use std::collections::{HashMap, HashSet};

use rust_decimal::Decimal;
use serde_json::Value;

use super::{by_type, count, events, small, text};
use crate::Business;
use crate::identity::Ids;
use crate::lifecycle::Lifecycle;
use crate::roster;
use crate::write::Page;

#[test]
fn events_are_cloud_events_in_order_of_time_with_unique_ids() {
    let events = events(small());
    let mut identities = HashSet::new();
    let mut last = String::new();
    let profile = small();
    for event in &events {
        assert_eq!(event["specversion"], "1.0");
        let identity = (event["subject"].as_str(), text(event, "source"), text(event, "id"));
        assert!(identities.insert(identity), "{event}");
        let time = text(event, "time");
        assert_eq!(time.len(), "2026-01-31T09:15:00.123456Z".len());
        assert!(*time >= *last, "{event}");
        last = time.to_owned();
        let date = chrono::DateTime::parse_from_rfc3339(time).expect("a time").date_naive();
        assert!(date >= profile.start && date < profile.end());
        let anonymous = text(event, "type") == "activity.page_viewed"
            && event["data"]["anonymous_id"].is_string();
        assert_eq!(event.get("subject").is_none(), anonymous, "{event}");
    }
    let all = Business::new(profile).days().map(|day| day.events).sum::<usize>();
    assert_eq!(all, events.len());
}

#[test]
fn every_kind_of_activity_occurs() {
    let events = events(small());
    let counts = by_type(&events);
    for kind in ["page_viewed", "signed_up", "login", "feature_used", "key_created", "docs_viewed"]
    {
        assert!(counts.contains_key(format!("activity.{kind}").as_str()), "{kind}: {counts:?}");
    }
}

#[test]
fn every_kind_of_billing_occurs_with_what_it_needs() {
    let profile = crate::Profile::default();
    let ids = Ids::new(profile.seed);
    let mut page = Page::new(ids, 0, profile.start, false);
    for account in &roster::roster(&profile) {
        for event in &Lifecycle::of(account, &profile).events {
            event.write(&mut page, ids, account.index);
        }
    }
    let lines = page.in_order();
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events: Vec<Value> =
        lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    let counts = by_type(&events);
    for (kind, needs) in [
        ("signed_up", &["plan"][..]),
        ("trial_started", &["plan"]),
        ("subscription_created", &["subscription_id", "plan", "quantity", "amount"]),
        ("subscription_changed", &["subscription_id", "previous_plan", "amount"]),
        ("subscription_canceled", &["subscription_id", "plan", "reason"]),
        ("invoice_finalized", &["invoice_id", "subscription_id", "amount", "currency"]),
        ("payment_succeeded", &["invoice_id", "amount", "currency"]),
        ("payment_failed", &["invoice_id", "amount", "reason"]),
        ("payment_refunded", &["invoice_id", "amount", "reason"]),
    ] {
        let kind = format!("billing.{kind}");
        assert!(counts.contains_key(kind.as_str()), "{kind} in {counts:?}");
        for event in events.iter().filter(|event| event["type"] == *kind) {
            for need in needs {
                assert!(!event["data"][need].is_null(), "{need} in {event}");
            }
        }
    }
}

#[test]
fn requests_keep_the_rules_on_tokens_and_prices() {
    let events = events(small());
    let requests = events.iter().filter(|event| event["type"] == "usage.request");
    let mut seen = HashSet::new();
    for event in requests {
        let amount = |key: &str| text(&event["data"], key).parse::<Decimal>().expect("a decimal");
        let of = |key: &str| count(event, key);
        let input = of("cached_input_tokens") + of("cache_write_input_tokens");
        assert!(of("input_tokens") >= input.max(of("audio_input_tokens")));
        let output = of("reasoning_tokens") + of("audio_output_tokens");
        assert!(of("output_tokens") >= output);
        assert_eq!(event["data"]["cache_hit"], of("cached_input_tokens") > 0);
        assert!(of("latency_ms") >= of("time_to_first_token_ms"), "{event}");
        assert!(amount("cost").scale() <= 12 && amount("list_price").scale() <= 12);
        let failed = of("status_code") >= 400;
        assert_eq!(event["data"]["error_code"].is_string(), failed);
        if failed {
            assert_eq!((of("output_tokens"), of("images")), (0, 0));
            assert_eq!((amount("cost"), amount("list_price")), (Decimal::ZERO, Decimal::ZERO));
        } else {
            assert!(amount("cost") < amount("list_price"));
        }
        let bytes = event.to_string().len();
        assert!((400..800).contains(&bytes), "{bytes} bytes: {event}");
        seen.insert(text(&event["data"], "operation").to_owned());
    }
    assert_eq!(seen.len(), 4);
}

#[test]
fn subscriptions_follow_one_another() {
    let profile = crate::Profile { organizations: 40, ..small() };
    let events = events(profile);
    let mut live: HashMap<&str, &str> = HashMap::new();
    let mut last: HashMap<&str, &str> = HashMap::new();
    let mut used = HashSet::new();
    for event in &events {
        let Some(kind) = text(event, "type").strip_prefix("billing.subscription_") else {
            continue;
        };
        let organization = text(event, "subject");
        let id = text(&event["data"], "subscription_id");
        let time = text(event, "time");
        assert!(last.insert(organization, time).is_none_or(|before| before < time));
        match kind {
            "created" => {
                assert!(used.insert(id), "a new subscription has a new id");
                assert!(live.insert(organization, id).is_none(), "one live subscription: {event}");
            }
            "changed" => assert_eq!(live.get(organization), Some(&id)),
            _ => assert_eq!(live.remove(organization), Some(id)),
        }
    }
    let business = Business::new(profile);
    for organization in business.organizations() {
        let paying = live.contains_key(organization.organization_id.as_str());
        assert_eq!(organization.plan != "free", paying);
    }
}

#[test]
fn a_sign_up_stitches_a_visitor_to_an_organization() {
    let events = events(small());
    let mut visits: HashMap<&str, &str> = HashMap::new();
    let mut commercial = HashMap::new();
    for event in &events {
        let anonymous = event["data"]["anonymous_id"].as_str();
        match (text(event, "type"), anonymous) {
            ("activity.page_viewed", Some(visitor)) => {
                visits.entry(visitor).or_insert(text(event, "time"));
            }
            ("billing.signed_up", _) => {
                commercial.insert(text(event, "subject"), text(event, "time"));
            }
            _ => {}
        }
    }
    let business = Business::new(small());
    let mut registered = 0;
    for event in events.iter().filter(|event| event["type"] == "activity.signed_up") {
        let (time, subject) = (text(event, "time"), text(event, "subject"));
        assert!(visits[text(&event["data"], "anonymous_id")] < time, "it begins with a visit");
        assert!(event["data"]["user_id"].is_string());
        assert_eq!(commercial[subject], time);
        let organization = business.organizations().iter().find(|o| o.organization_id == subject);
        let at = organization.expect("a known organization").signed_up_at;
        assert_eq!(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true), time);
        registered += 1;
    }
    assert_eq!(registered, commercial.len());
    assert!(registered > 0 && visits.len() > registered * 5, "few visitors sign up");
}
