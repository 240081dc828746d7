//! A data file that is written as its rows come, so that only a part of it is in memory.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake_core::kernel::Add;
use object_store::{ObjectStoreExt, buffered::BufWriter, path::Path};
use parquet::arrow::AsyncArrowWriter;

use crate::{DataFile, Error, Root, StoredTable, parquet_file, statistics::Statistics};

/// A file that is being written.
pub(crate) struct NewFile {
    root: Root,
    table: StoredTable,
    date: Option<i32>,
    path: String,
    object: Path,
    statistics: Statistics,
    writer: AsyncArrowWriter<BufWriter>,
}

/// A new file, described and stored, but not committed.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) add: Add,
    pub(crate) file: DataFile,
}

impl NewFile {
    /// Begins a file of about `rows` rows of one date, shaped as `schema`.
    pub(crate) fn create(
        root: &Root,
        table: impl Into<StoredTable>,
        date: Option<i32>,
        rows: usize,
        schema: SchemaRef,
    ) -> Result<Self, Error> {
        let table = table.into();
        let parquet = |source| Error::Parquet { table: table.name(), source };
        let path = parquet_file::new_path(date);
        let object = parquet_file::object_path(root, table, &path);
        let properties = parquet_file::writer_properties(table, rows).map_err(parquet)?;
        // One part at a time: parts that wait to be written are memory.
        let output =
            BufWriter::new(Arc::clone(&root.store), object.clone()).with_max_concurrency(1);
        let writer =
            AsyncArrowWriter::try_new(output, schema, Some(properties)).map_err(parquet)?;
        let (root, statistics) = (root.clone(), Statistics::new(table));
        Ok(Self { root, table, date, path, object, statistics, writer })
    }

    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.statistics.add(rows);
        let written = self.writer.write(rows).await;
        written.map_err(|source| Error::Parquet { table: self.table.name(), source })
    }

    /// About so many bytes, were it closed now.
    pub(crate) fn size_bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    pub(crate) async fn close(self, now_ms: i64) -> Result<StoredFile, Error> {
        let Self { root, table, date, path, object, statistics, writer } = self;
        writer.close().await.map_err(|source| Error::Parquet { table: table.name(), source })?;
        let stored = root.store.head(&object).await;
        let size = stored.map_err(|source| Error::Store { path: object.to_string(), source })?.size;
        let add = parquet_file::describe(path.clone(), date, size, now_ms, &statistics);
        let file = DataFile::new(table, path, size, now_ms, date, add.stats.as_deref());
        Ok(StoredFile { add, file })
    }
}
