//! What a group makes of rows.

use arrow::{array::AsArray, compute, datatypes::Int64Type};

use crate::{Error, Rejection, RejectionCode, decode::Batch, log::Record};

/// Makes one record of those that follow each other with rows of one table: many senders of an event each
/// make one record together.
pub(super) fn merge(records: Vec<Record>) -> Result<Vec<Record>, Error> {
    records
        .chunk_by(|one, next| one.table == next.table)
        .map(|group| match group {
            [only] => Ok(only.clone()),
            group => {
                let schema = group[0].table.record_schema();
                let rows = compute::concat_batches(&schema, group.iter().map(|one| &one.rows))?;
                Ok(Record { rows, ..group[0].clone() })
            }
        })
        .collect()
}

pub(super) fn content_hashes(batch: &Batch) -> Vec<i64> {
    batch
        .rows
        .column_by_name("content_hash")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .map(|hashes| hashes.values().to_vec())
        .unwrap_or_default()
}

pub(super) fn conflict() -> Rejection {
    Rejection::new(
        RejectionCode::IdConflict,
        "/id",
        "an event with this source and id was accepted before with other content",
    )
}
