//! The server is killed while events are being sent, again and again, on one folder: every acknowledged event is
//! there exactly once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Client, Server, configure, folder, run_ok, usage};

/// 30 rounds; `AIHUB_TEST_ROUNDS=500` is the long form.
fn rounds() -> u64 {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_ROUNDS")
        .map_or(30, |(_, rounds)| rounds.parse().expect("AIHUB_TEST_ROUNDS is a number"))
}

/// What the senders know: for each event its tokens, and whether it was acknowledged.
type Ledger = Arc<Mutex<BTreeMap<String, (i64, bool)>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_event_survives_the_kill_once() {
    let dir = folder();
    // Rows move to the tables all the time, so that kills hit that as well.
    configure(
        dir.path(),
        "[ingest]\nflush_seconds = 1\nflush_rows = 2000\n[metrics]\nrollup_seconds = 1\n",
    );
    let key = run_ok(dir.path(), &["key", "create", "--name", "crash"]);
    let mut acknowledged = 0;
    let mut ledgers: Vec<Ledger> = Vec::new();
    for round in 0..rounds() {
        let server = Server::serve(dir.path());
        let client = Client::new(&server, &key);
        if let Some(last) = ledgers.last() {
            acknowledged += check(&client, round - 1, last).await;
            // Every other time the senders try again what got no answer.
            if round % 2 == 0 {
                resend(&client, round - 1, last).await;
                let known = check(&client, round - 1, last).await;
                assert_eq!(known, last.lock().unwrap().len(), "round {round}: not all is there");
            }
        }
        let ledger = Ledger::default();
        ledgers.push(Arc::clone(&ledger));
        let senders: Vec<_> = (0..4)
            .map(|sender| tokio::spawn(send(client.clone(), round, sender, Arc::clone(&ledger))))
            .collect();
        // A different moment each round, between almost at once and after some flushes.
        let moment = 40 + (round * 7_919) % 1_000;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.kill();
        for sender in senders {
            sender.await.unwrap();
        }
        // No server lives long enough for its own upkeep: what each start reads would grow and grow.
        if round % 25 == 24 {
            run_ok(dir.path(), &["maintain", "--all"]);
        }
    }
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    acknowledged += check(&client, rounds() - 1, &ledgers[ledgers.len() - 1]).await;
    let rows = client
        .rows("select count(*) as n, count(distinct source || ' ' || event_id) as ids from usage_events")
        .await;
    assert_eq!(rows[0]["n"], rows[0]["ids"], "an event is stored twice");
    assert!(acknowledged > 20 * rounds() as usize, "only {acknowledged} events were acknowledged");
    server.stop();
    run_ok(dir.path(), &["check"]);
}

fn body(round: u64, events: &[(String, i64)]) -> String {
    let line = |(id, tokens): &(String, i64)| {
        let mut event = usage("org_crash", id, json!({"input_tokens": tokens}));
        event["source"] = format!("/crash/{round}").into();
        format!("{event}\n")
    };
    events.iter().map(line).collect()
}

/// Sends again what was not acknowledged: some of it is stored already, and none of it becomes two.
async fn resend(client: &Client, round: u64, ledger: &Ledger) {
    let unknown: Vec<(String, i64)> = ledger
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, (_, known))| !known)
        .map(|(id, (tokens, _))| (id.clone(), *tokens))
        .collect();
    for events in unknown.chunks(150) {
        let (status, answer) = client.send("application/x-ndjson", body(round, events)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["rejected"], 0, "round {round}: {answer}");
        let mut ledger = ledger.lock().unwrap();
        for (id, _) in events {
            ledger.get_mut(id).unwrap().1 = true;
        }
    }
}

/// Sends batches of mixed sizes until the server is gone.
async fn send(client: Client, round: u64, sender: u64, ledger: Ledger) {
    for batch in 0.. {
        let size = [1, 10, 200][(batch as usize + sender as usize) % 3];
        let events: Vec<(String, i64)> =
            (0..size).map(|n| (format!("{sender}-{batch}-{n}"), (batch * 31 + n) % 97)).collect();
        let body = body(round, &events);
        {
            let mut ledger = ledger.lock().unwrap();
            ledger.extend(events.iter().map(|(id, tokens)| (id.clone(), (*tokens, false))));
        }
        let (status, answer) = client.send("application/x-ndjson", body).await;
        if status != StatusCode::OK {
            return;
        }
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        let mut ledger = ledger.lock().unwrap();
        for ((id, _), result) in events.iter().zip(results) {
            assert_eq!(result["status"], "accepted", "{result}");
            if let Some(entry) = ledger.get_mut(id) {
                entry.1 = true;
            }
        }
    }
}

/// What was acknowledged in a round is stored, once, with its tokens; what was never sent is not.
async fn check(client: &Client, round: u64, ledger: &Ledger) -> usize {
    let sql =
        format!("select event_id, input_tokens from usage_events where source = '/crash/{round}'");
    let (status, answer) = client.query_with(json!({"sql": sql, "max_rows": 10_000_000})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let ledger = ledger.lock().unwrap();
    let mut stored = BTreeMap::new();
    for row in answer["rows"].as_array().into_iter().flatten() {
        let id = row["event_id"].as_str().unwrap_or_default().to_owned();
        let tokens = row["input_tokens"].as_i64();
        assert_eq!(ledger.get(&id).map(|(tokens, _)| *tokens), tokens, "round {round}: {id}");
        assert!(
            stored.insert(id.clone(), Value::Null).is_none(),
            "round {round}: {id} is there twice"
        );
    }
    let acknowledged: Vec<_> = ledger.iter().filter(|(_, (_, known))| *known).collect();
    for (id, _) in &acknowledged {
        assert!(stored.contains_key(*id), "round {round}: {id} was acknowledged and is lost");
    }
    acknowledged.len()
}
