//! Metrics and forecasts over HTTP, and what those who run the server look at.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, Utc};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{Client, Server, folder, reply, usage};

async fn metric(client: &Client, question: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/metrics/{question}")).await;
    assert_eq!(status, 200, "{question}: {answer}");
    answer
}

fn decimal(value: &Value) -> Decimal {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.parse().unwrap_or_else(|_| panic!("`{value}` is no number"))
}

fn rows(answer: &Value) -> &[Value] {
    answer["rows"].as_array().expect("rows")
}

fn total(answer: &Value) -> Decimal {
    rows(answer).iter().map(|row| decimal(&row["value"])).sum()
}

fn time(row: &Value) -> DateTime<Utc> {
    row["at"].as_str().and_then(|at| at.parse().ok()).expect("a time")
}

async fn the_catalog_is_complete(client: &Client) {
    let (status, list) = client.get("/v1/metrics").await;
    assert_eq!(status, 200);
    let metrics = list["metrics"].as_array().expect("metrics");
    for wanted in [
        "requests",
        "tokens",
        "error_rate",
        "p95_latency",
        "active_organizations",
        "usage_revenue",
        "mrr",
        "mrr_new",
        "mrr_expansion",
        "mrr_contraction",
        "mrr_churn",
        "mrr_reactivation",
        "churned_organizations",
        "visitors",
        "registrations",
        "registration_conversion",
    ] {
        assert!(metrics.iter().any(|metric| metric["name"] == wanted), "{wanted}");
    }
    let mut sources = Vec::new();
    for definition in metrics {
        let is_first = !sources.contains(&&definition["source"]);
        sources.push(&definition["source"]);
        let name = definition["name"].as_str().expect("a name");
        assert!(definition["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        let answer = metric(client, name).await;
        assert_eq!(
            (&answer["metric"], &answer["unit"]),
            (&definition["name"], &definition["unit"])
        );
        assert!(
            answer["sql"]
                .as_str()
                .is_some_and(|sql| sql.starts_with("SELECT") || sql.starts_with("WITH"))
        );
        // The metrics of a source have the same dimensions.
        for dimension in
            definition["dimensions"].as_array().expect("dimensions").iter().filter(|_| is_first)
        {
            let dimension = dimension.as_str().expect("a name");
            let question = format!("{name}?by={dimension}");
            if dimension == "referrer" {
                // It says something of persons.
                let (status, refused) = client.get(&format!("/v1/metrics/{question}")).await;
                assert_eq!((status.as_u16(), &refused["code"]), (403, &json!("persons_hidden")));
                continue;
            }
            let split = metric(client, &question).await;
            assert_eq!(split["by"], json!([dimension]));
        }
    }
}

async fn parts_add_up(client: &Client) {
    for name in ["requests", "errors", "tokens", "usage_revenue"] {
        let whole = total(&metric(client, name).await);
        assert!(whole > Decimal::ZERO, "{name}");
        for split in [
            "by=model",
            "by=organization_id,operation",
            "grain=day",
            "grain=week",
            "grain=month",
            "grain=hour",
            "grain=day&by=provider",
        ] {
            let answer = metric(client, &format!("{name}?{split}")).await;
            assert_eq!(total(&answer), whole, "{name} {split}");
        }
        let days = metric(client, &format!("{name}?grain=day")).await;
        assert_eq!(rows(&days).len(), 30, "30 complete days, each with a value");
        let weeks = metric(client, &format!("{name}?grain=week")).await;
        let mut summed: BTreeMap<DateTime<Utc>, Decimal> = BTreeMap::new();
        for row in rows(&days) {
            let at = time(row);
            let monday = at - chrono::Days::new(at.weekday().num_days_from_monday().into());
            *summed.entry(monday).or_default() += decimal(&row["value"]);
        }
        let weeks: BTreeMap<_, _> =
            rows(&weeks).iter().map(|row| (time(row), decimal(&row["value"]))).collect();
        assert_eq!(weeks, summed, "{name} by week from Monday");
    }
    let before = metric(client, "requests").await;
    let as_of = before["as_of"].as_str().expect("a cut");
    let at = time(&rows(&metric(client, "requests?grain=day").await)[29]).to_rfc3339();
    let mut late = usage("org_late", "late", json!({}));
    late["time"] = at.into();
    assert_eq!(client.send("application/json", late.to_string()).await.0, 200);
    let after = metric(client, "requests").await;
    assert_eq!(total(&after), total(&before) + Decimal::ONE, "fresh");
    let again = metric(client, &format!("requests?as_of={as_of}")).await;
    assert_eq!(again["rows"], before["rows"], "and the same again at the same cut");
}

async fn wrong_questions_are_refused(client: &Client) {
    for (path, status, code) in [
        ("/v1/metrics/nothing", 404, "not_found"),
        ("/v1/forecasts/nothing", 404, "not_found"),
        ("/v1/metrics/requests?grain=fortnight", 400, "invalid_parameters"),
        ("/v1/metrics/requests?from=yesterday", 400, "invalid_parameters"),
        ("/v1/metrics/requests?color=red", 400, "invalid_parameters"),
        ("/v1/metrics/requests?as_of=nonsense", 400, "invalid_as_of"),
        ("/v1/metrics/requests?by=nothing", 400, "invalid_query"),
        ("/v1/metrics/requests?from=2026-02-01&to=2026-01-01", 400, "invalid_parameters"),
        (
            "/v1/metrics/requests?grain=minute&from=2000-01-01&to=2026-01-01",
            400,
            "invalid_parameters",
        ),
        ("/v1/forecasts/requests?horizon=0", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?horizon=169", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?horizon=91", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?grain=year", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?level=80,100", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?limit=51&by=model", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?by=nothing", 400, "invalid_query"),
        ("/v1/forecasts/p95_latency?by=model", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?tz=Mars", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?filter=model", 400, "invalid_parameters"),
        ("/v1/forecasts/requests?grain=week", 422, "not_forecastable"),
        ("/v1/forecasts/requests?horizon=30", 422, "not_forecastable"),
    ] {
        let (found, answer) = client.get(path).await;
        assert_eq!((found.as_u16(), &answer["code"]), (status, &json!(code)), "{path}: {answer}");
    }
}

async fn forecasts_nest(client: &Client) {
    for (name, grain, horizon) in [("requests", "day", 7), ("usage_revenue", "day", 10)] {
        let path = format!("/v1/forecasts/{name}?grain={grain}&horizon={horizon}");
        let (status, answer) = client.get(&path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let points = answer["points"].as_array().expect("points");
        assert_eq!(points.len(), horizon);
        let from: Option<DateTime<Utc>> = answer["from"].as_str().and_then(|at| at.parse().ok());
        assert_eq!(Some(time(&points[0])), from);
        for pair in points.windows(2) {
            assert_eq!(time(&pair[1]) - time(&pair[0]), chrono::Duration::days(1));
        }
        for point in points {
            let number = |value: &Value| value.as_f64().expect("a number");
            let [narrow, wide] = [&point["intervals"][0], &point["intervals"][1]];
            assert_eq!((number(&narrow["level"]), number(&wide["level"])), (0.8, 0.95));
            let bounds = [
                &wide["lower"],
                &narrow["lower"],
                &point["value"],
                &narrow["upper"],
                &wide["upper"],
            ]
            .map(number);
            assert!(bounds.is_sorted() && bounds[0] >= 0.0, "{bounds:?}");
        }
        assert!(answer["model"].as_str().is_some_and(|model| !model.is_empty()));
    }
}

/// The first forecast value does not depend on how far somebody looks, groups add up, and the business numbers are there.
async fn forecasts_agree_with_each_other(client: &Client) {
    let ask = async |question: &str| {
        let (status, answer) = client.get(&format!("/v1/forecasts/{question}")).await;
        assert_eq!(status, 200, "{question}: {answer}");
        answer
    };
    let value = |point: &Value| point["value"].as_f64().expect("a number");
    let (one, ten) = (ask("requests?horizon=1").await, ask("requests?horizon=10").await);
    assert_eq!(one["points"][0], ten["points"][0]);
    assert_eq!(one["backtest"], ten["backtest"]);
    let weights = ten["models"].as_array().expect("models");
    let sum: f64 = weights.iter().filter_map(|model| model["weight"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{weights:?}");
    for language in ["en", "zh-CN"] {
        let said = ten["explanation"]["said"][language].as_array().expect("sentences");
        assert!(said.len() >= 2, "{said:?}");
    }

    let split = ask("requests?horizon=10&by=model&limit=2").await;
    assert_eq!((&split["points"], &split["reconciled"]), (&ten["points"], &json!(true)));
    let groups = split["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 3, "two models, and all others");
    assert_eq!(groups.iter().filter(|group| group["other"] == true).count(), 1);
    for (index, point) in split["points"].as_array().expect("points").iter().enumerate() {
        let parts: f64 = groups.iter().map(|group| value(&group["points"][index])).sum();
        assert!((parts - value(point)).abs() < 1e-6 * value(point).max(1.0), "{parts} {point}");
    }
    let short = ask("requests?horizon=1&by=model&limit=2").await;
    assert_eq!(short["groups"][0]["points"][0], groups[0]["points"][0], "of a group, too");
    let balances = ask("mrr?horizon=5&by=organization_kind").await;
    for (index, point) in balances["points"].as_array().expect("points").iter().enumerate() {
        let parts = balances["groups"].as_array().into_iter().flatten();
        let sum: f64 = parts.map(|group| value(&group["points"][index])).sum();
        assert!((sum - value(point)).abs() < 1e-6 * value(point).max(1.0), "{sum} {point}");
    }
    let model = groups[0]["value"].as_str().expect("a model");
    let filtered = ask(&format!("requests?filter=model%3D{model}&level=50")).await;
    assert_eq!(filtered["reconciled"], false);
    assert_eq!(filtered["points"][0]["intervals"][0]["level"], 0.5);

    let reached = &ask("requests?reach=1").await["reached"];
    assert_eq!(reached["at"], ten["points"][0]["at"], "{reached}");
    assert!(ask("mrr?reach=1e12").await["reached"]["at"].is_null());
    let hours = ask("requests?grain=hour&horizon=168&tz=Asia/Kolkata").await;
    assert_eq!(hours["points"].as_array().map(Vec::len), Some(168));
    assert!(hours["peak"].is_null(), "40 days do not say the busiest hour of the next 30");
}

#[tokio::test]
async fn figures_agree_with_each_other() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 6);
    let client = Client::new(&server, &server.ready.api_key);
    the_catalog_is_complete(&client).await;
    wrong_questions_are_refused(&client).await;
    forecasts_nest(&client).await;
    forecasts_agree_with_each_other(&client).await;
    parts_add_up(&client).await;
}

#[tokio::test]
async fn the_server_tells_how_it_is() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let key = tests::admin_key(dir.path());
    let (client, nobody) = (Client::new(&server, &key), Client::new(&server, ""));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(nobody.get(path).await.0, 200, "{path}");
    }
    let body = [usage("org_a", "1", json!({})), usage("org_a", "2", json!({}))];
    assert_eq!(client.send("application/json", json!(body).to_string()).await.0, 200);
    assert_eq!(client.query("select 1 as one").await.0, 200);
    let measured = reply(client.request(Method::GET, "/metrics")).await;
    assert!(measured.header("content-type").starts_with("text/plain"));
    let text = measured.text();
    for line in ["ingest_accepted_events_total 2", "query_requests_total 1"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let (status, answer) = client.get("/v1/forecasts/requests").await;
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("not_forecastable")), "{answer}");
    for path in ["/nothing", "/v1/nothing"] {
        let asked = nobody.request(Method::GET, path).header("x-request-id", "mine-1");
        let answer = reply(asked).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (404, "mine-1"));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(
            (&problem["code"], &problem["instance"]),
            (&json!("not_found"), &json!("mine-1"))
        );
    }
    let unsafe_id = nobody.request(Method::GET, "/healthz").header("x-request-id", "a b<c>");
    let given = reply(unsafe_id).await.header("x-request-id").to_owned();
    assert_eq!(given.len(), 36, "an id of ours instead: {given}");
}

