//! Recurring revenue, its movements and its rates, against numbers computed by hand: a plan switch within a day, two
//! subscriptions, a yearly plan, a customer who leaves and comes back, a trial without a payment, two currencies.

use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, usage};

/// A fact of an organization's commercial life.
fn fact(id: u64, organization: &str, kind: &str, day: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": format!("b{id}"), "source": "/billing", "type": format!("billing.{kind}"),
        "subject": organization, "time": format!("{day}T12:00:00Z"), "data": data,
    })
}

fn plan(subscription: &str, amount: &str, interval: &str, currency: &str) -> Value {
    json!({
        "subscription_id": subscription, "plan": "team", "amount": amount, "currency": currency,
        "billing_interval": interval,
    })
}

fn monthly(subscription: &str, amount: &str) -> Value {
    plan(subscription, amount, "month", "USD")
}

fn subscriptions() -> Vec<Value> {
    let canceled = |subscription: &str| json!({"subscription_id": subscription});
    let facts = [
        ("org_a", "subscription_created", "2026-01-10", monthly("a", "100")),
        ("org_b", "subscription_created", "2026-01-15", plan("b", "1200", "year", "USD")),
        // A switch of plans on one day is what it comes to.
        ("org_c", "subscription_created", "2026-01-20", monthly("c1", "200")),
        ("org_c", "subscription_created", "2026-02-10", monthly("c2", "300")),
        ("org_c", "subscription_canceled", "2026-02-10", canceled("c1")),
        // One of two subscriptions ends: the customer stays.
        ("org_d", "subscription_created", "2026-01-05", monthly("d1", "50")),
        ("org_d", "subscription_created", "2026-01-06", monthly("d2", "30")),
        ("org_d", "subscription_canceled", "2026-02-20", canceled("d2")),
        // Left, and back a month later.
        ("org_e", "subscription_created", "2026-01-08", monthly("e1", "80")),
        ("org_e", "subscription_canceled", "2026-02-05", canceled("e1")),
        ("org_e", "subscription_created", "2026-03-03", monthly("e2", "90")),
        // Left, and back within the month.
        ("org_f", "subscription_created", "2026-01-12", monthly("f1", "60")),
        ("org_f", "subscription_canceled", "2026-02-03", canceled("f1")),
        ("org_f", "subscription_created", "2026-02-25", monthly("f2", "60")),
        ("org_h", "subscription_created", "2026-02-14", monthly("h", "500")),
        ("org_i", "subscription_created", "2026-01-03", plan("i", "70", "month", "EUR")),
    ];
    let facts = (0..).zip(facts);
    facts
        .map(|(id, (organization, kind, day, data))| fact(id, organization, kind, day, data))
        .collect()
}

/// What happened around two sign-ups of February.
fn sign_ups() -> Vec<Value> {
    let money = |invoice: &str, amount: &str| json!({"invoice_id": invoice, "amount": amount, "currency": "USD"});
    let facts = [
        ("org_g", "signed_up", "2026-02-01", json!({"plan": "free"})),
        ("org_g", "trial_started", "2026-02-01", json!({"plan": "pro"})),
        ("org_h", "signed_up", "2026-02-10", json!({"plan": "free"})),
        ("org_h", "invoice_finalized", "2026-02-14", money("h1", "500")),
        ("org_h", "payment_failed", "2026-02-14", money("h1", "500")),
        ("org_h", "payment_succeeded", "2026-02-15", money("h1", "500")),
        ("org_h", "invoice_finalized", "2026-02-20", money("h2", "40.5")),
        ("org_h", "payment_refunded", "2026-02-21", money("h1", "20")),
    ];
    let facts = (100..).zip(facts);
    facts
        .map(|(id, (organization, kind, day, data))| fact(id, organization, kind, day, data))
        .collect()
}

/// The value of a metric in a month, in a currency.
async fn value(client: &Client, metric: &str, month: &str, currency: Option<&str>) -> Value {
    let path = format!("/v1/metrics/{metric}?from=2026-01-01&to=2026-04-01&grain=month");
    let (status, answer) = client.get(&path).await;
    assert_eq!(status, 200, "{answer}");
    let rows = answer["rows"].as_array().expect("rows").iter();
    let mut found = rows.filter(|row| {
        row["at"].as_str().is_some_and(|at| at.starts_with(month))
            && row["currency"].as_str() == currency
    });
    let row = found.next().unwrap_or_else(|| panic!("{metric} has no row of {month}: {answer}"));
    assert!(found.next().is_none(), "{answer}");
    assert!(!row["value"].is_null() || answer["null_reason"].is_string(), "{answer}");
    row["value"].clone()
}

