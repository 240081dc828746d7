//! Hostile statements, twenty at once, beside somebody who works and somebody who sends events. How much slower those
//! get is what `tests/benchmarks/hostile.py` measures; here nothing of theirs may fail.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::json;
use tests::{Client, Server, admin_key, anew, configure, folder, own_usage, reply, usage};
use tokio::task::JoinSet;

use super::{hostile::passing, pool::own};

const EVENTS: usize = 300;
const AT_ONCE: usize = 20;
const HONEST: &str = "select count(*) as n, sum(input_tokens) as t from usage_events";
const STORM: Duration = Duration::from_secs(12);
/// What a statement may become. Nothing else happens to anybody.
const OUTCOMES: [u16; 7] = [200, 400, 413, 422, 429, 503, 504];
/// Of one process: twice the memory of its operators, 256 MiB, and what comes between two looks at it.
const BYTES_MAX: usize = (2 * 256 + 256 + 512) << 20;

fn held_bytes(process: u32) -> usize {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Asks one hostile statement after the other, until the storm is over.
async fn attack(client: Client, first: usize, over: Arc<AtomicBool>) -> usize {
    let statements = passing();
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        let (sql, _) = &statements[(first + asked) % statements.len()];
        let body =
            json!({"sql": anew(sql), "timeout_ms": 1_500, "max_rows": 1_000, "truncate": true});
        let answer = reply(client.request(Method::POST, "/v1/query").json(&body)).await;
        assert!(OUTCOMES.contains(&answer.status.as_u16()), "{}: {sql:.90}", answer.text());
        if answer.status == 429 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        asked += 1;
    }
    asked
}

/// Sends an event, sees it, and sees nothing else.
async fn work(client: Client, over: Arc<AtomicBool>) -> usize {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        let event = own_usage("org_honest", &format!("s{sent}"), json!({"input_tokens": 2}));
        let (status, answer) = client.send("application/json", event.to_string()).await;
        assert_eq!(status, 200, "{answer}");
        sent += 1;
        assert_eq!(client.rows(&anew(HONEST)).await, [json!({"n": sent, "t": 2 * sent})]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sent
}

#[tokio::test]
async fn twenty_hostile_statements_at_once_harm_nobody() {
    let dir = folder();
    configure(dir.path(), "[query]\nmemory_mib = 256\n");
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let lines: Vec<_> = (0..EVENTS)
        .map(|i| usage("org_hostile", &format!("h{i}"), json!({"input_tokens": i})).to_string())
        .collect();
    let (status, answer) = admin.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    let [hostile, honest] = ["org_hostile", "org_honest"].map(|id| own(&server, &dir, id));

    let over = Arc::new(AtomicBool::new(false));
    let mut attackers = JoinSet::new();
    for n in 0..AT_ONCE {
        attackers.spawn(attack(hostile.clone(), n, Arc::clone(&over)));
    }
    let working = tokio::spawn(work(honest.clone(), Arc::clone(&over)));
    let mut most = 0;
    let started = std::time::Instant::now();
    while started.elapsed() < STORM {
        let processes = server.children().into_iter().chain([server.process_id()]);
        most = processes.map(held_bytes).fold(most, usize::max);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    over.store(true, Ordering::Relaxed);
    let sent = working.await.expect("nothing of the honest failed");
    let asked: usize = attackers.join_all().await.into_iter().sum();
    assert!(sent > 0 && asked >= AT_ONCE, "{sent} events, {asked} attacks");
    assert!(most <= BYTES_MAX, "a process held {} MiB", most >> 20);

    // The process is the same, and everybody is served as before.
    assert_eq!(honest.rows(&anew(HONEST)).await, [json!({"n": sent, "t": 2 * sent})]);
    let rows = hostile.rows(&anew(HONEST)).await;
    assert_eq!(rows, [json!({"n": EVENTS, "t": EVENTS * (EVENTS - 1) / 2})]);
    let rows = admin.rows(&anew("select count(*) as n from usage_events")).await;
    assert_eq!(rows, [json!({"n": EVENTS + sent})]);
}