#[tokio::test]
async fn kept_answers_follow_late_rows_and_only_those() {
    let dir = folder();
    let key = tests::admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    #[expect(clippy::disallowed_methods, reason = "the server under test reads the clock too")]
    let today = Utc::now().date_naive();
    let day = |back: u64| today - chrono::Days::new(back);
    let send = async |id: &str, back: u64, event_type: &str, data: Value| {
        let mut event = usage("org_kept", id, data);
        event["time"] = format!("{}T00:00:01Z", day(back)).into();
        event["type"] = event_type.into();
        let (status, answer) = client.send("application/json", event.to_string()).await;
        assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(1)), "{answer}");
    };
    let requests = format!("requests?from={}&to={}", day(4), day(2));
    let mrr = format!("mrr?from={}&to={}&grain=day", day(3), day(2));
    let plan = |amount: &str| {
        json!({"subscription_id": "s", "plan": "p", "amount": amount, "currency": "USD",
               "billing_interval": "month"})
    };
    let asked = async |question: &str| metric(&client, question).await;
    send("1", 3, "usage.request", json!({})).await;
    send("2", 9, "billing.subscription_created", plan("10")).await;
    let (first, first_mrr) = (asked(&requests).await, asked(&mrr).await);
    assert_eq!((total(&first), total(&first_mrr)), (1.into(), 10.into()));
    // Rows of other days change nothing, and the answer is told with the newest cut all the same.
    send("3", 0, "usage.request", json!({})).await;
    send("4", 1, "billing.subscription_changed", plan("70")).await;
    let second = asked(&requests).await;
    assert_eq!((total(&second), total(&asked(&mrr).await)), (1.into(), 10.into()));
    assert!(second["as_of"] != first["as_of"]);
    // A late one is counted at once, and a stock follows what came long before its window.
    send("5", 4, "usage.request", json!({})).await;
    send("6", 8, "billing.subscription_changed", plan("25")).await;
    assert_eq!((total(&asked(&requests).await), total(&asked(&mrr).await)), (2.into(), 25.into()));
    // What was true then stays true then.
    let then =
        |question: &str| format!("{question}&as_of={}", first["as_of"].as_str().expect("a cut"));
    let (then_requests, then_mrr) = (asked(&then(&requests)).await, asked(&then(&mrr)).await);
    assert_eq!((total(&then_requests), total(&then_mrr)), (1.into(), 10.into()));
    assert_eq!(total(&asked(&requests).await), 2.into());
    server.stop();
}

