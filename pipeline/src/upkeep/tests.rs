//! Upkeep changes files, and no answer.

mod swaps;

use std::{
    fs,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arrow::util::pretty::pretty_format_batches;
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use ingest::log::{LogId, Lsn};
use url::Url;

use super::*;
use crate::{Cut, Delivery, Lakehouse, Outcome, Reader, Settings, scan::LakeScan};

const DAY_MS: i64 = 86_400_000;
const LOG: LogId = LogId(9);
const DATES: [&str; 3] = ["2025-12-30", "2025-12-31", "2026-01-01"];

/// A second passes whenever somebody looks; it is the 2nd of January 2026.
fn clock() -> Micros {
    static NOW: AtomicI64 = AtomicI64::new(1_767_312_000_000_000);
    NOW.fetch_add(1_000_000, Ordering::Relaxed)
}

/// The 10th of January 2026: all that was written is old, and the days are over.
fn later() -> Micros {
    1_768_003_200_000_000
}

/// The year 2100: files that were written in truth by now are old, too.
fn much_later() -> Micros {
    4_102_444_800_000_000
}

fn settings(dir: &Path) -> Settings {
    Settings { location: location(dir), fresh_log: LOG, clock, ..Settings::sample(dir) }
}

fn location(dir: &Path) -> Location {
    Location::folder(&dir.join("lake")).unwrap()
}

/// The rules of a compaction by hand.
fn everything() -> plan::CompactionRules {
    plan::CompactionRules { file_bytes: 256 << 20, all: true, rolled_up: None }
}

fn task(dir: &Path, jobs: &[Job]) -> Task {
    Task {
        location: location(dir),
        tables: Vec::new(),
        jobs: jobs.to_vec(),
        dry_run: false,
        all: false,
        retention_days: BTreeMap::new(),
        file_bytes: 256 << 20,
        checkpoint_commits: 3,
        grace_ms: DAY_MS,
        rolled_up: None,
        memory_bytes: 64 << 20,
        spill_dir: dir.join("spill"),
    }
}

/// Sends usage events with these numbers for ids, spread over two organizations and three days.
async fn send(lakehouse: &Lakehouse, ids: Range<u32>) {
    let lines: String = ids
        .map(|id| {
            format!(
                "{{\"id\":\"{id}\",\"source\":\"/s\",\"type\":\"usage.request\",\
                 \"subject\":\"org_{}\",\"time\":\"{}T00:00:{:02}Z\",\
                 \"data\":{{\"model\":\"m\",\"input_tokens\":{id},\"cost\":\"0.{id}\",\"currency\":\"USD\"}}}}\n",
                id % 2,
                DATES[id as usize / 2 % 3],
                id % 60,
            )
        })
        .collect();
    let delivery = Delivery::of_history(Bytes::from(lines));
    let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
    let Outcome::Settled(verdicts, _) = outcome else { panic!("{outcome:?}") };
    assert!(verdicts.iter().all(|verdict| *verdict == ingest::Verdict::Accepted));
}

/// Every row of usage at a cut, as text.
async fn answer(dir: &Path, cut: &Cut) -> String {
    let mut reader = Reader::open(&location(dir), &dir.join("log")).unwrap();
    let tables = reader.at(cut).await.unwrap();
    let context = SessionContext::new();
    let url = Url::parse(&tables.root.store_url()).unwrap();
    context.register_object_store(&url, Arc::clone(&tables.root.store));
    let scan = LakeScan::new(&tables, Table::UsageLedger, None);
    context.register_table("t", Arc::new(scan)).unwrap();
    let frame = context.sql("select * from t order by lsn").await.unwrap();
    pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string()
}

fn usage(report: &Report) -> &TableReport {
    report.tables.iter().find(|table| table.table == "usage_ledger").unwrap()
}

async fn usage_files(dir: &Path) -> Vec<DataFile> {
    let root = location(dir).open().unwrap();
    LakeTable::open(&root, Table::UsageLedger).await.unwrap().unwrap().files().unwrap()
}

/// A lake whose usage is in many files of three days, and the cuts at which it was written.
async fn lake(dir: &Path) -> (Lakehouse, Vec<Cut>) {
    let lakehouse = Lakehouse::open(settings(dir)).await.unwrap();
    let mut cuts = Vec::new();
    for step in 0..8 {
        send(&lakehouse, step * 12..step * 12 + 12).await;
        lakehouse.flush().await.unwrap();
        cuts.push(lakehouse.cut());
    }
    (lakehouse, cuts)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cut_answers_the_same_after_all_of_it_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (lakehouse, cuts) = lake(dir).await;
    // These rows are in the log only.
    send(&lakehouse, 96..100).await;
    let mut before = Vec::new();
    for cut in &cuts {
        before.push(answer(dir, cut).await);
    }
    let compacted = run(&task(dir, &[Job::Compaction]), later).await.unwrap();
    let change = usage(&compacted);
    assert!(compacted.is_clean(), "{compacted:?}");
    assert_eq!((change.before.files, change.after.files), (24, 3));
    assert_eq!((change.compacted.rows, change.rewritten.rows, change.after.rows), (96, 96, 96));
    // The old versions are still there, and the new one tells the same.
    lakehouse.refresh().await;
    let now = lakehouse.cut();
    assert!(now.mark(Table::UsageLedger) > cuts[7].mark(Table::UsageLedger));
    for (cut, expected) in cuts.iter().zip(&before) {
        assert_eq!(answer(dir, cut).await, *expected);
        assert_eq!(
            answer(dir, &now.clone().back_to_token(&cut.plain_token()).unwrap()).await,
            *expected
        );
    }
    // The appender goes on, with what the compaction wrote below it.
    lakehouse.flush().await.unwrap();
    send(&lakehouse, 100..112).await;
    lakehouse.flush().await.unwrap();
    let newest = answer(dir, &lakehouse.cut()).await;
    let rest = [Job::Compaction, Job::Checkpoint, Job::Vacuum, Job::FullVacuum];
    let done = run(&task(dir, &rest), much_later).await.unwrap();
    assert!(done.is_clean(), "{done:?}");
    let done = usage(&done);
    assert_eq!((done.after.files, done.after.rows), (3, 112));
    assert!(done.checkpoint.is_some() && done.log_entries_removed > 0, "{done:?}");
    // The 24 files of the first compaction are gone; those of the second one left just now.
    assert_eq!(done.vacuumed.files, 24);
    lakehouse.refresh().await;
    let check = async |lakehouse: &Lakehouse| {
        let now = lakehouse.cut();
        assert_eq!(answer(dir, &now).await, newest);
        for (cut, expected) in cuts.iter().zip(&before) {
            let back = now.clone().back_to_token(&cut.plain_token()).unwrap();
            assert_eq!(answer(dir, &back).await, *expected, "at {}", cut.lsn);
        }
    };
    check(&lakehouse).await;
    lakehouse.close().await.unwrap();
    drop(lakehouse);
    let lakehouse = Lakehouse::open(settings(dir)).await.unwrap();
    check(&lakehouse).await;
    // What was there is known as before.
    let again = "{\"id\":\"1\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"org_1\",\
                 \"time\":\"2025-12-30T00:00:01Z\",\"data\":{\"model\":\"m\",\"input_tokens\":1,\
                 \"cost\":\"0.1\",\"currency\":\"USD\"}}";
    let delivery = Delivery::of_history(Bytes::from(again));
    let outcome = lakehouse.take_in(lakehouse.admit().unwrap(), delivery).await.unwrap();
    assert_eq!(outcome, Outcome::Settled(vec![ingest::Verdict::Duplicate], Vec::new()));
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewritten_file_is_sorted_and_says_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (lakehouse, cuts) = lake(dir.path()).await;
    run(&task(dir.path(), &[Job::Compaction]), later).await.unwrap();
    let files = usage_files(dir.path()).await;
    assert_eq!(files.iter().map(|file| file.max_lsn).max(), Some(cuts[7].lsn));
    let root = location(dir.path()).open().unwrap();
    for file in &files {
        assert_eq!(file.organization_id, Some(("org_0".into(), "org_1".into())));
        assert!(!file.corrects);
        let path = file.object_path(&root, Table::UsageLedger);
        let bytes = object_store::ObjectStoreExt::get(&root.store, &path).await.unwrap();
        let bytes = bytes.bytes().await.unwrap();
        let rows = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes);
        let rows = rows.unwrap();
        let group = rows.metadata().row_group(0).clone();
        let column = |name: &str| {
            group.columns().iter().find(|c| c.column_path().string() == name).unwrap().clone()
        };
        assert!(column("event_id").bloom_filter_offset().is_some());
        assert!(column("lsn").offset_index_offset().is_some());
        assert!(format!("{:?}", column("lsn").compression()).starts_with("ZSTD"));
        let batches: Vec<_> = rows.build().unwrap().map(Result::unwrap).collect();
        let text = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let keys = [text.column(0), text.column(1)]
            .map(|values| arrow::compute::SortColumn { values: Arc::clone(values), options: None });
        let order = arrow::compute::lexsort_to_indices(&keys, None).unwrap();
        let sorted = arrow::compute::take_record_batch(&text, &order).unwrap();
        assert_eq!((sorted.column(0), sorted.column(1)), (text.column(0), text.column(1)));
    }
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appender_that_looked_before_a_compaction_or_retention_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (lakehouse, _) = lake(dir).await;
    send(&lakehouse, 96..98).await;
    // The appender holds the version before.
    run(&task(dir, &[Job::Compaction]), later).await.unwrap();
    lakehouse.flush().await.unwrap();
    send(&lakehouse, 98..100).await;
    let retention_days = BTreeMap::from([("usage_ledger".to_owned(), 9)]);
    let expire = Task { retention_days, ..task(dir, &[Job::Retention]) };
    // On the 10th, nine days before are the 1st to the 9th.
    let expired = run(&expire, later).await.unwrap();
    assert_eq!(usage(&expired).expired, Amount { rows: 66, files: 3, ..usage(&expired).expired });
    lakehouse.flush().await.unwrap();
    let cut = lakehouse.cut();
    assert_eq!(cut.mark(Table::UsageLedger).unwrap().txn, 100);
    let rows: u64 = usage_files(dir).await.iter().map(|file| file.rows).sum();
    assert_eq!(rows, 32 + 2, "the 1st of January, and what came after it");
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_files_are_exchanged_once() {
    let dir = tempfile::tempdir().unwrap();
    let (lakehouse, _) = lake(dir.path()).await;
    let root = location(dir.path()).open().unwrap();
    let rewriter = Rewriter::new(&root, 64 << 20, 256 << 20);
    let table = Table::UsageLedger;
    let mut one = LakeTable::open(&root, table).await.unwrap().unwrap();
    let mut other = LakeTable::open(&root, table).await.unwrap().unwrap();
    let group = plan::compaction(&one.files().unwrap(), everything(), later()).remove(0);
    let adds = async || {
        let written = rewriter.rewrite(table, &group, 0).await.unwrap();
        written.into_iter().map(|written| written.add).collect::<Vec<_>>()
    };
    let (first, second) = (adds().await, adds().await);
    assert!(one.replace(&group, &first, Reason::Compaction, 0).await.unwrap());
    assert!(!other.replace(&group, &second, Reason::Compaction, 0).await.unwrap());
    // Said again, it is known to be done.
    assert!(other.replace(&group, &first, Reason::Compaction, 0).await.unwrap());
    assert_eq!(other.version(), one.version());
    assert_eq!(Amount::of(&other.files().unwrap()).rows, 96);
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_are_read_at_once_are_merged_in_steps_that_end() {
    let dir = tempfile::tempdir().unwrap();
    let lakehouse = Lakehouse::open(settings(dir.path())).await.unwrap();
    for step in 0..4 {
        send(&lakehouse, step * 9_000..step * 9_000 + 9_000).await;
        lakehouse.flush().await.unwrap();
    }
    let root = location(dir.path()).open().unwrap();
    let files = usage_files(dir.path()).await;
    let group = plan::compaction(&files, everything(), later()).remove(0);
    assert_eq!(group.len(), 4);
    let folder = dir.path().join("lake/usage_ledger");
    let count = || parquet_files(&folder);
    let before = count();
    // Two at once, and every batch would fill a file: a step that gave more files than it took would have no end.
    let rewriter = Rewriter::new(&root, 0, 1);
    let rewriting = rewriter.rewrite(Table::UsageLedger, &group, 0);
    let written = tokio::time::timeout(std::time::Duration::from_secs(30), rewriting).await;
    let written = written.expect("it ends").unwrap();
    let rows = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
    let new: Vec<_> = written.into_iter().map(|written| written.file).collect();
    assert!(new.len() > 2, "{} files", new.len());
    assert_eq!(rows(&new), rows(&group));
    assert_eq!(count(), before + new.len(), "what was merged in between is gone");
    lakehouse.close().await.unwrap();
}

fn parquet_files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.map(|path| match path.is_dir() {
        true => parquet_files(&path),
        false => usize::from(path.extension().is_some_and(|end| end == "parquet")),
    });
    files.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_hold_what_they_should_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (lakehouse, _) = lake(dir.path()).await;
    let root = location(dir.path()).open().unwrap();
    let files = usage_files(dir.path()).await;
    let group = plan::compaction(&files, everything(), later()).remove(0);
    let rewriter = Rewriter::new(&root, 64 << 20, 256 << 20);
    let mut wrong = group.clone();
    wrong[0].rows += 1;
    let refused = rewriter.rewrite(Table::UsageLedger, &wrong, 0).await;
    assert!(matches!(refused, Err(Error::Altered { before: 33, after: 32, .. })), "{refused:?}");
    // A disk that gives back the rows of another file than the one that was written: as many, of the same day.
    let other = rewriter.rewrite(Table::UsageLedger, &group[..1], 0).await.unwrap().remove(0);
    let twin = other.file.object_path(&root, Table::UsageLedger);
    let store = Arc::new(swaps::Swaps { inner: Arc::clone(&root.store), twin });
    let root = Root { store, ..root };
    let rewriter = Rewriter::new(&root, 64 << 20, 256 << 20);
    let refused = rewriter.rewrite(Table::UsageLedger, &group[1..2], 0).await;
    assert!(matches!(refused, Err(Error::Altered { before: 4, after: 4, .. })), "{refused:?}");
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (lakehouse, _) = lake(dir.path()).await;
    let retention_days = BTreeMap::from([("usage_ledger".to_owned(), 10)]);
    let dry = Task { dry_run: true, retention_days, ..task(dir.path(), &Job::ALL) };
    let told = run(&dry, later).await.unwrap();
    let told = usage(&told);
    assert_eq!((told.expired.files, told.expired.rows), (8, 32));
    assert_eq!(told.compacted.files, 24);
    assert!(told.checkpoint.is_some());
    assert_eq!(told.before, told.after);
    assert_eq!(told.rewritten, Amount::default());
    assert!(!dir.path().join("lake/usage_ledger/_delta_log/_last_checkpoint").exists());
    assert_eq!(usage_files(dir.path()).await.len(), 24);
    lakehouse.close().await.unwrap();
}

/// A file of the usage table that no log names, last written at a time.
fn orphan(dir: &Path, name: &str, written_ms: i64) -> std::path::PathBuf {
    let path = dir.join("lake/usage_ledger").join(name);
    fs::write(&path, b"x").unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(written_ms.unsigned_abs());
    fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn only_old_orphans_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (lakehouse, _) = lake(dir).await;
    let now_ms = much_later() / 1_000;
    let partition = "event_date=2026-01-01";
    let old = [
        orphan(dir, &format!("{partition}/part-old.zstd.parquet"), now_ms - DAY_MS - 1_000),
        orphan(dir, &format!("{partition}/.left.tmp"), now_ms - DAY_MS - 1_000),
    ];
    let kept = [
        // A flush that has not committed yet.
        orphan(dir, &format!("{partition}/part-new.zstd.parquet"), now_ms - DAY_MS + 1_000),
        orphan(dir, "_delta_log/part.zstd.parquet", 0),
        orphan(dir, "notes.txt", 0),
    ];
    let before = usage_files(dir).await.len();
    let light = run(&task(dir, &[Job::Vacuum]), much_later).await.unwrap();
    assert_eq!(usage(&light).vacuumed.files, 0);
    let full = run(&task(dir, &[Job::FullVacuum]), much_later).await.unwrap();
    assert_eq!(usage(&full).vacuumed, Amount { files: 2, bytes: 2, rows: 0 });
    assert!(old.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    let files = usage_files(dir).await;
    assert_eq!(files.len(), before);
    let root = location(dir).open().unwrap();
    for file in files {
        let path = file.object_path(&root, Table::UsageLedger);
        object_store::ObjectStoreExt::head(&root.store, &path).await.unwrap();
    }
    lakehouse.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_slept_through_a_checkpoint_and_its_cleaning_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (lakehouse, cuts) = lake(dir).await;
    let mut reader = Reader::open(&location(dir), &dir.join("log")).unwrap();
    reader.at(&cuts[0]).await.unwrap();
    let mut asleep =
        LakeTable::open(&location(dir).open().unwrap(), Table::UsageLedger).await.unwrap().unwrap();
    asleep.advance(Some(cuts[1].mark(Table::UsageLedger).unwrap().version)).await.unwrap();
    for id in (96..120).step_by(2) {
        send(&lakehouse, id..id + 2).await;
        lakehouse.flush().await.unwrap();
    }
    let rest = [Job::Compaction, Job::Checkpoint, Job::Vacuum];
    assert!(run(&task(dir, &rest), much_later).await.unwrap().is_clean());
    lakehouse.refresh().await;
    let now = lakehouse.cut();
    let held: Lsn = reader
        .at(&now)
        .await
        .unwrap()
        .contents(Table::UsageLedger)
        .files
        .iter()
        .map(|f| f.rows)
        .sum();
    assert_eq!(held, 120);
    asleep.advance(None).await.unwrap();
    assert_eq!(Amount::of(&asleep.files().unwrap()).rows, 120);
    assert_eq!(asleep.committed(LOG).await.unwrap(), 120);
    lakehouse.close().await.unwrap();
}
