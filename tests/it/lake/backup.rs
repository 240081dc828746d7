//! A backup that is taken while events arrive is the data folder at one cut, and a restored folder goes on alone.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{
    Client, ObjectStore, Server, admin_key, configure, flushed, folder, run, run_ok, usage,
};

const TOTALS: &str = "select count(*) as n, sum(input_tokens) as tokens, \
                      count(distinct organization_id) as organizations from usage_ledger";

fn event(id: u32) -> Value {
    usage(&format!("org_{}", id % 3), &format!("e{id}"), json!({"input_tokens": id}))
}

async fn send(client: &Client, ids: std::ops::Range<u32>) -> Value {
    let lines: String = ids.map(|id| format!("{}\n", event(id))).collect();
    let (status, answer) = client.send("application/x-ndjson", lines).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn manifest(place: &Path) -> Value {
    serde_json::from_slice(&fs::read(place.join("manifest.json")).unwrap()).unwrap()
}

/// The name of a cut, as answers give it.
fn token(cut: &Value) -> String {
    let base36 = |number: &Value| {
        let (mut number, mut digits) = (number.as_u64().unwrap(), Vec::new());
        while number > 0 || digits.is_empty() {
            digits.push(char::from_digit((number % 36) as u32, 36).unwrap());
            number /= 36;
        }
        digits.iter().rev().collect::<String>()
    };
    format!("{}.{}", base36(&cut["log"]), base36(&cut["lsn"]))
}

fn totals(dir: &Path) -> Value {
    let text = run_ok(dir, &["query", TOTALS, "--format", "json"]);
    serde_json::from_str::<Value>(&text).unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_restores_to_its_cut_and_goes_on() {
    let (dir, place, new) = (folder(), folder(), folder());
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    send(&client, 0..300).await;
    flushed(&client).await;

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(300)));
    let load = tokio::spawn({
        let (client, stop, sent) = (client.clone(), Arc::clone(&stop), Arc::clone(&sent));
        async move {
            while !stop.load(Ordering::Acquire) {
                let first = sent.load(Ordering::Acquire);
                send(&client, first..first + 20).await;
                sent.store(first + 20, Ordering::Release);
            }
        }
    });
    let (from, to) = (dir.path().to_path_buf(), place.path().display().to_string());
    let backup = move || run_ok(&from, &["backup", "--to", &to]);
    let said = tokio::task::spawn_blocking(backup.clone()).await.unwrap();
    assert!(said.contains(" 0 were there"), "{said}");
    let first = manifest(place.path());
    // Again, with more: what never changes is not copied again.
    let again = tokio::task::spawn_blocking(backup).await.unwrap();
    assert!(!again.contains(" 0 were there"), "{again}");
    stop.store(true, Ordering::Release);
    load.await.unwrap();
    let manifest = manifest(place.path());
    assert!(manifest["cut"]["lsn"].as_u64() > first["cut"]["lsn"].as_u64());

    let as_of = token(&manifest["cut"]);
    let (status, answer) = client.query_with(json!({"sql": TOTALS, "as_of": as_of})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let expected = answer["rows"][0].clone();
    let restored = run_ok(new.path(), &["restore", "--from", &place.path().display().to_string()]);
    assert!(restored.contains("0 differences"), "{restored}");
    // Who gets in is as it was then, but for sessions.
    assert!(restored.contains("\nkey key_") || restored.starts_with("key key_"), "{restored}");
    assert!(restored.contains("These 0 users and 1 keys are valid as they were at"), "{restored}");
    assert_eq!(totals(new.path()), expected);
    let secret = fs::metadata(new.path().join("pseudonym.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&secret.permissions()) & 0o777, 0o600);

    // It goes on by itself: its keys are the old ones, what it holds is known, and its cuts are its own.
    let copy = Server::serve(new.path());
    let copied = Client::new(&copy, &key);
    let answer = send(&copied, 0..sent.load(Ordering::Acquire)).await;
    let accepted = sent.load(Ordering::Acquire) - expected["n"].as_u64().unwrap() as u32;
    assert_eq!((&answer["duplicate"], &answer["accepted"]), (&expected["n"], &json!(accepted)));
    let (status, answer) = copied.query_with(json!({"sql": TOTALS, "as_of": as_of})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    run_ok(new.path(), &["check"]);
    copy.stop();
    run_ok(new.path(), &["check"]);
    server.stop();

    // A place holds the backup of one folder.
    let output = run(new.path(), &["backup", "--to", &place.path().display().to_string()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("another folder"), "{error}");
}

fn data_file(place: &Path) -> PathBuf {
    let days = fs::read_dir(place.join("lake/usage_ledger")).unwrap();
    let day = days.map(|day| day.unwrap().path()).find(|day| !day.ends_with("_delta_log")).unwrap();
    fs::read_dir(day).unwrap().next().unwrap().unwrap().path()
}

#[tokio::test]
async fn a_damaged_backup_and_a_used_folder_are_refused() {
    let (dir, place) = (folder(), folder());
    let key = admin_key(dir.path());
    let to = place.path().display().to_string();
    let refused = |dir: &Path, arguments: &[&str], part: &str| {
        let output = run(dir, arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains(part), "{error}");
    };
    refused(dir.path(), &["backup", "--to", &to], "no events");
    let server = Server::serve(dir.path());
    send(&Client::new(&server, &key), 0..10).await;
    server.stop();
    let expected = totals(dir.path());
    run_ok(dir.path(), &["backup", "--to", &to]);
    refused(dir.path(), &["restore", "--from", &to], "is not empty");
    refused(
        folder().path(),
        &["restore", "--from", &dir.path().display().to_string()],
        "no backup",
    );

    let new = folder();
    run_ok(new.path(), &["restore", "--from", &format!("file://{to}")]);
    assert_eq!(totals(new.path()), expected);

    let damaged = data_file(place.path());
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    refused(folder().path(), &["restore", "--from", &to], "is damaged");
    fs::remove_file(&damaged).unwrap();
    refused(folder().path(), &["restore", "--from", &to], "lake/usage_ledger");

    // The next backup puts back what is not there any more.
    run_ok(dir.path(), &["backup", "--to", &to]);
    let new = folder();
    run_ok(new.path(), &["restore", "--from", &to]);
    assert_eq!(totals(new.path()), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_in_an_object_store_restores_to_a_folder_and_to_another_store() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    let configuration = store.configuration("lake");
    // The folder's own tables are local; the options of the store are for the backup.
    let options: String = configuration
        .lines()
        .filter(|line| !line.starts_with("url"))
        .map(|line| format!("{line}\n"))
        .collect();
    configure(dir.path(), &options);
    let key = admin_key(dir.path());
    let to = "s3://lake/copies/of one folder";
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    send(&client, 0..100).await;
    flushed(&client).await;
    send(&client, 100..130).await;
    let (from, backup) =
        (dir.path().to_path_buf(), move |dir: PathBuf| run_ok(&dir, &["backup", "--to", to]));
    let said =
        tokio::task::spawn_blocking(move || (backup(from.clone()), backup(from))).await.unwrap();
    assert!(said.0.contains(" 0 were there") && !said.1.contains(" 0 were there"), "{said:?}");
    server.stop();
    let expected = totals(dir.path());
    assert_eq!(expected["n"], 130);

    let (local, remote) = (folder(), folder());
    configure(local.path(), &options);
    configure(remote.path(), &configuration.replace("/tables", "/restored"));
    for new in [local.path(), remote.path()] {
        let said = run_ok(new, &["restore", "--from", to]);
        assert!(said.contains("0 differences"), "{said}");
        assert_eq!(totals(new), expected);
        run_ok(new, &["check"]);
    }
    assert!(local.path().join("lake").is_dir() && !remote.path().join("lake").exists());
    let server = Server::serve(remote.path());
    let answer = send(&Client::new(&server, &key), 0..140).await;
    assert_eq!((&answer["duplicate"], &answer["accepted"]), (&json!(130), &json!(10)));
    server.stop();
    // A store that is used is not restored to.
    let used = folder();
    configure(used.path(), &configuration.replace("/tables", "/restored"));
    let output = run(used.path(), &["restore", "--from", to]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("is not empty"), "{error}");
}
