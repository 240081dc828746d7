//! The lake's tables as DataFusion sees them: the active files, pruned by the Delta statistics, and the log's
//! rows above them. Files go through DataFusion's own Parquet source, so its optimizations apply.
//!
//! Where a session may not see every row of a table, the rows pass a [`barrier`] first.

mod barrier;
mod latest;
mod net;
mod prune;

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{
        DFSchema, Result, ScalarValue, Statistics, config::TableParquetOptions, stats::Precision,
    },
    datasource::{
        listing::PartitionedFile,
        memory::MemorySourceConfig,
        object_store::ObjectStoreUrl,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::CachedParquetFileReaderFactory,
        },
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, col, lit, utils::conjunction},
    physical_plan::{
        ExecutionPlan, PhysicalExpr, empty::EmptyExec, execute_stream, union::UnionExec,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use ingest::{OrganizationId, Table, log::Lsn};
use object_store::ObjectMeta;

pub use barrier::BarrierExec;
use barrier::RowFilter;
pub use latest::LatestRows;
pub(crate) use net::FileReversals;
use net::{HiddenRows, Reversal};
use prune::TimePrecision;

use crate::{
    DataFile, StoredTable, parquet_file,
    reader::{Contents, Tables, to_views, with_views},
};

/// One table of the lake at a cut, as far as a session may see it.
#[derive(Debug)]
pub struct LakeScan {
    table: StoredTable,
    net: bool,
    /// Rows up to here are left out.
    after: Option<Lsn>,
    reach: Option<OrganizationId>,
    tables: Tables,
    contents: Contents,
    schema: SchemaRef,
}

impl LakeScan {
    /// Every row of `table`, or one organization's.
    pub fn new(
        tables: &Tables,
        table: impl Into<StoredTable>,
        reach: Option<&OrganizationId>,
    ) -> Self {
        let table = table.into();
        Self {
            table,
            net: false,
            after: None,
            reach: reach.cloned(),
            tables: tables.clone(),
            contents: tables.contents(table),
            schema: with_views(&table.schema()),
        }
    }

    /// The net of a ledger: rows that were taken back are left out, and the reversals of them.
    pub fn net(self) -> Self {
        Self { net: true, ..self }
    }

    /// The rows that came after an LSN.
    pub fn after(self, lsn: Lsn) -> Self {
        Self { after: Some(lsn), ..self }
    }

    /// What says that a row is of the organization that the session is for.
    fn own(&self) -> Option<Expr> {
        self.reach.as_ref().map(|id| col("organization_id").eq(lit(id.as_str())))
    }

    /// What every row must satisfy, whatever the query says; `None` when the files may be read as they are.
    fn condition(&self, files: &[DataFile]) -> Option<Expr> {
        let bound = |lsn: Lsn| lit(i64::try_from(lsn).unwrap_or(i64::MAX));
        let lsn = self.tables.cut.lsn;
        let is_beyond = files.iter().any(|file| file.max_lsn > lsn);
        let cut = is_beyond.then(|| col("lsn").lt_eq(bound(lsn)));
        let after = self.after.map(|after| col("lsn").gt(bound(after)));
        conjunction([self.own(), cut, after].into_iter().flatten())
    }

    /// Whether files may be left out by a filter of the query. Statistics are of all rows of a file: what leaves one
    /// out tells of others' rows in it. For one organization only whole days do, since a query must not read years;
    /// everything else is evaluated above the barrier.
    fn prunes(&self, filter: &Expr) -> bool {
        let is_time = |name: &str| name == self.table.time_column() || name == "event_date";
        self.reach.is_none() || filter.column_refs().iter().all(|column| is_time(&column.name))
    }

    /// What the net leaves out of these files and of the log's rows. A row and its reversal have the same
    /// organization and time, so a file that was pruned holds no reversal of a row that was not.
    async fn hidden(&self, state: &dyn Session, files: &[DataFile]) -> Result<HiddenRows> {
        let mut hidden = HiddenRows::default();
        let Some(table) = self.table.ingested().filter(|_| self.net) else { return Ok(hidden) };
        let lsn = self.tables.cut.lsn;
        for rows in &self.contents.fresh {
            hidden.add(&net::reversals(rows, None)?, lsn);
        }
        let mut reading = Vec::new();
        for file in files.iter().filter(|file| file.corrects) {
            reading.push(self.reversals(state, table, file));
        }
        let mut found = stream::iter(reading).buffer_unordered(8);
        while let Some(reversals) = found.try_next().await? {
            hidden.add(&reversals, lsn);
        }
        Ok(hidden)
    }

    async fn reversals(
        &self,
        state: &dyn Session,
        table: Table,
        file: &DataFile,
    ) -> Result<Arc<[Reversal]>> {
        if let Some(known) = self.tables.reversals.get(table, &file.path) {
            return Ok(known);
        }
        let columns = net::COLUMNS.map(|name| self.schema.index_of(name));
        let columns = columns.into_iter().collect::<Result<Vec<_>, _>>()?;
        // Skips row groups and pages without a correction.
        let predicate = physical(state, &self.schema, &col("corrects_id").is_not_null())?;
        let plan = self.parquet(state, vec![file.clone()], &columns, Some(predicate), None)?;
        let mut rows = execute_stream(plan, state.task_ctx())?;
        let mut found = Vec::new();
        while let Some(rows) = rows.try_next().await? {
            found.extend(net::reversals(&rows, file.event_date)?);
        }
        let found: Arc<[Reversal]> = found.into();
        self.tables.reversals.keep(table, &file.path, Arc::clone(&found));
        Ok(found)
    }

    fn files(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<DataFile>> {
        let theirs = filters.iter().filter(|filter| self.prunes(filter)).cloned();
        let wanted = conjunction(theirs.chain(self.own()));
        let after = self.after.unwrap_or(0);
        let mut found = match wanted {
            Some(wanted) => {
                let predicate = physical(state, &self.schema, &wanted)?;
                let times =
                    if self.reach.is_none() { TimePrecision::Exact } else { TimePrecision::Day };
                let files = &self.contents.files;
                prune::keep(self.table, &self.schema, files, times, predicate)
            }
            None => self.contents.files.to_vec(),
        };
        // Ours, so that it tells nothing: which files were there already when the mark was set.
        found.retain(|file| file.max_lsn > after);
        Ok(found)
    }

    /// The scan itself, of the columns `columns`.
    fn source(
        &self,
        state: &dyn Session,
        (files, fresh): (Vec<DataFile>, Vec<RecordBatch>),
        columns: &[usize],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !files.is_empty() {
            inputs.push(self.parquet(state, files, columns, predicate, limit)?);
        }
        if !fresh.is_empty() {
            let rows = fresh.iter().map(|rows| to_views(&rows.project(columns)?));
            let rows = [rows.collect::<Result<_, ArrowError>>()?];
            let schema = Arc::new(self.schema.project(columns)?);
            inputs.push(MemorySourceConfig::try_new_exec(&rows, schema, None)?);
        }
        match inputs.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(columns)?)))),
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }

    fn parquet(
        &self,
        state: &dyn Session,
        files: Vec<DataFile>,
        columns: &[usize],
        predicate: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let held = with_views(&parquet_file::file_schema(self.table));
        let partitions = self.schema.fields()[held.fields().len()..].to_vec();
        let schema = TableSchema::builder(held).with_table_partition_cols(partitions).build();
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let url = ObjectStoreUrl::parse(self.tables.root.store_url())?;
        // Footers are kept between queries: reading and parsing them is most of a small query.
        let runtime = state.runtime_env();
        let footers = CachedParquetFileReaderFactory::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let mut source = ParquetSource::new(schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(footers));
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_statistics(self.sizes(&files))
            .with_file_groups(self.groups(files, state.config().target_partitions()))
            .with_projection_indices(Some(columns.to_vec()))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// About how many rows there are, so that a join holds the smaller side. What is not exact answers no query,
    /// and for one organization nothing is told: others' rows are in the same files.
    fn sizes(&self, files: &[DataFile]) -> Statistics {
        let mut sizes = Statistics::new_unknown(&self.schema);
        if self.reach.is_none() {
            let rows: u64 = files.iter().map(|file| file.rows).sum();
            let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
            sizes.num_rows = Precision::Inexact(usize::try_from(rows).unwrap_or(usize::MAX));
            sizes.total_byte_size =
                Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
        sizes
    }

    /// Files spread over the partitions, the largest first, so that none is left with all the work.
    fn groups(&self, mut files: Vec<DataFile>, partitions: usize) -> Vec<FileGroup> {
        files.sort_by_key(|file| std::cmp::Reverse(file.size_bytes));
        let mut groups = vec![(0, Vec::new()); partitions.clamp(1, files.len().max(1))];
        for file in files {
            if let Some(group) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                group.0 += file.size_bytes;
                group.1.push(self.partitioned(&file));
            }
        }
        groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
    }

    fn partitioned(&self, file: &DataFile) -> PartitionedFile {
        let meta = ObjectMeta {
            location: file.object_path(&self.tables.root, self.table),
            last_modified: chrono::DateTime::from_timestamp_millis(file.modified_ms)
                .unwrap_or_default(),
            size: file.size_bytes,
            e_tag: None,
            version: None,
        };
        let mut partitioned = PartitionedFile::new_from_meta(meta);
        if self.table.is_partitioned() {
            partitioned.partition_values = vec![ScalarValue::Date32(file.event_date)];
        }
        partitioned
    }
}

