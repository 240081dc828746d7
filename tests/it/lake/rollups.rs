//! Rollups on disk: they are built, repaired and removed by the server alone, and checked with everything else.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, days_ago, folder, rollup, run, run_ok, until_rolled_up,
    usage,
};

/// A question to the last rollup that is brought up to date.
const LAST: &str = "p50_time_to_first_token?range=last_7_days&grain=hour";

/// A server that has summed up four days.
async fn summed_up(dir: &Path) -> (Server, Client) {
    configure(dir, "[metrics]\nrollup_seconds = 1\n[ingest]\nflush_seconds = 1\n");
    let key = admin_key(dir);
    let server = Server::serve(dir);
    let client = Client::new(&server, &key);
    let events: Vec<Value> = (0..200)
        .map(|n| {
            let mut event =
                usage("org_a", &format!("e{n}"), json!({"model": format!("m{}", n % 3)}));
            event["time"] = format!("{}T{:02}:10:00Z", days_ago(1 + n % 4), n % 24).into();
            event
        })
        .collect();
    client.store(&events).await;
    until_rolled_up(&client, LAST).await;
    (server, client)
}

/// Requests of the last week, and where they were read.
async fn requests(client: &Client, grain: &str) -> (Value, Value) {
    let question = format!("/v1/metrics/requests?range=last_7_days&grain={grain}");
    let (status, answer) = client.get(&question).await;
    assert_eq!(status, 200, "{answer}");
    (answer["rows"].clone(), answer["read"]["source"].clone())
}

/// The data files of a table.
fn data_files(table: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).collect()
}

fn check(dir: &Path) -> Value {
    let output = run(dir, &["check", "--format", "json"]);
    serde_json::from_slice(&output.stdout).expect("a report")
}

