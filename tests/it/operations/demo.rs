//! The demo: loaded once, exactly, and never over data that is not its own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{Client, Server, aihub, folder, run, run_ok};

const SMALL: [&str; 8] =
    ["demo", "--port", "0", "--format", "json", "--organizations", "10", "--seed"];
const COUNT: &str = "select count(*) as n, count(distinct source || ' ' || event_id) as ids, \
                     sum(input_tokens) as i from usage_ledger";

fn demo(dir: &Path, seed: &str, more: &[&str]) -> Server {
    Server::start(dir, &[&SMALL[..], &[seed], more].concat())
}

/// The line with which a demo does not start.
fn refused(dir: &Path, seed: &str, more: &[&str]) -> String {
    let output = run(dir, &[&SMALL[..], &[seed], more].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.lines().count() == 1, "{error}");
    error
}

/// What the generator says it made.
fn truth(dir: &Path) -> u64 {
    let truth: Value = serde_json::from_slice(&fs::read(dir.join("truth.json")).unwrap()).unwrap();
    truth["usage_events"].as_u64().unwrap()
}

async fn counted(server: &Server) -> Value {
    let client = Client::new(server, &server.ready.api_key);
    client.rows(COUNT).await.remove(0)
}

#[tokio::test]
async fn a_demo_is_loaded_once_and_fresh_starts_over() {
    let dir = folder();
    let first = demo(dir.path(), "1", &["--days", "7"]);
    assert!(first.ready.url.starts_with("http://127.0.0.1:"), "{}", first.ready.url);
    let roles: Vec<_> = first.ready.users.iter().map(|user| user.role.as_str()).collect();
    assert_eq!(roles, ["admin", "analyst", "manager"]);
    let (rows, key) = (counted(&first).await, first.ready.api_key.clone());
    assert_eq!((&rows["n"], &rows["ids"]), (&truth(dir.path()).into(), &rows["n"]));
    // Another one does not start beside it, whatever it is asked to do.
    assert!(refused(dir.path(), "1", &[]).contains("a server runs on"));
    assert!(refused(dir.path(), "1", &["--fresh"]).contains("a server runs on"));
    first.stop();

    let second = demo(dir.path(), "1", &[]);
    assert_eq!((counted(&second).await, &second.ready.api_key), (rows.clone(), &key));
    second.stop();

    assert!(refused(dir.path(), "2", &[]).contains("another demo"));
    let fresh = demo(dir.path(), "2", &["--days", "7", "--fresh"]);
    let anew = counted(&fresh).await;
    assert_eq!(anew["n"], truth(dir.path()));
    assert!(anew != rows && fresh.ready.api_key != key, "nothing was started over");
    fresh.stop();
    // What was written since belongs to the key that goes.
    run_ok(dir.path(), &["erase", "--anonymous-id", "nobody", "--now"]);
    assert!(dir.path().join("erased.json").exists());
    // The same seed gives the same business.
    let again = demo(dir.path(), "1", &["--days", "7", "--fresh"]);
    assert_eq!(counted(&again).await, rows);
    assert!(!dir.path().join("erased.json").exists());
    again.stop();
}

#[test]
fn a_folder_with_other_data_is_left_alone() {
    let dir = folder();
    Server::serve(dir.path()).stop();
    let log = dir.path().join("log/log.json");
    let before = fs::read(&log).unwrap();
    assert!(refused(dir.path(), "1", &["--days", "7"]).contains("not a demo"));
    assert!(refused(dir.path(), "1", &["--fresh"]).contains("not a demo"));
    assert_eq!(fs::read(&log).unwrap(), before);
    assert!(!dir.path().join("demo.json").exists());
    let count = run_ok(dir.path(), &["query", "select count(*) as n from usage_events"]);
    assert_eq!(count, "n\n0\n");
}

/// Starts to load a demo, and ends it by a signal when some of its rows are in the log.
fn interrupted(dir: &Path, signal: &str) {
    let mut child = Command::new(aihub())
        .args(SMALL)
        .args(["3", "--days", "60", "--dir"])
        .arg(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let logged = || -> u64 {
        let Ok(log) = fs::read_dir(dir.join("log")) else { return 0 };
        log.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
    };
    while logged() < 200_000 {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing is loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    tests::signal(child.id(), signal);
    assert!(!child.wait().unwrap().success(), "an interrupted load is no success");
    assert!(!dir.join("truth.json").exists(), "{signal}: all was loaded by then");
}

#[tokio::test]
async fn an_interrupted_load_goes_on_and_is_exact() {
    for signal in ["INT", "KILL"] {
        let dir = folder();
        interrupted(dir.path(), signal);
        let server = demo(dir.path(), "3", &[]);
        let rows = counted(&server).await;
        let expected = Value::from(truth(dir.path()));
        assert_eq!((&rows["n"], &rows["ids"]), (&expected, &expected), "{signal}");
        server.stop();
    }
}
