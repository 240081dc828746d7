//! Types that hold others: what is put in the place of the innermost ones.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    compute,
    datatypes::{DataType, Field, FieldRef, SchemaRef},
    error::ArrowError,
};

/// A type in which `leaf` puts others in the places of those that hold no more.
pub(crate) fn replaced(kind: &DataType, leaf: &impl Fn(&DataType) -> Option<DataType>) -> DataType {
    let of = |field: &FieldRef| Arc::new(replaced_field(field, leaf));
    match kind {
        DataType::List(field) | DataType::ListView(field) => DataType::List(of(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(of(field))
        }
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(of(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(of).collect()),
        DataType::Map(entries, sorted) => DataType::Map(of(entries), *sorted),
        other => leaf(other).unwrap_or_else(|| other.clone()),
    }
}

/// The same of a column.
pub(crate) fn replaced_field(
    field: &FieldRef,
    leaf: &impl Fn(&DataType) -> Option<DataType>,
) -> Field {
    field.as_ref().clone().with_data_type(replaced(field.data_type(), leaf))
}

/// The same rows with the names and types of a schema.
pub(crate) fn with_types(
    rows: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| compute::cast(column, field.data_type()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = columns.collect::<Result<_, _>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}
