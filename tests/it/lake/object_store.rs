//! Tables in an object store: a real S3 server on loopback, sound and failing.

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{
    Client, ObjectStore, Server, admin_key, configure, flushed, folder, run, run_ok, usage,
};

/// 50,000 events; `AIHUB_TEST_EVENTS=1000000` is the long form.
fn events() -> usize {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_EVENTS")
        .map_or(50_000, |(_, events)| events.parse().expect("AIHUB_TEST_EVENTS is a number"))
}

const TOTALS: &str = "select count(*) as n, count(distinct event_id) as ids, \
                      sum(input_tokens) as tokens from usage_events";

fn body(from: usize, to: usize) -> String {
    let event = |n: usize| usage("org_a", &format!("e{n}"), json!({"input_tokens": n % 97}));
    (from..to).map(|n| format!("{}\n", event(n))).collect()
}

fn tokens(events: usize) -> usize {
    (0..events).map(|n| n % 97).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_in_an_object_store_hold_what_was_sent() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    configure(dir.path(), &store.configuration("lake"));
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let request = client.request(Method::POST, "/v1/events?durability=table");
    let request = request.header("Content-Type", "application/x-ndjson").body(body(0, 1_000));
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["durability"]), (&json!(1_000), &json!("table")));
    server.kill();

    // Another process finds the tables where they are, and goes on.
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let (status, answer) = client.send("application/x-ndjson", body(500, 1_500)).await;
    assert_eq!((status, &answer["duplicate"]), (StatusCode::OK, &json!(500)), "{answer}");
    let rows = client.rows(TOTALS).await;
    assert_eq!(rows[0], json!({"n": 1_500, "ids": 1_500, "tokens": tokens(1_500)}));
    server.stop();
    assert!(!dir.path().join("lake").exists(), "a table is in the folder");
    let listing = store.request(Method::GET, "lake?list-type=2&prefix=tables/usage_ledger/");
    let listing = listing.send().await.unwrap().text().await.unwrap();
    for part in ["_delta_log/00000000000000000001.json", ".zstd.parquet"] {
        assert!(listing.contains(part), "{listing}");
    }
    // So do the commands that read without a server, and the upkeep.
    let totals = format!("n,ids,tokens\n1500,1500,{}\n", tokens(1_500));
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), totals);
    run_ok(dir.path(), &["maintain", "--all"]);
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), totals);
}

