//! Batches in portions that whoever reads them can hold. Nulls take no room in Arrow, and a text that several rows
//! share takes it once: so what a row becomes when it is written is counted here, and not what it takes.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, GenericByteViewArray,
        GenericListArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray,
        make_array,
    },
    buffer::OffsetBuffer,
    datatypes::{ByteViewType, DataType},
    error::ArrowError,
};

use crate::{QueryError, Reason, list::Lists};

/// Elements that the lists of a row have together, those of lists in lists included.
const ROW_ELEMENTS_MAX: u64 = 1_000_000;
/// Bytes of a row: it is read as a whole. A dictionary is as well.
const ROW_BYTES_MAX: u64 = 32 << 20;
/// What goes to the reader at once, if it has more than one row.
const PORTION: Extent = Extent { elements: 256 << 10, bytes: 1 << 20 };

/// How much rows hold.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Extent {
    elements: u64,
    bytes: u64,
}

/// The rows of a batch, portion by portion. They hold nothing that their rows do not show: a text that another row
/// had, which nobody may see, lies in the same buffer.
///
/// # Errors
/// [`Reason::TooLarge`] when a row is larger than a row may be.
pub(crate) fn portions(batch: &RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
    if dictionary_bytes(batch.columns()) > ROW_BYTES_MAX {
        return Err(too_large(&format!("a dictionary has more than {ROW_BYTES_MAX} bytes")));
    }
    let mut portions = Vec::new();
    divide(batch.clone(), &mut portions)?;
    Ok(portions)
}

fn divide(batch: RecordBatch, portions: &mut Vec<RecordBatch>) -> Result<(), QueryError> {
    let rows = batch.num_rows();
    let columns = batch.columns().iter();
    let Extent { elements, bytes } = columns.map(|column| Extent::of(column, 0, rows)).sum();
    let cells = elements + rows as u64 * batch.num_columns() as u64;
    if rows > 1 && (cells > PORTION.elements || bytes > PORTION.bytes) {
        divide(batch.slice(0, rows / 2), portions)?;
        return divide(batch.slice(rows / 2, rows - rows / 2), portions);
    }
    if elements > ROW_ELEMENTS_MAX {
        let message = format!("the lists of a row have more than {ROW_ELEMENTS_MAX} elements");
        return Err(too_large(&message));
    }
    if bytes > ROW_BYTES_MAX {
        return Err(too_large(&format!("a row has more than {ROW_BYTES_MAX} bytes")));
    }
    let portion = shown(&batch).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "rows could not be passed on");
        QueryError::new(Reason::Failed, "the rows could not be passed on")
    })?;
    portions.push(portion);
    Ok(())
}

fn too_large(message: &str) -> QueryError {
    QueryError::new(Reason::TooLarge, message)
}

impl Extent {
    /// Of some places of an array.
    fn of(array: &dyn Array, from: usize, count: usize) -> Self {
        let places = from..from + count;
        if let Some(lists) = Lists::of(array) {
            let own = Self { elements: 0, bytes: 8 * count as u64 };
            let ranges = lists.ranges(places);
            return own + ranges.map(|range| Self::of_elements(lists.values, range)).sum();
        }
        match array.data_type() {
            DataType::Map(_, _) => {
                let offsets = array.as_map().value_offsets();
                let range = offsets[from] as usize..offsets[from + count] as usize;
                Self::of_elements(array.as_map().entries(), range)
            }
            DataType::Struct(_) => {
                let members = array.as_struct().columns().iter();
                members.map(|member| Self::of_elements(member, places.clone())).sum()
            }
            DataType::Dictionary(_, values) if values.is_nested() => {
                let dictionary = array.as_any_dictionary();
                if dictionary.values().is_empty() {
                    return Self::default();
                }
                let keys = dictionary.normalized_keys();
                keys[places].iter().map(|key| Self::of(dictionary.values(), *key, 1)).sum()
            }
            _ => Self { elements: 0, bytes: leaf_bytes(array, from, count) as u64 },
        }
    }

    /// Of elements that a place has, which count themselves.
    fn of_elements(array: &dyn Array, range: Range<usize>) -> Self {
        let own = Self { elements: range.len() as u64, bytes: 0 };
        own + Self::of(array, range.start, range.len())
    }
}