fn assert_close(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().or_else(|| found.as_str()?.parse().ok());
    let found = found.unwrap_or_else(|| panic!("{what} is {found:?}"));
    assert!((found - expected).abs() < 1e-9, "{what}: {found}, not {expected}");
}

async fn months_are_as_computed_by_hand(client: &Client) {
    for (metric, january, february, march) in [
        ("mrr", 620.0, 1110.0, 1200.0),
        ("arr", 7440.0, 13320.0, 14400.0),
        // The second subscription of a customer is an expansion.
        ("mrr_new", 590.0, 500.0, 0.0),
        ("mrr_expansion", 30.0, 100.0, 0.0),
        ("mrr_contraction", 0.0, 30.0, 0.0),
        ("mrr_churn", 0.0, 140.0, 0.0),
        ("mrr_reactivation", 0.0, 60.0, 90.0),
    ] {
        for (month, expected) in [("2026-01", january), ("2026-02", february), ("2026-03", march)] {
            let found = value(client, metric, month, Some("USD")).await;
            assert_close(&found, expected, &format!("{metric} in {month}"));
        }
    }
    // MRR at the start of February: 100 + 100 + 200 + 80 + 80 + 60 = 620, and of March 1,110.
    for (metric, february, march) in [
        ("gross_mrr_churn_rate", 170.0 / 620.0, 0.0),
        ("net_mrr_churn_rate", 10.0 / 620.0, -90.0 / 1110.0),
        ("nrr", 610.0 / 620.0, 1.0),
        ("nrr_with_reactivation", 610.0 / 620.0, 1200.0 / 1110.0),
        ("grr", 510.0 / 620.0, 1.0),
        ("arpa", 1110.0 / 6.0, 1200.0 / 7.0),
    ] {
        for (month, expected) in [("2026-02", february), ("2026-03", march)] {
            let found = value(client, metric, month, Some("USD")).await;
            assert!(
                (found.as_f64().or_else(|| found.as_str()?.parse().ok()).expect("a number")
                    - expected)
                    .abs()
                    < 1e-9,
                "{metric} in {month}: {found}, not {expected}"
            );
        }
    }
    assert_close(
        &value(client, "quick_ratio", "2026-02", Some("USD")).await,
        660.0 / 170.0,
        "quick ratio",
    );
    // 185 a month, and one of six left.
    assert_close(&value(client, "ltv", "2026-02", Some("USD")).await, 1110.0, "lifetime value");
    // Of A to F and I one is gone at the end.
    assert_close(&value(client, "logo_churn_rate", "2026-02", None).await, 1.0 / 7.0, "logo churn");
    assert_eq!(value(client, "paying_organizations", "2026-02", None).await, 7);
    assert_eq!(value(client, "churned_organizations", "2026-02", None).await, 2);
    // Currencies are never added.
    assert_close(&value(client, "mrr", "2026-02", Some("EUR")).await, 70.0, "MRR in euros");
    // Where there is nothing to divide by, there is no number.
    for (metric, month, currency) in [
        ("nrr", "2026-01", Some("USD")),
        ("gross_mrr_churn_rate", "2026-01", Some("USD")),
        ("quick_ratio", "2026-02", Some("EUR")),
        ("ltv", "2026-02", Some("EUR")),
        ("ltv", "2026-03", Some("USD")),
        ("logo_churn_rate", "2026-01", None),
    ] {
        assert_eq!(
            value(client, metric, month, currency).await,
            Value::Null,
            "{metric} in {month}"
        );
    }
}

async fn conversions_are_as_computed_by_hand(client: &Client) {
    for (metric, expected) in [
        ("sign_ups", json!(2)),
        ("paid_conversion", json!(0.5)),
        ("activation_rate", json!(0.5)),
        ("trial_starts", json!(1)),
        ("trial_conversion", json!(0.0)),
        ("failed_payments", json!(1)),
    ] {
        assert_eq!(value(client, metric, "2026-02", None).await, expected, "{metric}");
    }
    for (metric, expected) in
        [("invoiced", 540.5), ("paid", 500.0), ("refunds", 20.0), ("outstanding", 40.5)]
    {
        assert_close(&value(client, metric, "2026-02", Some("USD")).await, expected, metric);
    }
    assert_close(
        &value(client, "outstanding", "2026-03", Some("USD")).await,
        40.5,
        "outstanding later",
    );
}

