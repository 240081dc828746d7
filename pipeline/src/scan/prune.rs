//! Leaves out files that cannot hold a wanted row, by what the Delta log says about them.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Int64Array, StringViewArray,
        TimestampMicrosecondArray, UInt64Array,
    },
    datatypes::SchemaRef,
};
use datafusion::{
    common::{Column, ScalarValue, pruning::PruningStatistics},
    physical_optimizer::pruning::PruningPredicateBuilder,
    physical_plan::PhysicalExpr,
};

use crate::{DataFile, StoredTable};

/// How exactly the times of a file's rows may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimePrecision {
    /// From the first row to the last.
    Exact,
    /// The whole day: the first and the last row may be somebody else's.
    Day,
}

/// The files that may hold a row for which `predicate` is true. When in doubt, a file is kept.
pub(super) fn keep(
    table: StoredTable,
    schema: &SchemaRef,
    files: &[DataFile],
    times: TimePrecision,
    predicate: Arc<dyn PhysicalExpr>,
) -> Vec<DataFile> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    let known = FileStatistics { table, files, times };
    let kept = builder.build(predicate).map(|pruning| pruning.prune(&known));
    match kept {
        Some(Ok(kept)) => {
            files.iter().zip(kept).filter(|(_, keep)| *keep).map(|(f, _)| f.clone()).collect()
        }
        _ => files.to_vec(),
    }
}

struct FileStatistics<'a> {
    table: StoredTable,
    files: &'a [DataFile],
    times: TimePrecision,
}

const DAY_US: i64 = 86_400_000_000;

impl FileStatistics<'_> {
    fn bound(&self, column: &Column, smallest: bool) -> Option<ArrayRef> {
        let files = self.files.iter();
        if column.name == "organization_id" {
            let bounds = files.map(|file| {
                file.organization_id.as_ref().map(|(min, max)| if smallest { min } else { max })
            });
            return Some(Arc::new(bounds.collect::<StringViewArray>()));
        }
        if column.name == self.table.time_column() {
            let bounds = files.map(|file| {
                let (min, max) = match (self.times, file.event_date) {
                    (TimePrecision::Exact, _) => file.at?,
                    (TimePrecision::Day, day) => {
                        let midnight = i64::from(day?) * DAY_US;
                        (midnight, midnight + DAY_US - 1)
                    }
                };
                Some(if smallest { min } else { max })
            });
            let bounds = bounds.collect::<TimestampMicrosecondArray>();
            return Some(Arc::new(bounds.with_timezone("UTC")));
        }
        if column.name == "lsn" {
            let bounds = files.map(|file| {
                let bound = if smallest { file.min_lsn? } else { file.max_lsn };
                i64::try_from(bound).ok()
            });
            return Some(Arc::new(bounds.collect::<Int64Array>()));
        }
        if column.name == "event_date" {
            return Some(Arc::new(files.map(|file| file.event_date).collect::<Date32Array>()));
        }
        None
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, true)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, false)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
