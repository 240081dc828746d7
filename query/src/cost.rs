//! What a query read, and the most memory that its operators held.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    common::{Result, stats::Precision},
    datasource::{physical_plan::FileScanConfig, source::DataSourceExec},
    execution::memory_pool::{
        FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
    },
    physical_plan::{
        ExecutionPlan, displayable,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::RowAccess;

/// What a query cost. An organization is told nothing of it: others' rows are in the same files, and what is read
/// of them, even of its own rows, depends on which files those rows are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = QueryCost)]
pub struct Cost {
    /// Rows that the scans gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_scanned: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_scanned: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_scanned: Option<u64>,
    /// The most that sorts, joins and groups held at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What a plan would read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Estimate {
    pub files: u64,
    /// Of the whole files.
    pub bytes: u64,
    /// At most.
    pub rows: u64,
}

impl Cost {
    /// Of a plan that ran.
    pub(crate) fn of(
        plan: &Arc<dyn ExecutionPlan>,
        reach: &RowAccess,
        memory_bytes: usize,
    ) -> Self {
        if matches!(reach, RowAccess::Organization(_)) {
            return Self::default();
        }
        let (mut rows, mut bytes, mut files) = (0, 0, HashSet::new());
        visit(plan, &mut |node| {
            let metrics = node.metrics();
            if is_leaf(node) {
                // Rows that are in memory are not counted while they are read.
                let read = metrics.as_ref().and_then(|metrics| metrics.output_rows());
                rows += read.map_or_else(|| rows_of(node), |read| read as u64);
            }
            if let Some(scan) = scan(node) {
                let read = metrics.and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
                bytes += read.map_or(0, |read| read.as_usize()) as u64;
                files.extend(paths(scan));
            }
        });
        Self {
            rows_scanned: Some(rows),
            bytes_scanned: Some(bytes),
            files_scanned: Some(files.len() as u64),
            memory_bytes: Some(memory_bytes as u64),
        }
    }

    /// The same question answered from what was kept: nothing was read for it.
    pub(crate) fn of_kept(self) -> Self {
        let none = |figure: Option<u64>| figure.map(|_| 0);
        Self {
            rows_scanned: none(self.rows_scanned),
            bytes_scanned: none(self.bytes_scanned),
            files_scanned: none(self.files_scanned),
            memory_bytes: none(self.memory_bytes),
        }
    }
}

impl Estimate {
    /// Of a plan that did not run.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut estimate = Self::default();
        let mut files = HashSet::new();
        visit(plan, &mut |node| {
            if !is_leaf(node) {
                return;
            }
            estimate.rows += rows_of(node);
            let Some(scan) = scan(node) else { return };
            for group in &scan.file_groups {
                for file in group.files() {
                    if files.insert(file.object_meta.location.to_string()) {
                        estimate.bytes += file.object_meta.size;
                    }
                }
            }
        });
        estimate.files = files.len() as u64;
        estimate
    }
}

/// A plan as text, one operator a line, indented: without paths.
pub(crate) fn describe(plan: &Arc<dyn ExecutionPlan>) -> String {
    let mut text = String::new();
    describe_below(plan, 0, &mut text);
    text
}

fn describe_below(plan: &Arc<dyn ExecutionPlan>, depth: usize, text: &mut String) {
    let line = match scan(plan) {
        Some(scan) => {
            let names: Vec<_> =
                plan.schema().fields().iter().map(|field| field.name().clone()).collect();
            let files = paths(scan).count();
            format!("ParquetScan: files={files}, columns=[{}]", names.join(", "))
        }
        None if is_leaf(plan) => plan.name().to_owned(),
        None => displayable(plan.as_ref()).one_line().to_string().trim_end().to_owned(),
    };
    text.push_str(&format!("{}{line}\n", "  ".repeat(depth)));
    for child in plan.children() {
        describe_below(child, depth + 1, text);
    }
}

fn visit(plan: &Arc<dyn ExecutionPlan>, look: &mut impl FnMut(&Arc<dyn ExecutionPlan>)) {
    look(plan);
    for child in plan.children() {
        visit(child, look);
    }
}

/// How many rows a plan gives, as far as that is known.
fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new());
    match statistics.map(|statistics| statistics.num_rows) {
        Ok(Precision::Exact(rows) | Precision::Inexact(rows)) => rows as u64,
        _ => 0,
    }
}

fn is_leaf(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.children().is_empty()
}

fn scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

fn paths(scan: &FileScanConfig) -> impl Iterator<Item = String> {
    let files = scan.file_groups.iter().flat_map(|group| group.files());
    let paths: HashSet<_> = files.map(|file| file.object_meta.location.to_string()).collect();
    paths.into_iter()
}

/// A pool that remembers the most that was held of it.
#[derive(Debug)]
pub(crate) struct MeteredPool {
    inner: FairSpillPool,
    most: AtomicUsize,
}

impl MeteredPool {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { inner: FairSpillPool::new(bytes), most: AtomicUsize::new(0) }
    }

    /// The most since it was taken last.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// The same, and begins anew.
    pub(crate) fn take_most(&self) -> usize {
        self.most.swap(self.inner.reserved(), Ordering::Relaxed)
    }

    fn note(&self) {
        self.most.fetch_max(self.inner.reserved(), Ordering::Relaxed);
    }
}

impl fmt::Display for MeteredPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

impl MemoryPool for MeteredPool {
    fn name(&self) -> &'static str {
        "metered"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
        self.note();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.inner.try_grow(reservation, additional)?;
        self.note();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