/// What places take that hold no others.
fn leaf_bytes(array: &dyn Array, from: usize, count: usize) -> usize {
    let between_32 = |offsets: &[i32]| (offsets[from + count] - offsets[from]) as usize;
    let between_64 = |offsets: &[i64]| (offsets[from + count] - offsets[from]) as usize;
    match array.data_type() {
        DataType::Utf8 => 4 * count + between_32(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => 8 * count + between_64(array.as_string::<i64>().value_offsets()),
        DataType::Binary => 4 * count + between_32(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => 8 * count + between_64(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => viewed(&array.as_string_view().views()[from..from + count]),
        DataType::BinaryView => viewed(&array.as_binary_view().views()[from..from + count]),
        DataType::FixedSizeBinary(size) => *size as usize * count,
        DataType::Null => 0,
        other => other.primitive_width().unwrap_or(8) * count,
    }
}

/// A view begins with the length of its value.
fn viewed(views: &[u128]) -> usize {
    let length = |view: &u128| (*view & u128::from(u32::MAX)) as usize;
    views.iter().map(|view| size_of::<u128>() + length(view)).sum()
}

impl std::ops::Add for Extent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let elements = self.elements.saturating_add(other.elements);
        Self { elements, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl std::iter::Sum for Extent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| sum + one)
    }
}

/// What the values of all dictionaries take, wherever they are nested.
fn dictionary_bytes(columns: &[ArrayRef]) -> u64 {
    columns.iter().map(|column| values_bytes(&column.to_data())).sum()
}

fn values_bytes(data: &ArrayData) -> u64 {
    let is_dictionary = matches!(data.data_type(), DataType::Dictionary(_, _));
    let values = data.child_data().iter().map(|child| {
        let values = make_array(child.clone());
        let own = if is_dictionary { Extent::of(&values, 0, values.len()).bytes } else { 0 };
        own.saturating_add(values_bytes(child))
    });
    values.fold(0, u64::saturating_add)
}

/// A batch without what none of its rows shows.
fn shown(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(compact).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options)
}

/// An array without what none of its places shows.
fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8View => view_of(array.as_string_view()),
        DataType::BinaryView => view_of(array.as_binary_view()),
        DataType::List(_) => list_of(array.as_list::<i32>())?,
        DataType::LargeList(_) => list_of(array.as_list::<i64>())?,
        DataType::FixedSizeList(field, size) => {
            let list = array.as_fixed_size_list();
            let values = compact(list.values())?;
            let nulls = list.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *size, values, nulls)?)
        }
        DataType::Struct(_) => Arc::new(struct_of(array.as_struct())?),
        DataType::Map(field, is_sorted) => {
            let map = array.as_map();
            let offsets = map.offsets().clone();
            let entries = struct_of(map.entries())?;
            let nulls = map.nulls().cloned();
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *is_sorted)?)
        }
        _ => Arc::clone(array),
    })
}

fn view_of<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>) -> ArrayRef {
    Arc::new(array.gc())
}

fn struct_of(array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter().map(compact).collect::<Result<Vec<_>, _>>()?;
    let (fields, nulls) = (array.fields().clone(), array.nulls().cloned());
    StructArray::try_new_with_length(fields, columns, nulls, array.len())
}