#[async_trait]
impl TableProvider for LakeScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters prune files and row groups; they are evaluated above the scan, and above the barrier.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let files = self.files(state, filters)?;
        let hidden = self.hidden(state, &files).await?;
        let fresh = hidden.filter(&self.contents.fresh)?;
        let (touched, plain): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| hidden.touches(file));
        let question = ScanRequest { columns: &wanted, filters, limit };
        if touched.is_empty() {
            return self.visible(state, (plain, fresh), None, &question);
        }
        let filtered = self.visible(state, (touched, Vec::new()), Some(hidden), &question)?;
        if plain.is_empty() && fresh.is_empty() {
            return Ok(filtered);
        }
        UnionExec::try_new(vec![self.visible(state, (plain, fresh), None, &question)?, filtered])
    }
}

/// What a query wants of a scan.
struct ScanRequest<'a> {
    columns: &'a [usize],
    filters: &'a [Expr],
    limit: Option<usize>,
}

impl LakeScan {
    /// The rows of these files and of the log that the session may see, behind a barrier where any may be hidden.
    fn visible(
        &self,
        state: &dyn Session,
        rows: (Vec<DataFile>, Vec<RecordBatch>),
        hidden: Option<HiddenRows>,
        question: &ScanRequest<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let condition = self.condition(&rows.0);
        // Row groups and pages of one organization are found by its id alone, at any cut.
        let pruning = self
            .own()
            .or_else(|| conjunction(question.filters.iter().cloned().chain(condition.clone())));
        let pruning = pruning.map(|pruning| physical(state, &self.schema, &pruning)).transpose()?;
        if condition.is_none() && hidden.is_none() {
            return self.source(state, rows, question.columns, pruning, question.limit);
        }
        let mut columns = question.columns.to_vec();
        let needed = condition.iter().flat_map(|condition| condition.column_refs());
        let needed = needed.map(|column| column.name.as_str());
        for name in needed.chain(hidden.iter().flat_map(|_| ["log", "lsn"])) {
            let index = self.schema.index_of(name)?;
            if !columns.contains(&index) {
                columns.push(index);
            }
        }
        let input = self.source(state, rows, &columns, pruning, None)?;
        let condition =
            condition.map(|keep| physical(state, &input.schema(), &keep)).transpose()?;
        let is_isolating = self.reach.is_some();
        let keep = RowFilter { condition, hidden: hidden.map(Arc::new), is_isolating };
        Ok(Arc::new(BarrierExec::new(input, keep, question.columns.len())?))
    }
}

fn physical(state: &dyn Session, schema: &SchemaRef, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
    state.create_physical_expr(expr.clone(), &DFSchema::try_from(schema.as_ref().clone())?)
}

#[cfg(test)]
mod tests;
