//! Events in: what is taken, what is refused and why, and that it is there for the next query.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Reply, Server, admin_key, configure, flushed, folder, own_source, packed, reply,
    run_ok, usage,
};

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const COUNT: &str = "select count(*) as n from usage_events";

async fn count(client: &Client) -> u64 {
    client.rows(COUNT).await[0]["n"].as_u64().expect("a count")
}

async fn post(client: &Client, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut request = client.request(Method::POST, "/v1/events").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(request).await
}

fn counts(answer: &Value) -> (u64, u64, u64) {
    let count = |name: &str| answer[name].as_u64().unwrap_or(u64::MAX);
    (count("accepted"), count("duplicate"), count("rejected"))
}

fn line(id: &str) -> String {
    usage("org_a", id, json!({})).to_string()
}

/// An event with a member changed; null removes it.
fn with(id: &str, member: &str, value: Value) -> Value {
    let mut event = usage("org_a", id, json!({}));
    let members = event.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.into(), value);
    }
    event
}

#[tokio::test]
async fn a_broken_line_spoils_only_itself() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let body = [line("1"), "{\"id\": \"2\", oops".into(), line("3")].join("\n");
    let (status, answer) = client.send(NDJSON, body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(counts(&answer), (2, 0, 1));
    let results = answer["results"].as_array().expect("results");
    let statuses: Vec<_> = results.iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, ["accepted", "rejected", "accepted"]);
    assert_eq!(results[0], json!({"index": 0, "status": "accepted"}));
    assert_eq!((&results[1]["index"], &results[1]["code"]), (&json!(1), &json!("malformed_json")));
    assert!(results[1]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(count(&client).await, 2, "visible to the next query, before it is in a table");
    let sql = json!({"sql": COUNT, "as_of": answer["as_of"]});
    let (_, seen) = client.query_with(sql).await;
    assert_eq!(seen["rows"][0]["n"], 2, "the answer's cut holds what it accepted");
    let letters = client.rows("select code, raw from dead_letter").await;
    assert_eq!(letters, [json!({"code": "malformed_json", "raw": "{\"id\": \"2\", oops"})]);
    server.stop();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    assert_eq!(count(&client).await, 2, "after a restart");
    let (_, answer) = client.send(NDJSON, line("1")).await;
    assert_eq!(counts(&answer), (0, 1, 0), "known after a restart");
}

#[tokio::test]
async fn every_form_is_understood() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let array = format!("[{}, {}]", line("1"), line("2"));
    let batch = format!("[{}, {}]", line("4"), line("5"));
    for (media_type, body, events) in [
        (JSON, array, 2),
        ("application/cloudevents+json; charset=utf-8", line("3"), 1),
        ("application/cloudevents-batch+json", batch, 2),
        (NDJSON, format!("{}\r\n\n{}\n", line("6"), line("7")), 2),
    ] {
        let (status, answer) = client.send(media_type, body).await;
        assert_eq!((status.as_u16(), counts(&answer)), (200, (events, 0, 0)), "{answer}");
    }
    let zipped = packed("gzip", format!("{}\n{}\n", line("8"), line("9")).as_bytes());
    let headers = [("content-type", NDJSON), ("content-encoding", "gzip")];
    let answer = post(&client, &headers, zipped).await;
    assert_eq!((answer.status.as_u16(), counts(&answer.json())), (200, (2, 0, 0)));
    assert_eq!(count(&client).await, 9);
}

#[tokio::test]
async fn an_identity_is_counted_once() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let (_, answer) = client.send(NDJSON, [line("1"), line("1")].join("\n")).await;
    assert_eq!(counts(&answer), (1, 1, 0), "within a request");
    let (status, answer) = client.send(NDJSON, line("1")).await;
    assert_eq!((status.as_u16(), counts(&answer)), (200, (0, 1, 0)), "across requests");
    let other = usage("org_a", "1", json!({"output_tokens": 2})).to_string();
    let (status, answer) = client.send(NDJSON, [other.clone(), line("2")].join("\n")).await;
    assert_eq!((status.as_u16(), counts(&answer)), (200, (1, 0, 1)), "{answer}");
    assert_eq!(answer["results"][0]["code"], "id_conflict");
    assert_eq!(answer["results"][0]["index"], 0);
    let letters = client.rows("select organization_id, code, raw from dead_letter").await;
    let letter = json!({"organization_id": "org_a", "code": "id_conflict", "raw": other});
    assert_eq!(letters, [letter]);
    let another = usage("org_b", "1", json!({})).to_string();
    let (_, answer) = client.send(NDJSON, another).await;
    assert_eq!(counts(&answer), (1, 0, 0), "an id belongs to its organization");
    let sums = client.rows("select sum(output_tokens) as tokens from usage_events").await;
    assert_eq!(sums, [json!({"tokens": 3})]);
}

