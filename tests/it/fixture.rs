//! Data folders of every format that was ever written, kept as archives: later versions must read them.

use std::{fs, path::PathBuf, process::Command};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Server, admin_key, configure, flushed, folder, run, run_ok};

/// All of them; the last one is as today's version writes it.
///
/// 1: content hashes of version 1, log records with every column. 2: content hashes of version 2, log records without
/// the columns that are null.
const FOLDERS: [&str; 2] = ["folder-1.tar.gz", "folder-2.tar.gz"];

/// Events of the fixture: 40 are in tables, five more only in the log.
const IN_TABLES: u32 = 40;
const EVENTS: u32 = 45;

fn archive(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn tar(arguments: &[&str]) {
    let status = Command::new("tar").args(arguments).status().unwrap();
    assert!(status.success(), "tar {arguments:?}: {status}");
}

fn unpacked(name: &str) -> TempDir {
    let dir = folder();
    tar(&["-xzf", &archive(name).display().to_string(), "-C", &dir.path().display().to_string()]);
    dir
}

fn event(id: u32) -> Value {
    json!({
        "specversion": "1.0",
        "id": format!("e{id}"),
        "source": "/fixture",
        "type": "usage.request",
        "subject": format!("org_{}", id % 3),
        "time": format!("2026-01-0{}T12:00:00.123456Z", 1 + id % 2),
        "data": {
            "model": "m", "input_tokens": id, "output_tokens": 1, "cost": "0.25", "currency": "USD",
            "user_id": "ada", "cache_hit": true, "attributes": {"team": "blue"},
        },
    })
}

fn others() -> [Value; 2] {
    let event = |id: &str, name: &str, data: Value| {
        json!({
            "specversion": "1.0", "id": id, "source": "/fixture", "type": name, "subject": "org_0",
            "time": "2026-01-01T00:00:00Z", "data": data,
        })
    };
    [
        event("b1", "billing.signed_up", json!({})),
        event("a1", "activity.page_view", json!({"path": "/", "anonymous_id": "v"})),
    ]
}

async fn send(client: &Client, events: impl IntoIterator<Item = Value>) -> Value {
    let lines: String = events.into_iter().map(|event| format!("{event}\n")).collect();
    let (status, answer) = client.send("application/x-ndjson", lines).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

#[tokio::test]
async fn folders_of_every_format_are_read_and_go_on() {
    for name in FOLDERS {
        reads_and_goes_on(name).await;
    }
}

async fn reads_and_goes_on(name: &str) {
    let dir = unpacked(name);
    let sql = "select count(*) as n, sum(input_tokens) as tokens, cast(sum(cost) as varchar) as cost, \
               count(distinct user_id) as users, min(cast(occurred_at as varchar)) as first \
               from usage_events";
    let known = json!({
        "n": EVENTS, "tokens": EVENTS * (EVENTS - 1) / 2, "cost": "11.250000000000", "users": 3,
        "first": "2026-01-01T12:00:00.123456Z",
    });
    let text = run_ok(dir.path(), &["query", sql, "--format", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()[0], known, "{name}");

    let sound = || {
        let output = run(dir.path(), &["check", "--format", "json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {answer}");
        answer["tables"].clone()
    };
    let tables = sound();
    assert_eq!(tables["usage_ledger"]["rows"], IN_TABLES);
    assert_eq!(tables["usage_ledger"]["log_rows"], EVENTS - IN_TABLES);
    for (table, rows) in [("billing_events", 1), ("activity_events", 1), ("dead_letter", 1)] {
        assert_eq!(tables[table]["rows"], rows, "{table}");
    }

    // It goes on: what it accepted is known, its users have the same pseudonyms, and its keys still work.
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    assert_eq!(client.rows(sql).await[0], known);
    let answer = send(&client, (0..EVENTS + 1).map(event).chain(others())).await;
    assert_eq!((&answer["duplicate"], &answer["accepted"]), (&json!(EVENTS + 2), &json!(1)));
    // Another content under a known identity is a conflict, wherever the identity is known from.
    let changed = [3, EVENTS - 1].map(|id| {
        let mut event = event(id);
        event["data"]["output_tokens"] = 2.into();
        event
    });
    let answer = send(&client, changed.into_iter().chain([event(0)])).await;
    assert_eq!((&answer["rejected"], &answer["duplicate"]), (&json!(2), &json!(1)), "{name}");
    assert_eq!(answer["results"][0]["code"], "id_conflict", "{name}");
    let users = client.rows("select count(distinct user_id) as users from usage_events").await;
    assert_eq!(users[0]["users"], 3);
    server.stop();
    assert_eq!(sound()["usage_ledger"]["rows"], EVENTS + 1);
}

/// `cargo test -p tests --test it -- --ignored the_fixture_is_written`
#[tokio::test]
#[ignore = "writes the fixture: only for a new format, and under a new name"]
async fn the_fixture_is_written() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    send(&client, (0..IN_TABLES).map(event).chain(others()).chain([json!({"id": 5})])).await;
    flushed(&client).await;
    server.stop();
    configure(dir.path(), "[ingest]\nflush_seconds = 3600\n");
    let server = Server::serve(dir.path());
    send(&Client::new(&server, &key), (IN_TABLES..EVENTS).map(event)).await;
    server.kill();
    // The last to close the database leaves no journal behind.
    run_ok(dir.path(), &["user", "list"]);
    for name in ["server.json", "aihub.toml"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    fs::remove_dir_all(dir.path().join("spill")).unwrap();
    let archive = archive(FOLDERS[FOLDERS.len() - 1]).display().to_string();
    let dir = dir.path().display().to_string();
    tar(&["-czf", &archive, "-C", &dir, "."]);
}
