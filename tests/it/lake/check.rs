//! `aihub check` finds nothing in a sound folder, and names every damage that is done to one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Server, admin_key, configure, flushed, folder, reply, run, usage};

/// Sends usage events of three organizations, with a rejected one among them.
async fn send(client: &Client, ids: std::ops::Range<u32>) {
    let mut lines = String::new();
    for id in ids {
        let data = json!({"input_tokens": id, "cost": "0.25", "currency": "USD"});
        lines += &format!("{}\n", usage(&format!("org_{}", id % 3), &format!("e{id}"), data));
    }
    lines += "{\"id\": 5}\n";
    let (status, answer) = client.send("application/x-ndjson", lines).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// A stopped folder whose usage came in two flushes.
async fn filled() -> TempDir {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    send(&client, 0..30).await;
    flushed(&client).await;
    send(&client, 30..50).await;
    server.stop();
    dir
}

fn copy(dir: &Path) -> TempDir {
    let copied = folder();
    let status = Command::new("cp").arg("-a").arg(dir.join(".")).arg(copied.path()).status();
    assert!(status.unwrap().success());
    copied
}

/// The exit code, and the answer as JSON.
fn check(dir: &Path) -> (Option<i32>, Value) {
    let output = run(dir, &["check", "--format", "json"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_slice(&output.stdout);
    (output.status.code(), answer.unwrap_or_else(|_| panic!("no answer: {error}")))
}

/// Damages a copy of the folder. The check must fail, and give the kinds and details.
fn damaged(dir: &Path, damage: impl FnOnce(&Path)) -> Vec<(String, String)> {
    let dir = copy(dir);
    damage(dir.path());
    let (code, answer) = check(dir.path());
    assert_eq!(code, Some(1), "{answer}");
    let found = answer["differences"].as_array().unwrap();
    assert!(!found.is_empty() && answer["count"].as_u64() >= Some(found.len() as u64), "{answer}");
    let text = |found: &Value, name: &str| found[name].as_str().unwrap_or_default().to_owned();
    found.iter().map(|found| (text(found, "kind"), text(found, "detail"))).collect()
}

fn data_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for day in fs::read_dir(dir.join("lake/usage_ledger")).unwrap() {
        let day = day.unwrap().path();
        if day.file_name().unwrap() != "_delta_log" {
            found.extend(fs::read_dir(day).unwrap().map(|file| file.unwrap().path()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_sound_folder_has_no_difference_stopped_or_served() {
    let dir = filled().await;
    let (code, answer) = check(dir.path());
    assert_eq!((code, &answer["count"]), (Some(0), &json!(0)), "{answer}");
    let usage = &answer["tables"]["usage_ledger"];
    assert_eq!((&usage["rows"], &usage["log_rows"]), (&json!(50), &json!(0)));
    assert_eq!(answer["tables"]["dead_letter"]["rows"], 2);

    // Beside a server, with rows that only the log holds, and after a kill, with the log to be replayed.
    configure(dir.path(), "[ingest]\nflush_seconds = 3600\n");
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    send(&client, 50..60).await;
    let (code, answer) = check(dir.path());
    assert_eq!((code, &answer["count"]), (Some(0), &json!(0)), "{answer}");
    assert_eq!(answer["tables"]["usage_ledger"]["log_rows"], 10);
    assert_eq!(answer["accepted_events"], 10);
    server.kill();
    let (code, answer) = check(dir.path());
    assert_eq!((code, &answer["count"]), (Some(0), &json!(0)), "{answer}");
    assert_eq!(answer["tables"]["usage_ledger"]["log_rows"], 10);

    let text = run(dir.path(), &["check"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("usage_ledger: 50 rows in 2 files, 10 in the log\n"), "{text}");
    assert!(text.contains("\n0 differences at "), "{text}");
    let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("check-")).collect();
    assert!(left.is_empty(), "the check left {left:?}");
}

#[tokio::test]
async fn every_damage_is_named() {
    let dir = filled().await;

    let gone = data_files(dir.path())[0].file_name().unwrap().to_string_lossy().into_owned();
    let found = damaged(dir.path(), |dir| fs::remove_file(&data_files(dir)[0]).unwrap());
    assert!(
        found.iter().any(|(kind, detail)| kind == "file" && detail.contains(&gone)),
        "{found:?}"
    );
    assert!(found.iter().any(|(kind, _)| kind == "lsn"), "{found:?}");

    let found = damaged(dir.path(), forge_a_commit);
    assert!(found.iter().any(|(kind, detail)| kind == "lsn" && detail.contains("a second time")));
    assert!(found.iter().any(|(kind, detail)| kind == "identity" && detail.contains("again")));

    let found = damaged(dir.path(), change_a_value);
    let changed: Vec<_> = found.iter().filter(|(kind, _)| kind == "content").collect();
    assert_eq!(changed.len(), 1, "{found:?}");
    assert!(changed[0].1.contains("is not what was accepted"), "{found:?}");

    let found = damaged(dir.path(), lose_an_identity);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == "index" && found[0].1.contains("not in the index"), "{found:?}");
}

/// Commits a copy of a data file under another name.
fn forge_a_commit(dir: &Path) {
    let log = dir.join("lake/usage_ledger/_delta_log");
    let mut entries: Vec<_> = fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).collect();
    entries.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    entries.sort();
    let text = fs::read_to_string(entries.last().unwrap()).unwrap();
    let add = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut add = add.into_iter().find(|action| action.get("add").is_some()).unwrap();
    let path = add["add"]["path"].as_str().unwrap().to_owned();
    let forged = path.replace("part-", "part-forged-");
    let table = dir.join("lake/usage_ledger");
    // The partition's `=` may be written as %3D.
    let local = |path: &str| table.join(path.replace("%3D", "="));
    fs::copy(local(&path), local(&forged)).unwrap();
    add["add"]["path"] = forged.into();
    fs::write(log.join(format!("{:020}.json", entries.len())), format!("{add}\n")).unwrap();
}

/// Writes a data file anew, with one more token in its first row.
fn change_a_value(dir: &Path) {
    let path = &data_files(dir)[0];
    let rows = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let rows = rows.build().unwrap().next().unwrap().unwrap();
    let at = rows.schema().index_of("input_tokens").unwrap();
    let tokens = rows.column(at).as_primitive::<Int64Type>();
    let mut values = tokens.values().to_vec();
    values[0] += 1;
    assert_eq!(tokens.null_count(), 0);
    let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
    columns[at] = Arc::new(Int64Array::from(values));
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

fn lose_an_identity(dir: &Path) {
    let database = fjall::Database::builder(dir.join("index")).open().unwrap();
    let keys = database.keyspace("keys", fjall::KeyspaceCreateOptions::default).unwrap();
    let (key, _) = keys.iter().next().unwrap().into_inner().unwrap();
    keys.remove(key).unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[tokio::test]
async fn a_server_checks_at_night_and_tells_it_in_its_metrics() {
    let dir = filled().await;
    // The last night was missed, so that the check is due at the start.
    let last = json!({"at": "2020-01-01T00:00:00Z", "as_of": "", "differences": 0});
    fs::write(dir.path().join("check.json"), last.to_string()).unwrap();
    fs::remove_file(&data_files(dir.path())[0]).unwrap();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &tests::admin_key(dir.path()));
    let found = async {
        loop {
            let measured = reply(client.request(Method::GET, "/metrics")).await.text();
            let value = |name: &str| {
                let line = measured.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.trim().parse::<f64>().ok())
            };
            if value("check_differences ") > Some(0.0) {
                return value("check_last_run_timestamp_seconds ");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let at = tokio::time::timeout(Duration::from_secs(120), found).await.unwrap();
    assert!(at > Some(1_577_836_800.0), "{at:?}");
    server.stop();
    let kept: Value =
        serde_json::from_slice(&fs::read(dir.path().join("check.json")).unwrap()).unwrap();
    assert!(
        kept["differences"].as_u64() > Some(0) && kept["at"] != "2020-01-01T00:00:00Z",
        "{kept}"
    );
}
