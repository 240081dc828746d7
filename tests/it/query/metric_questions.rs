//! What can be asked of a metric: zones, ranges, filters, comparison, the largest groups, and other formats. Each answer
//! is held against plain SQL.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, days_ago, folder, organization_key, reply, run_ok, usage};

pub(super) async fn metric(client: &Client, question: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/metrics/{question}")).await;
    assert_eq!(status, 200, "{question}: {answer}");
    answer
}

async fn table(client: &Client, body: Value) -> Value {
    let request = client.request(Method::POST, "/v1/metrics/query").json(&body);
    let answer = reply(request).await;
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

pub(super) fn rows(answer: &Value) -> &[Value] {
    answer["rows"].as_array().expect("rows")
}

/// The values of one metric, each with its group.
fn values(answer: &Value) -> Vec<(Value, Value)> {
    rows(answer).iter().map(|row| (row["group"].clone(), row["value"].clone())).collect()
}

/// One request at a time, with what is said of it.
fn request(id: &str, time: &str, data: Value) -> Value {
    let mut event = usage("org_a", id, data);
    event["time"] = time.into();
    event
}

/// Staff see what an answer read; an organization shares its files with others.
#[tokio::test]
async fn staff_see_what_an_answer_read() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let events: Vec<_> =
        (0..7).map(|n| request(&format!("r{n}"), "2026-02-03T10:00:00Z", json!({}))).collect();
    client.store(&events).await;
    tests::flushed(&client).await;
    let window = "from=2026-02-03&to=2026-02-04";
    let read = metric(&client, &format!("requests?{window}")).await["read"].clone();
    assert_eq!((&read["source"], &read["rows"]), (&json!("raw"), &json!(7)), "{read}");
    assert!(read["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{read}");
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    assert!(metric(&own, &format!("requests?{window}")).await["read"].is_null());
}

#[tokio::test]
async fn days_are_those_of_the_zone() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    // One request at half past each hour around the two nights in which the clock of Berlin changes.
    let mut events = Vec::new();
    for (day, next) in [("2026-03-28", "2026-03-29"), ("2026-10-24", "2026-10-25")] {
        for day in [day, next] {
            for hour in 0..24 {
                events.push(request(
                    &format!("{day} {hour}"),
                    &format!("{day}T{hour:02}:30:00Z"),
                    json!({}),
                ));
            }
        }
    }
    client.store(&events).await;
    for (day, hours, utc) in
        [("2026-03-29", 23, "2026-03-28T23:00:00Z"), ("2026-10-25", 25, "2026-10-24T22:00:00Z")]
    {
        let next = day.parse::<chrono::NaiveDate>().expect("a date") + chrono::Days::new(1);
        let window = format!("requests?from={day}&to={next}&tz=Europe/Berlin");
        let days = metric(&client, &format!("{window}&grain=day")).await;
        assert_eq!(days["tz"], "Europe/Berlin");
        assert_eq!(rows(&days).len(), 1, "{days}");
        assert_eq!(
            (&rows(&days)[0]["at"], &rows(&days)[0]["value"]),
            (&json!(utc), &json!(hours)),
            "{days}"
        );
        let by_hour = metric(&client, &format!("{window}&grain=hour")).await;
        assert_eq!(rows(&by_hour).len(), hours);
        assert!(rows(&by_hour).iter().all(|row| row["value"] == 1), "{by_hour}");
    }
    // Buckets of weeks and months are those that SQL gives in the zone.
    for grain in ["hour", "day", "week", "month", "quarter", "year"] {
        for tz in
            ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "+05:45"]
        {
            let question = format!(
                "requests?from=2026-01-01&to=2026-11-01&grain={grain}&fill=none&tz={}",
                tz.replace('+', "%2B")
            );
            let answer = metric(&client, &question).await;
            let sql = format!(
                "select cast(extract(epoch from date_trunc('{grain}', occurred_at)) as bigint) as at, count(*) as n \
                 from usage_events group by 1 order by 1"
            );
            let (status, expected) = client.query_with(json!({"sql": sql, "tz": tz})).await;
            assert_eq!(status, 200, "{expected}");
            let at = |row: &Value| {
                let at: chrono::DateTime<chrono::Utc> =
                    row["at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
                (at.timestamp(), row["value"].as_i64().expect("a count"))
            };
            let expected: Vec<_> = rows(&expected)
                .iter()
                .map(|row| {
                    (row["at"].as_i64().expect("seconds"), row["n"].as_i64().expect("a count"))
                })
                .collect();
            assert_eq!(
                rows(&answer).iter().map(at).collect::<Vec<_>>(),
                expected,
                "{grain} of {tz}"
            );
        }
    }
}

