//! The state in PostgreSQL: what people do with the server is the same.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use reqwest::Method;
use serde_json::json;
use tests::{
    Client, Server, admin_key, configure, flushed, folder, reply, run, run_ok, signed_in, usage,
};

/// A PostgreSQL of its own. It ends when its input does.
struct Postgres {
    child: Child,
    url: String,
}

impl Postgres {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("postgres");
        let mut child = Command::new(script)
            .args(["sh", "-c", "echo $AIHUB_TEST_POSTGRES; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/postgres starts");
        let mut url = String::new();
        let said = BufReader::new(child.stdout.take().expect("its output")).read_line(&mut url);
        assert!(said.is_ok_and(|bytes| bytes > 0), "PostgreSQL did not start");
        Self { child, url: url.trim().to_owned() }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_server_keeps_its_state_in_postgresql() {
    let postgres = Postgres::start();
    let dir = folder();
    let url = &postgres.url;
    configure(dir.path(), &format!("[state]\nurl = \"{url}\"\n[ingest]\nflush_seconds = 1\n"));
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let sent = usage("org_a", "used-1", json!({"input_tokens": 7}));
    let answer = reply(client.request(Method::POST, "/v1/events").json(&sent)).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    flushed(&client).await;
    let rows = client.rows("select count(*) as n from usage_ledger").await;
    assert_eq!(rows[0]["n"], 1);
    // Each writes to another table.
    for (path, body) in [
        ("/v1/annotations", json!({"at": "2026-03-02T00:00:00Z", "text": "New prices"})),
        ("/v1/saved-queries", json!({"name": "one", "description": "", "sql": "select 1 as one"})),
        ("/v1/queries", json!({"sql": "select 1 as one"})),
    ] {
        let answer = reply(client.request(Method::POST, path).json(&body)).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
    }
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    for path in ["/dashboards/business", "/dashboards/operations", "/alerts", "/reports"] {
        let answer = reply(manager.request(Method::GET, path).header("cookie", &cookie)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let (_, jobs) = client.get("/v1/admin/jobs").await;
    assert!(jobs["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty()), "{jobs}");
    assert!(run_ok(dir.path(), &["key", "list"]).contains("key_"));
    server.stop();

    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let (_, kept) = client.get("/v1/annotations").await;
    assert_eq!(kept["annotations"][0]["text"], "New prices");
    run_ok(dir.path(), &["audit", "verify"]);
    run_ok(dir.path(), &["check"]);

    let backup = folder();
    let to = backup.path().display().to_string();
    let refused = run(dir.path(), &["backup", "--to", &to]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("pg_dump"), "{said}");
    run_ok(dir.path(), &["backup", "--to", &to, "--without-state"]);
    let other = folder();
    let refused = run(other.path(), &["restore", "--from", &to]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("without the state"), "{said}");
    assert!(!dir.path().join("state.db").exists());
    server.stop();
}

#[test]
fn a_state_that_cannot_be_reached_is_said_without_its_password() {
    let dir = folder();
    for url in [
        "postgres://aihub:very-secret@127.0.0.1:1/aihub",
        "mysql://aihub:very-secret@127.0.0.1/aihub",
        "postgres://aihub:very-secret@127.0.0.1:port/aihub",
    ] {
        configure(dir.path(), &format!("[state]\nurl = \"{url}\"\n"));
        let refused = run(dir.path(), &["key", "list"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains("state"), "{said}");
        assert!(!said.contains("very-secret"), "{said}");
        assert!(!dir.path().join("state.db").exists());
    }
}
