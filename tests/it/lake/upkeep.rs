//! The tables are kept in order beside a running server, and no answer changes.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, aihub, configure, folder, reply, run, run_ok, usage};

const ROWS: &str = "select lsn, organization_id, event_id, input_tokens, list_price, occurred_at \
                    from usage_events order by lsn";

/// A usage event some days ago.
fn event(id: &str, days_ago: i64) -> Value {
    let mut event = usage("org_a", id, json!({"input_tokens": id.len()}));
    let at: DateTime<Utc> = event["time"].as_str().expect("a time").parse().expect("a time");
    event["time"] = (at - TimeDelta::days(days_ago)).to_rfc3339().into();
    event
}

/// Sends events in a request that waits for the tables, and gives the cut it was answered with.
async fn store(client: &Client, events: &[Value]) -> String {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let request = client.request(Method::POST, "/v1/events?durability=table");
    let answer = reply(request.header("Content-Type", "application/x-ndjson").body(lines)).await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["rejected"]), (200, &json!(0)), "{body}");
    body["as_of"].as_str().expect("a cut").to_owned()
}

async fn rows_at(client: &Client, as_of: &str) -> Value {
    let (status, answer) = client.query_with(json!({"sql": ROWS, "as_of": as_of})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["rows"].clone()
}

/// What `aihub maintain` reports of usage.
fn maintain(dir: &Path, flags: &[&str]) -> Value {
    let text = run_ok(dir, &[&["maintain", "--format", "json"], flags].concat());
    let report: Value = serde_json::from_str(&text).expect("a report");
    let tables = report["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == "usage_ledger").expect("usage").clone()
}

/// The data files of usage on the disk, of every version.
fn files(dir: &Path) -> usize {
    let table = fs::read_dir(dir.join("lake").join("usage_ledger")).expect("the table");
    let days = table.map(|entry| entry.expect("an entry").path());
    days.filter(|path| path.to_string_lossy().contains("event_date="))
        .map(|day| fs::read_dir(day).expect("a day").count())
        .sum()
}

async fn measured(client: &Client, name: &str) -> Option<f64> {
    let text = reply(client.request(Method::GET, "/metrics")).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

/// Waits for a measurement of the server.
async fn until(client: &Client, name: &str, wanted: impl Fn(f64) -> bool) {
    for _ in 0..600 {
        if measured(client, name).await.is_some_and(&wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is {:?}", measured(client, name).await);
}

/// Asks all the time, until told to stop: every answer comes, and none has fewer rows than the one before.
async fn ask_on(client: Client, stop: Arc<AtomicBool>) -> u32 {
    let (mut asked, mut last) = (0, 0);
    while !stop.load(Ordering::Acquire) {
        let rows =
            client.rows("select count(*) as n, count(distinct lsn) as d from usage_events").await;
        assert_eq!(rows[0]["n"], rows[0]["d"], "a row is there twice");
        let now = rows[0]["n"].as_u64().expect("a count");
        assert!(now >= last, "{now} rows after {last}");
        (asked, last) = (asked + 1, now);
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_cut_answers_the_same_after_upkeep_and_a_restart() {
    let dir = folder();
    let dir = dir.path();
    // Files are removed some time after they left the table: no query can need them then.
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n[query]\ndeadline_seconds = 5\n\
         [maintain]\nenabled = false\ngrace_minutes = 0\ncheckpoint_commits = 3\n",
    );
    let server = Server::serve(dir);
    let key = admin_key(dir);
    let client = Client::new(&server, &key);
    let mut cuts = Vec::new();
    for batch in 0..5 {
        let events: Vec<_> = (0..20).map(|n| event(&format!("{batch}-{n}"), 2 + n % 2)).collect();
        let as_of = store(&client, &events).await;
        let rows = rows_at(&client, &as_of).await;
        cuts.push((as_of, rows));
    }
    let unchanged = async |client: &Client| {
        for (number, (as_of, rows)) in cuts.iter().enumerate() {
            assert_eq!(rows.as_array().map(Vec::len), Some(20 * (number + 1)));
            assert_eq!(rows_at(client, as_of).await, *rows, "at the cut {as_of}");
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn(ask_on(client.clone(), Arc::clone(&stop)));
    assert_eq!(files(dir), 10);
    let told = maintain(dir, &["--dry-run"]);
    assert_eq!((&told["compacted"]["files"], &told["after"]["files"]), (&json!(10), &json!(10)));
    assert_eq!(files(dir), 10, "a dry run does nothing");
    let done = maintain(dir, &[]);
    assert_eq!((&done["before"]["files"], &done["after"]["files"]), (&json!(10), &json!(2)));
    assert_eq!((&done["before"]["rows"], &done["after"]["rows"]), (&json!(100), &json!(100)));
    assert!(done["checkpoint"].is_u64(), "{done}");
    assert!(dir.join("lake/usage_ledger/_delta_log/_last_checkpoint").exists());
    assert_eq!(files(dir), 12, "the old ones stay for queries that began before");
    unchanged(&client).await;
    // The writer goes on, on top of what it did not see coming.
    store(&client, &[event("late", 2), event("0-0", 2)]).await;
    until(&client, "lake_table_files{table=\"usage_ledger\"}", |files| files == 3.0).await;
    let mut vacuumed = 0;
    for _ in 0..120 {
        let done = maintain(dir, &["--full"]);
        vacuumed += done["vacuumed"]["files"].as_u64().expect("a number");
        if files(dir) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Ten of the flushes; then the day that got the late event was written once more.
    assert_eq!((vacuumed, files(dir)), (12, 2));
    unchanged(&client).await;
    stop.store(true, Ordering::Release);
    assert!(asking.await.expect("undisturbed") > 0);
    server.stop();
    let server = Server::serve(dir);
    let client = Client::new(&server, &key);
    unchanged(&client).await;
    let rows = client.rows("select count(*) as n from usage_events").await;
    assert_eq!(rows, [json!({"n": 101})]);
    server.stop();
}

#[tokio::test]
async fn a_server_keeps_its_tables_in_order_by_itself() {
    let dir = folder();
    let dir = dir.path();
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n\
         [maintain]\nevery_seconds = 1\ncompact_minutes = 0\ncheckpoint_commits = 2\n",
    );
    let server = Server::serve(dir);
    let client = Client::new(&server, &admin_key(dir));
    for n in 0..4 {
        store(&client, &[event(&n.to_string(), 3)]).await;
    }
    let table = "{table=\"usage_ledger\"";
    until(&client, &format!("upkeep_files_total{table},change=\"rewritten\"}}"), |n| n >= 1.0)
        .await;
    until(&client, &format!("lake_table_files{table}}}"), |files| files == 1.0).await;
    for job in ["compaction", "checkpoint", "vacuum", "full_vacuum"] {
        until(&client, &format!("upkeep_last_success_seconds{{job=\"{job}\"}}"), |at| at > 0.0)
            .await;
        let failures = measured(&client, &format!("upkeep_failures_total{{job=\"{job}\"}}")).await;
        assert_eq!(failures, Some(0.0));
    }
    let rows = client.rows("select count(*) as n from usage_events").await;
    assert_eq!(rows, [json!({"n": 4})]);
    server.stop();
    assert!(dir.join("lake/usage_ledger/_delta_log/_last_checkpoint").exists());
}

#[tokio::test]
async fn days_that_are_too_old_go_and_their_identities_stay() {
    let dir = folder();
    let dir = dir.path();
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n[maintain]\nenabled = false\n[retention]\nusage_ledger = 5\n",
    );
    let server = Server::serve(dir);
    let client = Client::new(&server, &admin_key(dir));
    let as_of = store(&client, &[event("old", 8), event("edge", 4), event("new", 0)]).await;
    let requests = async || {
        let (status, answer) = client.get("/v1/metrics/requests?grain=day").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let rows = answer["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["value"].as_f64().expect("a number")).sum::<f64>()
    };
    let before = requests().await;
    let told = maintain(dir, &["--dry-run"]);
    assert_eq!((&told["expired"]["rows"], &told["after"]["rows"]), (&json!(1), &json!(3)));
    let other = run_ok(dir, &["maintain", "--table", "billing_events"]);
    assert!(!other.contains("usage_ledger"), "{other}");
    assert_eq!(client.rows("select count(*) as n from usage_events").await, [json!({"n": 3})]);
    let done = maintain(dir, &["--table", "usage_ledger"]);
    assert_eq!((&done["expired"]["rows"], &done["after"]["rows"]), (&json!(1), &json!(2)));
    until(&client, "lake_table_files{table=\"usage_ledger\"}", |files| files == 2.0).await;
    let rows = client.rows("select event_id from usage_events order by event_id").await;
    assert_eq!(rows, [json!({"event_id": "edge"}), json!({"event_id": "new"})]);
    // An answer that was kept from before is not given any more, and an older cut has lost the row, too.
    assert_eq!(before - requests().await, 1.0);
    assert_eq!(rows_at(&client, &as_of).await.as_array().map(Vec::len), Some(2));
    let (_, answer) = client.send("application/json", event("old", 8).to_string()).await;
    assert_eq!(answer["duplicate"], 1, "{answer}");
    server.stop();
}

#[tokio::test]
async fn a_killed_upkeep_changes_nothing_and_what_it_left_is_removed() {
    let dir = folder();
    let dir = dir.path();
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n[query]\ndeadline_seconds = 5\n\
         [maintain]\nenabled = false\ngrace_minutes = 0\ncheckpoint_commits = 2\n",
    );
    let server = Server::serve(dir);
    let client = Client::new(&server, &admin_key(dir));
    for batch in 0..4 {
        let events: Vec<_> = (0..30).map(|n| event(&format!("{batch}-{n}"), 2 + n % 6)).collect();
        store(&client, &events).await;
    }
    server.stop();
    let expected = run_ok(dir, &["query", ROWS]);
    assert_eq!(expected.lines().count(), 121);
    // A different moment each time, from before the first file to after the last commit.
    for moment in (40..1_200).step_by(120) {
        let mut child = Command::new(aihub())
            .args(["maintain", "--all", "--full", "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("aihub starts");
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let _ = child.kill();
        child.wait().expect("it ends");
        assert_eq!(run_ok(dir, &["query", ROWS]), expected, "killed after {moment} ms");
    }
    let left = |path: &Path| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    for _ in 0..120 {
        let done = maintain(dir, &["--all", "--full"]);
        assert_eq!(done["after"]["files"], 6);
        if files(dir) == 6 {
            assert!(!left(&dir.join("maintain.spill")));
            assert_eq!(run_ok(dir, &["query", ROWS]), expected);
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{} files stay", files(dir));
}

#[test]
fn one_at_a_time_and_only_what_there_is() {
    let dir = folder();
    let dir = dir.path();
    run_ok(dir, &["key", "list"]);
    assert_eq!(run_ok(dir, &["maintain"]), "There are no tables yet.\n");
    let lock = File::create(dir.join("maintain.lock")).expect("the lock");
    lock.lock().expect("the lock");
    let busy = run(dir, &["maintain"]);
    let error = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert_eq!(busy.status.code(), Some(1));
    assert!(error.contains("another process maintains"), "{error}");
    drop(lock);
    let unknown = run(dir, &["maintain", "--table", "nothing"]);
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(error.contains("usage_ledger, billing_events"), "{error}");
    let nowhere = run(&dir.join("nowhere"), &["maintain"]);
    assert_eq!(nowhere.status.code(), Some(1));
}