#[tokio::test]
async fn filters_and_groups_say_what_sql_says() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 8);
    let client = Client::new(&server, &server.ready.api_key);
    let (from, to) = (days_ago(20), days_ago(0));
    let window = format!("from={from}&to={to}");
    let within = format!(
        "occurred_at >= timestamp '{from} 00:00:00' and occurred_at < timestamp '{to} 00:00:00'"
    );
    let count = async |condition: &str| {
        let rows = client
            .rows(&format!("select count(*) as n from usage_events where {within} and {condition}"))
            .await;
        rows[0]["n"].clone()
    };
    let models = client
        .rows(&format!(
            "select model, count(*) as n from usage_events where {within} group by model order by n desc, model"
        ))
        .await;
    let (first, second) = (
        models[0]["model"].as_str().expect("a model"),
        models[1]["model"].as_str().expect("a model"),
    );
    for (filter, condition) in [
        (format!("model={first}"), format!("model = '{first}'")),
        (format!("model!={first}"), format!("model is distinct from '{first}'")),
        (format!("model={first},{second};status_code=200"), format!("model in ('{first}', '{second}') and status_code = 200")),
        (format!("model!={first},{second}"), format!("model not in ('{first}', '{second}')")),
        ("error_code=".into(), "error_code is null and (status_code is null or status_code < 400)".into()),
        (format!("model~{}", first[..4].to_uppercase()), format!("strpos(model, '{}') > 0", &first[..4])),
        (
            json!({"or": [
                {"dimension": "model", "operator": "=", "value": first},
                {"and": [
                    {"dimension": "status_code", "operator": "in", "values": ["429", "500"]},
                    {"dimension": "region", "operator": "is not null"},
                ]},
            ]})
            .to_string(),
            format!("(model = '{first}' or (status_code in (429, 500) and region is not null))"),
        ),
        (
            "organization_kind=business".into(),
            "organization_id in (select organization_id from organizations where kind = 'business')".into(),
        ),
    ] {
        let mut url = reqwest::Url::parse("http://x/").expect("a URL");
        url.query_pairs_mut().append_pair("filter", &filter);
        let answer = metric(&client, &format!("requests?{window}&{}", url.query().unwrap_or_default())).await;
        let expected = count(&condition).await;
        assert_eq!(rows(&answer)[0]["value"], expected, "{filter}");
        assert_ne!(expected, json!(0), "{filter} finds something");
    }
    the_largest_groups_are_separate(&client, &window, &within).await;
}

/// The largest groups, and the others as one: a distinct count of the others is none of a sum.
async fn the_largest_groups_are_separate(client: &Client, window: &str, within: &str) {
    for name in ["requests", "active_organizations"] {
        let answer =
            metric(client, &format!("{name}?{window}&by=model&limit=2&order=-{name}")).await;
        let value = if name == "requests" { "count(*)" } else { "count(distinct organization_id)" };
        let sql = |condition: &str| {
            format!("select {value} as n from usage_events where {within} and {condition}")
        };
        let ranked = client
            .rows(&format!("select model, {value} as n from usage_events where {within} group by model order by n desc, model limit 2"))
            .await;
        let expected: Vec<_> =
            ranked.iter().map(|row| (json!([row["model"]]), row["n"].clone())).collect();
        let names: Vec<_> = ranked
            .iter()
            .map(|row| format!("'{}'", row["model"].as_str().unwrap_or_default()))
            .collect();
        let others = client.rows(&sql(&format!("model not in ({})", names.join(", ")))).await;
        let found = values(&answer);
        let told: Vec<_> =
            rows(&answer).iter().filter(|row| row["other"] != true).cloned().collect();
        assert_eq!(values(&json!({"rows": told})), expected, "{answer}");
        assert!(found.contains(&(json!([null]), others[0]["n"].clone())), "{answer}");
        assert_eq!(found.len(), 3);
    }
    // Days of the largest groups add up.
    let days =
        metric(client, &format!("requests?{window}&by=model&limit=2&grain=day&fill=zero")).await;
    assert_eq!(rows(&days).len(), 20 * 3, "{days}");
    let sum: i64 = rows(&days).iter().filter_map(|row| row["value"].as_i64()).sum();
    let all = client.rows(&format!("select count(*) as n from usage_events where {within}")).await;
    assert_eq!(json!(sum), all[0]["n"]);
}

