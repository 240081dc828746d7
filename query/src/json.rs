//! Rows as JSON, value by value. Of a row that is long, in its names, its texts or its lists, only a piece is held.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    buffer::NullBuffer,
    datatypes::{DataType, FieldRef},
    error::ArrowError,
    json::writer::{EncoderOptions, NullableEncoder, make_encoder},
};

use crate::list::Lists;

/// What stands around rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A comma between two; `follows`: there were rows before these.
    Array { follows: bool },
    /// Each in a line.
    Lines,
}

/// So much is gathered before it is written.
const HELD_BYTES: usize = 32 * 1024;
/// Texts are escaped in parts of about this size.
const PART_BYTES: usize = 16 * 1024;

static OPTIONS: LazyLock<EncoderOptions> =
    LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Writes the rows of a batch as objects.
pub(crate) fn write(
    batch: &RecordBatch,
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), ArrowError> {
    let fields = batch.schema_ref().fields().iter();
    let columns = fields.zip(batch.columns()).map(|(field, column)| Member::new(field, column));
    let mut columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut text = Text { held: Vec::with_capacity(2 * HELD_BYTES), out };
    for row in 0..batch.num_rows() {
        if matches!(layout, Layout::Array { follows } if follows || row > 0) {
            text.push(b",")?;
        }
        object(&mut columns, row, &mut text)?;
        if layout == Layout::Lines {
            text.push(b"\n")?;
        }
    }
    Ok(text.out.write_all(&text.held)?)
}

/// Text on its way out.
struct Text<'w> {
    held: Vec<u8>,
    out: &'w mut dyn Write,
}

impl Text<'_> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        self.pass()
    }

    fn pass(&mut self) -> io::Result<()> {
        if self.held.len() >= HELD_BYTES {
            self.out.write_all(&self.held)?;
            self.held.clear();
        }
        Ok(())
    }

    fn quote(&mut self, mut text: &str) -> io::Result<()> {
        self.held.push(b'"');
        while !text.is_empty() {
            let (part, rest) = text.split_at(text.floor_char_boundary(PART_BYTES));
            let escaped = serde_json::to_string(part)?;
            self.push(&escaped.as_bytes()[1..escaped.len() - 1])?;
            text = rest;
        }
        self.held.push(b'"');
        self.pass()
    }
}

/// A column, or a member of a struct.
struct Member<'a> {
    /// With its quotes and the colon.
    name: Vec<u8>,
    value: Value<'a>,
}

/// The values of an array.
struct Value<'a> {
    nulls: Option<NullBuffer>,
    kind: ValueEncoder<'a>,
}

