//! A mirrored dimension: of each thing only its latest row.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute,
    datatypes::{Int64Type, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::Result,
    datasource::memory::MemorySourceConfig,
    logical_expr::{Expr, TableType},
    physical_plan::{ExecutionPlan, collect},
};
use ingest::{OrganizationId, Table};

use crate::{reader::Tables, scan::LakeScan};

/// The latest rows of a dimension at a cut, as far as a session may see them.
#[derive(Debug)]
pub struct LatestRows {
    table: Table,
    history: LakeScan,
}

impl LatestRows {
    pub fn new(tables: &Tables, table: Table, reach: Option<&OrganizationId>) -> Self {
        Self { table, history: LakeScan::new(tables, table, reach) }
    }
}

#[async_trait]
impl TableProvider for LatestRows {
    fn schema(&self) -> SchemaRef {
        self.history.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// A dimension is small: its whole history is read, and its latest rows are kept in memory.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.history.scan(state, None, &[], None).await?;
        let batches = collect(plan, state.task_ctx()).await?;
        let rows = compute::concat_batches(&self.schema(), &batches)?;
        let latest = latest(self.table, &rows)?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![latest]], self.schema(), projection.cloned())?)
    }
}

fn latest(table: Table, rows: &RecordBatch) -> Result<RecordBatch> {
    let key = rows.column_by_name(table.dimension_key()).map(|c| c.as_string_view());
    let lsn = rows.column_by_name("lsn").map(|c| c.as_primitive::<Int64Type>());
    let mut newest: HashMap<&str, (i64, u32)> = HashMap::new();
    if let (Some(key), Some(lsn)) = (key, lsn) {
        for (row, (key, lsn)) in (0u32..).zip(key.iter().zip(lsn.values())) {
            let entry = newest.entry(key.unwrap_or_default()).or_insert((*lsn, row));
            if *lsn >= entry.0 {
                *entry = (*lsn, row);
            }
        }
    }
    let mut kept: Vec<u32> = newest.into_values().map(|(_, row)| row).collect();
    kept.sort_unstable();
    Ok(compute::take_record_batch(rows, &UInt32Array::from(kept))?)
}
