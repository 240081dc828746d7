//! The truth, found again from the parsed events by the plainest code.

use std::collections::{BTreeMap, HashMap, HashSet};

use rust_decimal::Decimal;
use serde_json::Value;

use super::{count, events, small, text};
use crate::{AnomalyKind, Business, Movements, Profile, Truth};

#[derive(Default)]
struct Month {
    active: HashSet<String>,
    visitors: HashSet<String>,
    registered: HashSet<String>,
    churned: HashSet<String>,
    movements: Movements,
    sums: [u64; 4],
    list_price: Decimal,
}

fn amount(event: &Value, key: &str) -> Decimal {
    text(&event["data"], key).parse().expect("a decimal")
}

fn months(events: &[Value]) -> BTreeMap<String, Month> {
    let mut months: BTreeMap<String, Month> = BTreeMap::new();
    let mut revenue: HashMap<String, Decimal> = HashMap::new();
    for event in events {
        let month = months.entry(text(event, "time")[..7].to_owned()).or_default();
        let anonymous = event["data"]["anonymous_id"].as_str().map(str::to_owned);
        match text(event, "type") {
            "usage.request" => {
                month.active.insert(text(event, "subject").to_owned());
                let failed = count(event, "status_code") >= 400;
                let [input, output] =
                    ["input_tokens", "output_tokens"].map(|key| count(event, key));
                for (sum, value) in month.sums.iter_mut().zip([1, failed.into(), input, output]) {
                    *sum += value;
                }
                month.list_price += amount(event, "list_price");
            }
            "activity.page_viewed" => month.visitors.extend(anonymous),
            "activity.signed_up" => month.registered.extend(anonymous),
            "billing.subscription_created" | "billing.subscription_changed" => {
                let yearly = event["data"]["billing_interval"] == "year";
                let parts = Decimal::from(if yearly { 12 } else { 1 });
                move_to(
                    month,
                    &mut revenue,
                    text(event, "subject"),
                    amount(event, "amount") / parts,
                );
            }
            "billing.subscription_canceled" => {
                move_to(month, &mut revenue, text(event, "subject"), Decimal::ZERO);
            }
            _ => {}
        }
    }
    months
}

fn move_to(
    month: &mut Month,
    revenue: &mut HashMap<String, Decimal>,
    organization: &str,
    now: Decimal,
) {
    let before = revenue.insert(organization.to_owned(), now);
    let movements = &mut month.movements;
    match before {
        None => movements.new += now,
        Some(before) if before.is_zero() => movements.reactivation += now,
        Some(before) if now.is_zero() => {
            movements.churn += before;
            month.churned.insert(organization.to_owned());
        }
        Some(before) if now > before => movements.expansion += now - before,
        Some(before) => movements.contraction += before - now,
    }
}

fn check(profile: Profile) {
    let events = events(profile);
    let truth = Business::new(profile).truth();
    let found = months(&events);
    assert_eq!(found.len(), truth.months.len());
    let mut mrr = Decimal::ZERO;
    for (said, (name, month)) in truth.months.iter().zip(&found) {
        assert_eq!(said.month, *name);
        assert_eq!(said.monthly_active_organizations, month.active.len() as u64);
        assert_eq!(said.visitors, month.visitors.len() as u64);
        assert_eq!(said.registrations, month.registered.len() as u64);
        assert_eq!(said.churned_organizations, month.churned.len() as u64);
        let sums = [said.requests, said.errors, said.input_tokens, said.output_tokens];
        assert_eq!(sums, month.sums);
        assert_eq!(said.list_price, month.list_price);
        assert_eq!(said.movements, month.movements);
        let moves = &said.movements;
        mrr = mrr + moves.new + moves.expansion + moves.reactivation;
        mrr = mrr - moves.contraction - moves.churn;
        assert_eq!(said.mrr, mrr, "the identity of the movements in {name}");
    }
    for (kind, said) in [
        ("usage.", truth.usage_events),
        ("billing.", truth.billing_events),
        ("activity.", truth.activity_events),
    ] {
        let found = events.iter().filter(|event| text(event, "type").starts_with(kind));
        assert_eq!(found.count() as u64, said, "{kind}");
    }
    check_anomalies(&truth, &events);
}

fn check_anomalies(truth: &Truth, events: &[Value]) {
    for label in &truth.anomalies {
        let is = |wanted: &Option<String>, has: &Value| {
            wanted.as_deref().is_none_or(|wanted| has == wanted)
        };
        let within: Vec<&Value> = events
            .iter()
            .filter(|event| event["type"] == "usage.request")
            .filter(|event| {
                let at = text(event, "time").parse::<chrono::DateTime<chrono::Utc>>();
                let at = at.expect("a time");
                at >= label.from && at < label.to
            })
            .filter(|event| is(&label.organization_id, &event["subject"]))
            .filter(|event| is(&label.model, &event["data"]["model"]))
            .filter(|event| is(&label.provider, &event["data"]["provider"]))
            .collect();
        let failed = within.iter().filter(|event| count(event, "status_code") >= 400);
        assert_eq!(label.observed.requests, within.len() as u64, "{label:?}");
        assert_eq!(label.observed.errors, failed.count() as u64, "{label:?}");
    }
}

#[test]
fn the_truth_is_what_the_events_say() {
    check(small());
    check(Profile { seed: 3, organizations: 40, ..small() });
    check(Profile { seed: 4, organizations: 1, days: 3, ..small() });
}

#[test]
fn the_truth_is_the_same_with_and_without_bytes_and_survives_json() {
    let business = Business::new(small());
    let mut tally = business.tally();
    business.days().for_each(|day| tally.add(&day.facts));
    let truth = tally.truth();
    assert_eq!(truth, business.truth());
    let json = serde_json::to_string(&truth).expect("JSON");
    assert_eq!(serde_json::from_str::<Truth>(&json).expect("a truth"), truth);
}

#[test]
fn each_kind_of_anomaly_is_injected_and_shows() {
    let truth = Business::new(Profile { organizations: 150, days: 60, ..small() }).truth();
    let kinds: Vec<AnomalyKind> = truth.anomalies.iter().map(|label| label.kind).collect();
    assert_eq!(
        kinds,
        [
            AnomalyKind::ErrorBurst,
            AnomalyKind::KeyLeak,
            AnomalyKind::LatencyRegression,
            AnomalyKind::TrafficDrop,
        ]
    );
    let [burst, leak, _, drop] = &truth.anomalies[..] else { panic!("four anomalies") };
    let rate = burst.observed.errors as f64 / burst.observed.requests as f64;
    assert!((0.3..0.5).contains(&rate), "error rate {rate}");
    assert!(leak.observed.requests > 100, "{leak:?}");
    let hourly = truth.usage_events / 60 / 24;
    assert!(drop.observed.requests < hourly * 3 / 2, "{drop:?}");
}

#[test]
fn all_movements_occur_in_the_default_business() {
    let business = Business::new(Profile::default());
    // Movements are settled without playing the days.
    let truth = business.tally().truth();
    let total = |of: fn(&Movements) -> Decimal| -> Decimal {
        truth.months.iter().map(|month| of(&month.movements)).sum()
    };
    for of in [
        |m: &Movements| m.new,
        |m: &Movements| m.expansion,
        |m: &Movements| m.contraction,
        |m: &Movements| m.churn,
        |m: &Movements| m.reactivation,
    ] {
        assert!(total(of) > Decimal::ZERO);
    }
}
