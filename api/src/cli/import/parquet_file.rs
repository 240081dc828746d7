//! A Parquet file as flat rows: the members of structs are columns `a.b`.

use std::{fs::File, path::Path, sync::Arc};

use anyhow::Context;
use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray},
    buffer::NullBuffer,
    compute,
    datatypes::{DataType, Field, FieldRef, Schema, TimeUnit},
    error::ArrowError,
};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::{LogicalType, Type},
    schema::types::SchemaDescriptor,
};

use super::source::CHUNK_ROWS;

/// No rows, with all columns of the file.
pub(super) fn empty(path: &Path) -> anyhow::Result<RecordBatch> {
    let reader = open(path)?;
    flat(&RecordBatch::new_empty(Arc::clone(reader.schema())), &[])
}

/// The rows with some of the columns.
pub(super) fn batches(
    path: &Path,
    columns: &[String],
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<RecordBatch>> + Send + use<>> {
    let reader = open(path)?;
    let wanted = |name: &String| columns.contains(name);
    let leaves = names(reader.parquet_schema(), |_, _| true);
    let uuids = names(reader.parquet_schema(), |logical, _| logical == Some(&LogicalType::Uuid));
    let places = leaves.iter().enumerate().filter(|(_, name)| wanted(name)).map(|(at, _)| at);
    let mask = ProjectionMask::leaves(reader.parquet_schema(), places);
    let reader = reader.with_projection(mask).with_batch_size(CHUNK_ROWS).build()?;
    Ok(reader.map(move |rows| flat(&rows?, &uuids)))
}

type Reader = ParquetRecordBatchReaderBuilder<File>;

fn open(path: &Path) -> anyhow::Result<Reader> {
    let reader = Reader::try_new(File::open(path)?)?;
    let old = names(reader.parquet_schema(), |_, physical| physical == Type::INT96);
    if old.is_empty() {
        return Ok(reader);
    }
    // These reach from year -4712 on, and are read as nanoseconds, which wrap around from 2262 on.
    let fields = reader.schema().fields().iter().map(|field| in_micros(field, "", &old));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    Ok(Reader::try_new_with_options(File::open(path)?, options)?)
}

/// The names of the columns that hold values, those of some types.
fn names(
    schema: &SchemaDescriptor,
    is_it: impl Fn(Option<&LogicalType>, Type) -> bool,
) -> Vec<String> {
    let columns = schema.columns().iter();
    let columns = columns.filter(|c| is_it(c.logical_type_ref(), c.physical_type()));
    columns.map(|column| column.path().string()).collect()
}

fn joined(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn in_micros(field: &FieldRef, parent: &str, old: &[String]) -> FieldRef {
    let name = joined(parent, field.name());
    let kind = match field.data_type() {
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|m| in_micros(m, &name, old)).collect())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) if old.contains(&name) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn flat(rows: &RecordBatch, uuids: &[String]) -> anyhow::Result<RecordBatch> {
    let mut columns = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        flatten(field.name(), column, None, &mut columns)?;
    }
    for (name, column) in &mut columns {
        if uuids.contains(name) && *column.data_type() == DataType::FixedSizeBinary(16) {
            *column = uuid_texts(column);
        }
    }
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .context("the columns of structs")
}

/// A member of a struct that is null is null.
fn flatten(
    name: &str,
    column: &ArrayRef,
    parent: Option<&NullBuffer>,
    columns: &mut Vec<(String, ArrayRef)>,
) -> Result<(), ArrowError> {
    if let Some(members) = column.as_struct_opt() {
        let nulls = NullBuffer::union(parent, column.nulls());
        for (field, member) in members.fields().iter().zip(members.columns()) {
            flatten(&joined(name, field.name()), member, nulls.as_ref(), columns)?;
        }
        return Ok(());
    }
    let column = match parent {
        None => Arc::clone(column),
        Some(parent) => compute::nullif(column, &BooleanArray::from(!parent.inner()))?,
    };
    columns.push((name.to_owned(), column));
    Ok(())
}

fn uuid_texts(column: &ArrayRef) -> ArrayRef {
    let texts = column.as_fixed_size_binary().iter().map(|bytes| {
        let bytes = bytes?.try_into().ok()?;
        Some(uuid::Uuid::from_bytes(bytes).to_string())
    });
    Arc::new(texts.collect::<StringArray>())
}