fn list_of<O: OffsetSizeTrait>(list: &GenericListArray<O>) -> Result<ArrayRef, ArrowError> {
    let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
    let values = list.values().slice(first.as_usize(), (last - first).as_usize());
    let lengths = list.offsets().lengths();
    let offsets = OffsetBuffer::<O>::from_lengths(lengths);
    let field = match list.data_type() {
        DataType::List(field) | DataType::LargeList(field) => Arc::clone(field),
        other => return Err(ArrowError::InvalidArgumentError(format!("{other} is no list"))),
    };
    let nulls = list.nulls().cloned();
    Ok(Arc::new(GenericListArray::try_new(field, offsets, compact(&values)?, nulls)?))
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            DictionaryArray, Int32Array, Int64Array, ListArray, ListViewArray, NullArray,
            StringArray, StringViewArray, StringViewBuilder,
        },
        datatypes::{Field, Int32Type},
        ipc::writer::StreamWriter,
    };

    use super::*;

    /// Lists of so many nulls each.
    fn lists(lengths: &[usize]) -> ListArray {
        let item = Arc::new(Field::new("item", DataType::Null, true));
        let values = Arc::new(NullArray::new(lengths.iter().sum()));
        ListArray::new(item, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None)
    }

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let names = (0..columns.len()).map(|n| n.to_string());
        RecordBatch::try_from_iter(names.zip(columns)).unwrap()
    }

    fn written(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn portions_are_small_and_hold_every_row() {
        let rows = 8_192;
        let texts: StringViewArray = (0..rows).map(|n| Some(format!("{n:>500}"))).collect();
        let whole = batch(vec![
            Arc::new(Int64Array::from_iter_values(0..rows)),
            Arc::new(texts),
            Arc::new(lists(&vec![100; rows as usize])),
        ]);
        let portions = portions(&whole).unwrap();
        assert!(portions.iter().all(|portion| written(portion).len() < 2 << 20));
        assert!(portions.len() < 64, "{}", portions.len());
        let again = arrow::compute::concat_batches(&whole.schema(), &portions).unwrap();
        assert_eq!(again, whole);
    }

    #[test]
    fn what_no_row_shows_does_not_leave() {
        let hidden =
            StringViewArray::from(vec!["a secret of another one", "what one may see of it"]);
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let offsets = OffsetBuffer::from_lengths([1, 1]);
        let list = ListArray::new(item, offsets, Arc::new(hidden.clone()), None);
        let all = batch(vec![Arc::new(hidden), Arc::new(list)]);
        let portions = portions(&all.slice(1, 1)).unwrap();
        let bytes = String::from_utf8_lossy(&written(&portions[0])).into_owned();
        assert!(bytes.contains("may see") && !bytes.contains("secret"));
        assert_eq!(portions[0], all.slice(1, 1));
    }

    #[test]
    fn rows_are_measured_as_they_are_written() {
        let million = ROW_ELEMENTS_MAX as usize;
        let refused = |columns: Vec<ArrayRef>| portions(&batch(columns)).is_err();
        assert!(!refused(vec![Arc::new(lists(&[1, million, 1]))]));
        assert!(refused(vec![Arc::new(lists(&[1, million + 1, 1]))]));
        // Of a row, whichever column has them.
        assert!(refused(vec![
            Arc::new(lists(&[million / 2 + 1])),
            Arc::new(lists(&[million / 2]))
        ]));
        // Those within others are multiplied out.
        let inner: ArrayRef = Arc::new(lists(&vec![2_000; 1_000]));
        let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
        let outer = ListArray::new(item, OffsetBuffer::from_lengths([1_000]), inner, None);
        assert!(refused(vec![Arc::new(outer)]));
        // One text that is there once, and shown often.
        let mut shared = StringViewBuilder::new();
        let block = shared.append_block("x".repeat(1 << 20).into_bytes().into());
        (0..40).for_each(|_| shared.try_append_view(block, 0, 1 << 20).unwrap());
        let shared: ArrayRef = Arc::new(shared.finish());
        assert!(!refused(vec![Arc::clone(&shared)]));
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([40]), shared, None);
        assert!(refused(vec![Arc::new(list)]));
        assert!(refused(vec![Arc::new(StringArray::from(vec!["x".repeat(33 << 20)]))]));
    }
    #[test]
    fn a_dictionary_is_bounded_wherever_it_is() {
        let values = |bytes: usize| -> ArrayRef {
            Arc::new(StringArray::from(vec!["x".into(), "y".repeat(bytes)]))
        };
        let dictionary = |bytes: usize| -> ArrayRef {
            let keys = Int32Array::from(vec![0]);
            Arc::new(DictionaryArray::<Int32Type>::new(keys, values(bytes)))
        };
        let within = |bytes: usize| {
            let inner = dictionary(bytes);
            let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
            let (one, zero) = (OffsetBuffer::from_lengths([1]), vec![0].into());
            let list = ListArray::new(Arc::clone(&item), one, Arc::clone(&inner), None);
            let fixed = FixedSizeListArray::new(Arc::clone(&item), 1, Arc::clone(&inner), None);
            let view = ListViewArray::new(
                Arc::clone(&item),
                zero,
                vec![1].into(),
                Arc::clone(&inner),
                None,
            );
            let member = StructArray::from(vec![(item, Arc::clone(&inner))]);
            [inner, Arc::new(list), Arc::new(fixed), Arc::new(view), Arc::new(member)]
                as [ArrayRef; 5]
        };
        for small in within(1 << 20) {
            assert!(portions(&batch(vec![small])).is_ok());
        }
        for large in within(33 << 20) {
            let kind = large.data_type().to_string();
            assert!(portions(&batch(vec![large])).is_err(), "{kind}");
        }
    }
}
