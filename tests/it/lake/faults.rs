//! System calls that fail, and kills at a system call: `strace` injects them into the real server.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    os::unix::process::ExitStatusExt,
    path::Path,
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::json;
use tests::{Client, Server, Traced, admin_key, configure, folder, run_ok, usage};

/// 40 kills that hit; `AIHUB_TEST_KILLS=300` is the long form.
fn kills() -> usize {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_KILLS")
        .map_or(40, |(_, kills)| kills.parse().expect("AIHUB_TEST_KILLS is a number"))
}

/// The calls by which bytes become durable and names come and go, and how many of them a thread makes first: the
/// writer of the log makes one for each group, the others are made by threads in turn.
const CALLS: [(&str, usize); 11] = [
    ("fdatasync", 8),
    ("linkat", 1),
    ("fsync", 3),
    ("fdatasync", 5),
    ("?rename,?renameat,?renameat2", 2),
    ("?unlink,?unlinkat", 2),
    ("write", 12),
    ("fdatasync", 3),
    ("fsync", 2),
    ("linkat", 2),
    ("fdatasync", 1),
];

fn body(first: usize, events: usize) -> String {
    let event = |n: usize| usage("org_a", &format!("e{n}"), json!({"input_tokens": n % 97}));
    (first..first + events).map(|n| format!("{}\n", event(n))).collect()
}

/// Sends batches until the server is gone, or for so many. Gives what was acknowledged.
async fn send(client: &Client, next: &mut usize, batches: usize) -> Vec<usize> {
    let mut acknowledged = Vec::new();
    for batch in 0..batches {
        let events = [1, 40, 150][batch % 3];
        let first = *next;
        *next += events;
        let (status, answer) = client.send("application/x-ndjson", body(first, events)).await;
        if status != StatusCode::OK {
            break;
        }
        assert_eq!(answer["accepted"], events, "{answer}");
        acknowledged.extend(first..first + events);
    }
    acknowledged
}

/// Sends a batch again whose answer was lost: whichever of its events were stored, now all are, once. `false` when
/// the server is gone.
async fn send_again(client: &Client, batch: &Range<usize>) -> bool {
    let (status, answer) =
        client.send("application/x-ndjson", body(batch.start, batch.len())).await;
    let count = |verdict: &str| answer[verdict].as_u64().unwrap_or_default() as usize;
    assert!(
        status != StatusCode::OK || count("accepted") + count("duplicate") == batch.len(),
        "{answer}"
    );
    status == StatusCode::OK
}

