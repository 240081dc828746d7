//! The cells of an answer as those need them who show them: a terminal obeys escape sequences, and a spreadsheet
//! runs what looks like a formula, whoever wrote it.

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use ingest::control;

/// With escapes in the place of controls, in cells and names of columns.
pub(crate) fn for_terminal(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    with_texts(batch, control::shown)
}

/// With a `'` before what a spreadsheet would run, in cells and names of columns. Numbers stay numbers.
pub(crate) fn for_spreadsheet(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    with_texts(batch, quoted)
}

/// `text` changes every text, also those within lists; numbers, times and truth values hold none.
fn with_texts(
    batch: &RecordBatch,
    text: impl Fn(&str) -> Cow<'_, str>,
) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let name = text(field.name()).into_owned();
        if holds_no_text(field.data_type()) {
            fields.push(Field::new(name, field.data_type().clone(), true));
            columns.push(Arc::clone(column));
        } else {
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(column, &options)?;
            let cell = |row| {
                let valid = !column.is_null(row);
                valid.then(|| formatter.value(row).try_to_string()).transpose()
            };
            let mut cells = Vec::with_capacity(column.len());
            for row in 0..column.len() {
                cells.push(cell(row)?.map(|found| text(&found).into_owned()));
            }
            fields.push(Field::new(name, DataType::Utf8, true));
            columns.push(Arc::new(StringArray::from(cells)));
        }
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(
        schema,
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
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
    use arrow::array::{Decimal128Array, Int64Array, ListArray, StringViewArray};
    use arrow::datatypes::Int64Type;

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
        assert_eq!(csv(for_spreadsheet(&batch).unwrap()), expected);
        let expected = "=n,text,list,money\n-1,=1,[1],-0.05\n2,,,0.05\n3,\\u{1b}[2J,[],0.00\n";
        assert_eq!(csv(for_terminal(&batch).unwrap()), expected);
    }
}
