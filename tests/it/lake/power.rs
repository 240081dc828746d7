//! Power losses. A server's work on its log and its tables is recorded, call by call. Then disks are made as a power
//! loss may leave them, and opened: all that was acknowledged before it is there, once.

mod recording;

use std::{collections::BTreeSet, fs, ops::Range, path::Path, time::Duration};

use ingest::{identity::Pseudonyms, log::LogId};
use pipeline::{Lakehouse, Location, Settings, Watermarks};
use reqwest::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tests::{Client, Traced, admin_key, configure, folder, run_ok, traced, usage};

use recording::{Luck, OPTIONS, Recording, tree};

/// 50 images; `AIHUB_TEST_IMAGES=1000` is the long form.
fn images() -> u64 {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_IMAGES")
        .map_or(50, |(_, images)| images.parse().expect("AIHUB_TEST_IMAGES is a number"))
}

/// The parts of a folder that are recorded. The index is not there on a disk: it is made anew from the tables.
const PARTS: [&str; 3] = ["log", "lake", "pseudonym.key"];

/// Directories that a killed process left, and never synced: all that rows of usage go to.
const LEFT: [&str; 5] = [
    "lake",
    "lake/usage_ledger",
    "lake/usage_ledger/_delta_log",
    "lake/usage_ledger/event_date=2026-01-01",
    "lake/usage_ledger/event_date=2026-01-02",
];

fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "it is compared with the times of the trace")]
    let now = chrono::Utc::now();
    now.timestamp_micros() as f64 / 1e6
}

fn body(events: Range<usize>) -> String {
    let event = |n: usize| {
        let mut event = usage("org_a", &format!("e{n}"), json!({"input_tokens": n % 97}));
        event["time"] = format!("2026-01-0{}T00:00:00Z", 1 + n % 2).into();
        event
    };
    events.map(|n| format!("{}\n", event(n))).collect()
}

/// Sends batches of mixed sizes. Gives how many events were acknowledged when.
async fn send(client: &Client, next: &mut usize, batches: usize) -> Vec<(f64, usize)> {
    let mut acknowledged = Vec::new();
    for batch in 0..batches {
        let first = *next;
        *next += [1, 30, 60][batch % 3];
        let (status, answer) = client.send("application/x-ndjson", body(first..*next)).await;
        assert_eq!(
            (status, &answer["accepted"]),
            (StatusCode::OK, &json!(*next - first)),
            "{answer}"
        );
        acknowledged.push((now(), *next));
    }
    acknowledged
}

/// In memory where that is a folder: each image is synced many times.
fn scratch() -> TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => folder(),
    }
}

fn copy(from: &Path, to: &Path, wanted: impl Fn(&Path) -> bool) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = Path::new(path.file_name().unwrap());
        for (path, content) in tree(from, name).into_iter().filter(|(path, _)| wanted(path)) {
            match content {
                Some(content) => fs::write(to.join(path), content).unwrap(),
                None => fs::create_dir(to.join(path)).unwrap(),
            }
        }
    }
}

fn clock() -> i64 {
    1_800_000_000_000_000
}

/// Opens a folder as a server does, and moves all that the log holds to the tables.
async fn open_and_close(dir: &Path) -> Result<(), pipeline::Error> {
    let key = fs::read(dir.join("pseudonym.key")).unwrap();
    let lakehouse = Lakehouse::open(Settings {
        log_dir: dir.join("log"),
        index_dir: dir.join("index"),
        location: Location::folder(&dir.join("lake"))?,
        fresh_log: LogId(1),
        pseudonyms: Pseudonyms::new(key.try_into().unwrap()),
        flush_bytes: 64 << 20,
        flush_rows: 100_000,
        flush_age: Duration::from_secs(60),
        watermarks: Watermarks {
            waiting_bytes_soft: 1 << 30,
            waiting_bytes_hard: 1 << 30,
            log_bytes: 1 << 30,
        },
        is_bulk: false,
        keep_log: Duration::from_secs(60),
        clock,
    })
    .await?;
    lakehouse.close().await
}

fn stored(dir: &Path) -> Vec<usize> {
    let said = run_ok(dir, &["query", "select event_id from usage_events"]);
    said.lines().skip(1).map(|id| id[1..].parse().unwrap()).collect()
}

/// A server's work: what it was recorded to do, and how many events were acknowledged when.
async fn recorded(dir: &Path, base: &Path) -> (Recording, Vec<(f64, usize)>) {
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\nflush_rows = 100\n[maintain]\nenabled = false\n[check]\nnightly = false\n",
    );
    let key = admin_key(dir);
    copy(dir, base, |_| true);
    LEFT.iter().for_each(|left| fs::create_dir(dir.join(left)).unwrap());
    let (mut next, mut acknowledged) = (0, Vec::new());
    let traces = folder();
    let [serving, maintaining] = ["serve", "maintain"].map(|name| traces.path().join(name));
    let server = Traced::start(dir, &serving, &OPTIONS).unwrap();
    let client = Client::at(&server.url, &key);
    acknowledged.extend(send(&client, &mut next, 24).await);
    // Compaction, checkpoints and vacuum, beside it.
    let mut upkeep = traced(&maintaining, &OPTIONS);
    let upkeep = upkeep.args(["maintain", "--all", "--full", "--dir"]).arg(dir).spawn();
    acknowledged.extend(send(&client, &mut next, 12).await);
    assert!(upkeep.unwrap().wait().unwrap().success());
    acknowledged.extend(send(&client, &mut next, 6).await);
    assert!(server.end("-TERM").success());
    let recording = Recording::read(dir, base, &PARTS, &LEFT, &[serving, maintaining]);
    (recording, acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_loses_nothing_acknowledged_and_doubles_nothing() {
    let (dir, base) = (scratch(), scratch());
    let (recording, acknowledged) = recorded(dir.path(), base.path()).await;
    let sent = acknowledged.last().unwrap().1;
    // The record is complete: all of it makes the folder as it is.
    let whole = scratch();
    recording.whole(whole.path());
    for part in PARTS.map(Path::new) {
        let differs = tree(dir.path(), part) != tree(whole.path(), part);
        assert!(!differs, "the record of {} lacks something", part.display());
    }
    for seed in 0..images() {
        let mut luck = Luck::new(seed);
        let (step, percent) = (luck.below(recording.len()), [0, 20, 50, 90][luck.below(4)]);
        let image = scratch();
        let is_other = |path: &Path| !PARTS.iter().any(|part| path.starts_with(part));
        copy(base.path(), image.path(), is_other);
        recording.image(step, &mut luck, percent, image.path());
        let name = format!("image {seed}, at {step} of {}, {percent} %", recording.len());
        let before = acknowledged.iter().rfind(|(at, _)| *at < recording.begun_at(step));
        let before = before.map_or(0, |(_, events)| *events);
        if !image.path().join("pseudonym.key").exists() {
            // It was to be the key of the first event.
            assert_eq!(before, 0, "{name}: the key is lost");
            continue;
        }
        open_and_close(image.path()).await.unwrap_or_else(|error| {
            panic!("{name}: {error}: {:?}", std::error::Error::source(&error))
        });
        let stored = stored(image.path());
        let ids: BTreeSet<_> = stored.iter().copied().collect();
        assert_eq!(ids.len(), stored.len(), "{name}: an event is there twice");
        let lost = (0..before).find(|event| !ids.contains(event));
        assert_eq!(lost, None, "{name}: an event was acknowledged and is lost");
        assert!(ids.last().is_none_or(|last| *last < sent), "{name}: an event was never sent");
        run_ok(image.path(), &["check"]);
    }
}
