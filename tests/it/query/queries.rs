//! SQL: its forms, its errors, and what it must not do.

use std::time::{Duration, Instant};

use arrow::{array::AsArray, datatypes::Int64Type, ipc::reader::StreamReader};
use chrono::DateTime;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Reply, Server, admin_key, flushed, folder, reply, run_ok, usage};

const EVENTS: i64 = 400;
const COUNT: &str = "select count(*) as n from usage_events";
const HEAVY: &str = "select count(*) from usage_events a, usage_events b, usage_events c, \
     usage_events d where a.input_tokens + b.input_tokens + c.input_tokens + d.input_tokens < 0";

/// A server with some events, and a key for everything.
struct Lake {
    _server: Server,
    client: Client,
    dir: TempDir,
}

async fn lake() -> Lake {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    send(&client, 0..EVENTS).await;
    Lake { _server: server, client, dir }
}

async fn send(client: &Client, ids: std::ops::Range<i64>) {
    let lines: Vec<_> = ids
        .map(|i| {
            let data = json!({"input_tokens": i, "cost": "0.1", "currency": "USD"});
            usage("org_a", &format!("q{i}"), data).to_string()
        })
        .collect();
    let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!((status.as_u16(), &answer["rejected"]), (200, &json!(0)), "{answer}");
}

async fn ask(client: &Client, body: Value) -> Reply {
    reply(client.request(Method::POST, "/v1/query").json(&body)).await
}

async fn still_answers(client: &Client) {
    assert_eq!(client.rows(COUNT).await, [json!({"n": EVENTS})]);
}

fn arrow_sum(bytes: &[u8]) -> i64 {
    let reader = StreamReader::try_new(bytes, None).expect("an Arrow stream");
    reader
        .map(|batch| {
            let batch = batch.expect("a batch");
            let column = batch.column_by_name("t").expect("the column");
            column.as_primitive::<Int64Type>().iter().flatten().sum::<i64>()
        })
        .sum()
}

#[tokio::test]
async fn an_answer_in_every_form() {
    let Lake { client, .. } = &lake().await;
    let sql = "select input_tokens as t, cost from usage_events order by t";
    let sum = EVENTS * (EVENTS - 1) / 2;
    for (format, media_type) in [
        ("json", "application/json"),
        ("ndjson", "application/x-ndjson"),
        ("csv", "text/csv; charset=utf-8"),
        ("arrow", "application/vnd.apache.arrow.stream"),
    ] {
        let named = ask(client, json!({"sql": sql, "format": format})).await;
        let accept = client.request(Method::POST, "/v1/query").json(&json!({"sql": sql}));
        let accepted = reply(accept.header("accept", format!("text/x, {media_type}"))).await;
        let query = format!("/v1/query?format={format}&q={}", sql.replace(' ', "+"));
        let linked = reply(client.request(Method::GET, &query)).await;
        for answer in [named, accepted, linked] {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("content-type"), media_type);
            assert!(!answer.header("x-as-of").is_empty());
            let found = match format {
                "json" => {
                    let body = answer.json();
                    assert_eq!(body["row_count"], EVENTS);
                    assert_eq!(
                        (&body["truncated"], &body["columns"][1]["type"]),
                        (&json!(false), &json!("decimal"))
                    );
                    body["rows"]
                        .as_array()
                        .expect("rows")
                        .iter()
                        .filter_map(|r| r["t"].as_i64())
                        .sum()
                }
                "ndjson" => ndjson_sum(&answer.text()),
                "csv" => csv_sum(&answer.text()),
                _ => arrow_sum(&answer.body),
            };
            assert_eq!(found, sum, "{format}");
        }
    }
    let none = "select model, input_tokens as t from usage_events where false";
    let empty = ask(client, json!({"sql": none, "format": "csv"})).await;
    assert_eq!(empty.text(), "model,t\n");
    assert_eq!(client.rows(none).await.len(), 0);
    let empty = ask(client, json!({"sql": none, "format": "arrow"})).await;
    assert_eq!(arrow_sum(&empty.body), 0);
}

fn ndjson_sum(text: &str) -> i64 {
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    let end = lines.last().map(|line| &line["_end"]).expect("a last line");
    let found = (&end["rows"], &end["truncated"]);
    assert_eq!(found, (&json!(EVENTS), &json!(false)), "the last line says that it is the end");
    lines.iter().filter_map(|line| line["t"].as_i64()).sum()
}

