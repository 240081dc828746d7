//! The command line: what goes wrong before anything runs is one clear line and exit code 2.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Client, Server, aihub, configure, folder, own_usage, run, run_ok, usage};

/// The exit code, and the one line on standard error.
fn refused(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(dir, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(error.lines().count(), 1, "not one line: {error}");
    assert!(!error.contains("RUST_BACKTRACE") && !error.contains("panicked"), "{error}");
    (output.status.code(), error)
}

#[test]
fn what_cannot_start_says_why_and_exits_with_2() {
    let dir = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, error) = refused(dir.path(), &["serve", "--port", &port]);
    assert!(code == Some(2) && error.contains(&port), "{error}");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, error) = refused(&file, &["serve", "--port", "0"]);
    assert!(code == Some(2) && error.contains("file"), "{error}");

    for (text, part) in [
        ("[server", "aihub.toml"),
        ("[server]\nprot = 1\n", "prot"),
        ("[server]\nport = \"x\"\n", "port"),
    ] {
        let dir = folder();
        configure(dir.path(), text);
        let (code, error) = refused(dir.path(), &["serve"]);
        assert!(code == Some(2) && error.contains(part), "{error}");
    }
}

#[test]
fn a_folder_has_one_server() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let (code, error) = refused(dir.path(), &["serve", "--port", "0"]);
    assert!(code == Some(2) && error.contains("another process"), "{error}");
    server.stop();
    Server::serve(dir.path()).stop();
}

#[tokio::test]
async fn keys_and_users_are_made_beside_a_running_server() {
    let dir = folder();
    let server = Server::serve(dir.path());
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "Acme", "--country", "DE"]);
    let key = run_ok(dir.path(), &["key", "create", "--name", "k", "--organization", "org_a"]);
    let client = Client::new(&server, &key);
    let (status, answer) =
        client.send("application/json", own_usage("org_a", "1", json!({})).to_string()).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(1)), "{answer}");
    let list = run_ok(dir.path(), &["key", "list"]);
    assert!(list.contains("org_a") && !list.contains(key.trim()), "{list}");
    let password =
        run_ok(dir.path(), &["user", "create", "--email", "a@example.com", "--role", "analyst"]);
    assert_eq!(password.trim().len(), 20);
    // What is piped in is a password only where that is said.
    let piped = |arguments: &[&str]| {
        let mut command = std::process::Command::new(tests::aihub());
        let mut child = command
            .args(arguments)
            .arg("--dir")
            .arg(dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("aihub");
        let mut input = child.stdin.take().expect("its input");
        // Where it is not read, the pipe may be closed already.
        let _ = std::io::Write::write_all(&mut input, b"correct horse battery\nthe next\n");
        drop(input);
        let output = child.wait_with_output().expect("its end");
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stdout).trim().len()
    };
    assert_eq!(piped(&["user", "reset-password", "a@example.com"]), 20);
    assert_eq!(piped(&["user", "reset-password", "a@example.com", "--password-stdin"]), 0);
    assert!(run_ok(dir.path(), &["user", "list"]).contains("a@example.com"));
    // Stopped in order, nothing is lost, and what is stored needs no server to be read.
    server.stop();
    let count = run_ok(dir.path(), &["query", "select count(*) as n from usage_events"]);
    assert_eq!(count, "n\n1\n");
    let named = run_ok(dir.path(), &["query", "select name from organizations"]);
    assert_eq!(named, "name\nAcme\n");
}

#[test]
fn a_syntax_error_has_a_position() {
    let dir = folder();
    run_ok(dir.path(), &["key", "list"]);
    let (code, error) = refused(dir.path(), &["query", "select 1 frm x y"]);
    assert!(code == Some(1) && error.contains("line 1, column"), "{error}");
}

#[test]
fn every_command_explains_itself() {
    let dir = folder();
    for command in [
        "demo",
        "serve",
        "import",
        "query",
        "metrics",
        "forecast",
        "report",
        "maintain",
        "billing",
        "key",
        "user",
        "organization",
        "generate",
    ] {
        assert!(run_ok(dir.path(), &[command, "--help"]).contains("Usage:"), "{command}");
    }
    assert!(run_ok(dir.path(), &["metrics"]).contains("active_organizations"));
}

#[test]
fn a_demo_is_reused_and_generation_repeats_itself() {
    let dir = folder();
    let first = Server::demo(dir.path(), 6, 8);
    let ready = first.ready.clone();
    assert_eq!(ready.users.len(), 3);
    first.stop();
    let count = || run_ok(dir.path(), &["query", "select count(*) from usage_events"]);
    let loaded = count();
    let second = Server::start(dir.path(), &["demo", "--port", "0", "--format", "json"]);
    assert_eq!(second.ready.api_key, ready.api_key);
    second.stop();
    assert_eq!(count(), loaded);
    let bytes = |name: &str| {
        let out = dir.path().join(name).display().to_string();
        run_ok(dir.path(), &["generate", "--out", &out, "--days", "3", "--organizations", "5"]);
        fs::read(dir.path().join(name).join("events.ndjson")).unwrap()
    };
    assert!(bytes("one") == bytes("two"), "the same arguments give other bytes");
}

#[test]
fn a_variable_that_sets_nothing_is_named() {
    let dir = folder();
    let mut command = Command::new(aihub());
    command.args(["serve", "--port", "0"]).arg("--dir").arg(dir.path());
    let output = command.env("AIHUB_SERVER_PROT", "1").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.lines().count() == 1 && error.contains("AIHUB_SERVER_PROT"), "{error}");
}

#[tokio::test]
async fn a_terminated_server_ends_well_and_keeps_what_it_took() {
    let dir = folder();
    // Nothing is moved to the tables while it runs.
    configure(dir.path(), "[ingest]\nflush_seconds = 3600\n");
    let key = run_ok(dir.path(), &["key", "create", "--name", "k"]);
    let mut child = Command::new(aihub())
        .args(["serve", "--port", "0", "--format", "json", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let lines: String =
        (0..25).map(|n| format!("{}\n", usage("org_a", &n.to_string(), json!({})))).collect();
    let answer = reqwest::Client::new()
        .post(format!("{}/v1/events", ready["url"].as_str().unwrap()))
        .bearer_auth(key.trim())
        .header("Content-Type", "application/x-ndjson")
        .body(lines)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    tests::signal(child.id(), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!dir.path().join("server.json").exists());
    let server = Server::serve(dir.path());
    let rows = Client::new(&server, &key).rows("select count(*) as n from usage_events").await;
    assert_eq!(rows[0]["n"], 25);
    server.stop();
}

#[test]
fn a_rendered_report_needs_nothing_else() {
    let dir = folder();
    run_ok(dir.path(), &["key", "list"]);
    let out = dir.path().join("report.html");
    let file = out.display().to_string();
    run_ok(dir.path(), &["report", "render", "business", "--out", &file, "--days", "3"]);
    // It is the user's, who may want others to read it: its mode is that of any file.
    let [any, report] = ["any", "report.html"].map(|name| dir.path().join(name));
    fs::write(&any, "").expect("a file");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode(&report), mode(&any));
    let html = fs::read_to_string(&out).unwrap();
    // The icon is in the page itself.
    let html = html.replace("<link rel=\"icon\" href=\"data:", "");
    for part in ["src=", "<link", "<script", "url(", "@import", "/sign-out"] {
        assert!(!html.contains(part), "the report loads something: {part}");
    }
    // Names of XML are written as addresses; nothing is fetched from them.
    let addresses = html.matches("http://").count() + html.matches("https://").count();
    assert_eq!(addresses, html.matches("http://www.w3.org/").count());
}
