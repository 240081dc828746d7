//! Stores the rows of a rollup: sums that a worker computed, one file for each date.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    compute::{self, CastOptions},
    datatypes::TimestampMicrosecondType,
    error::ArrowError,
};
use deltalake_core::kernel::Add;
use ingest::{log::Lsn, time};

use crate::{Error, ROLLUP_TIME, RollupTable, Root, new_file::NewFile, parquet_file::file_schema};

/// Rows of a rollup, and the last LSN of the rows that they are sums of.
#[derive(Debug, Clone, Copy)]
pub struct RollupRows<'a> {
    /// The columns of the rollup in any order, and perhaps others. Rows of one date are best together.
    pub rows: &'a [RecordBatch],
    pub through: Lsn,
}

/// Stores rows, and gives what the Delta log is to say of their files.
pub(crate) async fn store(
    root: &Root,
    rollup: &'static RollupTable,
    rows: RollupRows<'_>,
    now_ms: i64,
) -> Result<Vec<Add>, Error> {
    let mut files: BTreeMap<i32, NewFile> = BTreeMap::new();
    for batch in rows.rows {
        let shaped = shaped(rollup, batch, rows.through).map_err(Error::arrow(rollup))?;
        for (date, rows) in by_date(&shaped).map_err(Error::arrow(rollup))? {
            let file = match files.entry(date) {
                Entry::Occupied(file) => file.into_mut(),
                Entry::Vacant(none) => {
                    let expected = rows.num_rows();
                    none.insert(NewFile::create(root, rollup, Some(date), expected, rows.schema())?)
                }
            };
            file.write(&rows).await?;
        }
    }
    let mut added = Vec::with_capacity(files.len());
    for file in files.into_values() {
        added.push(file.close(now_ms).await?.add);
    }
    Ok(added)
}

/// Rows with the columns of a file.
fn shaped(
    rollup: &'static RollupTable,
    rows: &RecordBatch,
    through: Lsn,
) -> Result<RecordBatch, ArrowError> {
    let schema = file_schema(rollup);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let column = |field: &arrow::datatypes::FieldRef| -> Result<ArrayRef, ArrowError> {
        if field.name() == "lsn" {
            let lsn = i64::try_from(through).unwrap_or(i64::MAX);
            return Ok(Arc::new(Int64Array::from_value(lsn, rows.num_rows())));
        }
        let index = rows.schema_ref().index_of(field.name())?;
        compute::cast_with_options(rows.column(index), field.data_type(), &options)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema, columns)
}

/// The rows of each date. Neighbors of one date stay together.
fn by_date(rows: &RecordBatch) -> Result<Vec<(i32, RecordBatch)>, ArrowError> {
    let index = rows.schema_ref().index_of(ROLLUP_TIME)?;
    let times = rows.column(index).as_primitive::<TimestampMicrosecondType>();
    let dates: Vec<_> = times.values().iter().map(|at| time::date_of(*at)).collect();
    let mut start = 0;
    let pieces = dates.chunk_by(|one, next| one == next).map(|piece| {
        let slice = rows.slice(start, piece.len());
        start += piece.len();
        (piece[0], slice)
    });
    Ok(pieces.collect())
}