#[tokio::test]
async fn values_are_beside_those_of_another_window() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let mut events = Vec::new();
    for (day, count) in [(4, 2), (3, 4), (2, 3), (1, 1)] {
        for id in 0..count {
            let model = if day > 2 { "old" } else { "new" };
            let data =
                json!({"model": model, "list_price": "0.1", "cost": "0.04", "currency": "EUR"});
            events.push(request(
                &format!("{day} {id}"),
                &format!("{}T12:00:00Z", days_ago(day)),
                data,
            ));
        }
    }
    client.store(&events).await;
    let answer =
        metric(&client, "requests?range=last_2_days&grain=day&compare=previous_period").await;
    let row = |n: usize| -> Vec<Value> {
        ["value", "before", "change"].map(|name| rows(&answer)[n][name].clone()).to_vec()
    };
    assert_eq!(
        (row(0), row(1)),
        (vec![json!(3), json!(2), json!(0.5)], vec![json!(1), json!(4), json!(-0.75)])
    );
    assert_eq!(answer["compare"]["from"], format!("{}T00:00:00Z", days_ago(4)));
    // A group that is gone is shown as gone.
    let models =
        metric(&client, "requests?range=last_2_days&by=model&compare=previous_period&order=model")
            .await;
    let shown: Vec<_> = rows(&models)
        .iter()
        .map(|row| {
            [&row["group"][0], &row["value"], &row["before"], &row["change"]].map(Clone::clone)
        })
        .collect();
    assert_eq!(
        shown,
        [
            [json!("new"), json!(4), json!(0), Value::Null],
            [json!("old"), json!(0), json!(6), json!(-1.0)]
        ]
    );
    several_metrics_stand_side_by_side(&client).await;
    the_command_gives_the_same(dir.path());
}

/// A group's name is a stranger's text: a spreadsheet would run it.
#[tokio::test]
async fn a_spreadsheet_runs_no_group() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    client.store(&[usage("org_a", "1", json!({"model": "=cmd()"}))]).await;
    for (csv, model) in [("raw", "=cmd()"), ("spreadsheet", "'=cmd()")] {
        let path = format!("/v1/metrics/requests?today=true&by=model&csv={csv}");
        let reply = reply(client.request(Method::GET, &path)).await;
        assert_eq!(reply.text(), format!("model,requests,incomplete\n{model},1,true\n"));
    }
}

/// From the folder, as from the server.
fn the_command_gives_the_same(dir: &std::path::Path) {
    let arguments = [
        "metrics",
        "requests",
        "--range",
        "last_2_days",
        "--by",
        "model",
        "--compare",
        "--order",
        "-requests",
    ];
    let shown = run_ok(dir, &arguments);
    assert_eq!(shown, "model\tvalue\tbefore\tchange\nnew\t4\t0\t-\nold\t0\t6\t-100.0 %\n");
    let csv = run_ok(
        dir,
        &[
            "metrics",
            "requests",
            "--range",
            "last_2_days",
            "--filter",
            "model=new",
            "--format",
            "csv",
        ],
    );
    assert_eq!(csv, "requests,incomplete\n4,false\n");
}

/// Several metrics at one cut, amounts in rows of their own.
async fn several_metrics_stand_side_by_side(client: &Client) {
    let body = json!({
        "metrics": ["requests", "error_rate", "usage_revenue", "margin", "margin_rate"],
        "range": "last_2_days", "compare": "previous_period",
    });
    let answer = table(client, body.clone()).await;
    assert_eq!(rows(&answer).len(), 2, "{answer}");
    assert_eq!(rows(&answer)[0]["values"], json!([4, 0.0, null, null, null]));
    assert_eq!(rows(&answer)[1]["values"], json!([null, null, "0.4", "0.24", 0.6]));
    assert_eq!(rows(&answer)[1]["before"], json!([null, null, "0.6", "0.36", 0.6]));
    assert_eq!(rows(&answer)[1]["currency"], "EUR");
    // The same as CSV, at the same cut, for those who calculate.
    let mut body = body;
    body["as_of"] = answer["as_of"].clone();
    let request =
        client.request(Method::POST, "/v1/metrics/query").header("accept", "text/csv").json(&body);
    let csv = reply(request).await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(csv.header("x-as-of"), answer["as_of"].as_str().expect("a cut"));
    assert_eq!(
        csv.text().lines().collect::<Vec<_>>(),
        [
            "currency,requests,requests_before,error_rate,error_rate_before,usage_revenue,usage_revenue_before,margin,margin_before,margin_rate,margin_rate_before,incomplete",
            ",4,6,0.0,0.0,,,,,,,false",
            "EUR,,,,,0.400000000000,0.600000000000,0.240000000000,0.360000000000,0.6,0.6,false",
        ]
    );
    let arrow =
        reply(client.request(Method::GET, "/v1/metrics/requests?format=arrow&grain=day")).await;
    assert_eq!(arrow.header("content-type"), "application/vnd.apache.arrow.stream");
    assert!(arrow.body.starts_with(&[0xff; 4]));
}

