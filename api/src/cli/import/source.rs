//! The files that can be imported, as chunks of rows.

use std::{borrow::Cow, collections::BTreeSet, fmt, fs::File, io::Read, path::Path, sync::Arc};

use anyhow::{Context, bail};
use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder},
    datatypes::{DataType, Field, Schema},
};
use encoding_rs::UTF_8;
use ingest::mapping::{CsvFormat, FileRows, Mapping};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    csv_file::{Record, Records},
    lines::Lines,
    parquet_file,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
    Parquet,
}

/// Some rows of a file.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: RecordBatch,
    pub(super) places: Vec<RowPosition>,
    /// Rows among them that cannot be read.
    pub(super) faults: Vec<Fault>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowPosition {
    /// Its number among the rows, from 1. Rows that cannot be read count.
    pub(super) row: u64,
    /// Its line, or its row where there are no lines.
    pub(super) line: u64,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) reason: String,
}

pub(super) type Chunks = Box<dyn Iterator<Item = anyhow::Result<Chunk>> + Send>;

pub(super) const CHUNK_ROWS: usize = 8192;

impl Format {
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let extension = |path: &Path| {
            path.extension().and_then(|extension| extension.to_str()).map(str::to_owned)
        };
        let own = extension(path);
        let is_packed = matches!(own.as_deref(), Some("gz" | "zst"));
        let inner = if is_packed { extension(&path.with_extension("")) } else { own };
        match inner.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("parquet") if is_packed => {
                bail!("{}: Parquet is compressed within; unpack the file", path.display())
            }
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!(
                "{} is not named .csv, .ndjson, .jsonl or .parquet (the first three also with .gz or .zst)",
                path.display()
            ),
        }
    }

    /// What stands for a row in messages.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Csv | Self::Ndjson => "line",
            Self::Parquet => "row",
        }
    }

    /// Refuses a file that lacks a column of the mapping, or has it twice. Lines of JSON may leave out what they like.
    pub(super) fn check(self, path: &Path, mapping: &Mapping) -> anyhow::Result<()> {
        let reading = || format!("reading {}", path.display());
        let present: Vec<String> = match self {
            Self::Csv => {
                let rows = CsvRows::open(path, mapping, &[]).with_context(reading)?;
                rows.header
            }
            Self::Ndjson => return Ok(()),
            Self::Parquet => {
                let empty = parquet_file::empty(path).with_context(reading)?;
                let schema = empty.schema();
                let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                mapping.check_columns(&names).with_context(reading)?;
                // Columns of types that no field can take are refused before anything is sent.
                FileRows::typed(mapping, &empty, Vec::new()).with_context(reading)?;
                return Ok(());
            }
        };
        let present: Vec<_> = present.iter().map(String::as_str).collect();
        mapping.check_columns(&present).with_context(reading)
    }
}

impl Chunk {
    /// The cells that the mapping reads.
    pub(super) fn rows(&self, format: Format, mapping: &Mapping) -> anyhow::Result<FileRows> {
        let numbers = self.places.iter().map(|place| place.row).collect();
        Ok(match format {
            Format::Ndjson => FileRows::json(mapping, &self.rows, numbers),
            Format::Csv | Format::Parquet => FileRows::typed(mapping, &self.rows, numbers)?,
        })
    }

    /// The first rows.
    pub(super) fn first(mut self, rows: usize) -> Self {
        let rows = rows.min(self.places.len());
        self.places.truncate(rows);
        Self { rows: self.rows.slice(0, rows), ..self }
    }

    /// Leaves out the first rows.
    fn behind(self, rows: usize) -> Self {
        let left = self.places.len() - rows;
        let places = self.places[rows..].to_vec();
        Self { rows: self.rows.slice(rows, left), places, ..self }
    }
}