/// Adds the rows of a file a second time: a commit of a copy, as damage would.
fn double_a_file(table: &Path) {
    let log = table.join("_delta_log");
    let mut entries: Vec<_> =
        fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    entries.sort();
    let mut actions: Vec<Value> = Vec::new();
    for path in &entries {
        let text = fs::read_to_string(path).unwrap();
        actions.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    let mut add = actions.into_iter().rfind(|action| action.get("add").is_some()).expect("a file");
    let path = add["add"]["path"].as_str().unwrap().to_owned();
    let forged = path.replace("part-", "part-forged-");
    fs::copy(table.join(&path), table.join(&forged)).unwrap();
    add["add"]["path"] = forged.into();
    fs::write(log.join(format!("{:020}.json", entries.len())), format!("{add}\n")).unwrap();
}

#[tokio::test]
async fn a_rollup_that_differs_is_named_and_computed_anew() {
    let dir = folder();
    let (server, client) = summed_up(dir.path()).await;
    let sound = requests(&client, "day").await;
    assert_eq!(sound.1, "rollup");
    let report = check(dir.path());
    assert_eq!(report["count"], 0, "{report}");
    assert!(report["rollups"]["compared"].as_u64() >= Some(40), "{report}");
    server.stop();

    double_a_file(&rollup(dir.path(), "usage_daily"));
    let report = check(dir.path());
    assert_eq!(report["differences"][0]["kind"], "rollup", "{report}");
    assert_eq!(report["differences"][0]["table"], "usage_daily", "{report}");
    let detail = report["differences"][0]["detail"].as_str().expect("a text");
    assert!(detail.contains(&days_ago(2)), "{detail}");

    // The last night was missed, so that the check is due at the start.
    let last = json!({"at": "2020-01-01T00:00:00Z", "as_of": "", "differences": 0});
    fs::write(dir.path().join("check.json"), last.to_string()).unwrap();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    for round in 0.. {
        let kept = fs::read_to_string(dir.path().join("check.json")).unwrap();
        if !kept.contains("2020-01-01") {
            assert!(kept.contains("\"differences\":1"), "{kept}");
            break;
        }
        assert!(round < 600, "the check does not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Told first, and then mended.
    for round in 0.. {
        if requests(&client, "day").await == sound {
            break;
        }
        assert!(round < 100, "the rollup stays as it is");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop();
    assert_eq!(check(dir.path())["count"], 0);
}

#[tokio::test]
async fn a_lost_file_of_a_rollup_changes_no_answer() {
    let dir = folder();
    let (server, client) = summed_up(dir.path()).await;
    let (by_day, by_hour) = (requests(&client, "day").await, requests(&client, "hour").await);
    server.stop();
    let lost = rollup(dir.path(), "usage_daily");
    data_files(&lost).into_iter().for_each(|file| fs::remove_file(file).unwrap());
    // A table that cannot be opened at all.
    let broken = rollup(dir.path(), "usage_hourly").join("_delta_log/00000000000000000000.json");
    fs::write(broken, "{").unwrap();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    until_rolled_up(&client, LAST).await;
    assert_eq!(requests(&client, "day").await, (by_day.0, json!("raw")));
    assert_eq!(requests(&client, "hour").await.0, by_hour.0);
    server.stop();
}

#[tokio::test]
async fn days_that_the_ledger_loses_leave_the_rollups() {
    let dir = folder();
    let (server, client) = summed_up(dir.path()).await;
    server.stop();
    let settings = "[metrics]\nrollup_seconds = 1\n[retention]\nusage_ledger = 2\n";
    configure(dir.path(), settings);
    run_ok(dir.path(), &["maintain"]);
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    let days = |rows: &Value| -> Vec<Value> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["value"].clone()).filter(|value| *value != 0).collect()
    };
    for round in 0.. {
        let (rows, source) = requests(&client, "day").await;
        if source == "rollup" && days(&rows).len() == 2 {
            break;
        }
        assert!(round < 100, "{source}: {rows}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let by_key = client.get("/v1/metrics/requests?range=last_7_days&by=api_key_id").await.1;
    assert_eq!(
        (&by_key["rows"][0]["value"], &by_key["read"]["source"]),
        (&json!(100), &json!("raw"))
    );
    server.stop();
    assert_eq!(check(dir.path())["count"], 0);
    // Nobody keeps them: they go.
    configure(dir.path(), "[metrics]\nrollup_seconds = 0\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    for round in 0.. {
        if data_files(&rollup(dir.path(), "usage_daily")).is_empty() {
            break;
        }
        assert!(round < 100, "the tables stay");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(requests(&client, "day").await.1, "raw");
    server.stop();
}

#[tokio::test]
async fn a_rollup_of_another_definition_goes_when_the_new_one_is_there() {
    let dir = folder();
    let (server, client) = summed_up(dir.path()).await;
    server.stop();
    let former = dir.path().join("lake/usage_daily-0123456789ab");
    let others = dir.path().join("lake/usage-of-somebody-else");
    for path in [&former, &others] {
        fs::create_dir_all(path.join("_delta_log")).unwrap();
        fs::write(path.join("_delta_log/00000000000000000000.json"), "{}").unwrap();
        fs::write(path.join("part.parquet"), "rows").unwrap();
    }
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    for round in 0.. {
        if !former.join("part.parquet").exists() {
            break;
        }
        assert!(round < 100, "the former table stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(others.join("part.parquet").exists());
    // What a rollup stores is for statements of our own.
    for relation in ["usage_daily_stored", "usage_daily_above", "\"usage_daily_stored\""] {
        let (status, refused) =
            client.query(&format!("select count(*) as n from {relation}")).await;
        assert_eq!(
            (status.as_u16(), &refused["code"]),
            (400, &json!("invalid_query")),
            "{refused}"
        );
        assert!(!refused.to_string().contains("did you mean"), "{refused}");
    }
    assert_eq!(requests(&client, "day").await.1, "rollup");
    server.stop();
}
