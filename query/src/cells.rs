//! The cells of an answer as those need them who show them: a terminal obeys escape sequences, and a spreadsheet
//! runs what looks like a formula, whoever wrote it.

use std::{
    borrow::Cow,
    fmt::{self, Write},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use ingest::control;

use crate::EncodeError;

/// Characters, in bytes, that the lists and structs of a row have as text: a cell is made as a whole.
const ROW_TEXT_MAX: usize = 1 << 20;

/// With escapes in the place of controls, in cells and names of columns.
pub(crate) fn for_terminal(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    with_texts(batch, control::shown, usize::MAX).map_err(|error| match error {
        EncodeError::Arrow(error) => error,
        other => ArrowError::from_external_error(Box::new(other)),
    })
}

/// With a `'` before what a spreadsheet would run, in cells and names of columns. Numbers stay numbers. Rows come one
/// by one where their text may be much longer than they are.
pub(crate) fn for_spreadsheet(
    batch: &RecordBatch,
) -> impl Iterator<Item = Result<RecordBatch, EncodeError>> {
    let has_nested = batch.columns().iter().any(|column| column.data_type().is_nested());
    let rows = if has_nested { 1 } else { batch.num_rows().max(1) };
    let starts = (0..batch.num_rows()).step_by(rows);
    starts.map(move |start| with_texts(&batch.slice(start, rows), quoted, ROW_TEXT_MAX))
}

/// The names of its columns, and their types.
pub(crate) fn spreadsheet_schema(schema: &Schema) -> SchemaRef {
    shown_schema(schema, quoted)
}

fn shown_schema(schema: &Schema, text: impl Fn(&str) -> Cow<'_, str>) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = field.data_type();
        let kind = if holds_no_text(kind) { kind.clone() } else { DataType::Utf8 };
        Field::new(text(field.name()), kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `text` changes every text, also those within lists; numbers, times and truth values hold none. What is nested becomes
/// at most `nested_max` bytes.
fn with_texts(
    batch: &RecordBatch,
    text: impl Fn(&str) -> Cow<'_, str>,
    nested_max: usize,
) -> Result<RecordBatch, EncodeError> {
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    let mut left = nested_max;
    for column in batch.columns() {
        if holds_no_text(column.data_type()) {
            columns.push(Arc::clone(column));
            continue;
        }
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let mut cells = Vec::with_capacity(column.len());
        for row in 0..column.len() {
            if column.is_null(row) {
                cells.push(None);
            } else if column.data_type().is_nested() {
                let mut cell = Bounded { text: String::new(), left, is_full: false };
                let written = formatter.value(row).write(&mut cell);
                if cell.is_full {
                    return Err(too_long());
                }
                // A value that has no text fails as it does elsewhere.
                let found = match written {
                    Ok(()) => cell.text,
                    Err(_) => formatter.value(row).try_to_string()?,
                };
                left = left.saturating_sub(found.len());
                cells.push(Some(text(&found).into_owned()));
            } else {
                let found = formatter.value(row).try_to_string()?;
                cells.push(Some(text(&found).into_owned()));
            }
        }
        columns.push(Arc::new(StringArray::from(cells)));
    }
    Ok(RecordBatch::try_new_with_options(
        shown_schema(batch.schema_ref(), text),
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )?)
}

/// Text of so many bytes at most.
struct Bounded {
    text: String,
    left: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = self.left.checked_sub(more.len()).filter(|_| !self.is_full);
        self.is_full = left.is_none();
        self.left = left.ok_or(fmt::Error)?;
        self.text.push_str(more);
        Ok(())
    }
}

fn too_long() -> EncodeError {
    let message = format!(
        "the lists and structs of a row have more than {ROW_TEXT_MAX} bytes as text, which no \
         spreadsheet takes: ask for less, or in another format"
    );
    EncodeError::TooLarge(message)
}

fn holds_no_text(kind: &DataType) -> bool {
    kind.is_numeric() || kind.is_temporal() || matches!(kind, DataType::Boolean | DataType::Null)
}

/// A formula begins with `=`, `+`, `-` or `@`, in ASCII or in full width, after spaces or a tab too. Where `;` parts
/// columns, as in many countries, a cell's quotes may count for nothing: what follows a `;`, a tab or a line end
/// begins a cell then.
fn quoted(text: &str) -> Cow<'_, str> {
    let triggers = |c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    if !text.contains(triggers) && !text.starts_with(['\t', '\r']) || is_number(text) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 1);
    let mut begins = true;
    for (place, c) in text.char_indices() {
        let runs = begins && (triggers(c) || (place == 0 && matches!(c, '\t' | '\r')));
        if runs {
            safe.push('\'');
        }
        begins = match c {
            ';' | '\t' | '\n' | '\r' => true,
            // They do not count before a formula.
            '"' | '\'' => begins && !runs,
            c if c.is_whitespace() || c.is_control() || is_invisible(c) => begins && !runs,
            _ => false,
        };
        safe.push(c);
    }
    Cow::Owned(safe)
}