/// The names of the columns of a CSV file.
pub(super) fn header(path: &Path, mapping: &Mapping) -> anyhow::Result<Vec<String>> {
    Ok(CsvRows::open(path, mapping, &[])?.header)
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
        for chunk in chunks(format, path, mapping, std::slice::from_ref(mapping.time_column()))? {
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
pub(super) fn chunks(
    format: Format,
    path: &Path,
    mapping: &Mapping,
    columns: &[String],
) -> anyhow::Result<Chunks> {
    let reading = || format!("reading {}", path.display());
    let columns = columns.to_vec();
    let mut last = 0;
    Ok(match format {
        Format::Csv => {
            let mut rows = CsvRows::open(path, mapping, &columns).with_context(reading)?;
            Box::new(std::iter::from_fn(move || gather(&mut rows, &columns, &mut last).transpose()))
        }
        Format::Ndjson => {
            let lines = Lines::open(path, UTF_8).with_context(reading)?;
            let mut rows = NdjsonRows { lines, columns: columns.clone() };
            Box::new(std::iter::from_fn(move || gather(&mut rows, &columns, &mut last).transpose()))
        }
        Format::Parquet => {
            let batches = parquet_file::batches(path, &columns).with_context(reading)?;
            Box::new(batches.map(move |rows| {
                let rows = rows?;
                let first = last + 1;
                last += rows.num_rows() as u64;
                let places = (first..=last).map(|row| RowPosition { row, line: row }).collect();
                Ok(Chunk { rows, places, faults: Vec::new() })
            }))
        }
    })
}

/// Leaves out the first rows, but none of those that cannot be read.
pub(super) fn skip(chunks: Chunks, rows: u64) -> impl Iterator<Item = anyhow::Result<Chunk>> {
    let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
    chunks.map(move |chunk| {
        let chunk = chunk?;
        let skipped = left.min(chunk.places.len());
        left -= skipped;
        Ok(chunk.behind(skipped))
    })
}

/// The rows of a text file.
trait TextRows {
    /// Goes to the next row, and tells its line. At the end there is none.
    fn advance(&mut self) -> anyhow::Result<Option<u64>>;

    /// The cells of the row in the order of the columns, or why they cannot be read.
    fn cells(&self) -> Result<Vec<Option<Cow<'_, str>>>, String>;
}

struct CsvRows {
    records: Records,
    record: Record,
    header: Vec<String>,
    format: CsvFormat,
    /// Where each column is in a record, and whether it becomes a number.
    columns: Vec<(Option<usize>, bool)>,
}

impl CsvRows {
    fn open(path: &Path, mapping: &Mapping, columns: &[String]) -> anyhow::Result<Self> {
        let format = mapping.csv().clone();
        let mut records = Records::new(Lines::open(path, format.encoding)?, &format)?;
        let mut record = Record::default();
        if !records.read(&mut record)? {
            bail!("there is no header");
        }
        let header = (0..record.len())
            .filter_map(|at| record.get(at))
            .map(|name| Ok(std::str::from_utf8(name)?.to_owned()))
            .collect::<anyhow::Result<Vec<_>>>()
            .with_context(|| format!("line {}: the header", record.line))?;
        let columns = columns
            .iter()
            .map(|name| (header.iter().position(|known| known == name), mapping.is_number(name)))
            .collect();
        Ok(Self { records, record, header, format, columns })
    }

    fn cell(&self, at: usize, is_number: bool) -> Result<Option<Cow<'_, str>>, String> {
        let bytes = self.record.get(at).unwrap_or_default();
        let name = &self.header[at];
        let encoding = self.format.encoding.name();
        let text = std::str::from_utf8(bytes)
            .map_err(|_| format!("the column `{name}` is no text in {encoding}"))?;
        if text.is_empty() || self.format.null.iter().any(|word| word == text.trim()) {
            return Ok(None);
        }
        if !is_number {
            return Ok(Some(Cow::Borrowed(text)));
        }
        let number = self.format.number(text);
        let refused =
            || format!("the column `{name}`: `{}` is no number as [csv] has them", text.trim());
        number.map(Some).ok_or_else(refused)
    }
}

impl TextRows for CsvRows {
    fn advance(&mut self) -> anyhow::Result<Option<u64>> {
        let is_one = self.records.read(&mut self.record)?;
        Ok(is_one.then_some(self.record.line))
    }

    fn cells(&self) -> Result<Vec<Option<Cow<'_, str>>>, String> {
        let (fields, named) = (self.record.len(), self.header.len());
        if fields < named || (fields > named && !self.format.ignore_surplus_fields) {
            return Err(format!("it has {fields} fields, the header has {named}"));
        }
        let cell = |(at, is_number): &(Option<usize>, bool)| match at {
            Some(at) => self.cell(*at, *is_number),
            None => Ok(None),
        };
        self.columns.iter().map(cell).collect()
    }
}