fn csv_sum(text: &str) -> i64 {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("t,cost"));
    lines.filter_map(|line| line.split_once(',')?.0.parse::<i64>().ok()).sum()
}

#[tokio::test]
async fn values_keep_their_digits() {
    let Lake { client, .. } = &lake().await;
    let sql = "select sum(cost) as s, 0.1 + 0.2 as d, now() as t, now() = now() as same, \
               9007199254740993 as big, cast(null as text) as nothing from usage_events";
    let row = &client.rows(sql).await[0];
    let decimal = |name: &str| row[name].as_str().and_then(|text| text.parse::<Decimal>().ok());
    assert_eq!(decimal("s"), Some(Decimal::new(EVENTS, 1)), "{row}");
    assert_eq!(decimal("d"), Some(Decimal::new(3, 1)), "{row}");
    assert_eq!((&row["same"], &row["nothing"]), (&json!(true), &Value::Null));
    assert_eq!(row["big"].as_i64(), Some(9_007_199_254_740_993));
    let now = row["t"].as_str().expect("a time");
    assert!(now.ends_with('Z') && DateTime::parse_from_rfc3339(now).is_ok(), "{now}");
}

#[tokio::test]
async fn rows_beyond_the_limit_are_refused_or_cut() {
    let Lake { client, .. } = &lake().await;
    let sql = "select event_id from usage_events";
    let body =
        |rows: i64, truncate: bool| json!({"sql": sql, "max_rows": rows, "truncate": truncate});
    let refused = ask(client, body(EVENTS - 1, false)).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (413, &json!("result_too_large"))
    );
    let cut = ask(client, body(EVENTS - 1, true)).await.json();
    assert_eq!((&cut["truncated"], &cut["row_count"]), (&json!(true), &json!(EVENTS - 1)));
    assert_eq!(cut["rows"].as_array().map(Vec::len), Some(EVENTS as usize - 1));
    let whole = ask(client, body(EVENTS, true)).await.json();
    assert_eq!((&whole["truncated"], &whole["row_count"]), (&json!(false), &json!(EVENTS)));
    let default = "select a.event_id from usage_events a cross join usage_events b";
    assert_eq!(
        ask(client, json!({"sql": default})).await.status,
        413,
        "JSON has a limit of its own"
    );
    let all = ask(client, json!({"sql": default, "format": "ndjson"})).await.text();
    assert_eq!(all.lines().count() as i64, EVENTS * EVENTS + 1, "the others have none");
}

#[tokio::test]
async fn what_is_not_a_query_is_named() {
    let Lake { client, .. } = &lake().await;
    let wrong = ask(client, json!({"sql": "select 1\nform form form usage_events"})).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.header("content-type"), "application/problem+json");
    let wrong = wrong.json();
    assert_eq!(wrong["code"], "syntax_error");
    assert_eq!(wrong["position"]["line"], 2, "{wrong}");
    assert!(wrong["position"]["column"].as_u64().is_some_and(|column| column >= 6), "{wrong}");
    for (sql, code) in [
        ("select * from nothing", "invalid_query"),
        ("select nothing from usage_events", "invalid_query"),
        ("select 1; select 2", "invalid_query"),
        ("", "invalid_query"),
        ("select * from information_schema.df_settings", "invalid_query"),
        ("select * from information_schema.views", "invalid_query"),
    ] {
        let answer = ask(client, json!({"sql": sql})).await;
        let found = (answer.status.as_u16(), answer.json()["code"].clone());
        assert_eq!(found, (400, code.into()), "{sql}: {}", answer.text());
        assert!(!answer.text().contains("root:"), "{sql}");
    }
    for (sql, position, hint) in [
        ("select organisation_id from usage_events", (1, 8), "did you mean `organization_id`?"),
        ("select 1\n  from usage_event", (2, 8), "did you mean `usage_events`?"),
        ("select sqr(2)", (1, 8), "did you mean `sqrt`?"),
        (
            "select price from mrr_movements",
            (1, 8),
            "the columns are `organization_id`, `occurred_at`, ",
        ),
        ("select 1 from elsewhere", (1, 15), "the tables are `usage_events`, "),
    ] {
        let answer = ask(client, json!({"sql": sql})).await.json();
        let (line, column) = position;
        assert_eq!(answer["position"], json!({"line": line, "column": column}), "{answer}");
        assert!(answer["hint"].as_str().is_some_and(|found| found.starts_with(hint)), "{answer}");
    }
    let long = format!("select '{}'", "x".repeat(70_000));
    assert_eq!(ask(client, json!({"sql": long})).await.status, 400);
    let unknown = ask(client, json!({"sql": COUNT, "color": "red"})).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["code"]), (400, &json!("invalid_json")));
    let as_of = ask(client, json!({"sql": COUNT, "as_of": "nonsense"})).await;
    assert_eq!((as_of.status.as_u16(), &as_of.json()["code"]), (400, &json!("invalid_as_of")));
    still_answers(client).await;
}