#[tokio::test]
async fn revenue_is_what_was_computed_by_hand() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    // In the order of nothing: what arrived first must not matter.
    let mut facts = subscriptions();
    facts.reverse();
    client.store(&facts).await;
    client.store(&facts[..5]).await;
    client.store(&sign_ups()).await;
    let mut first = usage("org_g", "first", json!({"status_code": 200}));
    first["time"] = "2026-02-08T11:59:00Z".into();
    client.store(&[first]).await;
    months_are_as_computed_by_hand(&client).await;
    conversions_are_as_computed_by_hand(&client).await;
    // A fact of February that comes late moves February.
    let late = fact(50, "org_a", "subscription_changed", "2026-02-27", monthly("a", "120"));
    client.store(&[late]).await;
    assert_close(
        &value(&client, "mrr", "2026-02", Some("USD")).await,
        1130.0,
        "MRR with a late fact",
    );
    assert_close(
        &value(&client, "mrr_expansion", "2026-02", Some("USD")).await,
        120.0,
        "expansion",
    );
    // Whatever the buckets: what a window begins with and what moves in it is what it ends with.
    for grain in ["day", "week", "month", "quarter"] {
        for tz in ["UTC", "Pacific/Auckland"] {
            balances_follow_from_movements(&client, grain, tz).await;
        }
    }
}

async fn balances_follow_from_movements(client: &Client, grain: &str, tz: &str) {
    let body = json!({
        "metrics": ["mrr", "mrr_new", "mrr_expansion", "mrr_contraction", "mrr_churn", "mrr_reactivation"],
        "from": "2026-01-01", "to": "2026-04-01", "grain": grain, "tz": tz,
    });
    let request = client.request(reqwest::Method::POST, "/v1/metrics/query").json(&body);
    let answer = tests::reply(request).await.json();
    let mut before = std::collections::BTreeMap::new();
    for row in answer["rows"].as_array().expect("rows") {
        let amounts = row["values"].as_array().expect("values").iter();
        let amounts: Vec<f64> = amounts
            .map(|value| value.as_str().expect("an amount").parse().expect("a number"))
            .collect();
        let [mrr, new, expansion, contraction, churn, reactivation] = amounts[..] else {
            panic!("{row}")
        };
        let balance: &mut f64 = before.entry(row["currency"].to_string()).or_default();
        *balance += new + expansion + reactivation - contraction - churn;
        assert!((mrr - *balance).abs() < 1e-9, "{grain} of {tz}: {row}");
    }
}

/// What a review found: a payment before a trial is none after it, and rows of one currency can be had.
#[tokio::test]
async fn conversions_count_what_comes_after_the_start() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let money = |invoice: &str, currency: &str| json!({"invoice_id": invoice, "amount": "10", "currency": currency});
    let facts = [
        ("org_a", "payment_succeeded", "2026-01-05", money("a1", "USD")),
        ("org_a", "trial_started", "2026-03-01", json!({"plan": "pro"})),
        ("org_a", "payment_succeeded", "2026-03-10", money("a2", "EUR")),
        ("org_b", "signed_up", "2026-03-03", json!({"plan": "free"})),
    ];
    let facts: Vec<_> = (0..)
        .zip(facts)
        .map(|(id, (org, kind, day, data))| fact(id, org, kind, day, data))
        .collect();
    client.store(&facts).await;
    let requests: Vec<_> = ["2026-03-02", "2026-03-04"]
        .into_iter()
        .map(|day| {
            let mut event = usage("org_b", day, json!({"status_code": 200}));
            event["time"] = format!("{day}T12:00:00Z").into();
            event
        })
        .collect();
    client.store(&requests).await;
    assert_close(
        &value(&client, "trial_conversion", "2026-03", None).await,
        1.0,
        "trial conversion",
    );
    for from in ["2026-03-01", "2026-03-03"] {
        let path = format!("/v1/metrics/activation_rate?from={from}&to=2026-04-01");
        assert_close(&client.get(&path).await.1["rows"][0]["value"], 1.0, "activation");
    }
    let path = "/v1/metrics/paid/rows?from=2026-01-01&to=2026-04-01&currency=EUR";
    let (status, found) = client.get(path).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["rows"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["rows"][0]["invoice_id"], "a2");
    // An answer is not filled without end.
    let models: Vec<_> = (0..300)
        .map(|id| usage("org_a", &format!("m{id}"), json!({"model": format!("m{id}")})))
        .collect();
    client.store(&models).await;
    let (status, refused) = client
        .get("/v1/metrics/requests?range=last_7_days&today=true&by=model&grain=minute&fill=zero")
        .await;
    assert_eq!((status.as_u16(), &refused["code"]), (413, &json!("result_too_large")), "{refused}");
    let (status, _) =
        client.get("/v1/metrics/requests?range=last_7_days&today=true&by=model&grain=minute").await;
    assert_eq!(status, 200);
}

