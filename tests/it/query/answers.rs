//! Answers of `/v1/query`: their forms, parameters, zones, headers, and what happens when nobody reads them.

use std::{
    fs,
    io::{Cursor, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Reply, Server, admin_key, anew, folder, reply, run_ok, usage};

/// Half of them are an hour before midnight in UTC, which is the next day in Berlin.
pub(crate) const EVENTS: i64 = 300;
/// More than is sent in one piece.
const LARGE: &str = "select a.input_tokens as n, repeat('x', 100) as filler from usage_events a \
     cross join usage_events b where b.input_tokens < 270";

pub(crate) struct Lake {
    pub(crate) server: Server,
    pub(crate) client: Client,
    dir: TempDir,
}

pub(crate) async fn lake() -> Lake {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let lines: Vec<_> = (0..EVENTS)
        .map(|i| {
            let hour = if i % 2 == 0 { "10" } else { "23" };
            let mut event = usage("org_a", &format!("a{i}"), json!({"input_tokens": i}));
            event["time"] = json!(format!("2026-07-15T{hour}:00:00Z"));
            event.to_string()
        })
        .collect();
    let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(EVENTS)), "{answer}");
    Lake { server, client, dir }
}

async fn ask(client: &Client, body: Value) -> Reply {
    reply(client.request(Method::POST, "/v1/query").json(&body)).await
}

