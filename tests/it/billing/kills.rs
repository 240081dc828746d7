//! Billing runs that are killed: each billing day of each subscription has one invoice, and numbers have no gap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, configure, days_ago, folder, reply, run_ok, usage};

const PRICES: &str = "
plans:
  - plan: pro
    versions:
      - from: 2025-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 49}, in_advance: true}
          - {name: Requests, meter: requests, price: {per_unit: {amount: '0.25'}}}
";
/// Subscriptions that are new in each round.
const NEW: usize = 8;
/// A run of the new ones takes less.
const LATEST_MS: u64 = 120;

/// Kills; `AIHUB_TEST_BILLING_KILLS` sets more.
fn rounds() -> usize {
    let set = std::env::vars().find(|(name, _)| name == "AIHUB_TEST_BILLING_KILLS");
    set.map_or(4, |(_, rounds)| rounds.parse().expect("a number of rounds"))
}

async fn all_invoices(admin: &Client) -> Vec<Value> {
    let (mut found, mut page) = (Vec::new(), 0);
    loop {
        let (_, answer) = admin.get(&format!("/v1/invoices?page={page}")).await;
        found.extend(answer["invoices"].as_array().expect("invoices").iter().cloned());
        match answer["next_page"].as_u64() {
            Some(next) => page = next,
            None => return found,
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn a_run_that_is_killed_bills_each_day_once() {
    let dir = folder();
    configure(dir.path(), "[billing]\ngrace_hours = 0\n");
    let organizations: Vec<_> = (0..NEW * rounds()).map(|at| format!("org_{at}")).collect();
    for id in &organizations {
        run_ok(dir.path(), &["organization", "create", id, "--name", id, "--country", "DE"]);
    }
    let key = admin_key(dir.path());
    for (round, new) in organizations.chunks(NEW).enumerate() {
        let server = Server::serve(dir.path());
        let admin = Client::new(&server, &key);
        if round == 0 {
            let list = admin.request(Method::PUT, "/v1/admin/prices").body(PRICES);
            assert_eq!(reply(list).await.status, 200);
        }
        for id in new {
            let mut event = usage(id, "u", json!({}));
            event["time"] = json!(format!("{}T12:00:00Z", &days_ago(70)[..10]));
            admin.store(&[event]).await;
            let start = json!({"act": "start", "plan": "pro", "starts_on": &days_ago(90)[..10]});
            let path = format!("/v1/admin/organizations/{id}/subscription");
            let begun = reply(admin.request(Method::POST, &path).json(&start)).await;
            assert_eq!(begun.status, 200, "{}", begun.text());
        }
        let running = admin.request(Method::POST, "/v1/billing/runs").send();
        let running = tokio::spawn(running);
        // Spread over the run, the same in each repetition.
        let after = (round as u64 * 37 + 5) % LATEST_MS;
        tokio::time::sleep(Duration::from_millis(after)).await;
        server.kill();
        let _ = running.await;
    }
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &key);
    let done = reply(admin.request(Method::POST, "/v1/billing/runs")).await;
    assert_eq!((done.status.as_u16(), &done.json()["failures"]), (200, &json!([])));
    let found = all_invoices(&admin).await;
    let mut days = BTreeMap::new();
    for one in &found {
        assert_eq!((&one["status"], &one["kind"]), (&json!("open"), &json!("invoice")), "{one}");
        let day = (text(&one["subscription_id"]), text(&one["billed_on"]));
        assert_eq!(days.insert(day, one), None, "two invoices of one day");
    }
    let numbers: BTreeSet<_> = found.iter().map(|one| text(&one["number"]).to_owned()).collect();
    let expected: BTreeSet<_> = (1..=found.len()).map(|at| format!("INV-{at:06}")).collect();
    assert_eq!(numbers, expected);
    // Of each: the first day, and two or three periods that are over.
    assert!(found.len() >= 3 * organizations.len(), "{} invoices", found.len());
    tests::flushed(&admin).await;
    let sums = "SELECT organization_id, charge, sum(amount) AS amount FROM (
        SELECT organization_id, charge, amount FROM rated_usage_daily
        UNION ALL SELECT organization_id, charge, -amount FROM invoice_lines) AS both
        GROUP BY organization_id, charge HAVING sum(amount) <> 0";
    // Everything that was used is billed, and what is paid in advance is of the day on which it begins.
    assert_eq!(admin.rows(sums).await, Vec::<Value>::new());
    let lines =
        admin.rows("SELECT count(*) AS n FROM invoice_lines WHERE charge = 'Requests'").await;
    assert_eq!(lines, [json!({"n": organizations.len()})]);
    server.stop();
}
