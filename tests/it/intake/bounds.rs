//! Whatever an event may hold, no question over many organizations fails on it or is answered wrongly.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, days_ago, folder, reply, run_ok};

/// Unscaled amounts have 12 digits after the point.
const SCALE: u32 = 12;
const AMOUNTS: [(&str, i128); 5] = [
    ("0", 0),
    ("0.000000000001", 1),
    ("9999999999999.999999999999", 9_999_999_999_999_999_999_999_999),
    ("10000000000000", 10_i128.pow(25)),
    ("1200000000000", 12 * 10_i128.pow(23)),
];
const COUNTS: [i64; 3] = [0, 1, 1_000_000_000_000];

/// The next number below a bound, from a seed.
fn next(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

fn text(unscaled: i128) -> String {
    let one = 10_i128.pow(SCALE);
    let text = format!("{}.{:012}", unscaled / one, unscaled % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What the metrics of usage must say.
#[derive(Default)]
struct Truth {
    tokens: i128,
    revenue: BTreeMap<&'static str, i128>,
}

fn events(seed: &mut u64, truth: &mut Truth) -> String {
    let day = days_ago(2);
    let mut lines = Vec::new();
    let mut push = |id: String, kind: &str, organization: &str, minute: usize, data: Value| {
        lines.push(
            json!({
                "specversion": "1.0", "id": id, "source": "/bounds", "type": kind, "subject": organization,
                "time": format!("{day}T{:02}:{:02}:00Z", minute / 60, minute % 60), "data": data,
            })
            .to_string(),
        );
    };
    for row in 0..300 {
        let (input, output) = (COUNTS[next(seed, 3)], COUNTS[next(seed, 3)]);
        let (price, unscaled) = AMOUNTS[next(seed, 5)];
        let currency = ["USD", "IDR"][next(seed, 2)];
        truth.tokens += i128::from(input) + i128::from(output);
        *truth.revenue.entry(currency).or_default() += unscaled;
        let data = json!({
            "model": "m", "provider": "p", "input_tokens": input, "output_tokens": output,
            "latency_ms": COUNTS[next(seed, 3)], "cost": price, "list_price": price, "currency": currency,
            "status_code": 500,
        });
        let organization = ["org_a", "org_b", "org_c"][next(seed, 3)];
        push(format!("u{row}"), "usage.request", organization, row, data);
    }
    for row in 0..120 {
        let organization = ["org_a", "org_b", "org_c"][next(seed, 3)];
        let kind = ["created", "changed", "canceled"][next(seed, 3)];
        let (amount, _) = AMOUNTS[next(seed, 5)];
        let mut data = json!({"subscription_id": format!("s{}", next(seed, 4)), "plan": "team"});
        if kind != "canceled" {
            data["amount"] = amount.into();
            data["currency"] = ["USD", "IDR"][next(seed, 2)].into();
            data["billing_interval"] = ["month", "year"][next(seed, 2)].into();
        }
        push(format!("b{row}"), &format!("billing.subscription_{kind}"), organization, row, data);
    }
    for row in 0..20 {
        let (amount, _) = AMOUNTS[next(seed, 5)];
        let data = json!({"invoice_id": format!("i{row}"), "amount": amount, "currency": "IDR", "quantity": 1_000_000_000_000_i64});
        push(format!("i{row}"), "billing.payment_succeeded", "org_a", row, data);
    }
    lines.join("\n")
}

/// What is left of the subscriptions, by a rule written here.
async fn monthly(client: &Client) -> BTreeMap<String, i128> {
    let sql = "select organization_id as o, subscription_id as s, kind as k, currency as c, billing_interval as i, \
               cast(amount as text) as a from billing_events where subscription_id is not null order by occurred_at, \
               case kind when 'subscription_canceled' then 0 when 'subscription_changed' then 1 else 2 end, event_id";
    let mut last: BTreeMap<(String, String), (String, i128)> = BTreeMap::new();
    for row in client.rows(sql).await {
        let of = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let key = (of("o"), of("s"));
        let unscaled: i128 = of("a").replace('.', "").parse().unwrap_or(0);
        let monthly = if of("i") == "year" { (unscaled * 10_000 / 12) / 10_000 } else { unscaled };
        match of("k").as_str() {
            "subscription_canceled" => last.remove(&key).map(|_| ()).unwrap_or_default(),
            _ => drop(last.insert(key, (of("c"), monthly))),
        }
    }
    let mut expected: BTreeMap<String, i128> = BTreeMap::new();
    for (currency, monthly) in last.into_values() {
        *expected.entry(currency).or_default() += monthly;
    }
    expected
}

/// Metrics that may be below zero, or above one as a share.
const UNBOUNDED: [&str; 8] = [
    "margin",
    "margin_rate",
    "net_mrr_churn_rate",
    "gross_mrr_churn_rate",
    "nrr",
    "nrr_with_reactivation",
    "outstanding",
    "error_budget_left",
];

/// Each metric by each grain; the first of each source by each dimension too.
async fn every_metric_answers(client: &Client) {
    let get = async |path: String| {
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let list = get("/v1/metrics".into()).await;
    let mut sources = Vec::new();
    for metric in list["metrics"].as_array().unwrap() {
        let name = metric["name"].as_str().unwrap();
        let is_first = !sources.contains(&metric["source"]);
        sources.push(metric["source"].clone());
        let by = metric["dimensions"].as_array().unwrap().iter().map(|by| by.as_str().unwrap());
        let by = by.filter(|by| is_first && *by != "referrer").map(|by| format!("by={by}"));
        for split in by.chain(["".into()]) {
            let hourly =
                if metric["finest_grain"] == "day" { "" } else { "grain=hour&range=last_7_days" };
            for grain in [hourly, "grain=day", "grain=month", ""] {
                let answer = get(format!("/v1/metrics/{name}?{grain}&{split}")).await;
                let values = answer["rows"].as_array().unwrap().iter().map(|row| &row["value"]);
                let values = values.filter(|value| !value.is_null() && !UNBOUNDED.contains(&name));
                for value in values {
                    assert!(!value.to_string().contains('-'), "{name}: {value}");
                    let is_share = metric["unit"] == "ratio" && name != "usage_nrr";
                    assert!(!is_share || value.as_f64().unwrap() <= 1.0, "{name}: {value}");
                }
            }
        }
    }
}

#[tokio::test]
async fn events_at_the_bounds_break_no_answer() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let (mut seed, mut truth) = (20_261_128, Truth::default());
    let (status, answer) = client.send("application/x-ndjson", events(&mut seed, &mut truth)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["results"].as_array().unwrap().iter().all(|r| r["status"] == "accepted"),
        "{answer}"
    );
    let get = async |path: String| {
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    every_metric_answers(&client).await;
    let tokens = get("/v1/metrics/tokens".into()).await;
    assert_eq!(tokens["rows"][0]["value"].to_string().trim_matches('"'), truth.tokens.to_string());
    let revenue = get("/v1/metrics/usage_revenue".into()).await;
    for row in revenue["rows"].as_array().unwrap() {
        let expected = truth.revenue[row["currency"].as_str().unwrap()];
        assert_eq!(row["value"], text(expected));
    }
    let expected = monthly(&client).await;
    let mrr = get("/v1/metrics/mrr".into()).await;
    for row in mrr["rows"].as_array().unwrap() {
        let currency = row["currency"].as_str().unwrap();
        let expected = expected.get(currency).copied().unwrap_or_default();
        assert_eq!(row["value"], text(expected), "{currency}: {mrr}");
    }
    for path in ["/dashboards/business?days=7", "/dashboards/business?days=7&lang=zh-CN"] {
        let reply = reply(client.request(Method::GET, path)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    server.stop();
    let report = dir.path().join("report.html").display().to_string();
    run_ok(dir.path(), &["report", "render", "business", "--out", &report]);
}