#[tokio::test]
async fn a_bucket_is_incomplete_until_late_events_came() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let answer =
        metric(&client, "requests?range=last_3_days&today=true&grain=day&tz=Pacific/Auckland")
            .await;
    let flags: Vec<_> = rows(&answer).iter().map(|row| row["incomplete"] == true).collect();
    // Yesterday may have ended minutes ago.
    assert!(matches!(flags.as_slice(), [false, _, true]), "{answer}");
    assert_eq!(
        answer["incomplete"].as_array().map(Vec::len),
        Some(flags.iter().filter(|flag| **flag).count())
    );
    let whole = metric(&client, "requests?range=year_to_date").await;
    assert_eq!(rows(&whole)[0]["incomplete"], true, "{whole}");
}

/// What AI Hub pays is its own business: the column, the metrics and their names are not there for an organization.
#[tokio::test]
async fn an_organization_does_not_see_what_ai_hub_pays() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    client
        .store(&[usage(
            "org_a",
            "1",
            json!({"model": "m", "cost": "27", "list_price": "30", "currency": "USD"}),
        )])
        .await;
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    for name in ["cost", "margin", "margin_rate"] {
        assert_eq!(
            rows(&metric(&client, &format!("{name}?today=true")).await)[0]["currency"],
            "USD"
        );
        for path in [format!("/v1/metrics/{name}"), format!("/v1/forecasts/{name}")] {
            let (status, refused) = own.get(&path).await;
            assert_eq!(status, 404, "{refused}");
            assert!(!refused["hint"].to_string().contains(name), "{refused}");
        }
        let query =
            own.request(Method::POST, "/v1/metrics/query").json(&json!({"metrics": [name]}));
        let refused = reply(query).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (400, &json!("invalid_query"))
        );
    }
    let (_, list) = own.get("/v1/metrics").await;
    assert!(!list.to_string().contains("margin"), "{list}");
    for sql in ["select cost from usage_events", "select sum(usage_ledger.cost) from usage_ledger"]
    {
        let (status, refused) = own.query(sql).await;
        assert_eq!(
            (status.as_u16(), &refused["code"]),
            (400, &json!("invalid_query")),
            "{sql}: {refused}"
        );
        assert!(client.query(sql).await.0.is_success());
    }
    for sql in [
        "select * from usage_events",
        "select * from information_schema.columns",
        "select * from usage_ledger",
    ] {
        let (status, answer) = own.query(sql).await;
        assert_eq!(status, 200, "{answer}");
        assert!(
            !answer.to_string().contains("\"cost\"") && !answer.to_string().contains("27.0"),
            "{sql}: {answer}"
        );
    }
    let (_, schema) = own.get("/v1/schema").await;
    assert!(!schema.to_string().contains("\"cost\""), "{schema}");
    assert_eq!(rows(&metric(&own, "usage_revenue?today=true").await)[0]["value"], "30");
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_what_can() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for (body, expected) in [
        (json!({"metrics": ["requets"]}), "did you mean `requests`?"),
        (json!({"metrics": ["requests"], "by": ["modl"]}), "did you mean `model`?"),
        (
            json!({"metrics": ["requests"], "filter": {"dimension": "modl", "operator": "=", "value": "a"}}),
            "did you mean `model`?",
        ),
        (
            json!({"metrics": ["requests"], "filter": {"dimension": "status_code", "operator": "=", "value": "4xx"}}),
            "whole number",
        ),
        (json!({"metrics": ["requests"], "tz": "Europe/Bonn"}), "is not a time zone"),
        (json!({"metrics": ["requests"], "range": "last_decade"}), "month_to_date"),
        (
            json!({"metrics": ["requests"], "range": "today", "from": "2026-01-01"}),
            "`range` stands for",
        ),
        (json!({"metrics": []}), "1 to 20 metrics"),
        (json!({"metrics": ["requests", "requests"]}), "twice"),
        (json!({"metrics": ["requests"], "limit": 3}), "it needs `by`"),
        (json!({"metrics": ["requests"], "by": ["model"], "limit": 101}), "1 to 100"),
        (json!({"metrics": ["requests"], "order": "tokens"}), "`order` is one of"),
        (
            json!({"metrics": ["requests"], "grain": "minute", "range": "last_90_days"}),
            "20000 buckets",
        ),
        (json!({"metrics": ["requests"], "colour": "red"}), "unknown field"),
    ] {
        let request = client.request(Method::POST, "/v1/metrics/query").json(&body);
        let refused = reply(request).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(expected), "{body}: {}", refused.text());
    }
}