/// Byte order mark and its like.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// `-12.5e-3`, which is what it says.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Decimal128Array, Int64Array, ListArray, StringViewArray, StructArray},
        buffer::OffsetBuffer,
        datatypes::Int64Type,
    };

    use super::*;

    #[test]
    fn what_would_run_is_quoted() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a=b, c-d", "a=b, c-d"),
            ("", ""),
            ("=1+1", "'=1+1"),
            ("+1 555 0100", "'+1 555 0100"),
            ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1+1", "'＝1+1"),
            ("－1+1", "'－1+1"),
            ("\tx", "'\tx"),
            ("\t=1", "'\t'=1"),
            ("\r=1", "'\r'=1"),
            (" =1+1", " '=1+1"),
            ("\u{feff}=1+1", "\u{feff}'=1+1"),
            ("\"=1+1", "\"'=1+1"),
            ("x;=1+1", "x;'=1+1"),
            ("x\n=1+1", "x\n'=1+1"),
            ("x;\"=1+1", "x;\"'=1+1"),
            ("-12.5e-3", "-12.5e-3"),
            ("-5", "-5"),
            ("--5", "'--5"),
            ("-e", "'-e"),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_texts_change() {
        let texts = StringViewArray::from_iter([Some("=1"), None, Some("\u{1b}[2J")]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1)]),
            None,
            Some(vec![]),
        ]);
        let money = Decimal128Array::from(vec![-5, 5, 0]);
        let columns: [(&str, ArrayRef); 4] = [
            ("=n", Arc::new(Int64Array::from(vec![-1, 2, 3]))),
            ("text", Arc::new(texts)),
            ("list", Arc::new(lists)),
            ("money", Arc::new(money.with_precision_and_scale(38, 2).unwrap())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
        let batch = batch.unwrap();
        let csv = |batch: RecordBatch| {
            let mut csv = Vec::new();
            crate::format::csv(&batch.schema(), &[batch], true, &mut csv).unwrap();
            String::from_utf8(csv).unwrap()
        };
        let expected = "'=n,text,list,money\n-1,'=1,[1],-0.05\n2,,,0.05\n3,\u{1b}[2J,[],0.00\n";
        let all: Vec<_> = for_spreadsheet(&batch).map(Result::unwrap).collect();
        assert_eq!(all.len(), 3);
        let whole = arrow::compute::concat_batches(&spreadsheet_schema(&batch.schema()), &all);
        assert_eq!(csv(whole.unwrap()), expected);
        let expected = "=n,text,list,money\n-1,=1,[1],-0.05\n2,,,0.05\n3,\\u{1b}[2J,[],0.00\n";
        assert_eq!(csv(for_terminal(&batch).unwrap()), expected);
    }
    #[test]
    fn what_is_nested_is_bounded_before_it_is_text() {
        let names = "x".repeat(30_000);
        let nested = |elements: usize| {
            let field = Arc::new(Field::new(&names, DataType::Null, true));
            let values: ArrayRef = Arc::new(arrow::array::NullArray::new(elements));
            let values = StructArray::from(vec![(field, values)]);
            let item = Arc::new(Field::new("item", values.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([elements]);
            let lists: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(values), None));
            let columns = [("a", Arc::clone(&lists)), ("b", lists)];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            for_spreadsheet(&batch).collect::<Result<Vec<_>, _>>()
        };
        assert!(nested(17).is_ok());
        // Together, and in one.
        for elements in [18, 10_000_000] {
            let refused = nested(elements);
            assert!(matches!(refused, Err(EncodeError::TooLarge(why)) if why.contains("1048576")));
        }
    }
}