/// One event for each way to be wrong, with the code and the pointer that name it.
fn wrong_events(elsewhere: &str) -> Vec<(Value, &'static str, &'static str)> {
    let data = |id: &str, data: Value| usage("org_a", id, data);
    let many: serde_json::Map<_, _> = (0..33).map(|i| (format!("k{i:02}"), json!(i))).collect();
    vec![
        (with("a1", "time", json!(null)), "missing_field", "/time"),
        (with("a2", "id", json!("")), "missing_field", "/id"),
        (with("a3", "source", json!(null)), "missing_field", "/source"),
        (with("a4", "type", json!(null)), "missing_field", "/type"),
        (data("a6", json!({"model": null})), "missing_field", "/data/model"),
        (data("a7", json!({"cost": "1"})), "missing_field", "/data/currency"),
        (data("b1", json!({"input_tokens": "1"})), "wrong_type", "/data/input_tokens"),
        (data("b2", json!({"input_tokens": 1.5})), "wrong_type", "/data/input_tokens"),
        (data("b3", json!({"cache_hit": 1})), "wrong_type", "/data/cache_hit"),
        (with("b4", "data", json!([1])), "wrong_type", "/data"),
        (with("b5", "time", json!(12)), "wrong_type", "/time"),
        (data("c1", json!({"input_tokens": -1})), "invalid_value", "/data/input_tokens"),
        (data("c2", json!({"status_code": 99})), "invalid_value", "/data/status_code"),
        (with("c3", "time", json!("2026-05-01")), "invalid_value", "/time"),
        (with("c4", "subject", json!("a b")), "invalid_value", "/subject"),
        (with("c5", "specversion", json!("2.0")), "invalid_value", "/specversion"),
        (with("d1", "type", json!("usage.other")), "unknown_type", "/type"),
        (with("e1", "subject", json!(elsewhere)), "wrong_organization", "/subject"),
        (
            data("f1", json!({"cached_input_tokens": 2})),
            "inconsistent_tokens",
            "/data/input_tokens",
        ),
        (data("f2", json!({"reasoning_tokens": 2})), "inconsistent_tokens", "/data/output_tokens"),
        (data("g1", json!({"a/b": {"c": 1}})), "invalid_attributes", "/data/a~1b"),
        (data("g2", json!({"attributes": many})), "invalid_attributes", "/data/attributes/k32"),
        (data("g3", json!({"x": "y".repeat(300)})), "invalid_attributes", "/data/x"),
        (json!("text"), "malformed_json", ""),
        (json!([1]), "malformed_json", ""),
    ]
}

