//! Answers that are much larger than their statements, and clients that do not read them.

use std::{io, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, anew, configure, folder, reply, usage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{peak_bytes, times};
use crate::query::pool::own;

const EVENTS: usize = 300;
const COUNT: &str = "select count(*) as n from usage_events";
/// What the server may take more than before, with three clients that do not read.
const MORE_BYTES_MAX: u64 = 64 << 20;
const NOT_READING: usize = 3;

async fn lake() -> (tempfile::TempDir, Server, Client, Client) {
    let dir = folder();
    configure(dir.path(), "[query]\nmemory_mib = 256\nworkers = 5\n");
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let event = |i: usize| usage("org_a", &format!("a{i}"), json!({"input_tokens": i}));
    let lines: Vec<_> = (0..EVENTS).map(|i| event(i).to_string()).collect();
    let (status, answer) = admin.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    let [hostile, honest] = ["org_a", "org_b"].map(|id| own(&server, &dir, id));
    (dir, server, hostile, honest)
}

/// Asks, and reads nothing but the first bytes.
async fn ask(server: &Server, client: &Client, body: &Value) -> TcpStream {
    send(server, client, "POST /v1/query", &body.to_string()).await
}

async fn send(server: &Server, client: &Client, what: &str, body: &str) -> TcpStream {
    let address = server.url("").replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let request = format!(
        "{what} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        client.key(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("the request is read");
    stream
}

async fn begins(stream: &mut TcpStream) -> String {
    let mut start = [0; 12];
    let read = timeout(Duration::from_secs(20), stream.read_exact(&mut start)).await;
    read.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&start).into_owned()
}

/// Reads on, to the end; an error is one too.
async fn rest(stream: &mut TcpStream) -> io::Result<u64> {
    let mut sink = tokio::io::sink();
    tokio::io::copy(stream, &mut sink).await
}

/// Statements of some words whose answers have gigabytes.
fn much_from_little() -> Vec<(&'static str, String)> {
    let rows = "usage_events a, usage_events b";
    let name = "x".repeat(60_000);
    let mut all = vec![
        ("ndjson", format!("select true as \"{name}\" from {rows}")),
        ("ndjson", format!("select array_repeat(null, 100000) as x from {rows}")),
        ("arrow", format!("select repeat(a.event_id, 1000) as x from {rows}")),
        // In one row.
        ("ndjson", format!("select array_repeat(named_struct('{name}', null), 100000) as x")),
    ];
    if times(1) > 1 {
        let nulls: Vec<_> = (0..1_000).map(|n| format!("null as c{n}")).collect();
        for select in [
            format!("true as \"{name}\""),
            nulls.join(", "),
            "array_repeat(null, 100000)".into(),
            "array_repeat('', 100000)".into(),
            "array_repeat(true, 100000)".into(),
            "array_repeat([null, null, null], 100000)".into(),
            format!("array_repeat(named_struct('{}', null), 1000)", "x".repeat(1_000)),
            "map(range(0, 10000), array_repeat(null, 10000))".into(),
            "range(0, 100000)".into(),
            "repeat('x', 10000), repeat('\"', 10000)".into(),
            "array_repeat(date '2026-01-01', 100000)".into(),
            "array_repeat(1.5, 100000)".into(),
        ] {
            for form in ["json", "ndjson", "csv", "arrow", "parquet"] {
                all.push((form, format!("select {select} from {rows}")));
            }
        }
    }
    all
}

#[tokio::test]
async fn what_nobody_reads_takes_no_memory_and_is_stopped() {
    let (_dir, server, hostile, honest) = lake().await;
    assert_eq!(honest.rows(&anew(COUNT)).await, [json!({"n": 0})]);
    // A first answer of each form, so that what is only needed once is there.
    for form in ["arrow", "ndjson"] {
        let body = json!({"sql": "select * from usage_events", "format": form});
        assert_eq!(reply(hostile.request(Method::POST, "/v1/query").json(&body)).await.status, 200);
    }
    for (form, sql) in much_from_little() {
        let (_, before) = (peak_bytes(&server), peak_bytes(&server));
        let mut clients = Vec::new();
        for _ in 0..NOT_READING {
            let body =
                json!({"sql": anew(&sql), "format": form, "max_rows": 80_000, "truncate": true});
            clients.push(ask(&server, &hostile, &body).await);
        }
        // Until the first bytes are there, and as many more as are taken from a worker at once.
        for client in &mut clients {
            let _ = timeout(Duration::from_secs(2), client.read(&mut [0; 12])).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(honest.rows(&anew(COUNT)).await, [json!({"n": 0})]);
        let more = peak_bytes(&server).saturating_sub(before);
        assert!(more < MORE_BYTES_MAX, "{form} {sql:.60}: {} MiB more", more >> 20);
        // Stopped by its owner, all of them end soon.
        let (_, queries) = hostile.get("/v1/queries").await;
        for query in queries["queries"].as_array().expect("a list") {
            if query["status"] == "running" || query["status"] == "queued" {
                let path = format!("/v1/queries/{}", query["query_id"].as_str().expect("an id"));
                assert_eq!(reply(hostile.request(Method::DELETE, &path)).await.status, 204);
            }
        }
        drop(clients);
    }
    for _ in 0..100 {
        let (_, after) = hostile.get("/v1/queries?limit=10").await;
        let mut queries = after["queries"].as_array().expect("a list").iter();
        if queries.all(|query| query["status"] != "running") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a query runs still");
}

/// An answer that is finished before it is sent, and a large one that is sent while it comes.
#[tokio::test]
async fn who_reads_nothing_for_ten_seconds_is_cut_off() {
    let (_dir, server, hostile, honest) = lake().await;
    let sql = "select repeat('x', 900) as x from usage_events a, usage_events b";
    let mut clients = Vec::new();
    for (max_rows, whole) in [(8_000, true), (80_000, false)] {
        let body = json!({"sql": sql, "format": "csv", "max_rows": max_rows, "truncate": true});
        let asked = hostile.request(Method::POST, "/v1/query").json(&body);
        let answer = reply(asked).await;
        assert_eq!((answer.status.as_u16(), answer.headers.contains_key("x-rows")), (200, whole));
        let mut stream = ask(&server, &hostile, &body).await;
        assert_eq!(begins(&mut stream).await, "HTTP/1.1 200");
        clients.push((stream, answer.body.len() as u64));
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    for (mut stream, bytes) in clients {
        let read = timeout(Duration::from_secs(5), rest(&mut stream)).await.expect("it is over");
        assert!(read.as_ref().map_or(true, |read| *read < bytes), "{read:?} of {bytes}");
    }
    assert_eq!(honest.rows(&anew(COUNT)).await, [json!({"n": 0})]);
}

/// Those that are kept take no worker, which would bound them.
#[tokio::test]
async fn answers_take_their_place_before_they_are_made() {
    const EACH: usize = 16;
    let (_dir, server, hostile, honest) = lake().await;
    let sql = "select repeat('x', 900) as x from usage_events a, usage_events b limit 40000";
    let started = hostile.request(Method::POST, "/v1/queries").json(&json!({"sql": sql}));
    let started = reply(started).await.json();
    let path = format!("/v1/queries/{}", started["query_id"].as_str().expect("an id"));
    for _ in 0..200 {
        if hostile.get(&path).await.1["status"] == "done" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Bytes that need hardly any work: on a busy machine, those who do not read for long are let go meanwhile.
    let what = format!("GET {path}/result?format=arrow");
    let mut held = Vec::new();
    let small = || hostile.query_with(json!({"sql": COUNT}));
    let take = async || {
        let mut stream = send(&server, &hostile, &what, "").await;
        (begins(&mut stream).await == "HTTP/1.1 200").then_some(stream)
    };
    let mut refused = None;
    for _ in 0..3 {
        let taken = futures::future::join_all((0..EACH).map(|_| take())).await;
        held.extend(taken.into_iter().flatten());
        let (status, answer) = small().await;
        if status != 200 {
            refused = Some((status.as_u16(), answer["code"].clone()));
            break;
        }
    }
    assert_eq!(refused, Some((429, json!("too_many_queries"))), "{} are held", held.len());
    assert_eq!(honest.rows(&anew(COUNT)).await, [json!({"n": 0})]);
    // Who waits gets the place of one that goes.
    let free = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.clear();
    };
    let ((status, answer), ()) = tokio::join!(small(), free);
    assert_eq!(status, 200, "{answer}");
    // Many small ones at once are answered; on a busy machine some are told to come again.
    let answered = async || {
        for _ in 0..300 {
            if small().await.0 == 200 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        false
    };
    let all = futures::future::join_all((0..2 * EACH).map(|_| answered())).await;
    assert!(all.iter().all(|answered| *answered), "{all:?}");
}

#[tokio::test]
async fn a_row_is_bounded_and_its_names_are_not() {
    let (_dir, _server, hostile, _) = lake().await;
    let refused = |sql: &str, why: &'static str| (sql.to_owned(), why);
    for (sql, why) in [
        refused("select array_repeat(array_repeat(null, 1001), 1000) as x", "elements"),
        refused("select range(600000) as a, range(600000) as b", "elements"),
        refused("select array_repeat(repeat('x', 10000), 5000) as x", "bytes"),
    ] {
        for form in ["ndjson", "arrow", "parquet"] {
            let answer = hostile.query_with(json!({"sql": sql, "format": form})).await;
            let detail = answer.1["detail"].as_str().unwrap_or_default();
            assert_eq!((answer.0.as_u16(), &answer.1["code"]), (413, &json!("result_too_large")));
            assert!(detail.contains(why), "{sql}: {detail}");
        }
    }
    let nulls = |count| (0..count).map(|n| format!("null as c{n}")).collect::<Vec<_>>().join(", ");
    let name = "x".repeat(30_000);
    let nested = format!("select array_repeat(named_struct('{name}', null), 100) as x");
    for (format, sql, why) in [
        ("parquet", format!("select {}", nulls(1_001)), "has 1001: ask"),
        ("csv", nested, "spreadsheet"),
    ] {
        let body = json!({"sql": sql, "format": format, "csv": "spreadsheet"});
        let (status, answer) = hostile.query_with(body).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert_eq!((status.as_u16(), &answer["code"]), (413, &json!("result_too_large")));
        assert!(detail.contains(why), "{detail}");
    }
    let name = "x".repeat(60_000);
    let sql = format!("select range(1000) as \"{name}\" from usage_events limit 20");
    let rows = hostile.rows(&sql).await;
    assert_eq!(rows.len(), 20);
    assert_eq!(rows[7][&name], json!((0..1_000).collect::<Vec<_>>()));
}

/// The texts of rows lie together in memory, whoever may see them.
#[tokio::test]
async fn the_bytes_of_an_answer_hold_nothing_of_others() {
    let (dir, server, _, honest) = lake().await;
    let admin = Client::new(&server, &admin_key(dir.path()));
    let of = |organization: &str, text: &str| {
        usage(organization, &format!("id-of-{text}"), json!({"model": format!("model-of-{text}")}))
    };
    // Most of them are those that one may see, so that the engine does not copy them together by itself.
    let own = (0..700).map(|n| of("org_b", &format!("the-honest-one-{n}")).to_string());
    let lines = own.chain([of("org_c", "a-third-one").to_string()]).collect::<Vec<_>>().join("\n");
    assert_eq!(admin.send("application/x-ndjson", lines).await.0, 200);
    for sql in [
        "select event_id, model from usage_events",
        "select array_agg(event_id) as ids, max(model) as model from usage_events",
        "select named_struct('id', event_id, 'list', [model]) as s from usage_events",
    ] {
        let body = json!({"sql": sql, "format": "arrow"});
        let answer = reply(honest.request(Method::POST, "/v1/query").json(&body)).await;
        let text = answer.text();
        assert!(answer.status == 200 && text.contains("of-the-honest-one"), "{sql}: {text}");
        assert!(!text.contains("of-a-third-one"), "{sql}");
    }
}