#[tokio::test]
async fn an_error_says_what_to_write() {
    let Lake { client, .. } = &lake().await;
    for (sql, detail, hint) in [
        (
            "select sum(model) from usage_events",
            "sum does not take text: `model` is text",
            "sum(cast(model as double))",
        ),
        (
            "select upper(input_tokens) from usage_events",
            "`input_tokens` is bigint",
            "upper(cast(input_tokens as text))",
        ),
        (
            "select date_trunc(occurred_at, 'day') from usage_events",
            "timestamp, text",
            "date_trunc(precision, expression)",
        ),
        ("select model + 1 from usage_events", "text + bigint is not possible", "cast"),
        ("select printf('x')", "there is no function `printf`", "/v1/functions"),
        ("select row_number() from usage_events", "a window function", "over ("),
        ("select model, count(*) from usage_events", "must stand in GROUP BY", "GROUP BY model"),
        ("select attributes->>'a' from usage_events", "not offered", "json_get_text"),
        ("select cast(1 as foo)", "no type `foo`", "bigint"),
        ("select model from usage_events a, usage_events b", "several tables", "a.model"),
        ("select 1 / 0", "a division by zero", "nullif"),
        ("select cast('abc' as bigint)", "`abc` is no bigint", "try_cast"),
        ("select interval '1 foo'", "`1 foo` is no interval", "interval '1 day'"),
        ("show tables", "only queries", "\\d"),
        ("describe usage_events", "only queries", "information_schema.columns"),
    ] {
        let answer = ask(client, json!({"sql": sql})).await.json();
        let says =
            |name: &str, part: &str| answer[name].as_str().is_some_and(|text| text.contains(part));
        assert!(says("detail", detail) && says("hint", hint), "{sql}: {answer}");
        assert!(!answer.to_string().contains("Utf8") && !says("detail", "rror:"), "{answer}");
    }
    let many =
        ask(client, json!({"sql": "select * from usage_events", "max_rows": 1})).await.json();
    assert!(many["hint"].as_str().is_some_and(|hint| hint.contains("max_rows")), "{many}");
}

#[tokio::test]
async fn nothing_is_written() {
    let Lake { client, dir, .. } = &lake().await;
    let out = dir.path().join("stolen");
    let path = out.to_str().expect("a path");
    let mut wrong = Vec::new();
    let copy = format!("copy (select 1) to '{path}' stored as csv");
    for sql in [
        copy.clone(),
        format!("explain {copy}"),
        format!("explain analyze {copy}"),
        format!("create external table t stored as csv location '{path}'"),
        "insert into usage_events select * from usage_events".into(),
        "create table t as select 1".into(),
        "create view v as select 1".into(),
        "drop table usage_events".into(),
        "delete from usage_events".into(),
        "update usage_events set model = 'x'".into(),
        "truncate table usage_events".into(),
        "set datafusion.execution.batch_size = 1".into(),
        "show tables".into(),
        "explain analyze insert into usage_events select * from usage_events".into(),
        "explain drop table usage_events".into(),
        "begin".into(),
        "prepare p as select 1".into(),
    ] {
        let answer = ask(client, json!({"sql": sql})).await;
        if answer.status != 403 || answer.json()["code"] != "not_allowed" {
            wrong.push(format!("{sql}: {}", answer.text()));
        }
    }
    let into = ask(client, json!({"sql": "select 1 as x into t"})).await;
    assert!(into.status.is_client_error(), "{}", into.text());
    assert!(!out.exists(), "a file was written");
    still_answers(client).await;
    assert!(wrong.is_empty(), "not refused as they should be: {wrong:#?}");
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let Lake { client, .. } = &lake().await;
    still_answers(client).await;
    let began = Instant::now();
    let answer = ask(client, json!({"sql": HEAVY, "timeout_ms": 300})).await;
    let took = began.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(answer.json()["code"], "deadline_exceeded");
    assert!(took < Duration::from_secs(4), "it took {took:?}");
    still_answers(client).await;
}

