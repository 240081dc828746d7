//! Metrics over other metrics, conversions, and what a question may choose.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, folder, organization_key, reply, run, run_ok, usage,
};

use super::metric_questions::{metric, rows};

fn billing(id: &str, organization: &str, kind: &str, day: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/billing", "type": format!("billing.{kind}"),
        "subject": organization, "time": format!("{day}T12:00:00Z"), "data": data,
    })
}

fn plan(subscription: &str, amount: &str) -> Value {
    json!({"subscription_id": subscription, "plan": "team", "amount": amount, "currency": "USD",
        "billing_interval": "month"})
}

fn request(id: &str, organization: &str, day: &str, data: Value) -> Value {
    let mut event = usage(organization, id, data);
    event["time"] = format!("{day}T12:00:00Z").into();
    event
}

/// The one value of a question.
async fn value(client: &Client, question: &str) -> Value {
    let answer = metric(client, question).await;
    assert_eq!(rows(&answer).len(), 1, "{question}: {answer}");
    let value = &answer["rows"][0]["value"];
    value
        .as_str()
        .map_or_else(|| value.clone(), |text| json!(text.parse::<f64>().expect("a number")))
}

#[tokio::test]
async fn a_question_may_choose_the_start_and_the_days() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let events = [
        billing("a1", "org_a", "subscription_created", "2025-01-10", plan("a", "100")),
        billing(
            "a2",
            "org_a",
            "subscription_canceled",
            "2025-09-01",
            json!({"subscription_id": "a"}),
        ),
        billing("b1", "org_b", "subscription_created", "2025-02-01", plan("b", "200")),
        billing("b2", "org_b", "subscription_changed", "2025-06-01", plan("b", "300")),
        billing("c1", "org_c", "subscription_created", "2025-12-01", plan("c", "50")),
        request("u1", "org_a", "2026-01-10", json!({})),
        request("u2", "org_b", "2026-01-28", json!({})),
        request("u3", "org_b", "2026-02-25", json!({})),
    ];
    client.store(&events).await;
    let february = "from=2026-02-01&to=2026-03-01";
    for (name, interval, year) in [
        ("nrr", 1.0, 1.0),
        ("grr", 1.0, 2.0 / 3.0),
        ("logo_churn_rate", 0.0, 0.5),
        ("gross_mrr_churn_rate", 0.0, 1.0 / 3.0),
        ("net_mrr_churn_rate", 0.0, 0.0),
    ] {
        for (options, expected) in
            [("", interval), ("&options=window=interval", interval), ("&options=window=12M", year)]
        {
            let found = value(&client, &format!("{name}?{february}{options}")).await;
            let found = found.as_f64().expect("a number");
            assert!((found - expected).abs() < 1e-9, "{name} {options}: {found}, not {expected}");
        }
    }
    // The answer says what was chosen, and why there is no value where the history is too short.
    let short = metric(&client, "nrr?from=2025-06-01&to=2025-07-01&options=window=12M").await;
    assert_eq!(short["options"], json!({"window": "12M"}));
    assert_eq!(rows(&short).len(), 1, "{short}");
    assert!(short["rows"][0]["value"].is_null() && short["null_reason"].is_string(), "{short}");
    for (days, expected) in [("30", 0.5), ("60", 0.0), ("7", 0.0)] {
        let question = format!("inactivity_churn_rate?{february}&options=inactive_days={days}");
        assert_eq!(value(&client, &question).await, json!(expected), "{days} days");
    }
    // Of several metrics, those that have the option take it.
    let body = json!({"metrics": ["mrr", "grr"], "from": "2026-02-01", "to": "2026-03-01",
        "options": {"window": "12M"}});
    let asked = client.request(Method::POST, "/v1/metrics/query").json(&body);
    let answer = reply(asked).await.json();
    assert_eq!(answer["rows"][0]["values"][0], "350", "{answer}");
    let found = answer["rows"][0]["values"][1].as_f64().expect("a share");
    assert!((found - 2.0 / 3.0).abs() < 1e-9, "{answer}");
    for (question, said) in [
        ("mrr?options=window=12M", "has no option"),
        ("nrr?options=window=13M", "interval, 12M"),
        ("nrr?options=window", "NAME=VALUE"),
    ] {
        let (status, answer) = client.get(&format!("/v1/metrics/{question}")).await;
        assert_eq!(status, 400, "{question}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|text| text.contains(said)), "{answer}");
    }
    let (_, list) = client.get("/v1/metrics").await;
    let nrr = list["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == "nrr");
    assert_eq!(nrr.expect("NRR")["options"][0]["values"], json!(["interval", "12M"]));
    let told = run_ok(
        dir.path(),
        &["metrics", "grr", "--from", "2026-02-01", "--to", "2026-03-01", "--option", "window=12M"],
    );
    assert!(told.contains("0.66666"), "{told}");
}

#[tokio::test]
async fn a_derived_metric_combines_the_values_of_each_cell() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let used = |price: &str, currency: &str, model: &str| json!({"list_price": price, "cost": "0.5", "currency": currency, "model": model, "input_tokens": 100_000});
    let events = [
        billing("a1", "org_a", "subscription_created", "2026-01-10", plan("a", "100")),
        billing("a2", "org_a", "subscription_changed", "2026-01-20", plan("a", "70")),
        billing("b1", "org_b", "subscription_created", "2026-02-01", plan("b", "200")),
        request("u1", "org_a", "2026-01-10", used("6", "USD", "m1")),
        request("u2", "org_a", "2026-01-11", used("2", "EUR", "m1")),
        request("u3", "org_b", "2026-01-12", used("1", "USD", "m2")),
        request("u4", "org_c", "2026-01-13", json!({"model": "m2"})),
    ];
    client.store(&events).await;
    let january = "from=2026-01-01&to=2026-02-01";
    assert_eq!(value(&client, &format!("net_new_mrr?{january}")).await, json!(70.0));
    let months = metric(&client, "net_new_mrr?from=2026-01-01&to=2026-04-01&grain=month").await;
    let values: Vec<_> = rows(&months).iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, ["70", "200", "0"], "{months}");
    // An amount of each currency, divided by what has none.
    let revenue = metric(&client, &format!("usage_revenue_per_organization?{january}")).await;
    let mut found: Vec<_> = rows(&revenue)
        .iter()
        .map(|row| {
            (row["currency"].clone(), row["value"].as_str().expect("an amount")[..4].to_owned())
        })
        .collect();
    found.sort_by_key(|(currency, _)| currency.to_string());
    assert_eq!(found, [(json!("EUR"), "0.66".to_owned()), (json!("USD"), "2.33".to_owned())]);
    let split =
        metric(&client, &format!("usage_revenue_per_organization?{january}&by=model&limit=1"))
            .await;
    let cells: Vec<_> = rows(&split)
        .iter()
        .map(|row| (&row["group"][0], row["other"] == true, &row["currency"], &row["value"]))
        .collect();
    assert_eq!(
        cells,
        [
            (&json!("m1"), false, &json!("EUR"), &json!("2")),
            (&json!("m1"), false, &json!("USD"), &json!("6")),
            (&json!(null), true, &json!("USD"), &json!("0.5")),
        ],
        "{split}"
    );
    // What it is derived from is for staff: so is it.
    let cost = value(&client, &format!("cost_per_million_tokens?{january}&filter=model=m2")).await;
    assert!((cost.as_f64().expect("an amount") - 5.0).abs() < 0.001, "{cost}");
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    assert_eq!(own.get("/v1/metrics/cost_per_million_tokens").await.0, 404);
    let (status, refused) = client.get("/v1/metrics/net_new_mrr/rows").await;
    assert_eq!(status, 400, "{refused}");
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.contains("mrr_expansion")),
        "{refused}"
    );
    let (status, refused) = client.get("/v1/metrics/net_new_mrr?by=model").await;
    assert_eq!(status, 400, "{refused}");
}