#[tokio::test]
async fn every_reason_to_reject_has_its_code_and_place() {
    let dir = folder();
    let server = Server::demo(dir.path(), 3, 4);
    let admin = Client::new(&server, &admin_key(dir.path()));
    let rows = admin.rows("select organization_id as id from organizations order by id").await;
    let own = rows[0]["id"].as_str().expect("an organization");
    let key = run_ok(dir.path(), &["key", "create", "--name", "own", "--organization", own]);
    let client = Client::new(&server, &key);
    let wrong = wrong_events("org_elsewhere");
    let events: Vec<Value> = wrong
        .iter()
        .map(|(event, _, _)| {
            let mut event = event.clone();
            if event["subject"] == "org_a" {
                event["subject"] = own.into();
            }
            if event["source"] == "/test" {
                event["source"] = own_source(own).into();
            }
            event
        })
        .collect();
    let answer = post(&client, &[("content-type", JSON)], json!(events).to_string().into()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let body = answer.json();
    assert_eq!(body["code"], "all_rejected");
    assert_eq!(counts(&body), (0, 0, wrong.len() as u64));
    for (index, (event, code, pointer)) in wrong.iter().enumerate() {
        let result = &body["results"][index];
        let found = (&result["index"], &result["status"], &result["code"], &result["pointer"]);
        let expected = (&json!(index), &json!("rejected"), &json!(code), &json!(pointer));
        assert_eq!(found, expected, "{event}: {result}");
        assert!(result["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{event}");
    }
    let sql = "select code, count(*) as n from dead_letter group by code order by code";
    let letters = admin.rows(sql).await;
    assert_eq!(letters.len(), 8, "{letters:?}");
    let total: u64 = letters.iter().filter_map(|letter| letter["n"].as_u64()).sum();
    assert_eq!(total, wrong.len() as u64, "each is kept");

    let nobody = with("a5", "subject", json!(null)).to_string();
    let (status, answer) = admin.send(JSON, nobody).await;
    assert_eq!((status.as_u16(), &answer["results"][0]["pointer"]), (400, &json!("/subject")));
}

#[tokio::test]
async fn bodies_that_are_refused_as_a_whole() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nbody_bytes_max = 20000\n");
    let server = Server::serve(dir.path());
    let admin = admin_key(dir.path());
    let client = Client::new(&server, &admin);
    let long = format!("{}\n{}", line("1"), " ".repeat(20_000));
    let json = [("content-type", JSON)];
    let zipped = [("content-type", NDJSON), ("content-encoding", "gzip")];
    for (name, headers, body, status, code) in [
        ("broken array", &json[..], format!("[{},", line("1")).into_bytes(), 400, "malformed_body"),
        ("broken object", &json, b"{".to_vec(), 400, "malformed_body"),
        ("no event", &json, b"[]".to_vec(), 400, "malformed_body"),
        ("nothing", &json, Vec::new(), 400, "malformed_body"),
        ("not UTF-8", &json, vec![b'"', 0xff, b'"'], 400, "malformed_body"),
        ("XML", &[("content-type", "text/xml")], b"<a/>".to_vec(), 415, "unsupported_media_type"),
        ("too large", &json, long.clone().into_bytes(), 413, "payload_too_large"),
        ("too large unpacked", &zipped, packed("gzip", long.as_bytes()), 413, "payload_too_large"),
        ("not gzip", &zipped, b"no gzip at all, but long enough".to_vec(), 400, "invalid_body"),
    ] {
        let answer = post(&client, headers, body).await;
        let found = (answer.status.as_u16(), answer.json()["code"].clone());
        assert_eq!(found, (status, code.into()), "{name}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
    }
    let read = run_ok(dir.path(), &["key", "create", "--name", "r", "--scopes", "read"]);
    for (key, status) in [("", 401), ("aihub_wrong", 401), (read.as_str(), 403)] {
        let answer = post(&Client::new(&server, key), &json, line("1").into_bytes()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    assert_eq!(count(&client).await, 0, "nothing of it was taken");
}

#[tokio::test]
async fn the_count_is_exact_while_rows_move_to_the_table() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let (done, mut finished) = tokio::sync::watch::channel(0_u64);
    let watcher = client.clone();
    let watching = tokio::spawn(async move {
        let (mut seen, mut queries) = (0, 0_u32);
        loop {
            let acknowledged = *finished.borrow_and_update();
            let now = count(&watcher).await;
            assert!(now >= seen, "the count fell from {seen} to {now}");
            assert!(now >= acknowledged, "{acknowledged} are acknowledged and {now} are seen");
            (seen, queries) = (now, queries + 1);
            if acknowledged == 300 {
                return (now, queries);
            }
        }
    });
    for request in 0..30 {
        let lines: Vec<_> = (0..10).map(|i| line(&format!("{request}-{i}"))).collect();
        let (status, answer) = client.send(NDJSON, lines.join("\n")).await;
        assert_eq!((status.as_u16(), counts(&answer)), (200, (10, 0, 0)), "{answer}");
        tokio::time::sleep(Duration::from_millis(90)).await;
        let _ = done.send((request + 1) * 10);
    }
    let (seen, queries) = watching.await.expect("the watcher ends");
    assert_eq!(seen, 300);
    assert!(queries >= 3, "only {queries} queries were under way");
    flushed(&client).await;
    assert_eq!(count(&client).await, 300, "from the table alone");
    let (_, answer) = client.send(NDJSON, line("7-7")).await;
    assert_eq!(counts(&answer), (0, 1, 0), "known after it left the log");
    let ids = client.rows("select count(distinct event_id) as n from usage_events").await;
    assert_eq!(ids[0]["n"], 300);
}