#[tokio::test]
async fn a_dead_worker_takes_only_its_query_along() {
    let Lake { client, .. } = &lake().await;
    still_answers(client).await;
    let terms = vec!["1"; 10_000].join("+");
    let deep =
        ask(client, json!({"sql": format!("select {terms} as n"), "timeout_ms": 2_000})).await;
    let known = [200, 400, 422, 504].contains(&deep.status.as_u16());
    assert!(known, "{}: {}", deep.status, deep.text());
    if deep.status == 200 {
        assert_eq!(deep.json()["rows"][0]["n"], 10_000);
    }
    still_answers(client).await;
    let nested = format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let nested = ask(client, json!({"sql": nested, "timeout_ms": 2_000})).await;
    assert!([400, 422].contains(&nested.status.as_u16()), "{}", nested.text());
    still_answers(client).await;
}

#[tokio::test]
async fn an_earlier_cut_gives_the_earlier_answer() {
    let Lake { client, .. } = &lake().await;
    let (_, before) = client.query(COUNT).await;
    let as_of = before["as_of"].as_str().expect("a cut");
    send(client, EVENTS..EVENTS + 50).await;
    let (status, again) = client.query_with(json!({"sql": COUNT, "as_of": as_of})).await;
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["rows"], before["rows"]);
    assert_eq!(again["as_of"], before["as_of"]);
    assert_eq!(client.rows(COUNT).await, [json!({"n": EVENTS + 50})]);
}

#[tokio::test]
async fn an_answer_is_kept_until_a_row_comes_that_it_may_be_about() {
    let Lake { client, dir, _server: server } = &lake().await;
    let answer = async |client: &Client, body: Value| {
        let answer = ask(client, body).await;
        let cache = answer.header("x-cache").to_owned();
        (cache, answer.json()["rows"].clone(), answer)
    };
    let count = || json!({"sql": COUNT});
    let rows = |n: i64| json!([{"n": n}]);
    let (cache, first, _) = answer(client, count()).await;
    assert_eq!((cache.as_str(), &first), ("miss", &rows(EVENTS)));
    let (cache, again, whole) = answer(client, count()).await;
    assert_eq!((cache.as_str(), &again), ("hit", &first));
    assert_eq!((whole.header("x-rows"), whole.header("x-rows-scanned")), ("1", "0"));
    let csv = ask(client, json!({"sql": COUNT, "format": "csv", "max_rows": 10_000})).await;
    assert_eq!((csv.header("x-cache"), csv.text()), ("hit", format!("n\n{EVENTS}\n")));
    // What the text does not say makes another question.
    for other in [
        json!({"sql": COUNT, "tz": "Asia/Tokyo"}),
        json!({"sql": COUNT, "max_rows": 7}),
        json!({"sql": format!("{COUNT} where input_tokens = $1"), "params": [1]}),
        json!({"sql": format!("{COUNT} where input_tokens = $1"), "params": [2]}),
    ] {
        assert_eq!(answer(client, other).await.0, "miss");
    }
    run_ok(dir.path(), &["organization", "create", "org_b", "--name", "B", "--country", "DE"]);
    let organization =
        run_ok(dir.path(), &["key", "create", "--name", "own", "--organization", "org_b"]);
    let own = Client::new(server, &organization);
    let (cache, none, _) = answer(&own, count()).await;
    assert_eq!((cache.as_str(), none), ("", rows(0)), "the answer of somebody else");
    // The same rows in a file, and rows of another table.
    flushed(client).await;
    let billing = json!({"id": "b1", "source": "/test", "type": "billing.subscription_created", "subject": "org_a",
        "time": usage("org_a", "x", json!({}))["time"], "specversion": "1.0",
        "data": {"subscription_id": "s", "plan": "pro", "amount": "1", "currency": "USD", "billing_interval": "month"}});
    let (status, sent) = client.send("application/json", billing.to_string()).await;
    assert_eq!((status.as_u16(), &sent["accepted"]), (200, &json!(1)), "{sent}");
    assert_eq!(answer(client, count()).await.0, "hit");
    send(client, EVENTS..EVENTS + 1).await;
    let (cache, more, _) = answer(client, count()).await;
    assert_eq!((cache.as_str(), more), ("miss", rows(EVENTS + 1)));
    // What depends on the time of the request is computed each time.
    for sql in
        ["select now() as t", "select count(*) as n from usage_events where occurred_at < now()"]
    {
        assert_eq!(answer(client, json!({"sql": sql})).await.0, "miss");
        assert_eq!(answer(client, json!({"sql": sql})).await.0, "miss");
    }
}
