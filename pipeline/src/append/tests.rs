//! Rows reach a table once, whatever a store says about it.

use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use ingest::{
    Table,
    decode::{EventFormat, Sender, decode},
    identity::Pseudonyms,
    time::Window,
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, path::Path,
};

use super::*;
use crate::Location;

const LOG: LogId = LogId(5);

fn threads() -> Threads {
    Threads::flushing(false).unwrap()
}

/// A store that stores a commit and then loses the reply, once.
#[derive(Debug)]
struct LosesReply {
    inner: Arc<dyn ObjectStore>,
    armed: AtomicBool,
}

impl fmt::Display for LosesReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LosesReply")
    }
}

#[async_trait]
impl ObjectStore for LosesReply {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let result = self.inner.put_opts(location, payload, options).await?;
        if location.as_ref().contains("_delta_log") && self.armed.swap(false, Ordering::AcqRel) {
            let source = "the reply was lost".into();
            return Err(object_store::Error::Generic { store: "test", source });
        }
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// One usage event at an LSN.
fn record(first_lsn: Lsn) -> Record {
    let line = format!(
        "{{\"id\":\"{first_lsn}\",\"source\":\"/s\",\"type\":\"usage.request\",\"subject\":\"o\",\
         \"time\":\"2026-01-01T00:00:00Z\",\"data\":{{\"model\":\"m\"}}}}"
    );
    let sender = Sender {
        organization: None,
        grant: &ingest::Grant::ALL,
        pseudonyms: &Pseudonyms::new([1; 32]),
        window: Window::ANY,
        is_strict: false,
    };
    let mut decoded = decode(EventFormat::Ndjson, line.as_bytes(), &sender, 0).unwrap().unwrap();
    Record {
        table: Table::UsageLedger,
        first_lsn,
        ingested_at: 0,
        rows: decoded.batches.remove(0).rows,
    }
}

fn rows(table: &LakeTable) -> u64 {
    table.files().unwrap().iter().map(|file| file.rows).sum()
}

#[tokio::test]
async fn the_same_rows_are_appended_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = Location::folder(dir.path()).unwrap().open().unwrap();
    let mut table = LakeTable::open_or_create(&root, Table::UsageLedger).await.unwrap();
    let records: Vec<_> = (1..=3).map(record).collect();
    table.append(&threads(), LOG, &records, 2, 0).await.unwrap();
    assert_eq!((rows(&table), table.committed(LOG).await.unwrap()), (2, 2));
    let mark = table.append(&threads(), LOG, &records, 2, 0).await.unwrap();
    assert_eq!((rows(&table), mark.txn), (2, 2));
    // Opened anew, the table knows what it holds: only the third row is missing.
    let mut table = LakeTable::open(&root, Table::UsageLedger).await.unwrap().unwrap();
    table.append(&threads(), LOG, &records, 3, 0).await.unwrap();
    assert_eq!((rows(&table), table.committed(LOG).await.unwrap()), (3, 3));
}

#[tokio::test]
async fn a_commit_whose_reply_was_lost_is_not_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Location::folder(dir.path()).unwrap().open().unwrap();
    let store =
        Arc::new(LosesReply { inner: Arc::clone(&root.store), armed: AtomicBool::new(false) });
    root.store = Arc::<LosesReply>::clone(&store);
    let mut table = LakeTable::open_or_create(&root, Table::UsageLedger).await.unwrap();
    store.armed.store(true, Ordering::Release);
    table.append(&threads(), LOG, &[record(1), record(2)], 2, 0).await.unwrap();
    assert!(!store.armed.load(Ordering::Acquire), "the fault was not met");
    assert_eq!((rows(&table), table.committed(LOG).await.unwrap()), (2, 2));
}

#[tokio::test]
async fn a_second_writer_of_the_same_log_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let root = Location::folder(dir.path()).unwrap().open().unwrap();
    let mut one = LakeTable::open_or_create(&root, Table::UsageLedger).await.unwrap();
    let mut other = LakeTable::open(&root, Table::UsageLedger).await.unwrap().unwrap();
    one.append(&threads(), LOG, &[record(1)], 1, 0).await.unwrap();
    // The other one still believes that the table is empty, and is ahead of the first in its log.
    let late = other.append(&threads(), LOG, &[record(1), record(2), record(3)], 3, 0).await;
    assert!(matches!(late, Err(Error::Fenced { expected: 0, found: 1, .. })), "{late:?}");
    assert_eq!(rows(&other), 1);
}

