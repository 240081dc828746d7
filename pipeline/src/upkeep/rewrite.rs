//! Many files into few: the same rows, sorted, read back before anybody relies on them.

use std::{path::PathBuf, sync::Arc};

use arrow::{array::RecordBatch, compute, datatypes::SchemaRef, error::ArrowError};
use datafusion::{
    dataframe::DataFrame,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::FairSpillPool,
        runtime_env::RuntimeEnvBuilder,
    },
    logical_expr::col,
    prelude::{SessionConfig, SessionContext},
};
use futures::StreamExt;
use ingest::Table;
use object_store::ObjectStoreExt;
use url::Url;

use super::digest::{Digest, Digester};
use crate::{
    DataFile, Error, Root, Tables,
    new_file::{NewFile, Written},
    parquet_file::file_schema,
    scan::LakeScan,
};

/// Reads and writes data files of a lake within a limit of memory.
#[derive(Debug)]
pub(crate) struct Rewriter {
    root: Root,
    memory_bytes: usize,
    spill_dir: PathBuf,
    /// A file is closed when it is about so large.
    file_bytes: u64,
}

impl Rewriter {
    pub(crate) fn new(
        root: &Root,
        memory_bytes: usize,
        spill_dir: PathBuf,
        file_bytes: u64,
    ) -> Self {
        Self { root: root.clone(), memory_bytes, spill_dir, file_bytes }
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
    ) -> Result<Vec<Written>, Error> {
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

    async fn write(
        &self,
        table: Table,
        files: &[DataFile],
        now_ms: i64,
    ) -> Result<Vec<Written>, Error> {
        let date = files.first().and_then(|file| file.event_date);
        let expected = files.iter().map(|file| file.rows).sum::<u64>();
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        // As a flush sorts; the LSN only makes it the same each time.
        let keys = ["organization_id", table.time_column(), "lsn"];
        let keys = keys.into_iter().map(|name| col(name).sort(true, true)).collect();
        let sorted = self.rows(table, files)?.sort(keys).map_err(Error::engine(table))?;
        let mut rows = sorted.execute_stream().await.map_err(Error::engine(table))?;
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
            if file.size_bytes() >= self.file_bytes
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

    /// The rows of some files. One core reads them, so that queries keep the others.
    fn rows(&self, table: Table, files: &[DataFile]) -> Result<DataFrame, Error> {
        let engine = Error::engine(table);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![self.spill_dir.clone()]));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(self.memory_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(engine)?;
        let url = Url::parse(&self.root.store_url()).map_err(|error| Error::Location {
            location: self.root.url.to_string(),
            reason: error.to_string(),
        })?;
        runtime.register_object_store(&url, Arc::clone(&self.root.store));
        let config = SessionConfig::new().with_target_partitions(1);
        let context = SessionContext::new_with_config_rt(config, runtime);
        let tables = Tables::of_files(&self.root, table, files);
        let scan = LakeScan::new(&tables, table, None);
        context.read_table(Arc::new(scan)).map_err(engine)
    }
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
