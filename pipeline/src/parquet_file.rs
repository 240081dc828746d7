//! Log records to sorted Parquet files, one per date, each with the `add` action that describes it.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, Int64Array, RecordBatch, new_null_array},
    compute,
    datatypes::{SchemaRef, TimestampMicrosecondType},
    error::ArrowError,
};
use deltalake_core::kernel::Add;
use foldhash::fast::RandomState;
use ingest::{
    Table,
    log::{LogId, Lsn, Record},
    time::{self, Micros},
};
use object_store::path::Path;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves},
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::{
    Error, Root, StoredTable,
    statistics::{self, ColumnStatistics, Statistics},
};

/// An encoded file, not yet stored.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Relative to the table.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) add: Add,
}

/// Rows per row group: fine enough to skip most of a file for one organization.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// The rows of `records` with an LSN in `(after, through]`, shaped as [`Table::schema`].
pub(crate) fn rows_between(
    table: Table,
    log: LogId,
    records: &[Record],
    after: Lsn,
    through: Lsn,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let records = records.iter().filter(|record| record.table == table);
    records.filter_map(|record| read_shape(log, record, after, through).transpose()).collect()
}

/// One record as it is read: with its provenance, and cut to the LSNs in `(after, through]`.
pub(crate) fn read_shape(
    log: LogId,
    record: &Record,
    after: Lsn,
    through: Lsn,
) -> Result<Option<RecordBatch>, ArrowError> {
    let from = (after + 1).max(record.first_lsn);
    let to = through.min(record.last_lsn());
    if from > to {
        return Ok(None);
    }
    let (offset, length) = ((from - record.first_lsn) as usize, (to - from + 1) as usize);
    let rows = record.rows.slice(offset, length);
    let ingested_at =
        arrow::array::TimestampMicrosecondArray::from_value(record.ingested_at, length);
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(ingested_at.with_timezone("UTC")));
    columns.push(Arc::new(Int64Array::from_value(log.0, length)));
    columns.push(Arc::new(Int64Array::from_iter_values(from as i64..=to as i64)));
    if record.table.is_partitioned() {
        let at = rows.column(1).as_primitive::<TimestampMicrosecondType>();
        columns.push(Arc::new(Date32Array::from_iter_values(
            at.values().iter().map(|at| time::date_of(*at)),
        )));
    }
    RecordBatch::try_new(record.table.schema(), columns).map(Some)
}

/// Sorts rows by (date, organization, time) and encodes one file per date, on the threads of the pool that it is called
/// on.
pub(crate) fn encode(
    table: Table,
    rows: &[RecordBatch],
    modified_ms: i64,
) -> Result<Vec<Encoded>, Error> {
    let order = order(table, rows);
    let source = SourceColumns::new(table, rows);
    let mut files = Vec::new();
    for places in order.chunk_by(|one, next| one.date == next.date) {
        let date = places.first().and_then(|place| place.date);
        let mut statistics = Statistics::new(table);
        let bytes = write(table, &source, places, &mut statistics)
            .map_err(|source| Error::Parquet { table: table.name(), source })?;
        let path = new_path(date);
        let size = bytes.len() as u64;
        let add = describe(path.clone(), date, size, modified_ms, &statistics);
        files.push(Encoded { path, bytes, add });
    }
    Ok(files)
}

/// A name that no file has, in the folder of its date; relative to the table.
pub(crate) fn new_path(date: Option<i32>) -> String {
    let name = format!("part-{}.zstd.parquet", uuid::Uuid::now_v7());
    match date {
        Some(days) => format!("event_date={}/{name}", time::date_text(days)),
        None => name,
    }
}

/// Where a file is in the store, by its path relative to the table.
pub(crate) fn object_path(root: &Root, table: impl Into<StoredTable>, path: &str) -> Path {
    let start = root.prefix.clone().join(table.into().name());
    path.split('/').fold(start, |whole, part| whole.join(part))
}

