//! Rows in the order of their dates: each date's rows wait in a file of their own until all are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array},
    compute,
    datatypes::{DataType, Field, Schema, UInt64Type},
    ipc::{reader::StreamReader, writer::StreamWriter},
};

use super::source::{CHUNK_ROWS, Chunk, Chunks, Fault, RowPosition};

/// A folder of files, each with rows of one date, that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Buckets {
    dir: PathBuf,
    /// Date and number of each file.
    files: BTreeSet<(Option<i32>, usize)>,
}

/// Rows that are gathered before they are written.
const GATHERED_ROWS: usize = 1 << 20;

impl Buckets {
    /// Reads everything into buckets in `dir`. What an import that was killed left there goes. Rows that cannot be
    /// read go to `report`.
    pub(super) fn fill(
        dir: PathBuf,
        chunks: Chunks,
        dates: impl Fn(&Chunk) -> anyhow::Result<Vec<Option<i32>>>,
        mut report: impl FnMut(Vec<Fault>),
    ) -> anyhow::Result<Self> {
        let writing = || format!("writing to {}", dir.display());
        if dir.exists() {
            fs::remove_dir_all(&dir).with_context(writing)?;
        }
        fs::create_dir_all(&dir).with_context(writing)?;
        let mut buckets = Self { dir: dir.clone(), files: BTreeSet::new() };
        let mut gathered: BTreeMap<Option<i32>, Vec<RecordBatch>> = BTreeMap::new();
        let mut rows = 0;
        for chunk in chunks {
            let mut chunk = chunk?;
            report(std::mem::take(&mut chunk.faults));
            let numbered = numbered(&chunk)?;
            rows += numbered.num_rows();
            for (date, places) in by_date(dates(&chunk)?) {
                let part = compute::take_record_batch(&numbered, &places)?;
                gathered.entry(date).or_default().push(part);
            }
            if rows >= GATHERED_ROWS {
                buckets.write(&mut gathered).with_context(writing)?;
                rows = 0;
            }
        }
        buckets.write(&mut gathered).with_context(writing)?;
        Ok(buckets)
    }

    /// All rows, date by date; those without a date come first.
    pub(super) fn chunks(&self) -> Chunks {
        let paths: Vec<_> = self.files.iter().map(|file| self.path(*file)).collect();
        Box::new(paths.into_iter().flat_map(|path| {
            read(&path).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        }))
    }

    fn path(&self, (date, number): (Option<i32>, usize)) -> PathBuf {
        let date = date.map_or_else(|| "none".into(), |days| days.to_string());
        self.dir.join(format!("{date}-{number}.arrows"))
    }

    fn write(
        &mut self,
        gathered: &mut BTreeMap<Option<i32>, Vec<RecordBatch>>,
    ) -> anyhow::Result<()> {
        for (date, parts) in std::mem::take(gathered) {
            let schema = parts[0].schema();
            let rows = compute::concat_batches(&schema, &parts)?;
            let file = (date, self.files.len());
            let mut writer =
                StreamWriter::try_new_buffered(File::create(self.path(file))?, &schema)?;
            for from in (0..rows.num_rows()).step_by(CHUNK_ROWS) {
                writer.write(&rows.slice(from, CHUNK_ROWS.min(rows.num_rows() - from)))?;
            }
            writer.finish()?;
            self.files.insert(file);
        }
        Ok(())
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The rows with their places as last columns.
fn numbered(chunk: &Chunk) -> anyhow::Result<RecordBatch> {
    let mut fields = chunk.rows.schema().fields().to_vec();
    let mut columns = chunk.rows.columns().to_vec();
    let mut add = |name: &str, numbers: UInt64Array| {
        fields.push(Arc::new(Field::new(name, DataType::UInt64, false)));
        columns.push(Arc::new(numbers) as ArrayRef);
    };
    add("row", chunk.places.iter().map(|place| place.row).collect::<Vec<_>>().into());
    add("line", chunk.places.iter().map(|place| place.line).collect::<Vec<_>>().into());
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn by_date(dates: Vec<Option<i32>>) -> BTreeMap<Option<i32>, UInt32Array> {
    let mut places: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (place, date) in (0..).zip(dates) {
        places.entry(date).or_default().push(place);
    }
    places.into_iter().map(|(date, places)| (date, places.into())).collect()
}

fn read(path: &Path) -> anyhow::Result<Chunks> {
    let stream = StreamReader::try_new_buffered(File::open(path)?, None)?;
    Ok(Box::new(stream.map(|rows| {
        let mut rows = rows?;
        let mut last = || {
            let numbers = rows.remove_column(rows.num_columns() - 1);
            numbers.as_primitive::<UInt64Type>().values().to_vec()
        };
        let (lines, numbers) = (last(), last());
        let places =
            numbers.into_iter().zip(lines).map(|(row, line)| RowPosition { row, line }).collect();
        Ok(Chunk { rows, places, faults: Vec::new() })
    })))
}
