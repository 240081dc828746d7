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
        ("activity_events", truth.activity_events),
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