struct NdjsonRows {
    lines: Lines,
    columns: Vec<String>,
}

impl TextRows for NdjsonRows {
    fn advance(&mut self) -> anyhow::Result<Option<u64>> {
        while self.lines.advance()? {
            if !self.lines.line().trim_ascii().is_empty() {
                return Ok(Some(self.lines.number()));
            }
        }
        Ok(None)
    }

    fn cells(&self) -> Result<Vec<Option<Cow<'_, str>>>, String> {
        let text = std::str::from_utf8(self.lines.line()).map_err(|_| "it is not UTF-8")?;
        let mut values = vec![None; self.columns.len()];
        let names: Vec<_> = self.columns.iter().map(String::as_str).enumerate().collect();
        let read = members(text, &names, &mut values).map(|()| values);
        // The library knows one line only.
        read.map_err(|error| error.to_string().replace(" at line 1 column ", " at column "))
    }
}

/// Reads the members of an object that have certain names, as JSON. `a.b` is the member `a.b`, or else `b` of `a`.
fn members<'t>(
    text: &'t str,
    names: &[(usize, &str)],
    values: &mut [Option<Cow<'t, str>>],
) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Members { names, values })?;
    json.end()
}

struct Members<'v, 't> {
    /// With the place of each among the values.
    names: &'v [(usize, &'v str)],
    values: &'v mut [Option<Cow<'t, str>>],
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = vec![false; self.names.len()];
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let value = map.next_value::<&'de RawValue>()?;
            let mut inner = Vec::new();
            for ((place, known), seen) in self.names.iter().zip(&mut seen) {
                if *known == name {
                    if std::mem::replace(seen, true) {
                        return Err(A::Error::custom(format_args!("`{name}` is there twice")));
                    }
                    self.values[*place] = Some(Cow::Borrowed(value.get()));
                } else if let Some(rest) =
                    known.strip_prefix(&*name).and_then(|rest| rest.strip_prefix('.'))
                    && !*seen
                {
                    inner.push((*place, rest));
                }
            }
            if !inner.is_empty() && value.get().starts_with('{') {
                members(value.get(), &inner, self.values).map_err(A::Error::custom)?;
            }
        }
        Ok(())
    }
}

/// The next chunk of rows of text; `None` at the end.
fn gather(
    rows: &mut impl TextRows,
    columns: &[String],
    last: &mut u64,
) -> anyhow::Result<Option<Chunk>> {
    let mut texts: Vec<_> = columns.iter().map(|_| StringBuilder::new()).collect();
    let (mut places, mut faults) = (Vec::new(), Vec::new());
    while places.len() + faults.len() < CHUNK_ROWS {
        let Some(line) = rows.advance()? else { break };
        *last += 1;
        match rows.cells() {
            Ok(cells) => {
                places.push(RowPosition { row: *last, line });
                texts.iter_mut().zip(cells).for_each(|(text, cell)| text.append_option(cell));
            }
            Err(reason) => faults.push(Fault { line, reason }),
        }
    }
    if places.is_empty() && faults.is_empty() {
        return Ok(None);
    }
    let fields: Vec<_> =
        columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let arrays: Vec<ArrayRef> =
        texts.into_iter().map(|mut text| Arc::new(text.finish()) as ArrayRef).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new_with_options(schema, arrays, &options)?;
    Ok(Some(Chunk { rows, places, faults }))
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
