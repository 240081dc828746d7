//! The files that can be imported, as chunks of rows.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder},
    datatypes::{DataType, Field, Schema},
};
use ingest::{
    decode::without_mark,
    mapping::{FileRows, Mapping},
};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
    Parquet,
}

/// Some rows of a file, and their numbers in it, from 1.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: RecordBatch,
    pub(super) numbers: Vec<u64>,
}

pub(super) type Chunks = Box<dyn Iterator<Item = anyhow::Result<Chunk>> + Send>;

pub(super) const CHUNK_ROWS: usize = 8192;

impl Format {
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!("{} is not named .csv, .ndjson, .jsonl or .parquet", path.display()),
        }
    }

    /// Refuses a file that lacks a column of the mapping. Lines of JSON may leave out what they like.
    pub(super) fn check(self, path: &Path, mapping: &Mapping) -> anyhow::Result<()> {
        let reading = || format!("reading {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let present: Vec<String> = match self {
            Self::Csv => {
                let mut reader = csv_reader(file);
                reader.headers().with_context(reading)?.iter().map(str::to_owned).collect()
            }
            Self::Ndjson => return Ok(()),
            Self::Parquet => {
                let reader =
                    ParquetRecordBatchReaderBuilder::try_new(file).with_context(reading)?;
                reader.schema().fields().iter().map(|field| field.name().clone()).collect()
            }
        };
        let present: Vec<_> = present.iter().map(String::as_str).collect();
        mapping.check_columns(&present).with_context(reading)
    }
}

impl Chunk {
    /// The cells that the mapping reads.
    pub(super) fn rows(self, format: Format, mapping: &Mapping) -> anyhow::Result<FileRows> {
        Ok(match format {
            Format::Ndjson => FileRows::json(mapping, &self.rows, self.numbers),
            Format::Csv | Format::Parquet => FileRows::typed(mapping, &self.rows, self.numbers)?,
        })
    }

    pub(super) fn slice(&self, from: usize, rows: usize) -> Self {
        let numbers = self.numbers[from..from + rows].to_vec();
        Self { rows: self.rows.slice(from, rows), numbers }
    }
}

/// What a first look at a whole file tells.
#[derive(Debug)]
pub(super) struct Survey {
    /// SHA-256 of its bytes.
    pub(super) hash: String,
    pub(super) rows: u64,
    /// Whether its dates are so mixed that loading it in its order would make many small files.
    pub(super) is_scattered: bool,
}

impl Survey {
    /// Looks at every row. `flush_rows` go to the tables at once.
    pub(super) fn of(
        format: Format,
        path: &Path,
        mapping: &Mapping,
        flush_rows: usize,
    ) -> anyhow::Result<Self> {
        let reading = || format!("reading {}", path.display());
        let hash = hash(path).with_context(reading)?;
        let mut spread = Spread::new(flush_rows);
        for chunk in chunks(format, path, std::slice::from_ref(mapping.time_column()))? {
            let rows = chunk.and_then(|chunk| chunk.rows(format, mapping)).with_context(reading)?;
            mapping.dates(&rows).into_iter().for_each(|date| spread.add(date));
        }
        Ok(Self { hash, rows: spread.rows, is_scattered: spread.is_scattered() })
    }
}

/// How many files the dates of a file's rows would make: one per date and flush.
#[derive(Debug)]
struct Spread {
    flush_rows: u64,
    rows: u64,
    dates: BTreeSet<Option<i32>>,
    /// Of the rows that go to the tables together.
    flush: BTreeSet<Option<i32>>,
    files: u64,
}

impl Spread {
    fn new(flush_rows: usize) -> Self {
        let flush_rows = (flush_rows as u64).max(1);
        Self { flush_rows, rows: 0, dates: BTreeSet::new(), flush: BTreeSet::new(), files: 0 }
    }

    fn add(&mut self, date: Option<i32>) {
        if self.rows.is_multiple_of(self.flush_rows) {
            self.flush.clear();
        }
        self.rows += 1;
        if self.flush.insert(date) {
            self.files += 1;
            self.dates.insert(date);
        }
    }

    /// Sorted by date, a file makes one file per flush, and one more per date.
    fn is_scattered(&self) -> bool {
        let sorted = self.dates.len() as u64 + self.rows.div_ceil(self.flush_rows);
        self.files > 2 * sorted
    }
}

/// A file's rows with some of its columns: typed (Parquet), as text (CSV), or as JSON (NDJSON).
pub(super) fn chunks(format: Format, path: &Path, columns: &[String]) -> anyhow::Result<Chunks> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let batches = match format {
        Format::Csv => csv_batches(file, columns)?,
        Format::Ndjson => ndjson_batches(file, columns),
        Format::Parquet => parquet_batches(file, columns)?,
    };
    let mut next = 1;
    Ok(Box::new(batches.map(move |rows| {
        let rows = rows?;
        let first = next;
        next += rows.num_rows() as u64;
        Ok(Chunk { rows, numbers: (first..next).collect() })
    })))
}