/// MRR moves once a UTC day, so a fact after a window's end, of the same day, changes what is in the window; and those who
/// signed up in a window may pay after it. A kept answer must not hide either.
#[tokio::test]
async fn kept_answers_follow_rows_after_the_window() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &tests::admin_key(dir.path()));
    let send = async |id: &str, time: &str, event_type: &str, data: Value| {
        let mut event = usage("org_a", id, data);
        (event["time"], event["type"]) = (time.into(), event_type.into());
        let (status, answer) = client.send("application/json", event.to_string()).await;
        assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(1)), "{answer}");
    };
    let plan = |amount: &str| {
        json!({"subscription_id": "s", "plan": "p", "amount": amount, "currency": "USD",
               "billing_interval": "month"})
    };
    let value = async |question: &str| rows(&metric(&client, question).await)[0]["value"].clone();
    send("1", "2026-03-01T06:00:00Z", "billing.subscription_created", plan("10")).await;
    send("2", "2026-03-02T06:00:00Z", "billing.subscription_changed", plan("30")).await;
    send("3", "2026-03-02T07:00:00Z", "billing.signed_up", json!({"plan": "free"})).await;
    let until_noon = "from=2026-03-01&to=2026-03-02T12:00:00Z";
    let questions = [
        format!("mrr?{until_noon}"),
        format!("arr?{until_noon}"),
        format!("paid_conversion?{until_noon}"),
    ];
    let mut found = Vec::new();
    for _ in 0..2 {
        for question in &questions {
            found.push(value(question).await);
        }
        send(
            &format!("4 {}", found.len()),
            "2026-03-02T18:00:00Z",
            "billing.subscription_changed",
            plan("70"),
        )
        .await;
        let paid = json!({"invoice_id": "i", "amount": "70", "currency": "USD"});
        send(
            &format!("5 {}", found.len()),
            "2026-03-20T18:00:00Z",
            "billing.payment_succeeded",
            paid,
        )
        .await;
    }
    let expected = [json!("30"), json!("360"), json!(0.0), json!("10"), json!("120"), json!(1.0)];
    assert_eq!(found, expected);
}