/// Everything that was acknowledged is there, once, as it was sent.
async fn check(client: &Client, acknowledged: &BTreeSet<usize>, sent: usize) {
    let sql = "select event_id, input_tokens from usage_events";
    let (status, answer) = client.query_with(json!({"sql": sql, "max_rows": 10_000_000})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut stored = BTreeMap::new();
    for row in answer["rows"].as_array().unwrap() {
        let number: usize = row["event_id"].as_str().unwrap()[1..].parse().unwrap();
        assert!(number < sent && row["input_tokens"] == number % 97, "{row}");
        assert!(stored.insert(number, ()).is_none(), "{row} is there twice");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|number| !stored.contains_key(number)).collect();
    assert!(lost.is_empty(), "{} acknowledged events are lost, such as {lost:?}", lost.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_call_loses_nothing_and_doubles_nothing() {
    let dir = folder();
    configure(
        dir.path(),
        "[ingest]\nflush_seconds = 1\nflush_rows = 150\n[maintain]\nenabled = false\n[check]\nnightly = false\n",
    );
    let key = admin_key(dir.path());
    let (mut acknowledged, mut next) = (BTreeSet::new(), 0);
    let (mut hits, mut early) = (0, 0);
    let (mut unanswered, mut last): (Option<Range<usize>>, Option<usize>) = (None, None);
    for attempt in 0.. {
        // About one kill in three hits: a process does not make every call as often as it is to be killed at.
        assert!(attempt < 6 * kills(), "only {hits} of {attempt} kills hit");
        let (call, most) = CALLS[attempt % CALLS.len()];
        let inject = format!("inject={call}:signal=KILL:when={}", 1 + attempt / CALLS.len() % most);
        let options = ["-e", &format!("trace={call}"), "-e", &inject];
        let server = match Traced::start(dir.path(), Path::new("/dev/null"), &options) {
            Ok(server) => server,
            Err(status) => {
                assert_eq!(status.signal(), Some(9), "{call}: it ended by itself: {status}");
                (hits, early) = (hits + 1, early + 1);
                continue;
            }
        };
        let client = Client::at(&server.url, &key);
        // What the killed process acknowledged last is known to the next one.
        if let Some(event) = last {
            let (status, answer) = client.send("application/x-ndjson", body(event, 1)).await;
            assert!(status != StatusCode::OK || answer["duplicate"] == 1, "{event}: {answer}");
        }
        if let Some(batch) = unanswered.take() {
            match send_again(&client, &batch).await {
                true => acknowledged.extend(batch),
                false => unanswered = Some(batch),
            }
        }
        if unanswered.is_none() {
            let before = next;
            let sent = send(&client, &mut next, 12).await;
            let answered = sent.last().map_or(before, |event| event + 1);
            unanswered = Some(answered..next).filter(|batch| !batch.is_empty());
            last = sent.last().copied().or(last);
            acknowledged.extend(sent);
        }
        let is_gone = client.get("/healthz").await.0 == StatusCode::BAD_GATEWAY;
        hits += usize::from(is_gone);
        let status = server.end(if is_gone { "-0" } else { "-KILL" });
        assert_eq!(status.signal(), Some(9), "{call}: it ended by itself: {status}");
        if hits >= kills() {
            break;
        }
        // Without upkeep, what each start reads would grow and grow.
        if attempt % 50 == 49 {
            run_ok(dir.path(), &["maintain", "--all"]);
        }
    }
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    if let Some(batch) = unanswered {
        assert!(send_again(&client, &batch).await);
        acknowledged.extend(batch);
    }
    assert_eq!(acknowledged.len(), next, "in the end everything was acknowledged");
    check(&client, &acknowledged, next).await;
    assert!(early < hits, "every kill came before a server was ready");
    assert!(acknowledged.len() > 20 * hits, "only {} were acknowledged", acknowledged.len());
    server.stop();
    // Log, tables and index agree about all of it.
    run_ok(dir.path(), &["check"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_sync_nothing_is_acknowledged_and_the_server_ends() {
    for error in ["EIO", "ENOSPC"] {
        let dir = folder();
        let key = admin_key(dir.path());
        let inject = format!("inject=fdatasync:error={error}:when=4+");
        let server = Traced::start(
            dir.path(),
            Path::new("/dev/null"),
            &["-e", "trace=fdatasync", "-e", &inject],
        )
        .unwrap();
        let client = Client::at(&server.url, &key);
        let mut next = 0;
        let acknowledged: BTreeSet<_> = send(&client, &mut next, 24).await.into_iter().collect();
        assert!(next > acknowledged.len(), "the fault did not come");
        let status = server.end("-0");
        assert!(!status.success(), "{error}: the server goes on");
        let server = Server::serve(dir.path());
        check(&Client::new(&server, &key), &acknowledged, next).await;
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_waited_for() {
    let dir = folder();
    let key = admin_key(dir.path());
    // The log's first segment, so that its path is known.
    let server = Server::serve(dir.path());
    server.stop();
    let log = std::fs::read_dir(dir.path().join("log")).unwrap().flatten();
    let segment =
        log.map(|file| file.path()).find(|path| path.extension().is_some_and(|e| e == "seg"));
    let segment = segment.expect("there is a segment").display().to_string();
    let inject = "inject=write:error=ENOSPC:when=3..6";
    let options = ["-P", &segment, "-e", "trace=write", "-e", inject];
    let server = Traced::start(dir.path(), Path::new("/dev/null"), &options).unwrap();
    let client = Client::at(&server.url, &key);
    let (mut acknowledged, mut refused, mut next) = (BTreeSet::new(), 0, 0);
    let begun = Instant::now();
    while acknowledged.len() < 100 {
        let (status, answer) = client.send("application/x-ndjson", body(next, 10)).await;
        if status == StatusCode::OK {
            acknowledged.extend(next..next + 10);
            next += 10;
        } else {
            assert_eq!(
                (status.as_u16(), &answer["code"]),
                (503, &json!("unavailable")),
                "{answer}"
            );
            assert_eq!(answer["reason"], "disk_full");
            refused += 1;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the server does not recover");
    }
    assert_eq!(refused, 4, "each write that failed is one refusal, and the next one goes through");
    check(&client, &acknowledged, next).await;
    assert!(server.end("-TERM").success());
    run_ok(dir.path(), &["check"]);
}
