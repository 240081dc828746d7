//! Eight writers append to one table while another process compacts it, writes checkpoints and removes what is
//! old: every row is there once.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::{array::AsArray, datatypes::Int64Type};
use ingest::{
    Table,
    decode::{EventFormat, Sender, decode},
    identity::Pseudonyms,
    log::{LogId, Lsn, Record},
    time::Window,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::{Error, LakeTable, Location, Root, threads::Threads};
use serde_json::Value;
use tests::{configure, folder, run};

const WRITERS: i64 = 8;
const TABLE: Table = Table::UsageLedger;

/// 150 commits; `AIHUB_TEST_COMMITS=2000` is the long form.
fn commits() -> u64 {
    std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_COMMITS")
        .map_or(150, |(_, commits)| commits.parse().expect("AIHUB_TEST_COMMITS is a number"))
}

/// Some events of two days, whose tokens are their LSN.
fn record(log: LogId, first_lsn: Lsn, rows: u64) -> Record {
    let lines: String = (first_lsn..first_lsn + rows)
        .map(|lsn| {
            format!(
                "{{\"id\":\"{}-{lsn}\",\"source\":\"/w\",\"type\":\"usage.request\",\
                 \"subject\":\"org_{}\",\"time\":\"2026-01-0{}T00:00:00Z\",\
                 \"data\":{{\"model\":\"m\",\"input_tokens\":{lsn}}}}}\n",
                log.0,
                lsn % 5,
                1 + lsn % 2,
            )
        })
        .collect();
    let pseudonyms = Pseudonyms::new([1; 32]);
    let sender = Sender {
        organization: None,
        grant: &ingest::Grant::ALL,
        pseudonyms: &pseudonyms,
        window: Window::ANY,
        is_strict: false,
    };
    let decoded = decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 0);
    let mut decoded = decoded.expect("events").expect("events");
    let rows = decoded.batches.remove(0).rows;
    Record { table: TABLE, first_lsn, ingested_at: 0, rows }
}

/// Appends until there are commits enough, as the intake does, and gives the last LSN.
async fn write(root: Root, log: LogId, done: Arc<AtomicU64>) -> Lsn {
    let threads = Threads::flushing(false).expect("a thread");
    let mut last = 0;
    while done.fetch_add(1, Ordering::AcqRel) < commits() {
        let record = record(log, last + 1, 1 + (last * 7 + log.0.unsigned_abs()) % 5);
        let through = record.last_lsn();
        loop {
            let mut table = LakeTable::open_or_create(&root, TABLE).await.expect("the table");
            // What others did meanwhile is found at the commit.
            tokio::task::yield_now().await;
            match table.append(&threads, log, std::slice::from_ref(&record), through, 0).await {
                Ok(mark) => break assert_eq!(mark.txn, through),
                Err(Error::Fenced { .. }) => panic!("nobody else writes this log"),
                // The rows are in the log, and are sent again.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        last = through;
    }
    last
}

/// Runs the program, and gives its report of the table. Losing every race for a version is no fault.
fn maintain(dir: &Path) -> Value {
    let output = run(dir, &["maintain", "--all", "--full", "--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    for failure in report["tables"][0]["failures"].as_array().into_iter().flatten() {
        let reason = failure["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("others changed"), "{failure}");
    }
    report["tables"][0].clone()
}

/// How often each row is in the active files.
async fn stored(root: &Root, dir: &Path) -> BTreeMap<(i64, i64), u32> {
    let table = LakeTable::open(root, TABLE).await.expect("the table").expect("the table");
    let mut rows = BTreeMap::new();
    for file in table.files().expect("files") {
        let path = dir.join("lake").join(TABLE.name()).join(&file.path);
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build();
        for batch in reader.expect("Parquet") {
            let batch = batch.expect("rows");
            let column = |name: &str| {
                batch.column_by_name(name).expect(name).as_primitive::<Int64Type>().clone()
            };
            let (log, lsn, tokens) = (column("log"), column("lsn"), column("input_tokens"));
            assert_eq!(lsn, tokens, "a row is not what was sent");
            for row in log.values().iter().zip(lsn.values()) {
                *rows.entry((*row.0, *row.1)).or_default() += 1;
            }
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_and_upkeep_are_exact() {
    let dir = folder();
    let dir = dir.path();
    // Nothing marks it as a folder of ours: others must not read it from the beginning.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("a folder of our own");
    // The grace is 21 seconds: less than that lies between a writer's file and its commit.
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n[query]\ndeadline_seconds = 15\n\
         [maintain]\ngrace_minutes = 0\ncheckpoint_commits = 10\n",
    );
    let root = Location::folder(&dir.join("lake")).expect("a location").open().expect("a store");
    LakeTable::open_or_create(&root, TABLE).await.expect("the table");
    let done = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (1..=WRITERS)
        .map(|log| tokio::spawn(write(root.clone(), LogId(log), Arc::clone(&done))))
        .collect();
    let (mut compacted, mut checkpoints, mut vacuumed) = (0, 0, 0);
    let mut tend = |table: &Value| {
        compacted += table["compacted"]["files"].as_u64().unwrap_or_default();
        checkpoints += u64::from(table["checkpoint"].is_u64());
        vacuumed += table["vacuumed"]["files"].as_u64().unwrap_or_default();
        (compacted, checkpoints, vacuumed)
    };
    while done.load(Ordering::Acquire) < commits() {
        tend(&tokio::task::block_in_place(|| maintain(dir)));
    }
    let mut expected = BTreeMap::new();
    for (log, writer) in (1..=WRITERS).zip(writers) {
        let last = writer.await.expect("a writer");
        let table = LakeTable::open(&root, TABLE).await.expect("the table").expect("the table");
        assert_eq!(table.committed(LogId(log)).await.expect("its mark"), last);
        expected.extend((1..=last).map(|lsn| ((log, i64::try_from(lsn).expect("small")), 1)));
    }
    assert_eq!(stored(&root, dir).await, expected);
    // And again when the last old file is gone.
    for _ in 0..60 {
        let (compacted, checkpoints, vacuumed) =
            tend(&tokio::task::block_in_place(|| maintain(dir)));
        if vacuumed >= compacted && compacted > 0 {
            assert!(checkpoints > 0, "no checkpoint was written");
            assert_eq!(stored(&root, dir).await, expected);
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("old files stay");
}
