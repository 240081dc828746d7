//! The barrier: rows that a session may not see never leave it.
//!
//! A filter is no isolation. The optimizer merges and reorders filters, and an expression of the query that
//! fails on a hidden row tells its value in the error. No expression passes this node: it offers no filter
//! pushdown, it reports no statistics of what lies below (a bare `count(*)` would be answered from them), and
//! what comes out of it holds only rows that satisfy our own condition.
//!
//! Nor does their memory: a column of text points into the pages that it was read from, and the Arrow form of an
//! answer is that memory as it is.

use std::{fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::{and, filter_record_batch},
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    common::{Result, Statistics, cast::as_boolean_array, tree_node::TreeNodeRecursion},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::EquivalenceProperties,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
        PlanProperties,
        metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

use super::net::HiddenRows;

/// Which rows pass. Each part may hide a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowFilter {
    /// Evaluated on the rows below.
    pub(crate) condition: Option<Arc<dyn PhysicalExpr>>,
    pub(crate) hidden: Option<Arc<HiddenRows>>,
    /// Whether hidden rows are another organization's: then nothing of their bytes goes on either.
    pub(crate) is_isolating: bool,
}

/// Keeps the rows that satisfy a condition, and the first columns of them.
#[derive(Debug)]
pub struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
    keep: RowFilter,
    columns: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl BarrierExec {
    /// Of the rows of `input` that are kept the first `width` columns come out.
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        keep: RowFilter,
        width: usize,
    ) -> Result<Self> {
        let columns: Vec<usize> = (0..width).collect();
        let schema = Arc::new(input.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            datafusion::physical_plan::Partitioning::UnknownPartitioning(
                input.output_partitioning().partition_count(),
            ),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self {
            input,
            keep,
            columns,
            schema,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The condition names the organization; a plan is shown to people.
        f.write_str("BarrierExec")
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &'static str {
        "BarrierExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.keep.condition.as_ref().map_or(Ok(TreeNodeRecursion::Continue), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(Self::new(input, self.keep.clone(), self.columns.len())?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (keep, columns) = (self.keep.clone(), self.columns.clone());
        let passed = MetricBuilder::new(&self.metrics).output_rows(partition);
        let rows = input.map(move |batch| {
            let batch = pass(&batch?, &keep, &columns)?;
            passed.add(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Arc<Statistics>> {
        Ok(Arc::new(Statistics::new_unknown(&self.schema)))
    }
}

fn pass(batch: &RecordBatch, keep: &RowFilter, columns: &[usize]) -> Result<RecordBatch> {
    let mut passing = batch.project(columns)?;
    let mask = match &keep.condition {
        Some(condition) => {
            let mask = condition.evaluate(batch)?.into_array(batch.num_rows())?;
            Some(as_boolean_array(&mask)?.clone())
        }
        None => None,
    };
    let visible = keep.hidden.as_ref().map(|hidden| hidden.visible(batch)).transpose()?;
    let mask = match (mask, visible) {
        (Some(mask), Some(visible)) => Some(and(&mask, &visible)?),
        (mask, visible) => mask.or(visible),
    };
    if let Some(mask) = mask {
        passing = filter_record_batch(&passing, &mask)?;
    }
    Ok(if keep.is_isolating { alone(&passing)? } else { passing })
}

/// The same rows in memory that holds nothing else.
fn alone(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let copied = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => Arc::clone(column),
        }
    };
    let columns = rows.columns().iter().map(copied).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(rows.schema(), columns, &options)
}