/// A metric of a file with these lines.
fn file(name: &str, lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {}\n", line.trim())).collect();
    format!(
        "- name: {name}\n  title: {{en: T, zh-CN: 题}}\n  description: {{en: D., zh-CN: 说。}}\n  formula: Ours.\n{lines}"
    )
}

#[tokio::test]
async fn files_have_derived_metrics_and_conversions() {
    let (dir, files) = (folder(), folder());
    let path = files.path().join("ours.yaml");
    // One that is derived may stand before what it is derived from.
    let text = file("twice", "unit: number\nkind: derived\nvalue: 2 * tried_in_a_week")
        + &file(
            "tried_in_a_week",
            "unit: ratio\nkind: conversion\nconversion: {start: {event: billing.signed_up}, goal: {event: \
             billing.trial_started, filter: \"plan = 'pro'\"}, within_days: 7}",
        );
    fs::write(&path, text).expect("a file");
    configure(dir.path(), &format!("[metrics]\ndir = {:?}\n", files.path().display().to_string()));
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let signed_up = |n: u32| {
        billing(
            &format!("s{n}"),
            &format!("org_{n}"),
            "signed_up",
            "2026-01-10",
            json!({"plan": "free"}),
        )
    };
    let tried = |n: u32, day: &str, plan: &str| {
        billing(&format!("t{n}"), &format!("org_{n}"), "trial_started", day, json!({"plan": plan}))
    };
    client.store(&[signed_up(1), signed_up(2), signed_up(3), signed_up(4)]).await;
    client
        .store(&[
            tried(1, "2026-01-12", "pro"),
            tried(2, "2026-01-20", "pro"),
            tried(3, "2026-01-11", "free"),
        ])
        .await;
    let january = "from=2026-01-01&to=2026-02-01";
    assert_eq!(value(&client, &format!("tried_in_a_week?{january}")).await, json!(0.25));
    assert_eq!(value(&client, &format!("twice?{january}")).await, json!(0.5));
    // The conversions of the last week may still come.
    let (_, list) = client.get("/v1/metrics").await;
    let ours = list["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .find(|m| m["name"] == "tried_in_a_week");
    assert_eq!(ours.expect("ours")["kind"], "conversion");
}

#[test]
fn what_is_wrong_with_them_is_told_in_a_line() {
    let (dir, files) = (folder(), folder());
    for (lines, said) in [
        ("unit: number\nkind: derived\nvalue: requests / nothing", "`nothing`, which is no metric"),
        ("unit: money\nkind: derived\nvalue: mrr * 12", "a stock"),
        ("unit: money\nkind: derived\nvalue: cost * 2", "for staff"),
        ("unit: number\nkind: derived\nvalue: usage_revenue / 2", "money"),
        ("unit: money\nkind: derived\nvalue: requests * 2", "currency"),
        ("unit: number\nkind: derived\nvalue: sum(requests)", "GROUP BY"),
        ("unit: number\nkind: derived\nvalue: wrong + 1", "from itself"),
        ("unit: number\nkind: derived\nvalue: 1 + 2", "1 to 6 metrics"),
        ("unit: number\nkind: derived\nsource: usage_events\nvalue: requests", "no `source`"),
        (
            "unit: count\nkind: aggregate\nsource: activity_events\nvalue: sum(CASE WHEN country = 'XX' THEN 1 ELSE 0 END)",
            "countable",
        ),
        ("unit: ratio\nkind: conversion", "needs `conversion`"),
        (
            "unit: ratio\nkind: conversion\nconversion: {start: {event: billing.nothing}, goal: {event: usage.request}, \
             within_days: 7}",
            "billing.nothing",
        ),
        (
            "unit: ratio\nkind: conversion\nconversion: {start: {event: billing.signed_up}, goal: {event: usage.request, \
             filter: \"true) or (true\"}, within_days: 7}",
            "no expression",
        ),
        (
            "unit: ratio\nkind: conversion\nconversion: {start: {event: billing.signed_up}, goal: {event: usage.request}, \
             within_days: 0}",
            "1 to 366",
        ),
    ] {
        let wrong = files.path().join("wrong.txt");
        fs::write(&wrong, file("wrong", lines)).expect("a file");
        let refused = run(dir.path(), &["metrics", "check", &wrong.display().to_string()]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!((refused.status.code(), told.lines().count()), (Some(2), 1), "{lines}: {told}");
        assert!(told.contains(said), "{lines}: {told}");
    }
}