/// What the Delta log says about a file with new rows.
pub(crate) fn describe(
    path: String,
    date: Option<i32>,
    size: u64,
    modified_ms: i64,
    statistics: &Statistics,
) -> Add {
    Add {
        path,
        partition_values: partition_values(date),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        modification_time: modified_ms,
        data_change: true,
        stats: Some(statistics.json()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

/// A date as the Delta log names the partition of it.
pub(crate) fn partition_values(date: Option<i32>) -> HashMap<String, Option<String>> {
    date.map(|days| ("event_date".to_owned(), Some(time::date_text(days)))).into_iter().collect()
}

/// Where a row is, after what it is sorted by. There are few organizations, so that they are numbers here.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SortKey {
    date: Option<i32>,
    organization: u32,
    at: Micros,
    batch: usize,
    row: usize,
}

/// All rows in the order of date, organization and time; equal ones in the order they came.
fn order(table: Table, batches: &[RecordBatch]) -> Vec<SortKey> {
    let owners: Vec<_> = batches.iter().map(|rows| rows.column(0).as_string::<i32>()).collect();
    let mut ranks: HashMap<Option<&str>, u32, RandomState> = HashMap::default();
    for owner in owners.iter().flat_map(|owners| owners.iter()) {
        ranks.entry(owner).or_default();
    }
    let mut names: Vec<_> = ranks.keys().copied().collect();
    names.sort_unstable();
    ranks.extend(names.into_iter().zip(0..));
    let mut order = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for ((batch, rows), owners) in batches.iter().enumerate().zip(owners) {
        let times = rows.column(1).as_primitive::<TimestampMicrosecondType>().values();
        let keys = owners.iter().zip(times).enumerate();
        order.extend(keys.map(|(row, (owner, at))| {
            let organization = ranks.get(&owner).copied().unwrap_or_default();
            let date = table.is_partitioned().then(|| time::date_of(*at));
            SortKey { date, organization, at: *at, batch, row }
        }));
    }
    order.sort_unstable();
    order
}

/// The columns of a file, as they came. The date is not among them: it is in the path.
struct SourceColumns {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// The columns that the Delta log tells something about.
    told: Vec<&'static str>,
}

enum Column {
    /// Most senders leave many columns out.
    Null,
    Some(Vec<ArrayRef>),
}

impl SourceColumns {
    fn new(table: Table, batches: &[RecordBatch]) -> Self {
        let schema = file_schema(table);
        let column = |at: usize| {
            let arrays = batches.iter().map(|rows| rows.column(at));
            if arrays.clone().all(|array| array.null_count() == array.len()) {
                Column::Null
            } else {
                Column::Some(arrays.cloned().collect())
            }
        };
        let columns = (0..schema.fields().len()).map(column).collect();
        Self { schema, columns, told: statistics::columns(table).collect() }
    }

    /// Encodes these rows of a column, and says what there is to say of it.
    fn encode(
        &self,
        at: usize,
        rows: &[(usize, usize)],
        mut writer: ArrowColumnWriter,
    ) -> Result<(ArrowColumnChunk, ColumnStatistics), ParquetError> {
        let field = self.schema.field(at);
        let mut seen = ColumnStatistics::default();
        for rows in rows.chunks(CHUNK_ROWS) {
            let values = match &self.columns[at] {
                Column::Null => new_null_array(field.data_type(), rows.len()),
                Column::Some(arrays) => {
                    let arrays: Vec<_> = arrays.iter().map(AsRef::as_ref).collect();
                    compute::interleave(&arrays, rows)?
                }
            };
            if self.told.contains(&field.name().as_str()) {
                seen.add(&values);
            }
            for leaf in compute_leaves(field, &values)? {
                writer.write(&leaf)?;
            }
        }
        Ok((writer.close()?, seen))
    }
}

/// Values that are taken and encoded at once: few enough to stay in the processor's cache in between.
const CHUNK_ROWS: usize = 4_096;

/// Encodes one row group after the other, each column for itself.
fn write(
    table: Table,
    source: &SourceColumns,
    places: &[SortKey],
    statistics: &mut Statistics,
) -> Result<Vec<u8>, ParquetError> {
    let mut bytes = Vec::new();
    let properties = writer_properties(table, places.len())?;
    let schema = Arc::clone(&source.schema);
    let writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties))?;
    let (mut writer, columns) = writer.into_serialized_writer()?;
    for (number, places) in places.chunks(ROW_GROUP_ROWS).enumerate() {
        let rows: Vec<_> = places.iter().map(|place| (place.batch, place.row)).collect();
        // One for each column, since none has parts.
        let encoders = columns.create_column_writers(number)?.into_par_iter().enumerate();
        let encoded: Vec<_> = encoders
            .map(|(at, encoder)| source.encode(at, &rows, encoder))
            .collect::<Result<_, _>>()?;
        let mut group = writer.next_row_group()?;
        for ((chunk, seen), field) in encoded.into_iter().zip(source.schema.fields()) {
            chunk.append_to_row_group(&mut group)?;
            statistics.add_column(field.name(), seen);
        }
        group.close()?;
        statistics.add_rows(rows.len());
    }
    writer.close()?;
    Ok(bytes)
}

/// How every data file is written, whoever writes it.
pub(crate) fn writer_properties(
    table: impl Into<StoredTable>,
    rows: usize,
) -> Result<WriterProperties, ParquetError> {
    let table = table.into();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by("aihub".into());
    for name in [table.time_column(), "ingested_at", "lsn", "content_hash"] {
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    // Their smallest and largest values say nothing about the others, and those of persons belong in no footer.
    for name in ["event_id", "session_id", "user_id", "anonymous_id"] {
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    if table.has_event_ids() {
        let id = ColumnPath::from("event_id");
        properties = properties
            .set_column_dictionary_enabled(id.clone(), false)
            .set_column_bloom_filter_enabled(id.clone(), true)
            .set_column_bloom_filter_max_ndv(id, rows.min(ROW_GROUP_ROWS) as u64);
    }
    Ok(properties.build())
}

/// The schema of a data file: the read schema without the partition column.
pub(crate) fn file_schema(table: impl Into<StoredTable>) -> SchemaRef {
    let table = table.into();
    let schema = table.schema();
    let held = schema.fields().len() - usize::from(table.is_partitioned());
    Arc::new(arrow::datatypes::Schema::new(schema.fields()[..held].to_vec()))
}
