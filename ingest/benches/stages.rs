//! What an event costs at each stage of the intake, on one core: `cargo bench -p ingest`. Each figure is the best
//! of several rounds. `tests/benchmarks/ingest.py` measures the whole, and DuckDB beside it.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use arrow::record_batch::RecordBatch;
use ingest::{
    Table,
    decode::{EventFormat, Sender, decode, split},
    dedup::{Index, keys_of},
    identity::Pseudonyms,
    log::{LogId, LogWriter, Record},
    time::Window,
};

const EVENTS: usize = 10_000;
const ROUNDS: usize = 20;

/// One event of about 500 bytes, as a gateway reports a chat completion.
fn event(n: usize) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"evt-00000001-{n:07}","source":"/bench","type":"usage.request","subject":"org_{:02}","time":"2026-01-01T{:02}:{:02}:{:02}.{:06}Z","data":{{"project_id":"prj_{:03}","api_key_id":"key_{:04}","user_id":"user-{:05}","session_id":"sess_{:06}","model":"gpt-5.1","provider":"openai","operation":"chat","input_tokens":{},"cached_input_tokens":{},"output_tokens":{},"status_code":200,"latency_ms":{},"time_to_first_token_ms":{},"region":"eu-west-1","cost":"0.0{:06}","list_price":"0.0{:06}","currency":"USD"}}}}"#,
        n % 32,
        n / 3600 % 24,
        n / 60 % 60,
        n % 60,
        n * 7919 % 1_000_000,
        n % 100,
        n % 800,
        n * 7919 % 50_000,
        n / 7,
        50 + n * 7907 % 4_000,
        n % 50,
        10 + n * 7901 % 1_500,
        100 + n * 7883 % 5_000,
        20 + n % 500,
        n * 25 % 1_000_000,
        n * 30 % 1_000_000,
    )
}

fn best(mut round: impl FnMut(usize) -> Duration) -> f64 {
    let rounds = (0..ROUNDS).map(|n| round(n).as_secs_f64() * 1e6 / EVENTS as f64);
    rounds.fold(f64::INFINITY, f64::min)
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let body = (0..EVENTS).map(event).collect::<Vec<_>>().join("\n");
    let pseudonyms = Pseudonyms::new([7; 32]);
    let sender = Sender {
        organization: None,
        grant: &ingest::Grant::ALL,
        pseudonyms: &pseudonyms,
        window: Window::ANY,
        is_strict: false,
    };
    let decoded = || decode(EventFormat::Ndjson, body.as_bytes(), &sender, 0);
    let rows: RecordBatch = decoded()??.batches.first().ok_or("no event was decoded")?.rows.clone();
    let dir = tempfile::tempdir()?;
    let (mut log, _) = LogWriter::open(&dir.path().join("log"), LogId(1))?;
    let index = Index::open(&dir.path().join("index"), LogId(1))?;

    println!("{EVENTS} events of {} bytes; microseconds per event", body.len() / EVENTS);
    let show = |stage: &str, cost: f64| println!("{stage:<34} {cost:>6.2}");
    show("split into events", best(|_| timed(|| split(EventFormat::Ndjson, &body))));
    show("decode, check, hash, columns", best(|_| timed(decoded)));
    show("key of a stored row", best(|_| timed(|| keys_of(&rows, |row| row as u64))));
    let keys = keys_of(&rows, |row| row as u64);
    show("index, as one sorted file", best(|_| timed(|| index.insert(keys.iter().copied(), 1))));
    show(
        "probe of keys that it holds",
        best(|_| timed(|| keys.iter().all(|(key, _)| index.get(*key).is_ok()))),
    );
    let (mut synced, mut written) = (Duration::ZERO, 0);
    let logged = best(|_| {
        let record = Record {
            table: Table::UsageLedger,
            first_lsn: log.next_lsn(),
            ingested_at: 0,
            rows: rows.clone(),
        };
        let start = Instant::now();
        let outcome = log.append(&[record]);
        let all = start.elapsed();
        let fsync = outcome.map_or(all, |outcome| {
            written += outcome.bytes;
            outcome.fsync
        });
        synced += fsync;
        all.saturating_sub(fsync)
    });
    show("log, without the fsync", logged);
    show("fsync of 10,000 events", synced.as_secs_f64() * 1e6 / (ROUNDS * EVENTS) as f64);
    println!("{:.0} bytes of log per event", written as f64 / (ROUNDS * EVENTS) as f64);
    Ok(())
}