pub(crate) async fn rows(client: &Client, body: Value) -> Value {
    let answer = ask(client, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["rows"].clone()
}

pub(crate) async fn refused(client: &Client, body: Value, code: &str, says: &str) {
    let answer = ask(client, body.clone()).await;
    let problem = answer.json();
    assert_eq!((answer.status.as_u16(), &problem["code"]), (400, &json!(code)), "{body} {problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(says), "{body}: {detail}");
}

/// How many queries the server is at.
async fn running(client: &Client) -> usize {
    let (_, list) = client.get("/v1/queries?status=running").await;
    list["queries"].as_array().map_or(0, Vec::len)
}

async fn ends(client: &Client) {
    for _ in 0..100 {
        if running(client).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a query that nobody waits for goes on");
}

#[tokio::test]
async fn parquet_is_a_file_that_others_read() {
    let Lake { client, .. } = &lake().await;
    let sql = "select input_tokens as n, model, cost, occurred_at from usage_events order by n";
    let answer = ask(client, json!({"sql": sql, "format": "parquet"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/vnd.apache.parquet");
    let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(answer.body.clone()));
    let batches: Vec<_> =
        file.expect("a file").build().expect("rows").map(Result::unwrap).collect();
    let found: i64 = batches.iter().map(|batch| batch.num_rows() as i64).sum();
    assert_eq!(found, EVENTS);
    assert_eq!(batches[0].schema().field(0).name(), "n");
    let accept = client.request(Method::POST, "/v1/query").json(&json!({"sql": sql}));
    let accepted = reply(accept.header("accept", "application/vnd.apache.parquet")).await;
    assert_eq!(&accepted.body[..4], b"PAR1");
}

#[tokio::test]
async fn a_large_answer_is_whole_in_every_form() {
    let Lake { client, .. } = &lake().await;
    let count = (EVENTS * 270) as usize;
    for format in ["json", "ndjson", "csv", "parquet"] {
        let body = json!({"sql": LARGE, "format": format, "max_rows": 1_000_000});
        let answer = ask(client, body).await;
        assert_eq!(answer.status, 200, "{format}");
        let found = match format {
            "json" => answer.json()["rows"].as_array().map_or(0, Vec::len),
            "ndjson" => answer.text().lines().count() - 1,
            "csv" => answer.text().lines().count() - 1,
            _ => ParquetRecordBatchReaderBuilder::try_new(Bytes::from(answer.body.clone()))
                .expect("a file")
                .build()
                .expect("rows")
                .map(|batch| batch.expect("rows").num_rows())
                .sum(),
        };
        assert_eq!(found, count, "{format}");
        let streamed = format != "parquet";
        assert_eq!(answer.header("content-length").is_empty(), streamed, "{format}");
    }
}

#[tokio::test]
async fn text_is_compressed_for_those_who_take_it() {
    let Lake { client, .. } = &lake().await;
    let sql = "select input_tokens, repeat('y', 50) as filler from usage_events";
    for (encoding, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd])] {
        let asked =
            client.request(Method::POST, "/v1/query").json(&json!({"sql": sql, "format": "csv"}));
        let answer = reply(asked.header("accept-encoding", encoding)).await;
        assert_eq!(answer.header("content-encoding"), encoding);
        assert!(answer.body.starts_with(magic), "{encoding}");
        assert!(answer.body.len() < 8_000, "{} bytes", answer.body.len());
    }
    let asked =
        client.request(Method::POST, "/v1/query").json(&json!({"sql": sql, "format": "arrow"}));
    let arrow = reply(asked.header("accept-encoding", "gzip")).await;
    assert_eq!(arrow.header("content-encoding"), "identity");
}

#[tokio::test]
async fn parameters_are_values_and_never_text() {
    let Lake { client, .. } = &lake().await;
    let named = json!({
        "sql": "select count(*) as n from usage_events where input_tokens < $most and model = $model",
        "params": {"most": 10, "model": "gpt-4o"},
    });
    assert_eq!(rows(client, named).await, json!([{"n": 0}]));
    let positional = json!({
        "sql": "select count(*) as n from usage_events where input_tokens >= $1 and input_tokens < $2",
        "params": [10, 30],
    });
    assert_eq!(rows(client, positional).await, json!([{"n": 20}]));
    let hostile = json!({
        "sql": "select $x as x, count(*) as n from usage_events",
        "params": {"x": "' union select 1, 2 --"},
    });
    let expected = json!([{"x": "' union select 1, 2 --", "n": EVENTS}]);
    assert_eq!(rows(client, hostile).await, expected);
    let time = json!({
        "sql": "select count(*) as n from usage_events where occurred_at < $until",
        "params": {"until": {"type": "timestamp", "value": "2026-07-15T12:00:00Z"}},
    });
    assert_eq!(rows(client, time).await, json!([{"n": EVENTS / 2}]));
    let url = "/v1/query?q=select+$n%2B1+as+n&params=%7B%22n%22%3A41%7D";
    let (status, linked) = client.get(url).await;
    assert_eq!((status.as_u16(), &linked["rows"]), (200, &json!([{"n": 42}])), "{linked}");
    let sql = "select count(*) from usage_events where input_tokens < $n";
    for (params, says) in [
        (json!({}), "`n` has no value"),
        (json!({"n": 1, "m": 2}), "no parameter `$m`"),
        (json!({"n": "many"}), "`n`: expected"),
        (json!({"n": [1]}), "`n`"),
        (json!("n"), "object"),
    ] {
        refused(client, json!({"sql": sql, "params": params}), "invalid_parameters", says).await;
    }
}

#[tokio::test]
async fn attributes_are_read_and_percentiles_have_their_usual_name() {
    let Lake { client, .. } = &lake().await;
    let data = json!({"attributes": {"team": "blue", "seats": 7, "beta": true}, "input_tokens": 1});
    let event = usage("org_j", "json", data).to_string();
    assert_eq!(client.send("application/x-ndjson", event).await.0, 200);
    let sql = "select json_get_text(attributes, 'team') as team, json_get_number(attributes, 'seats') as seats, \
               json_get_boolean(attributes, 'beta') as beta, json_get_text(attributes, 'seats') as text, \
               json_get_number(attributes, 'team') as none, json_get_text(attributes, 'absent') as absent \
               from usage_events where organization_id = 'org_j'";
    let expected = json!([
        {"team": "blue", "seats": 7.0, "beta": true, "text": "7", "none": null, "absent": null}
    ]);
    assert_eq!(rows(client, json!({"sql": sql})).await, expected);
    // Numbers are as they were written, and one that is no double does not hide the others.
    let odd = r#"{"id": 12345678901234567890123, "price": 12.50, "far": 1e400, "team": "b\u006cue", "in": {"a": 1}}"#;
    let sql = format!(
        "select json_get_text(j, 'id') as id, json_get_text(j, 'price') as price, json_get_text(j, 'far') as far, \
         json_get_number(j, 'far') as none, json_get_number(j, 'price') as number, json_get_text(j, 'team') as team, \
         json_get_text(j, 'in') as object from (values ('{odd}')) t(j)"
    );
    let expected = json!([{
        "id": "12345678901234567890123", "price": "12.50", "far": "1e400", "none": null, "number": 12.5,
        "team": "blue", "object": null,
    }]);
    assert_eq!(rows(client, json!({"sql": sql})).await, expected);
    let sql = "select count(*) as n from usage_events where json_get_text('not json', 'a') is null";
    assert_eq!(rows(client, json!({"sql": sql})).await, json!([{"n": EVENTS + 1}]));
    let sql = "select approx_percentile(input_tokens, 0.5) as p, count(distinct input_tokens) as d, \
               approx_distinct(input_tokens) as a from usage_events where organization_id = 'org_a'";
    let row = &rows(client, json!({"sql": sql})).await[0];
    let near = |name: &str, value: i64| {
        row[name].as_f64().is_some_and(|found| (found - value as f64).abs() <= 5.0)
    };
    assert!(near("p", EVENTS / 2) && row["d"] == EVENTS && near("a", EVENTS), "{row}");
}

/// Two columns of one name, texts, and decimals within others, in each format.
#[tokio::test]
async fn no_column_is_lost_and_every_reader_knows_the_types() {
    let Lake { client, .. } = &lake().await;
    let sql = "select a.organization_id, b.organization_id, [a.model] as models, [1.5, null] as prices, \
               named_struct('price', 0.10, 'n', 9007199254740993) as pair \
               from usage_events a join usage_events b on a.event_id = b.event_id limit 1";
    let row = json!({
        "organization_id": "org_a", "organization_id_2": "org_a", "models": ["m"], "prices": ["1.5", null],
        "pair": {"price": "0.10", "n": 9_007_199_254_740_993_i64},
    });
    assert_eq!(rows(client, json!({"sql": sql})).await, json!([row]));
    let lines = ask(client, json!({"sql": sql, "format": "ndjson"})).await.text();
    assert_eq!(serde_json::from_str::<Value>(lines.lines().next().unwrap()).unwrap(), row);
    let texts = json!({"sql": sql, "int64": "string"});
    let pair = &rows(client, texts).await[0]["pair"];
    assert_eq!(pair, &json!({"price": "0.10", "n": "9007199254740993"}));
    let names = ["organization_id", "organization_id_2", "models", "prices", "pair"];
    let arrow = ask(client, json!({"sql": sql, "format": "arrow"})).await.body;
    let schema = StreamReader::try_new(Cursor::new(arrow), None).unwrap().schema();
    assert_eq!(
        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        names
    );
    assert!(!format!("{schema:?}").contains("View"), "{schema:?}");
    let csv = "select a.model, b.model from usage_events a join usage_events b on a.event_id = b.event_id limit 1";
    let csv = ask(client, json!({"sql": csv, "format": "csv"})).await.text();
    assert_eq!(csv, "model,model_2\nm,m\n");
    let plan =
        reply(client.request(Method::POST, "/v1/query/validate").json(&json!({"sql": sql}))).await;
    assert_eq!(plan.json()["columns"][1]["name"], "organization_id_2", "{}", plan.text());
}

#[tokio::test]
async fn headers_say_what_was_read_and_when() {
    let Lake { client, dir, server } = &lake().await;
    let answer = ask(client, json!({"sql": "select input_tokens from usage_events"})).await;
    let number = |name: &str| answer.header(name).parse::<i64>().ok();
    assert!(answer.header("x-query-id").starts_with("qry_"));
    assert_eq!((number("x-rows"), number("x-rows-scanned")), (Some(EVENTS), Some(EVENTS)));
    assert_eq!(answer.header("x-truncated"), "false");
    assert!(number("x-bytes-scanned").is_some() && number("x-files-scanned").is_some());
    let statistics = &answer.json()["statistics"];
    assert_eq!(statistics["rows_scanned"], EVENTS);
    let cut =
        json!({"sql": "select input_tokens from usage_events", "max_rows": 5, "truncate": true});
    assert_eq!(ask(client, cut).await.header("x-truncated"), "true");

    tests::flushed(client).await;
    let sql = anew("select input_tokens from usage_events");
    let later = ask(client, json!({"sql": sql})).await;
    let versions = later.header("x-table-versions");
    assert!(versions.contains("usage_ledger="), "{versions}");
    assert!(later.header("x-bytes-scanned").parse::<i64>().is_ok_and(|bytes| bytes > 0));

    // An organization is not told what lies in the same files.
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let key = run_ok(
        dir.path(),
        &["key", "create", "--name", "own", "--scopes", "read", "--organization", "org_a"],
    );
    let own = Client::new(server, &key);
    let answer = ask(&own, json!({"sql": "select input_tokens from usage_events"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for name in
        ["x-rows-scanned", "x-bytes-scanned", "x-files-scanned", "x-table-versions", "x-cache"]
    {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!((answer.header("x-rows"), &answer.json()["statistics"]), ("300", &json!({})));
    let explain = own.request(Method::POST, "/v1/query/explain");
    let plan =
        reply(explain.json(&json!({"sql": "select input_tokens from usage_events"}))).await.json();
    let text = plan["plan"].as_str().expect("a plan");
    assert!(
        text.contains("usage_events")
            && !text.contains("Scan: files")
            && plan.get("scan").is_none(),
        "{plan}"
    );
}

#[tokio::test]
async fn integers_are_text_for_those_who_ask() {
    let Lake { client, .. } = &lake().await;
    let sql = "select cast(9007199254740993 as bigint) as big, 1.5 as d";
    let number = rows(client, json!({"sql": sql})).await;
    assert_eq!(number[0]["big"], 9_007_199_254_740_993_i64);
    let text = rows(client, json!({"sql": sql, "int64": "string"})).await;
    assert_eq!(text, json!([{"big": "9007199254740993", "d": "1.5"}]));
}

#[tokio::test]
async fn a_reader_sees_its_own_writes() {
    let Lake { client, .. } = &lake().await;
    let event = usage("org_a", "late", json!({"input_tokens": 1})).to_string();
    let (_, verdict) = client.send("application/x-ndjson", event).await;
    let token = verdict["as_of"].as_str().expect("a cut");
    let sql = "select count(*) as n from usage_events";
    let found = rows(client, json!({"sql": sql, "at_least": token})).await;
    assert_eq!(found, json!([{"n": EVENTS + 1}]));
    refused(client, json!({"sql": sql, "at_least": "zz.zz"}), "invalid_as_of", "zz.zz").await;
    let first = token.split_once('.').map(|(log, _)| format!("{log}.1")).expect("two parts");
    let both = json!({"sql": sql, "as_of": first, "at_least": token});
    refused(client, both, "invalid_as_of", "older").await;
}

#[tokio::test]
async fn a_plan_is_shown_without_being_run() {
    let Lake { client, .. } = &lake().await;
    tests::flushed(client).await;
    let post = |path: &'static str, body: Value| async move {
        reply(client.request(Method::POST, path).json(&body)).await
    };
    let sql = "select model, sum(input_tokens) as t from usage_events \
               where input_tokens > $least group by model";
    let valid = post("/v1/query/validate", json!({"sql": sql})).await.json();
    assert_eq!(valid["columns"][1], json!({"name": "t", "type": "integer"}), "{valid}");
    assert_eq!(valid["parameters"], json!({"least": "integer"}));
    let explained = post("/v1/query/explain", json!({"sql": sql, "params": {"least": 1}})).await;
    let plan = explained.json();
    assert!(plan["plan"].as_str().is_some_and(|plan| plan.contains("Aggregate")), "{plan}");
    assert_eq!(plan["scan"]["files"], 1, "{plan}");
    for hidden in [".parquet", "file:", "/lake"] {
        assert!(!explained.text().contains(hidden), "{}", explained.text());
    }
    let wrong =
        post("/v1/query/validate", json!({"sql": "select nothing from usage_events"})).await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["code"]), (400, &json!("invalid_query")));
    let write = post("/v1/query/explain", json!({"sql": "drop table usage_events"})).await;
    assert_eq!(write.status, 403);
}

#[tokio::test]
async fn the_schema_says_what_there_is_to_ask() {
    let Lake { client, server, dir } = &lake().await;
    let key = run_ok(dir.path(), &["key", "create", "--name", "analyst", "--scopes", "read"]);
    let analyst = Client::new(server, &key);
    for (client, is_admin) in [(client, true), (&analyst, false)] {
        let (_, schema) = client.get("/v1/schema").await;
        let tables = schema["tables"].as_array().expect("tables");
        let names: Vec<_> = tables.iter().filter_map(|table| table["name"].as_str()).collect();
        assert_eq!(names.contains(&"dead_letter"), is_admin, "{names:?}");
        // Every table that is named can be asked, and has these columns in this order.
        for table in tables {
            let name = table["name"].as_str().expect("a name");
            let sql = format!("select * from {name} limit 0");
            let answer = ask(client, json!({"sql": sql})).await.json();
            // But for those that its reader may only count.
            let hidden = answer["hidden_columns"].as_array().cloned().unwrap_or_default();
            let described: Vec<_> = table["columns"]
                .as_array()
                .expect("columns")
                .iter()
                .filter(|column| !hidden.contains(&column["name"]))
                .map(two)
                .collect();
            let found: Vec<_> =
                answer["columns"].as_array().expect("columns").iter().map(two).collect();
            assert_eq!(described, found, "{name}");
        }
        let sql = "select table_name as name from information_schema.tables";
        let shown = rows(client, json!({"sql": sql})).await;
        let shown: Vec<_> = shown.as_array().expect("rows").iter().map(|r| &r["name"]).collect();
        assert_eq!(shown, names);
        let sql = "select data_type, description from information_schema.columns \
                   where table_name = 'usage_events' and column_name = 'list_price'";
        let column = &rows(client, json!({"sql": sql})).await[0];
        assert_eq!(column["data_type"], "DECIMAL(38,12)");
        assert!(column["description"].as_str().is_some_and(|text| text.ends_with('.')));
    }
}

fn two(column: &Value) -> (Value, Value) {
    (column["name"].clone(), column["type"].clone())
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_query() {
    let Lake { client, server, .. } = &lake().await;
    let heavy = "select count(*) from usage_events a, usage_events b, usage_events c, usage_events d \
         where a.input_tokens + b.input_tokens + c.input_tokens + d.input_tokens < 0";
    // One that waits for its first row, and one in the middle of its rows.
    let (mut waiting, body) = (connect(server), json!({"sql": heavy}));
    post(&mut waiting, client, &body);
    for _ in 0..100 {
        if running(client).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(running(client).await, 1, "it runs");
    drop(waiting);
    ends(client).await;

    let rows = "select a.input_tokens as n, repeat('x', 100) as filler from usage_events a \
         cross join usage_events b cross join usage_events c";
    let body = json!({"sql": rows, "format": "ndjson"});
    let response = client.request(Method::POST, "/v1/query").json(&body).send().await;
    let mut stream = response.expect("an answer").bytes_stream();
    assert!(stream.next().await.is_some_and(|chunk| chunk.is_ok()), "it has begun");
    drop(stream);
    ends(client).await;
    let (_, list) = client.get("/v1/queries").await;
    let states: Vec<_> = list["queries"].as_array().expect("queries").iter().collect();
    let abandoned = states.iter().filter(|query| query["status"] == "abandoned").count();
    assert_eq!(abandoned, 2, "{states:#?}");
    assert_eq!(client.rows("select 1 as n").await, [json!({"n": 1})]);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let Lake { client, server, .. } = &lake().await;
    let rows = "select a.input_tokens as n, repeat('x', 100) as filler from usage_events a \
         cross join usage_events b cross join usage_events c";
    let mut idle = connect(server);
    post(&mut idle, client, &json!({"sql": rows, "format": "ndjson", "timeout_ms": 30_000}));
    let began = Instant::now();
    while running(client).await == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "it did not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while running(client).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(28), "it holds its worker");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, list) = client.get("/v1/queries?status=abandoned").await;
    assert_eq!(list["queries"].as_array().map(Vec::len), Some(1), "{list}");
    let mut rest = Vec::new();
    idle.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let _ = idle.read_to_end(&mut rest);
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("\"_end\""), "a cut answer has no end");
    let memory = fs::read_to_string(format!("/proc/{}/status", server.process_id()));
    let peak = memory.expect("Linux").lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    assert!(peak.is_some_and(|kib| kib < 600 << 10), "{peak:?} KiB were held");
}

fn connect(server: &Server) -> TcpStream {
    let address = server.ready.url.trim_start_matches("http://").to_owned();
    TcpStream::connect(address).expect("a connection")
}

fn post(stream: &mut TcpStream, client: &Client, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "POST /v1/query HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        client.key(),
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a request");
    stream.write_all(body.as_bytes()).expect("a request");
}
