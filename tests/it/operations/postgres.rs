//! The state in PostgreSQL: what people do with the server is the same.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
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

/// What one server changes, the other one knows within a second: the loops end soon after.
#[tokio::test]
async fn two_servers_share_users_keys_and_sessions() {
    let postgres = Postgres::start();
    let dirs = [folder(), folder()];
    for dir in &dirs {
        let url = &postgres.url;
        configure(
            dir.path(),
            &format!("[state]\nurl = \"{url}\"\n[accounts]\nconfirm_seconds = 60\n"),
        );
    }
    let admin = admin_key(dirs[0].path());
    let first = Server::serve(dirs[0].path());
    // Both have the same secrets.
    for entry in fs::read_dir(dirs[0].path()).expect("the folder").flatten() {
        if entry.path().extension().is_some_and(|end| end == "key") {
            fs::copy(entry.path(), dirs[1].path().join(entry.file_name())).expect("a copy");
        }
    }
    let second = Server::serve(dirs[1].path());
    let servers = [&first, &second];
    let [here, there] = servers.map(|server| Client::new(server, &admin));
    run_ok(dirs[0].path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);

    // A key.
    let new = json!({"name": "k", "organization_id": "org_a", "scopes": ["read"]});
    let made = reply(here.request(Method::POST, "/v1/keys").json(&new)).await.json();
    let [own_here, own_there] =
        servers.map(|server| Client::new(server, made["secret"].as_str().expect("a secret")));
    assert_eq!(own_there.get("/v1/me").await.0, 200);
    let path = format!("/v1/keys/{}", made["api_key_id"].as_str().expect("an id"));
    assert_eq!(reply(here.request(Method::DELETE, &path)).await.status, 204);
    assert_eq!(own_here.get("/v1/me").await.0, 401);
    until(async || own_there.get("/v1/me").await.0 == 401).await;

    // A session, refreshed at both at once: one wins, and the others get what it got.
    let create = ["user", "create", "--email", "ann@a.example", "--role", "user"];
    let told = run_ok(dirs[0].path(), &[&create[..], &["--organization", "org_a"]].concat());
    let password = told.split_whitespace().last().expect("a password");
    let [nobody_here, nobody_there] = servers.map(|server| Client::new(server, ""));
    let token = "/v1/auth/token";
    let grant = json!({"grant_type": "password", "email": "ann@a.example", "password": password});
    let pair = reply(nobody_here.request(Method::POST, token).json(&grant)).await.json();
    let again = json!({"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]});
    let many = (0..40).map(|n| {
        let client = if n % 2 == 0 { &nobody_here } else { &nobody_there };
        reply(client.request(Method::POST, token).json(&again))
    });
    let answers = futures::future::join_all(many).await;
    let next: HashSet<String> =
        answers.iter().map(|answer| answer.json()["refresh_token"].to_string()).collect();
    assert!(next.len() == 1 && !next.contains("null"), "{next:?}");
    let access = answers[0].json()["access_token"].as_str().expect("a token").to_owned();
    let ann = servers.map(|server| Client::new(server, &access));
    for client in &ann {
        assert_eq!(client.get("/v1/me").await.0, 200);
    }

    // What an administrator does at one ends it at both.
    let (_, me) = ann[0].get("/v1/me").await;
    let path = format!("/v1/admin/users/{}", me["id"].as_str().expect("an id"));
    let suspend = format!("{path}/suspend");
    assert_eq!(reply(there.request(Method::POST, &suspend)).await.status, 204);
    until(async || ann[0].get("/v1/me").await.1["restriction"] == "suspended").await;
    let disable = format!("{path}/disable");
    assert_eq!(reply(there.request(Method::POST, &disable)).await.status, 204);
    until(async || ann[0].get("/v1/me").await.0 == 401).await;
    first.stop();
    second.stop();
}

/// Waits until something holds.
async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..50 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not come to hold");
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
