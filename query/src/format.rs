//! Rows as text. Decimals are strings, since a JSON number is a float to most readers; 64-bit integers are
//! numbers; times are RFC 3339 with Z.

use arrow::{
    array::RecordBatch,
    csv::WriterBuilder,
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
};
use serde_json::{Value, json};
use std::{io::Write, sync::Arc};

use crate::{
    ResultSet, cells,
    json::{self, Layout},
    nested::{replaced_field, with_types},
};

/// `[{"name": …, "type": …}, …]`.
pub fn columns(schema: &SchemaRef) -> Value {
    schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": type_name(field.data_type())}))
        .collect()
}

/// Rows as a JSON array of objects. `text_integers`: those of 64 bits are strings.
pub fn json_array(
    batches: &[RecordBatch],
    text_integers: bool,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
    out.write_all(b"[")?;
    let mut follows = false;
    for batch in readable(batches, text_integers)? {
        json::write(&batch, Layout::Array { follows }, out)?;
        follows |= batch.num_rows() > 0;
    }
    Ok(out.write_all(b"]")?)
}

/// Rows as JSON objects.
pub(crate) fn json_rows(
    batch: &RecordBatch,
    layout: Layout,
    text_integers: bool,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
    for batch in readable(std::slice::from_ref(batch), text_integers)? {
        json::write(&batch, layout, out)?;
    }
    Ok(())
}

/// Rows as CSV (RFC 4180), with a header when `header` is set.
pub(crate) fn csv(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    header: bool,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
    let mut writer = WriterBuilder::new().with_header(header).build(out);
    let empty = [RecordBatch::new_empty(Arc::clone(schema))];
    for batch in readable(if batches.is_empty() { &empty } else { batches }, false)? {
        writer.write(&batch)?;
    }
    Ok(())
}

/// Rows as an aligned table, for a terminal: nothing in it moves the cursor.
pub fn table(answer: &ResultSet) -> Result<String, ArrowError> {
    let empty = [RecordBatch::new_empty(Arc::clone(&answer.schema))];
    let batches = if answer.batches.is_empty() { &empty[..] } else { &answer.batches };
    let shown = batches.iter().map(cells::for_terminal).collect::<Result<Vec<_>, _>>()?;
    Ok(arrow::util::pretty::pretty_format_batches(&readable(&shown, false)?)?.to_string())
}

/// Decimals become text, and 64-bit integers where that is asked for, also within lists and structs; the rest is written
/// as it is.
fn readable(batches: &[RecordBatch], text_integers: bool) -> Result<Vec<RecordBatch>, ArrowError> {
    let leaf = |kind: &DataType| match kind {
        DataType::Decimal128(..) | DataType::Decimal256(..) => Some(DataType::Utf8),
        DataType::Int64 | DataType::UInt64 if text_integers => Some(DataType::Utf8),
        _ => None,
    };
    batches.iter().map(|batch| with_text(batch, &leaf)).collect()
}

fn with_text(
    batch: &RecordBatch,
    leaf: &impl Fn(&DataType) -> Option<DataType>,
) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| replaced_field(field, leaf));
    with_types(batch, &Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Decimal128(..) | DataType::Decimal256(..) => "decimal".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        integer if integer.is_integer() => "integer".into(),
        other => other.to_string().to_lowercase(),
    }
}