/// The docs list the metrics that there are.
#[tokio::test]
async fn the_catalog_is_in_the_docs() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &tests::admin_key(dir.path()));
    let (_, list) = client.get("/v1/metrics").await;
    let own = Client::new(&server, &tests::organization_key(dir.path(), "org_a", "read"));
    let (_, own) = own.get("/v1/metrics").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metrics = |list: &Value| list["metrics"].as_array().cloned().expect("metrics");
    let mut table =
        String::from("| metric | unit | meaning | formula | goal |\n|---|---|---|---|---|\n");
    let mut dimensions: BTreeMap<String, (Vec<String>, Value)> = BTreeMap::new();
    for metric in metrics(&list) {
        let name = text(&metric["name"]);
        let is_own = metrics(&own).iter().any(|own| own["name"] == metric["name"]);
        let staff = if is_own { "" } else { " For staff." };
        let goal = match &metric["goal"] {
            Value::Null => String::new(),
            goal if goal["per"] == "month" => {
                format!("{} a month", decimal(&goal["value"]).normalize())
            }
            goal => decimal(&goal["value"]).normalize().to_string(),
        };
        table += &format!(
            "| `{name}` | {} | {}{staff} | {} | {goal} |\n",
            text(&metric["unit"]),
            text(&metric["description"]),
            text(&metric["formula"]),
        );
        let of_source = dimensions.entry(text(&metric["source"]));
        of_source
            .or_insert_with(|| (Vec::new(), metric["dimensions"].clone()))
            .0
            .push(format!("`{name}`"));
    }
    table += "\nDimensions:\n\n";
    for (names, dimensions) in dimensions.into_values() {
        let dimensions: Vec<_> = dimensions
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| format!("`{}`", text(name)))
            .collect();
        table += &format!("- {}: {}\n", names.join(", "), dimensions.join(", "));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let docs = std::fs::read_to_string(&path).expect("docs/metrics.md");
    let (before, rest) = docs.split_once("-- catalog` -->\n").expect("the head of the list");
    let (_, after) = rest.split_once("<!-- /metrics -->").expect("the end of the list");
    let expected = format!("{before}-- catalog` -->\n{table}<!-- /metrics -->{after}");
    if std::env::vars().any(|(name, _)| name == "AIHUB_TEST_UPDATE") {
        std::fs::write(&path, &expected).expect("docs/metrics.md is written");
    } else {
        assert!(
            docs == expected,
            "docs/metrics.md lacks a metric; AIHUB_TEST_UPDATE=1 writes it anew"
        );
    }
}
