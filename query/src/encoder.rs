//! An answer in the form that was asked for, written while its rows come. What is held is one batch of the worker,
//! and for Parquet one row group.

use std::io::{self, Write};

use arrow::{
    array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, error::ArrowError,
    ipc::reader::StreamDecoder,
};
use bytes::Bytes;
use parquet::{
    arrow::{ArrowSchemaConverter, ArrowWriter, arrow_writer::ArrowWriterOptions},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{QuerySummary, cells, format, json::Layout};

/// The forms of an answer.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
    EnumString,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AnswerFormat {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

/// Turns the pieces of an Arrow stream into another form.
#[derive(Debug)]
pub struct Encoder {
    form: AnswerFormat,
    as_of: String,
    decoder: StreamDecoder,
    begun: bool,
    rows: u64,
    text_integers: bool,
    spreadsheet: bool,
    parquet: Option<ArrowWriter<Vec<u8>>>,
}

/// What an answer cannot be written for.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("rows cannot be written in this form")]
    Arrow(#[from] ArrowError),
    #[error("rows cannot be written as Parquet")]
    Parquet(#[from] ParquetError),
    /// With a sentence for the one who asked.
    #[error("{0}")]
    TooLarge(String),
    #[error("rows cannot be passed on")]
    Out(#[from] io::Error),
}

/// A row group is closed when it holds so many bytes or rows.
const ROW_GROUP_BYTES: usize = 16 << 20;
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Each column of numbers or texts has its own buffers, however few rows there are.
const PARQUET_COLUMNS_MAX: usize = 1_000;

impl AnswerFormat {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok()
    }

    /// The form of a media type as `Accept` names it.
    pub fn of_media_type(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|form| form.media_type().split(';').next() == Some(name))
    }
}

impl Encoder {
    /// `as_of` stands in a JSON answer.
    pub fn new(form: AnswerFormat, as_of: String) -> Self {
        Self {
            form,
            as_of,
            decoder: StreamDecoder::new(),
            begun: false,
            rows: 0,
            text_integers: false,
            spreadsheet: false,
            parquet: None,
        }
    }

    /// Whether CSV is for a spreadsheet: what it would run is quoted.
    pub fn with_spreadsheet(mut self, spreadsheet: bool) -> Self {
        self.spreadsheet = spreadsheet;
        self
    }

    /// Whether 64-bit integers are text in JSON.
    pub fn with_text_integers(mut self, text_integers: bool) -> Self {
        self.text_integers = text_integers;
        self
    }

    /// Writes what the next bytes of the Arrow stream become, little by little: `out` may take its time, or fail.
    pub fn rows(&mut self, bytes: Bytes, out: &mut dyn Write) -> Result<(), EncodeError> {
        if self.form == AnswerFormat::Arrow {
            return Ok(out.write_all(&bytes)?);
        }
        let mut bytes = Buffer::from(bytes);
        while !bytes.is_empty() {
            let Some(batch) = self.decoder.decode(&mut bytes)? else { continue };
            self.begin(out)?;
            self.write(&batch, out)?;
            self.rows += batch.num_rows() as u64;
        }
        Ok(())
    }

    /// How many rows there were so far; of Arrow, which is passed on unread, none are counted.
    pub fn row_count(&self) -> u64 {
        self.rows
    }

    /// Writes the end.
    pub fn end(&mut self, ended: &QuerySummary, out: &mut dyn Write) -> Result<(), EncodeError> {
        self.begin(out)?;
        match self.form {
            AnswerFormat::Json => {
                let (count, cut) = (ended.rows, ended.truncated);
                let (as_of, statistics) = (json!(self.as_of), json!(ended.cost));
                write!(
                    out,
                    "],\"row_count\":{count},\"truncated\":{cut},\"as_of\":{as_of},\
                     \"statistics\":{statistics}"
                )?;
                if !ended.hidden.is_empty() {
                    write!(out, ",\"hidden_columns\":{}", json!(ended.hidden))?;
                }
                out.write_all(b"}")?;
            }
            AnswerFormat::Ndjson => {
                let mut end = json!({
                    "rows": ended.rows, "truncated": ended.truncated, "statistics": ended.cost,
                });
                if !ended.hidden.is_empty() {
                    end["hidden_columns"] = json!(ended.hidden);
                }
                writeln!(out, "{}", json!({"_end": end}))?;
            }
            AnswerFormat::Parquet => {
                if let Some(parquet) = self.parquet.take() {
                    out.write_all(&parquet.into_inner()?)?;
                }
            }
            AnswerFormat::Csv | AnswerFormat::Arrow => {}
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut dyn Write) -> Result<(), EncodeError> {
        let Some(schema) = self.decoder.schema().filter(|_| !self.begun) else { return Ok(()) };
        self.begun = true;
        match self.form {
            AnswerFormat::Json => {
                write!(out, "{{\"columns\":{},\"rows\":[", format::columns(&schema))?;
            }
            AnswerFormat::Csv if self.spreadsheet => {
                let head = cells::spreadsheet_schema(&schema);
                format::csv(&head, &[], true, out)?;
            }
            AnswerFormat::Csv => format::csv(&schema, &[], true, out)?,
            AnswerFormat::Parquet => self.parquet = Some(parquet(schema)?),
            AnswerFormat::Ndjson | AnswerFormat::Arrow => {}
        }
        Ok(())
    }

    fn write(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> Result<(), EncodeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let text_integers = self.text_integers;
        match self.form {
            AnswerFormat::Json => {
                let layout = Layout::Array { follows: self.rows > 0 };
                format::json_rows(batch, layout, text_integers, out)?;
            }
            AnswerFormat::Ndjson => format::json_rows(batch, Layout::Lines, text_integers, out)?,
            AnswerFormat::Csv if self.spreadsheet => {
                for safe in cells::for_spreadsheet(batch) {
                    let safe = safe?;
                    format::csv(&safe.schema(), &[safe], false, out)?;
                }
            }
            AnswerFormat::Csv => {
                format::csv(&batch.schema(), std::slice::from_ref(batch), false, out)?;
            }
            AnswerFormat::Parquet => {
                let Some(parquet) = &mut self.parquet else { return Ok(()) };
                parquet.write(batch)?;
                if parquet.in_progress_size() >= ROW_GROUP_BYTES
                    || parquet.memory_size() >= 2 * ROW_GROUP_BYTES
                {
                    parquet.flush()?;
                }
                parquet.sync().map_err(ParquetError::from)?;
                out.write_all(&std::mem::take(parquet.inner_mut()))?;
            }
            AnswerFormat::Arrow => {}
        }
        Ok(())
    }
}

/// Without Arrow's own schema, which would name its text views: every reader knows plain text.
fn parquet(schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, EncodeError> {
    let columns = ArrowSchemaConverter::new().convert(&schema)?.num_columns();
    if columns > PARQUET_COLUMNS_MAX {
        let message = format!(
            "Parquet answers have at most {PARQUET_COLUMNS_MAX} columns, with those within \
             structs, and this one has {columns}: ask for less, or in another format"
        );
        return Err(EncodeError::TooLarge(message));
    }
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let options =
        ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), schema, options)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{AsArray, Decimal128Array, Int64Array, StringViewArray},
        datatypes::Int64Type,
        ipc::writer::StreamWriter,
    };
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use serde_json::Value;

    use super::*;

    const ROWS: i64 = 10_000;

    /// The pieces of a stream of `batches` batches, cut at any place.
    fn pieces(batches: i64, rows: i64) -> Vec<Bytes> {
        let batch = |first: i64| {
            let n = Int64Array::from_iter_values(first..first + rows);
            let text = StringViewArray::from_iter_values(
                (first..first + rows)
                    .map(|n| format!("a \"quoted\", long enough not to be inlined, {n}")),
            );
            let cost = Decimal128Array::from_iter_values((first..first + rows).map(i128::from));
            let cost = cost.with_precision_and_scale(38, 2).unwrap();
            let columns: [(&str, arrow::array::ArrayRef); 3] =
                [("n", Arc::new(n)), ("text", Arc::new(text)), ("cost", Arc::new(cost))];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let mut writer = StreamWriter::try_new(Vec::new(), &batch(0).schema()).unwrap();
        for i in 0..batches {
            writer.write(&batch(i * rows)).unwrap();
        }
        writer.finish().unwrap();
        writer.into_inner().unwrap().chunks(7_777).map(Bytes::copy_from_slice).collect()
    }

    fn encoded(form: AnswerFormat, pieces: Vec<Bytes>, rows: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(form, "x.1".into());
        let mut out = Vec::new();
        for piece in pieces {
            encoder.rows(piece, &mut out).unwrap();
        }
        let ended = QuerySummary { rows, ..QuerySummary::default() };
        encoder.end(&ended, &mut out).unwrap();
        out
    }

    #[test]
    fn every_form_holds_every_row() {
        let of = |form| encoded(form, pieces(10, ROWS / 10), ROWS as u64);
        let sum = ROWS * (ROWS - 1) / 2;
        let sum_of = |rows: &[Value]| rows.iter().filter_map(|row| row["n"].as_i64()).sum::<i64>();
        let answer: Value = serde_json::from_slice(&of(AnswerFormat::Json)).unwrap();
        let rows = answer["rows"].as_array().unwrap();
        assert_eq!((rows.len() as i64, sum_of(rows)), (ROWS, sum));
        assert_eq!(rows[7]["cost"], "0.07");
        assert_eq!((&answer["row_count"], &answer["as_of"]), (&json!(ROWS), &json!("x.1")));
        let lines = String::from_utf8(of(AnswerFormat::Ndjson)).unwrap();
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len() as i64, sum_of(&lines)), (ROWS + 1, sum));
        assert_eq!(lines[ROWS as usize]["_end"]["rows"], ROWS);
        let csv = String::from_utf8(of(AnswerFormat::Csv)).unwrap();
        assert_eq!(csv.lines().count() as i64, ROWS + 1);
        let second = "0,\"a \"\"quoted\"\", long enough not to be inlined, 0\",0.00";
        assert_eq!(csv.lines().nth(1), Some(second));
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(Bytes::from(of(AnswerFormat::Parquet)));
        let found: i64 = reader
            .unwrap()
            .build()
            .unwrap()
            .flat_map(|batch| {
                batch.unwrap().column(0).as_primitive::<Int64Type>().values().to_vec()
            })
            .sum();
        assert_eq!(found, sum);
        let whole: Vec<u8> = pieces(10, ROWS / 10).concat();
        assert_eq!(of(AnswerFormat::Arrow), whole);
    }

    #[test]
    fn an_answer_without_rows_is_complete() {
        let of = |form| encoded(form, pieces(0, 1), 0);
        let answer: Value = serde_json::from_slice(&of(AnswerFormat::Json)).unwrap();
        assert_eq!((&answer["rows"], &answer["row_count"]), (&json!([]), &json!(0)));
        assert_eq!(answer["columns"].as_array().map(Vec::len), Some(3));
        assert_eq!(of(AnswerFormat::Csv), b"n,text,cost\n");
        assert_eq!(String::from_utf8(of(AnswerFormat::Ndjson)).unwrap().lines().count(), 1);
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(Bytes::from(of(AnswerFormat::Parquet)));
        assert_eq!(reader.unwrap().schema().fields().len(), 3);
    }

    #[test]
    fn row_groups_leave_as_they_are_full() {
        let mut encoder = Encoder::new(AnswerFormat::Parquet, String::new());
        let mut most = 0;
        let mut before_end = Vec::new();
        for piece in pieces(60, 20_000) {
            encoder.rows(piece, &mut before_end).unwrap();
            most = most.max(encoder.parquet.as_ref().map_or(0, ArrowWriter::memory_size));
        }
        assert!(!before_end.is_empty(), "a row group was written before the end");
        assert!(most <= 3 * ROW_GROUP_BYTES, "{most} bytes were held");
    }
}
