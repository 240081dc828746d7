//! What the system answers is what the generator knows to be true, to the last unit and the last digit.

use std::{collections::BTreeMap, fs};

use chrono::{DateTime, Utc};
use datasets::{AnomalyKind, AnomalyLabel, Business, MonthTruth, Profile, Retention, Truth};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder};

fn decimal(value: &Value) -> Decimal {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().unwrap_or_else(|_| panic!("`{value}` is no number"))
}

/// A metric's values by month, within the truth's period.
async fn by_month(client: &Client, truth: &Truth, metric: &str) -> BTreeMap<String, Value> {
    let path = format!("/v1/metrics/{metric}?grain=month&from={}&to={}", truth.start, truth.end);
    let (status, answer) = client.get(&path).await;
    assert_eq!(status, 200, "{path}: {answer}");
    let rows = answer["rows"].as_array().expect("rows");
    let values = rows.iter().map(|row| {
        if answer["unit"] == "money" {
            assert_eq!(row["currency"], "USD");
        }
        let at = row["at"].as_str().expect("a time");
        (at[..7].to_owned(), row["value"].clone())
    });
    let months: BTreeMap<_, _> = values.collect();
    assert_eq!(months.len(), rows.len(), "{metric}: one value a month");
    months
}

fn expected(month: &MonthTruth) -> [(&'static str, Decimal); 14] {
    let moved = month.movements;
    [
        ("requests", month.requests.into()),
        ("errors", month.errors.into()),
        ("tokens", (month.input_tokens + month.output_tokens).into()),
        ("active_organizations", month.monthly_active_organizations.into()),
        ("usage_revenue", month.list_price),
        ("mrr", month.mrr),
        ("mrr_new", moved.new),
        ("mrr_expansion", moved.expansion),
        ("mrr_contraction", moved.contraction),
        ("mrr_churn", moved.churn),
        ("mrr_reactivation", moved.reactivation),
        ("churned_organizations", month.churned_organizations.into()),
        ("visitors", month.visitors.into()),
        ("registrations", month.registrations.into()),
    ]
}

async fn months_are_exact(client: &Client, truth: &Truth) {
    let names: Vec<_> = expected(&truth.months[0]).iter().map(|(name, _)| *name).collect();
    for (place, name) in names.into_iter().enumerate() {
        let found = by_month(client, truth, name).await;
        assert_eq!(found.len(), truth.months.len(), "{name}: {found:?}");
        for month in &truth.months {
            let value = decimal(&found[&month.month]);
            assert_eq!(value, expected(month)[place].1, "{name} in {}", month.month);
        }
    }
    retention_is_exact(client, truth).await;
    let conversion = by_month(client, truth, "registration_conversion").await;
    for month in &truth.months {
        let share = month.registrations as f64 / month.visitors as f64;
        let found = conversion[&month.month].as_f64().expect("a share");
        assert!((found - share).abs() < 1e-9, "conversion in {}: {found}", month.month);
    }
}

/// What became of the organizations that paid at the start of each month.
async fn retention_is_exact(client: &Client, truth: &Truth) {
    let share = |part: Decimal, whole: Decimal| (!whole.is_zero()).then(|| part / whole);
    for (name, expected) in [
        ("nrr", (|r| (r.retained, r.start)) as fn(&Retention) -> (Decimal, Decimal)),
        ("nrr_with_reactivation", |r| (r.retained + r.came_back, r.start)),
        ("grr", |r| (r.kept, r.start)),
        ("logo_churn_rate", |r| (r.left.into(), r.paying_at_start.into())),
        ("paying_organizations", |r| (r.paying_at_end.into(), Decimal::ONE)),
    ] {
        let found = by_month(client, truth, name).await;
        for month in &truth.months {
            let (part, whole) = expected(&month.retention);
            let value = &found[&month.month];
            match share(part, whole) {
                None => assert_eq!(*value, Value::Null, "{name} in {}", month.month),
                Some(share) => {
                    let difference = (decimal(value) - share).abs();
                    assert!(
                        difference < Decimal::new(1, 11),
                        "{name} in {}: {value}, {share}",
                        month.month
                    );
                }
            }
        }
    }
}

/// The rates that follow from the movements of a month: a number, or none where there is nothing to divide.
fn rates(month: &MonthTruth) -> [(&'static str, Option<Decimal>); 6] {
    let (moved, paid) = (month.movements, month.retention);
    let lost = moved.churn + moved.contraction;
    let gained = moved.expansion + moved.reactivation;
    let of = |part: Decimal, whole: Decimal| (!whole.is_zero()).then(|| part / whole);
    let arpa = of(month.mrr, paid.paying_at_end.into());
    let churn = of(paid.left.into(), paid.paying_at_start.into());
    [
        ("arr", Some(month.mrr * Decimal::from(12))),
        ("gross_mrr_churn_rate", of(lost, paid.start)),
        ("net_mrr_churn_rate", of(lost - gained, paid.start)),
        ("quick_ratio", of(moved.new + gained, lost)),
        ("arpa", arpa),
        ("ltv", arpa.zip(churn).and_then(|(arpa, churn)| of(arpa, churn))),
    ]
}

async fn rates_are_exact(client: &Client, truth: &Truth) {
    let names = rates(&truth.months[0]).map(|(name, _)| name);
    for (place, name) in names.into_iter().enumerate() {
        let found = by_month(client, truth, name).await;
        for month in &truth.months {
            let value = &found[&month.month];
            let Some(expected) = rates(month)[place].1 else {
                assert_eq!(*value, Value::Null, "{name} in {}", month.month);
                continue;
            };
            let difference = (decimal(value) - expected).abs();
            let scale = expected.abs().max(Decimal::ONE);
            assert!(
                difference < scale * Decimal::new(1, 9),
                "{name} in {}: {value}, {expected}",
                month.month
            );
        }
    }
}

async fn sql_is_exact(client: &Client, truth: &Truth) {
    let sums = "count(*) as requests, count(*) filter (where status_code >= 400) as errors, \
        sum(input_tokens) as input, sum(output_tokens) as output, sum(list_price) as price, \
        sum(cost) as cost, count(distinct organization_id) as active";
    let total = &client.rows(&format!("select {sums} from usage_events")).await[0];
    let totals = &truth.totals;
    for (name, expected) in [
        ("requests", totals.requests.into()),
        ("errors", totals.errors.into()),
        ("input", totals.input_tokens.into()),
        ("output", totals.output_tokens.into()),
        ("active", totals.active_organizations.into()),
        ("price", totals.list_price),
        ("cost", totals.cost),
    ] {
        assert_eq!(decimal(&total[name]), expected, "{name}");
    }
    let monthly = format!(
        "select cast(date_trunc('month', occurred_at) as date) as month, {sums} \
         from usage_events group by 1 order by 1"
    );
    let rows = client.rows(&monthly).await;
    assert_eq!(rows.len(), truth.months.len());
    for (row, month) in rows.iter().zip(&truth.months) {
        assert!(row["month"].as_str().is_some_and(|day| day.starts_with(&month.month)), "{row}");
        assert_eq!(row["input"], month.input_tokens);
        assert_eq!(row["output"], month.output_tokens);
        assert_eq!(
            (&row["requests"], &row["errors"]),
            (&json!(month.requests), &json!(month.errors))
        );
    }
    let days = (truth.end - truth.start).num_days() as u32;
    let profile = Profile::ending(truth.seed, truth.organizations, days, truth.end);
    let signed_up = Business::new(profile.expect("a profile")).organizations().len();
    for (table, expected) in [
        ("usage_ledger", truth.usage_events),
        ("billing_events", truth.billing_events),
        ("activity_events where source <> '/aihub/audit'", truth.activity_events),
        ("dead_letter", 0),
        ("organizations", signed_up as u64),
    ] {
        let rows = client.rows(&format!("select count(*) as n from {table}")).await;
        assert_eq!(rows[0]["n"], expected, "{table}");
    }
}

fn filter(label: &AnomalyLabel) -> String {
    let time = |at: DateTime<Utc>| at.format("timestamp '%Y-%m-%dT%H:%M:%SZ'").to_string();
    let mut filter =
        format!("occurred_at >= {} and occurred_at < {}", time(label.from), time(label.to));
    for (column, value) in [
        ("organization_id", &label.organization_id),
        ("model", &label.model),
        ("provider", &label.provider),
    ] {
        if let Some(value) = value {
            filter += &format!(" and {column} = '{value}'");
        }
    }
    filter
}

async fn anomalies_are_exact(client: &Client, truth: &Truth) {
    for label in &truth.anomalies {
        let sql = format!(
            "select count(*) as requests, count(*) filter (where status_code >= 400) as errors \
             from usage_events where {}",
            filter(label)
        );
        let observed = label.observed;
        let expected = json!({"requests": observed.requests, "errors": observed.errors});
        assert_eq!(client.rows(&sql).await, [expected], "{label:?}");
    }
    for kind in [
        AnomalyKind::ErrorBurst,
        AnomalyKind::KeyLeak,
        AnomalyKind::LatencyRegression,
        AnomalyKind::TrafficDrop,
    ] {
        assert!(truth.anomalies.iter().any(|label| label.kind == kind), "{kind:?} is not there");
    }
}

#[tokio::test]
async fn the_system_finds_the_true_answers() {
    let dir = folder();
    let server = Server::demo(dir.path(), 75, 25);
    let client = Client::new(&server, &admin_key(dir.path()));
    let text = fs::read(dir.path().join("truth.json")).expect("truth.json");
    let truth: Truth = serde_json::from_slice(&text).expect("the truth");
    assert!(truth.months.len() >= 3);
    months_are_exact(&client, &truth).await;
    sql_is_exact(&client, &truth).await;
    anomalies_are_exact(&client, &truth).await;
}

/// The events of a business that are no usage.
fn commercial_events(business: &Business) -> Vec<String> {
    let days = business.days().map(|day| String::from_utf8(day.ndjson).expect("a text"));
    let lines = days.flat_map(|day| day.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| !line.contains("\"usage.request\"")).collect()
}

/// Revenue of 2 businesses; `AIHUB_TEST_SEEDS=20` is the long form.
#[tokio::test]
async fn the_revenue_of_many_businesses_is_exact() {
    let seeds = std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_SEEDS")
        .map_or(2, |(_, seeds)| seeds.parse().expect("AIHUB_TEST_SEEDS is a number"));
    for seed in 1..=seeds {
        let end = "2026-06-20".parse().expect("a date");
        let profile = Profile::ending(seed, 40, 200, end).expect("a profile");
        let business = Business::new(profile);
        let truth = business.truth();
        let dir = folder();
        let server = Server::serve(dir.path());
        let client = Client::new(&server, &admin_key(dir.path()));
        for events in commercial_events(&business).chunks(5_000) {
            let (status, answer) = client.send("application/x-ndjson", events.join("\n")).await;
            assert_eq!(status, 200, "{answer}");
        }
        let revenue = expected(&truth.months[0]).map(|(name, _)| name);
        for name in revenue.iter().filter(|name| name.contains("mrr") || name.contains("churn")) {
            let found = by_month(&client, &truth, name).await;
            for month in &truth.months {
                let (_, value) = expected(month).into_iter().find(|(n, _)| n == name).expect("it");
                assert_eq!(
                    decimal(&found[&month.month]),
                    value,
                    "{name} in {}, seed {seed}",
                    month.month
                );
            }
        }
        retention_is_exact(&client, &truth).await;
        rates_are_exact(&client, &truth).await;
        let moved = truth.months.iter().filter(|month| !month.movements.churn.is_zero()).count();
        assert!(moved > 1, "seed {seed}: nobody leaves");
    }
}