/// A longer month's last days have nothing before them, and a month that the window cuts is not held against a whole one.
#[tokio::test]
async fn buckets_without_a_like_have_no_value() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let requests: Vec<_> = [("2026-03-10", "10"), ("2026-04-10", "6")]
        .into_iter()
        .map(|(day, price)| {
            let mut event = usage("org_a", day, json!({"list_price": price, "currency": "USD"}));
            event["time"] = format!("{day}T12:00:00Z").into();
            event
        })
        .collect();
    client.store(&requests).await;
    let path =
        "/v1/metrics/requests?from=2026-03-01&to=2026-04-01&grain=day&compare=previous_period";
    let (status, answer) = client.get(path).await;
    assert_eq!(status, 200, "{answer}");
    let before: Vec<_> =
        answer["rows"].as_array().expect("rows").iter().map(|row| row["before"].clone()).collect();
    assert_eq!(
        (before.len(), &before[27], &before[28], &before[30]),
        (31, &json!(0), &Value::Null, &Value::Null)
    );
    for (to, expected) in [("2026-05-01", json!(0.6)), ("2026-04-20", Value::Null)] {
        let path = format!("/v1/metrics/usage_nrr?from=2026-03-01&to={to}&grain=month");
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{answer}");
        let last = answer["rows"].as_array().and_then(|rows| rows.last().cloned());
        let april =
            last.filter(|row| row["at"] == "2026-04-01T00:00:00Z").map(|row| row["value"].clone());
        assert_eq!(april.unwrap_or_default(), expected, "up to {to}: {answer}");
    }
}

/// A user who is active late in UTC is active on the next day of an eastern zone, whatever the window.
#[tokio::test]
async fn active_users_are_counted_by_days_of_the_zone() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let mut event = usage("org_a", "late", json!({"user_id": "u"}));
    event["time"] = "2026-03-05T18:00:00Z".into();
    client.store(&[event]).await;
    for (to, expected) in [("2026-03-08", vec![0, 0, 1, 0]), ("2026-03-06", vec![0, 0])] {
        let path = format!(
            "/v1/metrics/daily_active_users?from=2026-03-04&to={to}&grain=day&tz=Asia/Shanghai&fill=zero"
        );
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{answer}");
        let values: Vec<_> = answer["rows"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["value"].clone())
            .collect();
        assert_eq!(values, expected, "up to {to}");
    }
    let (status, refused) =
        client.get("/v1/metrics/daily_active_users?grain=hour&range=last_7_days").await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (400, &json!("invalid_parameters")),
        "{refused}"
    );
}

#[tokio::test]
async fn active_users_are_those_of_the_last_days() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let mut events = Vec::new();
    let mut request = |organization: &str, user: &str, day: u32| {
        let id = format!("{organization} {user} {day}");
        let mut event = usage(organization, &id, json!({"user_id": user, "status_code": 200}));
        event["time"] = format!("2026-05-{day:02}T09:00:00Z").into();
        events.push(event);
    };
    // Ada each day, Bo once a week, Cy on the 2nd only; `ada` of another organization is another user.
    (1..=31).for_each(|day| request("org_a", "ada", day));
    [3, 10, 17, 24, 31].into_iter().for_each(|day| request("org_a", "bo", day));
    request("org_b", "ada", 2);
    client.store(&events).await;
    for (metric, to, expected) in [
        ("daily_active_users", "2026-06-01", json!(2)),
        ("weekly_active_users", "2026-05-31", json!(2)),
        ("monthly_active_users", "2026-06-01", json!(3)),
        ("monthly_active_users", "2026-06-02", json!(2)),
        ("power_users", "2026-06-01", json!(1)),
        ("active_organizations_30", "2026-06-02", json!(1)),
        ("weekly_active_organizations", "2026-05-09", json!(2)),
        ("weekly_active_organizations", "2026-05-10", json!(1)),
        ("daily_active_users", "2026-05-31", json!(1)),
    ] {
        let from = "2026-05-08";
        let (status, answer) =
            client.get(&format!("/v1/metrics/{metric}?from={from}&to={to}")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["rows"][0]["value"], expected, "{metric} up to {to}");
    }
    let (_, answer) = client.get("/v1/metrics/stickiness?from=2026-05-20&to=2026-06-01").await;
    assert_close(&answer["rows"][0]["value"], 2.0 / 3.0, "stickiness");
    // Org B used something on the 2nd, and nothing in the 30 days before 2 June.
    let (_, answer) =
        client.get("/v1/metrics/inactivity_churn_rate?from=2026-05-10&to=2026-06-02").await;
    assert_close(&answer["rows"][0]["value"], 0.5, "churn by inactivity");
    let (_, answer) =
        client.get("/v1/metrics/daily_active_users?from=2026-05-29&to=2026-06-01&grain=day").await;
    let values: Vec<_> =
        answer["rows"].as_array().expect("rows").iter().map(|row| row["value"].clone()).collect();
    assert_eq!(values, [1, 1, 2]);
}