enum ValueEncoder<'a> {
    Leaf(NullableEncoder<'a>),
    Text(Box<dyn Fn(usize) -> &'a str + 'a>),
    List(Lists<'a>, Box<Value<'a>>),
    Struct(Vec<Member<'a>>),
    /// Where the entries of a place are, their keys and values.
    Map(&'a [i32], Box<Value<'a>>, Box<Value<'a>>),
    /// Which of the values a place has.
    Shared(Box<dyn Fn(usize) -> usize + 'a>, Box<Value<'a>>),
}

impl<'a> Member<'a> {
    fn new(field: &'a FieldRef, array: &'a dyn Array) -> Result<Self, ArrowError> {
        let mut name = serde_json::to_vec(field.name()).map_err(io::Error::from)?;
        name.push(b':');
        Ok(Self { name, value: Value::new(field, array)? })
    }
}

fn object(members: &mut [Member<'_>], place: usize, text: &mut Text<'_>) -> io::Result<()> {
    for (index, member) in members.iter_mut().enumerate() {
        text.push(if index == 0 { b"{" } else { b"," })?;
        text.push(&member.name)?;
        member.value.write(place, text)?;
    }
    text.push(if members.is_empty() { b"{}" } else { b"}" })
}

impl<'a> Value<'a> {
    fn new(field: &'a FieldRef, array: &'a dyn Array) -> Result<Self, ArrowError> {
        let elements = |field, array| Value::new(field, array).map(Box::new);
        if let Some(lists) = Lists::of(array) {
            let elements = elements(lists.item, lists.values)?;
            return Ok(Self {
                nulls: array.logical_nulls(),
                kind: ValueEncoder::List(lists, elements),
            });
        }
        let kind = match array.data_type() {
            DataType::Utf8 => text(|at| array.as_string::<i32>().value(at)),
            DataType::LargeUtf8 => text(|at| array.as_string::<i64>().value(at)),
            DataType::Utf8View => text(|at| array.as_string_view().value(at)),
            DataType::Struct(fields) => {
                let members = fields.iter().zip(array.as_struct().columns());
                ValueEncoder::Struct(
                    members.map(|(f, a)| Member::new(f, a)).collect::<Result<_, _>>()?,
                )
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                if !map.keys().data_type().is_string() {
                    let message = "in JSON the keys of a map are texts";
                    return Err(ArrowError::JsonError(message.into()));
                }
                let (keys, values) = (elements(field, map.keys())?, elements(field, map.values())?);
                ValueEncoder::Map(map.value_offsets(), keys, values)
            }
            DataType::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary();
                // Of a dictionary without values every place is null.
                let is_empty = dictionary.values().is_empty();
                let keys = if is_empty { Vec::new() } else { dictionary.normalized_keys() };
                ValueEncoder::Shared(
                    Box::new(move |at| keys[at]),
                    elements(field, dictionary.values())?,
                )
            }
            _ => ValueEncoder::Leaf(make_encoder(field, array, &OPTIONS)?),
        };
        Ok(Self { nulls: array.logical_nulls(), kind })
    }

    fn write(&mut self, place: usize, text: &mut Text<'_>) -> io::Result<()> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(place)) {
            return text.push(b"null");
        }
        match &mut self.kind {
            ValueEncoder::Leaf(encoder) => {
                encoder.encode(place, &mut text.held);
                text.pass()
            }
            ValueEncoder::Text(value) => text.quote(value(place)),
            ValueEncoder::List(lists, elements) => {
                let range = lists.range(place);
                text.push(b"[")?;
                for at in range.clone() {
                    if at > range.start {
                        text.push(b",")?;
                    }
                    elements.write(at, text)?;
                }
                text.push(b"]")
            }
            ValueEncoder::Struct(members) => object(members, place, text),
            ValueEncoder::Map(offsets, keys, values) => {
                let (start, end) = (offsets[place] as usize, offsets[place + 1] as usize);
                text.push(b"{")?;
                for at in start..end {
                    if at > start {
                        text.push(b",")?;
                    }
                    keys.write(at, text)?;
                    text.push(b":")?;
                    values.write(at, text)?;
                }
                text.push(b"}")
            }
            ValueEncoder::Shared(which, values) => values.write(which(place), text),
        }
    }
}

fn text<'a>(value: impl Fn(usize) -> &'a str + 'a) -> ValueEncoder<'a> {
    ValueEncoder::Text(Box::new(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            ArrayRef, DictionaryArray, Int64Array, ListArray, MapBuilder, NullArray, StringArray,
            StringBuilder, StringViewArray, StructArray, TimestampMicrosecondArray,
        },
        buffer::OffsetBuffer,
        datatypes::{Field, Int32Type, Int64Type},
        json::{WriterBuilder, writer::LineDelimited},
    };

    use super::*;

    /// What is written at once, at most.
    #[derive(Default)]
    struct Pieces {
        largest: usize,
        all: usize,
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.largest = self.largest.max(bytes.len());
            self.all += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch() -> RecordBatch {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for value in [Some("x"), None, Some("\u{1}")] {
            maps.keys().append_value("k\"");
            maps.values().append_option(value);
            maps.append(true).unwrap();
        }
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a\n\"ü"), None, Some("")]));
        let field = Arc::new(Field::new("in \"it", DataType::Utf8, true));
        let inner = StructArray::from(vec![(field, Arc::clone(&text))]);
        let dictionary: DictionaryArray<Int32Type> =
            [Some("d"), None, Some("d")].into_iter().collect();
        let time = TimestampMicrosecondArray::from(vec![Some(1), None, Some(1_000_000)]);
        RecordBatch::try_from_iter_with_nullable([
            ("list", Arc::new(lists) as ArrayRef, true),
            ("map", Arc::new(maps.finish()), true),
            ("text", text, true),
            (
                "view",
                Arc::new(StringViewArray::from(vec!["a longer text than twelve", "b", "c"])),
                true,
            ),
            ("struct", Arc::new(inner), true),
            ("shared", Arc::new(dictionary), true),
            ("time", Arc::new(time.with_timezone("UTC")), true),
            ("none", Arc::new(NullArray::new(3)), true),
            ("n", Arc::new(Int64Array::from(vec![1, 2, 3])), true),
        ])
        .unwrap()
    }

    #[test]
    fn values_are_written_as_the_library_writes_them() {
        let batch = batch();
        let mut expected =
            WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        expected.write(&batch).unwrap();
        let expected = String::from_utf8(expected.into_inner()).unwrap();
        let mut lines = Vec::new();
        write(&batch, Layout::Lines, &mut lines).unwrap();
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let mut array = Vec::new();
        write(&batch.slice(1, 2), Layout::Array { follows: true }, &mut array).unwrap();
        let rows: Vec<_> = expected.lines().skip(1).collect();
        assert_eq!(String::from_utf8(array).unwrap(), format!(",{}", rows.join(",")));
    }

    #[test]
    fn a_long_row_leaves_in_pieces() {
        let item = Arc::new(Field::new("item", DataType::Null, true));
        let offsets = OffsetBuffer::from_lengths([1_000_000]);
        let nulls = ListArray::new(item, offsets, Arc::new(NullArray::new(1_000_000)), None);
        let text = StringArray::from(vec!["\u{1}ü".repeat(200_000)]);
        let name = "x".repeat(60_000);
        let columns = [(name.as_str(), Arc::new(nulls) as ArrayRef), ("text", Arc::new(text))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut pieces = Pieces::default();
        write(&batch, Layout::Lines, &mut pieces).unwrap();
        assert!(pieces.all > 6_000_000 && pieces.largest <= 6 * PART_BYTES + HELD_BYTES);
    }
}
