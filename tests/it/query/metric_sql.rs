//! Each answer of a metric can be had again by its SQL, and the summary from its metrics.

use serde_json::{Value, json};
use tests::{Client, Server, days_ago, folder, run_ok, usage};

use super::metric_questions::{metric, rows};

/// The SQL of an answer passes the gate and gives the answer. Of a stock it gives the buckets in which it changed.
#[tokio::test]
async fn every_metric_is_its_sql() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 6);
    let client = Client::new(&server, &server.ready.api_key);
    // The SQL of metrics of active users groups by user.
    run_ok(dir.path(), &["user", "grant-persons", "analyst"]);
    let (_, list) = client.get("/v1/metrics").await;
    for metric in list["metrics"].as_array().expect("metrics") {
        let by = metric["dimensions"][0].as_str().expect("a dimension");
        let by_week = "&grain=week&tz=Europe/Berlin&fill=none";
        for question in ["", &format!("&by={by}&limit=3"), by_week] {
            let is_stock = metric["kind"] == "cumulative" && question == by_week;
            is_its_sql(&client, metric["name"].as_str().expect("a name"), question, is_stock).await;
        }
    }
}

/// However many groups are shown separately, the statement is one that somebody may run.
#[tokio::test]
async fn many_groups_of_several_dimensions_are_their_sql() {
    let dir = folder();
    let server = Server::demo(dir.path(), 35, 8);
    let client = Client::new(&server, &server.ready.api_key);
    for name in ["requests", "usage_revenue", "p95_latency"] {
        for by in ["organization_id,model", "organization_id,model,status_code"] {
            let question = format!("&by={by}&limit=100");
            is_its_sql(&client, name, &question, false).await;
            let answer = metric(&client, &format!("{name}?range=last_30_days{question}")).await;
            assert!(rows(&answer).len() > 20, "{name} by {by}");
        }
    }
    // A value that looks like the end of another is none.
    let groups = [("a", "b"), ("a1:b", ""), ("1:a", "b"), ("a", "1:b")];
    for (id, (model, operation)) in groups.iter().enumerate() {
        let mut data = json!({"model": model, "feature": "odd"});
        if !operation.is_empty() {
            data["operation"] = json!(operation);
        }
        let event = usage("org_odd", &format!("odd{id}"), data).to_string();
        assert_eq!(client.send("application/json", event).await.0, 200);
    }
    let question = "requests?today=true&by=model,operation&filter=feature=odd&limit=4";
    let answer = metric(&client, question).await;
    assert_eq!(rows(&answer).len(), 4, "{answer}");
    assert!(
        rows(&answer).iter().all(|row| row["value"] == 1 && row["other"].is_null()),
        "{answer}"
    );
}

async fn is_its_sql(client: &Client, name: &str, question: &str, is_stock: bool) {
    let answer = metric(client, &format!("{name}?range=last_30_days{question}")).await;
    let body = json!({"sql": answer["sql"], "as_of": answer["as_of"]});
    let (status, found) = client.query_with(body).await;
    assert_eq!(status, 200, "{name}: {found}");
    let number = |value: &Value| -> Option<String> {
        let value = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))?;
        Some(format!("{value:.3}"))
    };
    let time = |at: &Value| at.as_str().unwrap_or_default().trim_end_matches('Z').to_owned();
    let cells = |answer: &Value, value: &str| -> Vec<_> {
        let cell =
            |row: &Value| (time(&row["at"]), row["currency"].to_string(), number(&row[value]));
        let mut cells: Vec<_> = rows(answer).iter().map(cell).collect();
        cells.sort();
        cells
    };
    let shown = cells(&answer, "value");
    // The balance at the start has no bucket, and amounts that nobody knows no currency.
    let has_currency = found["columns"].to_string().contains("\"currency\"");
    let mut expected = cells(&found, "value0");
    expected.retain(|(at, currency, _)| {
        (!is_stock || !at.is_empty()) && (!has_currency || currency != "null")
    });
    if is_stock {
        assert!(expected.iter().all(|cell| shown.contains(cell)), "{name}: {shown:?} {expected:?}");
        return;
    }
    assert_eq!(shown, expected, "{name}{question}: {}", answer["sql"]);
}

/// The summary is what its metrics are.
#[tokio::test]
async fn the_summary_is_that_of_its_metrics() {
    let dir = folder();
    let server = Server::demo(dir.path(), 75, 25);
    let client = Client::new(&server, &server.ready.api_key);
    let (status, summary) = client.get("/v1/metrics/summary").await;
    assert_eq!(status, 200, "{summary}");
    let as_of = summary["as_of"].as_str().expect("a cut");
    let count =
        client.rows("select count(*) as n from organizations where signed_up_at < now()").await;
    assert_eq!(summary["user_count"]["rows"][0]["value"], count[0]["n"], "{summary}");
    // 30 days before; where the last 30 days are a month, the same day of the month before.
    let compared = "user_count?range=last_30_days&today=true&compare=previous_period";
    let compared = metric(&client, compared).await;
    let until = compared["compare"]["to"].as_str().expect("a time");
    let sql = format!("select count(*) as n from organizations where signed_up_at < '{until}'");
    let before = client.rows(&sql).await;
    assert_eq!(summary["user_count"]["rows"][0]["before"], before[0]["n"], "{summary}");
    for (name, metric, range) in [
        ("revenue_mtd", "usage_revenue", "month_to_date"),
        ("mrr", "mrr", "month_to_date"),
        ("churn_rate", "logo_churn_rate", "last_30_days"),
    ] {
        let question = format!("{metric}?range={range}&compare=previous_period&as_of={as_of}");
        let expected = self::metric(&client, &question).await;
        assert_eq!(summary[name]["rows"][0]["value"], expected["rows"][0]["value"], "{name}");
        assert_eq!(summary[name]["from"], expected["from"], "{name}");
    }
    // A sign-up has 30 days to pay.
    let (from, to) = (days_ago(60), days_ago(30));
    let expected = metric(&client, &format!("paid_conversion?from={from}&to={to}")).await;
    assert_eq!(
        summary["conversion_rate"]["rows"][0]["value"], expected["rows"][0]["value"],
        "{summary}"
    );
    assert_eq!(summary["conversion_rate"]["rows"][0].get("incomplete"), None, "{summary}");
    let (status, refused) = client.get("/v1/metrics/summary?tz=Mars").await;
    assert_eq!((status.as_u16(), &refused["code"]), (400, &json!("invalid_parameters")));
}
