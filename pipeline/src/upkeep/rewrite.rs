//! Many files into few: the same rows, sorted, read back before anybody relies on them.

use std::sync::Arc;

use arrow::{array::RecordBatch, compute, datatypes::SchemaRef, error::ArrowError};
use datafusion::{
    dataframe::DataFrame,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, runtime_env::RuntimeEnvBuilder},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col as physical_col},
    physical_plan::{
        ExecutionPlan, execute_stream, sorts::sort_preserving_merge::SortPreservingMergeExec,
        union::UnionExec,
    },
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use ingest::Table;
use object_store::ObjectStoreExt;
use url::Url;

use super::digest::{Digest, Digester};
use crate::{
    DataFile, Error, Root, Tables,
    new_file::{NewFile, StoredFile},
    parquet_file::file_schema,
    scan::LakeScan,
};

/// Rows of one file that are in memory at once, decoded.
const BATCH_ROWS: usize = 1_024;

/// About what a file takes that is being read: a row group as it is stored, and a page and the dictionary of each
/// column.
const INPUT_BYTES: usize = 8 << 20;

/// Reads and writes data files of a lake, only so many at once.
#[derive(Debug)]
pub(crate) struct Rewriter {
    root: Root,
    memory_bytes: usize,
    /// A file is closed when it is about so large.
    file_bytes: u64,
}

impl Rewriter {
    pub(crate) fn new(root: &Root, memory_bytes: usize, file_bytes: u64) -> Self {
        Self { root: root.clone(), memory_bytes, file_bytes }
    }

    /// Writes the rows of `files`, all of one date, to new files.
    ///
    /// # Errors
    /// [`Error::Altered`] when the new files, as they are read back, do not hold the same rows.
    pub(crate) async fn rewrite(
        &self,
        table: Table,
        files: &[DataFile],
        now_ms: i64,
    ) -> Result<Vec<StoredFile>, Error> {
        let before = self.digest(table, files).await?;
        let described: u64 = files.iter().map(|file| file.rows).sum();
        if before.rows != described {
            let table = table.name();
            return Err(Error::Altered { table, before: described, after: before.rows });
        }
        let written = self.write(table, files, now_ms).await?;
        let new: Vec<_> = written.iter().map(|written| written.file.clone()).collect();
        let after = self.digest(table, &new).await?;
        if after != before {
            self.discard(table, &new).await;
            let table = table.name();
            return Err(Error::Altered { table, before: before.rows, after: after.rows });
        }
        Ok(written)
    }

    /// Removes files that were never committed.
    pub(crate) async fn discard(&self, table: Table, files: &[DataFile]) {
        for file in files {
            // What stays is an orphan, which a full vacuum finds.
            let _ = self.root.store.delete(&file.object_path(&self.root, table)).await;
        }
    }

