//! A reader at a cut sees exactly the rows up to it, wherever they are by then.

use std::{
    fs,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::{Delivery, Lakehouse, Outcome, Settings};

/// A second passes whenever somebody looks.
fn clock() -> i64 {
    static NOW: AtomicI64 = AtomicI64::new(1_767_312_000_000_000);
    NOW.fetch_add(1_000_000, Ordering::Relaxed)
}

fn settings(dir: &Path) -> Settings {
    Settings { clock, ..Settings::sample(dir) }
}

fn reader(dir: &Path) -> Reader {
    Reader::open(&Location::folder(&dir.join("lake")).unwrap(), &dir.join("log")).unwrap()
}

/// Sends usage events with these numbers for ids, and page views with the same.
async fn send(lakehouse: &Lakehouse, ids: std::ops::Range<u32>) {
    let lines: String = ids
        .map(|id| {
            format!(
                "{{\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
                 \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\"}}}}\n\
                 {{\"id\":\"v{id}\",\"source\":\"/s\",\"type\":\"activity.page_view\",\"subject\":\"o\",\
                 \"time\":\"2026-01-02T00:00:00Z\"}}\n"
            )
        })
        .collect();
    let delivery = Delivery::of_history(Bytes::from(lines));
    let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
    let Outcome::Settled(verdicts, _) = outcome else { panic!("{outcome:?}") };
    assert!(verdicts.iter().all(|verdict| *verdict == ingest::Verdict::Accepted));
}

/// The LSNs of usage and activity that are read at a cut, in order; files are read as they are.
async fn lsns(reader: &mut Reader, cut: &Cut) -> Result<Vec<Lsn>, Error> {
    let tables = reader.at(cut).await?;
    let mut found = Vec::new();
    for table in [Table::UsageLedger, Table::ActivityEvents] {
        let contents = tables.contents(table);
        let mut batches = contents.fresh.clone();
        for file in contents.files.iter() {
            let path = file.object_path(&tables.root, table);
            let bytes = tables.root.store.get(&path).await.unwrap().bytes().await.unwrap();
            let rows = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            batches.extend(rows.map(Result::unwrap));
        }
        for rows in batches {
            let column = rows.column_by_name("lsn").unwrap().as_primitive::<Int64Type>().clone();
            found.extend(column.values().iter().map(|lsn| lsn.unsigned_abs()));
        }
    }
    // The scan leaves out what lies above the cut.
    found.retain(|lsn| *lsn <= cut.lsn);
    found.sort_unstable();
    Ok(found)
}

fn all(cut: &Cut) -> Vec<Lsn> {
    (1..=cut.lsn).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_or_doubled_while_rows_move() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    let mut follower = reader(dir.path());
    let mut cuts = Vec::new();
    for step in 0..12 {
        send(&lakehouse, step * 5..step * 5 + 5).await;
        cuts.push(lakehouse.cut());
        if step % 3 != 0 {
            lakehouse.flush().await.unwrap();
            cuts.push(lakehouse.cut());
        }
        let cut = &cuts[cuts.len() - 1];
        assert_eq!(lsns(&mut follower, cut).await.unwrap(), all(cut), "step {step}");
        assert_eq!(cut.lsn, Lsn::from(step + 1) * 10);
    }
    // Each cut reads as it did, by a new reader and by way of its token.
    let now = lakehouse.cut();
    for cut in &cuts {
        assert_eq!(lsns(&mut reader(dir.path()), cut).await.unwrap(), all(cut));
        let back = now.clone().back_to_token(&cut.plain_token()).unwrap();
        assert_eq!(lsns(&mut reader(dir.path()), &back).await.unwrap(), all(cut));
        assert_eq!(lsns(&mut follower, &back).await.unwrap(), all(cut));
    }
    // In between two rows of one record, too.
    for lsn in (1..=now.lsn).step_by(9) {
        let cut = Cut { lsn, ..now.clone() };
        assert_eq!(lsns(&mut follower, &cut).await.unwrap(), all(&cut));
    }
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_ahead_still_reads_an_older_cut() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    send(&lakehouse, 0..5).await;
    // A query took this cut, and waited for a worker.
    let older = lakehouse.cut();
    lakehouse.flush().await.unwrap();
    send(&lakehouse, 5..10).await;
    let newer = lakehouse.cut();
    let mut worker = reader(dir.path());
    for cut in [&newer, &older, &newer, &older] {
        assert_eq!(lsns(&mut worker, cut).await.unwrap(), all(cut), "at {}", cut.lsn);
    }
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_read_as_long_as_its_log_is_kept_and_never_wrongly_after() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    send(&lakehouse, 0..5).await;
    let old = lakehouse.cut();
    lakehouse.close().await.unwrap();
    drop(lakehouse);
    // The next segment is begun.
    let first = dir.path().join("log").join(format!("{:020}.seg", 1));
    fs::write(dir.path().join("log").join(format!("{:020}.seg", 11)), b"").unwrap();
    for (keep_log, kept) in [(Duration::from_secs(1_000_000), true), (Duration::ZERO, false)] {
        let settings = Settings { keep_log, ..settings(dir.path()) };
        let lakehouse = Lakehouse::open(settings).await.unwrap();
        let ids = if kept { 5..10 } else { 10..15 };
        send(&lakehouse, ids).await;
        let _ = tokio::time::timeout(Duration::from_millis(500), lakehouse.run()).await;
        assert_eq!(first.exists(), kept);
        let now = lakehouse.cut();
        assert_eq!(lsns(&mut reader(dir.path()), &now).await.unwrap(), all(&now));
        let then = lsns(&mut reader(dir.path()), &old).await;
        if kept {
            assert_eq!(then.unwrap(), all(&old));
        } else {
            assert!(matches!(then, Err(Error::Ingest(ingest::Error::Gap { .. }))), "{then:?}");
        }
        lakehouse.close().await.unwrap();
    }
}

/// A worker that was idle meanwhile has its place in a segment that is gone, and at a version whose successors are.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_when_the_segment_that_it_read_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    let mut follower = reader(dir.path());
    let first = dir.path().join("log").join(format!("{:020}.seg", 1));
    send(&lakehouse, 0..5).await;
    let cut = lakehouse.cut();
    assert_eq!(lsns(&mut follower, &cut).await.unwrap(), all(&cut));
    // As an erasure does it.
    let through = lakehouse.clear_log().await.unwrap();
    lakehouse.unlink_log(through).await.unwrap();
    assert!(!first.exists());
    send(&lakehouse, 5..10).await;
    let cut = lakehouse.cut();
    assert_eq!((cut.lsn, cut.floor), (20, 10));
    assert_eq!(lsns(&mut follower, &cut).await.unwrap(), all(&cut));
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_when_the_entries_after_its_version_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    let mut follower = reader(dir.path());
    send(&lakehouse, 0..5).await;
    lakehouse.flush().await.unwrap();
    let cut = lakehouse.cut();
    assert_eq!(lsns(&mut follower, &cut).await.unwrap(), all(&cut));
    for step in 1..5 {
        send(&lakehouse, step * 5..step * 5 + 5).await;
        lakehouse.flush().await.unwrap();
    }
    let root = Location::folder(&dir.path().join("lake")).unwrap().open().unwrap();
    let mut removed = 0;
    for table in [Table::UsageLedger, Table::ActivityEvents] {
        let table = LakeTable::open(&root, table).await.unwrap().unwrap();
        table.checkpoint().await.unwrap();
        removed += table.clean_log(i64::MAX / 2_000).await.unwrap();
    }
    assert!(removed > 0);
    send(&lakehouse, 25..30).await;
    lakehouse.flush().await.unwrap();
    let cut = lakehouse.cut();
    assert_eq!(lsns(&mut follower, &cut).await.unwrap(), all(&cut));
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_tables_is_told_when_they_hold_the_rows_or_that_they_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let age = Duration::from_secs(3600);
    let settings = Settings { flush_age: age, ..settings(dir.path()) };
    let lakehouse = Lakehouse::open(settings).await.unwrap();
    send(&lakehouse, 0..5).await;
    let lsn = lakehouse.cut().lsn;
    assert!(!lakehouse.stored(lsn, Duration::from_millis(50)).await, "nobody moves rows");
    let running = lakehouse.clone();
    let running = tokio::spawn(async move { running.run().await });
    assert!(lakehouse.stored(lsn, Duration::from_secs(60)).await, "asked for, it does not wait");
    assert_eq!(lakehouse.cut().floor, lsn);
    assert!(!lakehouse.stored(lsn + 1, Duration::from_millis(50)).await, "no such row");
    running.abort();
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_server_has_a_newest_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut empty = reader(dir.path());
    let cut = empty.newest().await.unwrap();
    assert!(lsns(&mut empty, &cut).await.unwrap().is_empty());
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    send(&lakehouse, 0..5).await;
    lakehouse.flush().await.unwrap();
    send(&lakehouse, 5..8).await;
    let expected = lakehouse.cut();
    // As after a crash: three events of each kind are only in the log.
    let cut = reader(dir.path()).newest().await.unwrap();
    assert_eq!(cut, expected);
    assert_eq!(lsns(&mut reader(dir.path()), &cut).await.unwrap(), all(&cut));
    lakehouse.close().await.unwrap();
}