/// In how many ways requests failed.
fn ways(made: &Value) -> usize {
    made["made"].as_object().map_or(0, serde_json::Map::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_loses_nothing_and_doubles_nothing() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    let total = events();
    // Files enough, but not so many that a query of a store that fails reads them longer than its deadline.
    let rows = 2_000.max(total / 100);
    let often = format!("[ingest]\nflush_seconds = 1\nflush_rows = {rows}\n");
    configure(dir.path(), &format!("{}{often}", store.configuration("lake")));
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    store.fail(7, 0.2).await;
    for from in (0..total).step_by(1_000) {
        let to = total.min(from + 1_000);
        loop {
            let (status, answer) = client.send("application/x-ndjson", body(from, to)).await;
            if status == StatusCode::OK {
                assert_eq!(answer["accepted"], to - from, "{answer}");
                break;
            }
            // The tables are behind: a sender waits, and sends again.
            assert!(matches!(status.as_u16(), 429 | 503), "{status}: {answer}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
    // What was acknowledged is read before it is in a table.
    let rows = client.rows(TOTALS).await;
    let expected = json!({"n": total, "ids": total, "tokens": tokens(total)});
    assert_eq!(rows[0], expected);
    // It is faster than the tables: they come after it, and fail on.
    for _ in 0..300 {
        if ways(&store.faults().await) >= 5 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let made = store.fail(0, 0.0).await;
    assert!(ways(&made) >= 5, "too little went wrong: {made}");
    flushed(&client).await;
    assert_eq!(client.rows(TOTALS).await[0], expected);
    server.stop();
    // The tables alone say the same.
    assert_eq!(
        run_ok(dir.path(), &["query", TOTALS]),
        format!("n,ids,tokens\n{total},{total},{}\n", tokens(total))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_named_at_the_start() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    configure(dir.path(), &store.configuration("nowhere"));
    let output = run(dir.path(), &["serve", "--port", "0"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("nowhere") || error.contains("NoSuchBucket"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_put_that_is_refused_is_made_once_whether_it_was_stored_or_not() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    let often = "[ingest]\nflush_seconds = 1\nflush_rows = 200\n";
    configure(dir.path(), &format!("{}{often}", store.configuration("lake")));
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let ways = ["stored_412", "refused_412"];
    store.fail_as(&json!({"seed": 3, "share": 0.6, "ways": ways})).await;
    let mut total = 0;
    for _ in 0..20 {
        let (status, answer) = client.send("application/x-ndjson", body(total, total + 200)).await;
        assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(200)), "{answer}");
        total += 200;
        flushed(&client).await;
    }
    let made = store.fail(0, 0.0).await;
    for way in ways {
        assert!(made["made"][way].as_u64() >= Some(1), "no put was refused so: {made}");
    }
    let expected = json!({"n": total, "ids": total, "tokens": tokens(total)});
    assert_eq!(client.rows(TOTALS).await[0], expected);
    let (status, answer) = client.send("application/x-ndjson", body(0, total)).await;
    assert_eq!((status, &answer["duplicate"]), (StatusCode::OK, &json!(total)), "{answer}");
    server.stop();
    let totals = format!("n,ids,tokens\n{total},{total},{}\n", tokens(total));
    assert_eq!(run_ok(dir.path(), &["query", TOTALS]), totals);
    run_ok(dir.path(), &["check"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_imported_straight_into_an_object_store_once() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    configure(dir.path(), &store.configuration("lake"));
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/golden/azure_llm_conv_excerpt.csv");
    let import = ["import", "--map", "azure-llm", file];
    assert_eq!(run_ok(dir.path(), &import), "500 accepted, 0 duplicate, 0 rejected\n");
    assert_eq!(run_ok(dir.path(), &import), "0 accepted, 500 duplicate, 0 rejected\n");
    assert!(!dir.path().join("lake").exists(), "a table is in the folder");
    let sql =
        "select count(*) as n, sum(input_tokens) as i, sum(output_tokens) as o from usage_events";
    assert_eq!(run_ok(dir.path(), &["query", sql]), "n,i,o\n500,467684,132536\n");
    run_ok(dir.path(), &["check"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_named_in_a_line_without_the_secret() {
    let (dir, store) = (folder(), ObjectStore::start().await);
    let wrong = store.configuration("lake").replace("\"test\"", "\"hunter2\"");
    configure(dir.path(), &wrong);
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/golden/azure_llm_conv_excerpt.csv");
    let import = ["import", "--map", "azure-llm", file];
    for arguments in [&["serve", "--port", "0"][..], &import] {
        let output = run(dir.path(), arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
        assert!(
            error.contains("/lake?") && error.matches("InvalidAccessKeyId").count() == 1,
            "{arguments:?}: {error}"
        );
        assert!(!error.contains("hunter2") && !error.contains("{ "), "{arguments:?}: {error}");
    }
}

/// The commits of Delta tables rest on it, and it is our own addition to the test's server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_conditional_puts_wins() {
    let store = ObjectStore::start().await;
    for round in 0..5 {
        let put = |n: usize| {
            let request = store.request(Method::PUT, &format!("lake/{round}.json"));
            request.header("If-None-Match", "*").body(n.to_string()).send()
        };
        let answers = join_all((0..32).map(put)).await;
        let statuses: Vec<_> = answers.into_iter().map(|a| a.unwrap().status().as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 412)), "{statuses:?}");
    }
}