    async fn digest(&self, table: Table, files: &[DataFile]) -> Result<Digest, Error> {
        let rows = self.rows(table, files)?;
        let mut rows = rows.execute_stream().await.map_err(Error::engine(table))?;
        let mut digester = Digester::new(&rows.schema()).map_err(Error::arrow(table))?;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(Error::engine(table))?;
            digester.add(&batch).map_err(Error::arrow(table))?;
        }
        Ok(digester.finish())
    }

    /// Merges files, which are sorted each, into new ones. Where there are too many to be read at once, some are
    /// merged before, into one file that goes again: of whatever size, so that each step leaves fewer.
    async fn write(
        &self,
        table: Table,
        files: &[DataFile],
        now_ms: i64,
    ) -> Result<Vec<StoredFile>, Error> {
        let at_once = (self.memory_bytes / INPUT_BYTES).max(2);
        let (mut waiting, mut between) = (files.to_vec(), Vec::new());
        let merged = loop {
            let some = match waiting.len().checked_sub(at_once) {
                None | Some(0) => break self.merge(table, &waiting, self.file_bytes, now_ms).await,
                // As few as needed, so that most rows are written once.
                Some(more) => waiting.drain(..at_once.min(more + 1)).collect::<Vec<_>>(),
            };
            match self.merge(table, &some, u64::MAX, now_ms).await {
                Ok(merged) => {
                    between.extend(merged.iter().map(|written| written.file.clone()));
                    waiting.extend(merged.into_iter().map(|written| written.file));
                }
                Err(error) => break Err(error),
            }
        };
        self.discard(table, &between).await;
        merged
    }

    /// Files of about `file_bytes` each.
    async fn merge(
        &self,
        table: Table,
        files: &[DataFile],
        file_bytes: u64,
        now_ms: i64,
    ) -> Result<Vec<StoredFile>, Error> {
        let date = files.first().and_then(|file| file.event_date);
        let expected = files.iter().map(|file| file.rows).sum::<u64>();
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let mut rows = self.sorted(table, files).await?;
        let schema = file_schema(table);
        let (mut written, mut open) = (Vec::new(), None);
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(Error::engine(table))?;
            let batch = stored_shape(&batch, &schema).map_err(Error::arrow(table))?;
            let file = match &mut open {
                Some(file) => file,
                None => {
                    let schema = Arc::clone(&schema);
                    open.insert(NewFile::create(&self.root, table, date, expected, schema)?)
                }
            };
            file.write(&batch).await?;
            if file.size_bytes() >= file_bytes
                && let Some(full) = open.take()
            {
                written.push(full.close(now_ms).await?);
            }
        }
        if let Some(last) = open {
            written.push(last.close(now_ms).await?);
        }
        Ok(written)
    }

    /// The rows of files that are sorted each, in one order: that of a flush. The LSN only makes it the same each
    /// time.
    async fn sorted(
        &self,
        table: Table,
        files: &[DataFile],
    ) -> Result<SendableRecordBatchStream, Error> {
        let engine = Error::engine(table);
        let mut inputs = Vec::with_capacity(files.len());
        for file in files {
            let rows = self.rows(table, std::slice::from_ref(file))?;
            inputs.push(rows.create_physical_plan().await.map_err(engine)?);
        }
        let context = self.context(table)?.task_ctx();
        let merged = merged(table, inputs).map_err(engine)?;
        execute_stream(merged, context).map_err(engine)
    }

    /// The rows of some files.
    fn rows(&self, table: Table, files: &[DataFile]) -> Result<DataFrame, Error> {
        let tables = Tables::of_files(&self.root, table, files);
        let scan = LakeScan::new(&tables, table, None);
        self.context(table)?.read_table(Arc::new(scan)).map_err(Error::engine(table))
    }

    /// One core reads files, so that queries keep the others, and few rows of each are in memory at once.
    fn context(&self, table: Table) -> Result<SessionContext, Error> {
        let runtime = RuntimeEnvBuilder::new().build_arc().map_err(Error::engine(table))?;
        let url = Url::parse(&self.root.store_url()).map_err(|error| Error::Location {
            location: self.root.url.to_string(),
            reason: error.to_string(),
        })?;
        runtime.register_object_store(&url, Arc::clone(&self.root.store));
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS);
        Ok(SessionContext::new_with_config_rt(config, runtime))
    }
}

/// One sorted input of several.
fn merged(
    table: Table,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let union = UnionExec::try_new(inputs)?;
    let key = |name| Ok(PhysicalSortExpr::new_default(physical_col(name, &union.schema())?));
    let keys = ["organization_id", table.time_column(), "lsn"].into_iter().map(key);
    let order = LexOrdering::new(keys.collect::<Result<Vec<_>, DataFusionError>>()?);
    Ok(match order {
        Some(order) => Arc::new(SortPreservingMergeExec::new(order, union)),
        None => union,
    })
}

/// Rows as queries see them, as a file holds them.
fn stored_shape(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| compute::cast(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns)
}
