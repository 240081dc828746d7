//! Types that hold others: what is put in the place of the innermost ones.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};

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