/// Leaves out the first rows.
pub(super) fn skip(chunks: Chunks, rows: u64) -> impl Iterator<Item = anyhow::Result<Chunk>> {
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    chunks.filter_map(move |chunk| {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return Some(Err(error)),
        };
        let skipped = left.min(chunk.numbers.len());
        left -= skipped;
        let rest = chunk.numbers.len() - skipped;
        (rest > 0).then(|| Ok(chunk.slice(skipped, rest)))
    })
}

type Batches = Box<dyn Iterator<Item = anyhow::Result<RecordBatch>> + Send>;

fn csv_reader(file: File) -> csv::Reader<File> {
    // A short row is a bad event among good ones, not the end of the import.
    csv::ReaderBuilder::new().flexible(true).buffer_capacity(1 << 20).from_reader(file)
}

fn csv_batches(file: File, columns: &[String]) -> anyhow::Result<Batches> {
    let mut reader = csv_reader(file);
    let header = reader.headers()?.clone();
    let places: Vec<_> =
        columns.iter().map(|name| header.iter().position(|known| known == name)).collect();
    let columns = columns.to_vec();
    let mut record = csv::StringRecord::new();
    let mut fill = move |texts: &mut [StringBuilder]| -> anyhow::Result<bool> {
        if !reader.read_record(&mut record)? {
            return Ok(false);
        }
        for (text, place) in texts.iter_mut().zip(&places) {
            text.append_option(place.and_then(|place| record.get(place)));
        }
        Ok(true)
    };
    Ok(Box::new(std::iter::from_fn(move || gather(&columns, &mut fill).transpose())))
}

fn ndjson_batches(file: File, columns: &[String]) -> Batches {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let columns = columns.to_vec();
    let (names, mut line, mut number) = (columns.clone(), String::new(), 0_u64);
    let mut fill = move |texts: &mut [StringBuilder]| -> anyhow::Result<bool> {
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            number += 1;
            if !line.trim().is_empty() {
                break;
            }
        }
        let text = if number == 1 { without_mark(&line) } else { &line };
        let members: std::collections::HashMap<std::borrow::Cow<'_, str>, &RawValue> =
            serde_json::from_str(text).with_context(|| format!("line {number}"))?;
        for (text, name) in texts.iter_mut().zip(&names) {
            text.append_option(members.get(name.as_str()).map(|value| value.get()));
        }
        Ok(true)
    };
    Box::new(std::iter::from_fn(move || gather(&columns, &mut fill).transpose()))
}

/// The next chunk of rows of text; `None` at the end.
fn gather(
    columns: &[String],
    fill: &mut impl FnMut(&mut [StringBuilder]) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<RecordBatch>> {
    let mut texts: Vec<_> = columns.iter().map(|_| StringBuilder::new()).collect();
    let mut rows = 0;
    while rows < CHUNK_ROWS && fill(&mut texts)? {
        rows += 1;
    }
    if rows == 0 {
        return Ok(None);
    }
    let fields: Vec<_> =
        columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let arrays: Vec<ArrayRef> =
        texts.into_iter().map(|mut text| Arc::new(text.finish()) as ArrayRef).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::new(fields));
    Ok(Some(RecordBatch::try_new_with_options(schema, arrays, &options)?))
}

fn parquet_batches(file: File, columns: &[String]) -> anyhow::Result<Batches> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let fields = reader.schema().fields();
    let roots = (0..fields.len()).filter(|at| columns.contains(fields[*at].name()));
    let mask = ProjectionMask::roots(reader.parquet_schema(), roots);
    let reader = reader.with_projection(mask).with_batch_size(CHUNK_ROWS).build()?;
    Ok(Box::new(reader.map(|rows| Ok(rows?))))
}

/// Names a file by its content: the identity of rows that have no id of their own.
fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(dates: impl Iterator<Item = i32>) -> bool {
        let mut spread = Spread::new(10_000);
        dates.for_each(|date| spread.add(Some(date)));
        spread.is_scattered()
    }

    #[test]
    fn only_mixed_dates_are_scattered() {
        let rows = || 0..30_000;
        assert!(!spread(rows().map(|row| row / 500)), "sorted");
        assert!(!spread(rows().rev().map(|row| row / 500)), "sorted, newest first");
        assert!(!spread(rows().map(|row| row % 3)), "three dates only");
        assert!(spread(rows().map(|row| row % 365)), "mixed");
        assert!(!spread((0..1000).map(|row| row % 365)), "too few rows to matter");
        assert!(!spread(std::iter::empty()));
    }
}