/// A table of two files, and one that stands for both.
async fn two_files(root: &Root) -> (LakeTable, Vec<DataFile>, Add) {
    let mut table = LakeTable::open_or_create(root, Table::UsageLedger).await.unwrap();
    table.append(&threads(), LOG, &[record(1)], 1, 0).await.unwrap();
    table.append(&threads(), LOG, &[record(2)], 2, 0).await.unwrap();
    let files = table.files().unwrap();
    let records = [record(1), record(2)];
    let all = parquet_file::rows_between(Table::UsageLedger, LOG, &records, 0, 2).unwrap();
    let encoded = parquet_file::encode(Table::UsageLedger, &all, 0).unwrap();
    let add = table.store(encoded).await.unwrap().remove(0);
    (table, files, add)
}

#[tokio::test]
async fn an_exchange_whose_reply_was_lost_is_not_made_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut root = Location::folder(dir.path()).unwrap().open().unwrap();
    let store =
        Arc::new(LosesReply { inner: Arc::clone(&root.store), armed: AtomicBool::new(false) });
    root.store = Arc::<LosesReply>::clone(&store);
    let (mut table, files, add) = two_files(&root).await;
    store.armed.store(true, Ordering::Release);
    assert!(table.replace(&files, &[add], Reason::Compaction, 0).await.unwrap());
    assert!(!store.armed.load(Ordering::Acquire), "the fault was not met");
    assert_eq!((rows(&table), table.files().unwrap().len(), table.version()), (2, 1, 3));
    assert_eq!(table.committed(LOG).await.unwrap(), 2);
}

#[tokio::test]
async fn an_exchange_holds_at_its_version_only() {
    let dir = tempfile::tempdir().unwrap();
    let root = Location::folder(dir.path()).unwrap().open().unwrap();
    let (mut table, files, add) = two_files(&root).await;
    let late = LakeTable::open(&root, Table::UsageLedger).await.unwrap().unwrap();
    let before = table.version();
    assert!(
        table.replace(&files, std::slice::from_ref(&add), Reason::Compaction, 0).await.unwrap()
    );
    // The library would find no conflict, and put the rows in once more.
    let twin = Add { path: add.path.replace("part-", "part-twin-"), data_change: false, ..add };
    assert!(late.attempt(&[Action::Add(twin)], Reason::Compaction).await.is_err());
    table.advance(None).await.unwrap();
    assert_eq!((rows(&table), table.version()), (2, before + 1));
}

#[tokio::test]
async fn a_table_whose_creation_was_cut_off_is_created_anew() {
    let dir = tempfile::tempdir().unwrap();
    let root = Location::folder(dir.path()).unwrap().open().unwrap();
    let entries = dir.path().join("usage_ledger/_delta_log");
    std::fs::create_dir_all(&entries).unwrap();
    std::fs::write(entries.join(".1b4e28ba.tmp"), "{").unwrap();
    assert!(LakeTable::open(&root, Table::UsageLedger).await.unwrap().is_none());
    let mut table = LakeTable::open_or_create(&root, Table::UsageLedger).await.unwrap();
    table.append(&threads(), LOG, &[record(1)], 1, 0).await.unwrap();
    assert_eq!(table.files().unwrap().len(), 1);
}

#[tokio::test]
async fn on_one_thread_or_several_a_file_is_the_same() {
    // Rows of two days, and two row groups of one of them.
    let one = parquet_file::rows_between(Table::UsageLedger, LOG, &[record(1)], 0, 1).unwrap();
    let day = |days: i64, rows: u32| {
        let copies = arrow::array::UInt32Array::from(vec![0; rows as usize]);
        let rows = arrow::compute::take_record_batch(&one[0], &copies).unwrap();
        let times = (0..rows.num_rows() as i64).map(|n| (days * 86_400 + n) * 1_000_000);
        let mut columns = rows.columns().to_vec();
        let times = arrow::array::TimestampMicrosecondArray::from_iter_values(times);
        columns[1] = Arc::new(times.with_timezone("UTC"));
        arrow::array::RecordBatch::try_new(rows.schema(), columns).unwrap()
    };
    let batches = [day(20_000, 40_000), day(20_001, 70_000), day(20_001, 80_000)];
    let mut files = Vec::new();
    for is_bulk in [false, true] {
        let batches = batches.clone();
        let encode = move || parquet_file::encode(Table::UsageLedger, &batches, 0).unwrap();
        let encoded = Threads::flushing(is_bulk).unwrap().run(encode).await.unwrap();
        let told = encoded.into_iter().map(|file| (file.bytes, file.add.stats));
        files.push(told.collect::<Vec<_>>());
    }
    assert_eq!(files[0].len(), 2);
    assert!(files[0] == files[1]);
}
