//! One data file against what the Delta log says about it.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, RecordBatch},
    compute,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use futures::StreamExt;
use ingest::{Table, log::Lsn, time, time::Micros};
use object_store::{GetResultPayload, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{CheckState, findings::DifferenceKind};
use crate::{DataFile, Error, Root};

/// What the rows of a file really are.
#[derive(Debug, Default)]
struct ActualStatistics {
    rows: u64,
    lsn: Option<(Lsn, Lsn)>,
    at: Option<(Micros, Micros)>,
    organization: Option<(String, String)>,
    corrects: bool,
}

impl CheckState {
    /// Checks a data file and its rows, and gives their number.
    pub(super) async fn check_file(
        &mut self,
        root: &Root,
        table: Table,
        file: &DataFile,
        scratch: &Path,
    ) -> Result<u64, Error> {
        let Some((opened, bytes)) = open(root, table, file, scratch).await? else {
            self.findings.add(DifferenceKind::File, table, format!("{} is missing", file.path));
            return Ok(0);
        };
        if bytes != file.size_bytes {
            let detail =
                format!("{} has {bytes} bytes, the table says {}", file.path, file.size_bytes);
            self.findings.add(DifferenceKind::File, table, detail);
        }
        let mut found = ActualStatistics::default();
        match self.read(table, file, opened, &mut found) {
            Ok(()) => {}
            Err(Error::Parquet { source, .. }) => {
                self.findings.add(
                    DifferenceKind::File,
                    table,
                    format!("{} is damaged: {source}", file.path),
                );
                return Ok(found.rows);
            }
            Err(Error::Arrow { source, .. }) => {
                self.findings.add(
                    DifferenceKind::File,
                    table,
                    format!("{} is damaged: {source}", file.path),
                );
                return Ok(found.rows);
            }
            Err(error) => return Err(error),
        }
        if found.rows != file.rows {
            let detail =
                format!("{} has {} rows, the table says {}", file.path, found.rows, file.rows);
            self.findings.add(DifferenceKind::File, table, detail);
        }
        for wrong in found.beside(file) {
            self.findings.add(DifferenceKind::Statistics, table, format!("{}: {wrong}", file.path));
        }
        Ok(found.rows)
    }

    fn read(
        &mut self,
        table: Table,
        file: &DataFile,
        opened: File,
        found: &mut ActualStatistics,
    ) -> Result<(), Error> {
        let parquet = |source| Error::Parquet { table: table.name(), source };
        let rows = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(parquet)?;
        for rows in rows.build().map_err(parquet)? {
            let rows = rows.map_err(Error::arrow(table))?;
            found.add(table, &rows);
            self.check_rows(table, &file.path, &rows)?;
        }
        Ok(())
    }
}

impl ActualStatistics {
    fn add(&mut self, table: Table, rows: &RecordBatch) {
        self.rows += rows.num_rows() as u64;
        if let Some((low, high)) = range::<Int64Type>(rows, "lsn") {
            widen(&mut self.lsn, (low.unsigned_abs(), high.unsigned_abs()));
        }
        if let Some(range) = range::<TimestampMicrosecondType>(rows, table.time_column()) {
            widen(&mut self.at, range);
        }
        let text = |name| rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
        if let Some(organizations) = text("organization_id")
            && let Some(low) = compute::min_string(organizations)
            && let Some(high) = compute::max_string(organizations)
        {
            widen(&mut self.organization, (low.to_owned(), high.to_owned()));
        }
        let corrects = rows.column_by_name("corrects_id");
        self.corrects |= corrects.is_some_and(|column| column.null_count() < column.len());
    }

    /// What the Delta log says wrongly. It may say less than it could, but a file must not be skipped for rows
    /// that it holds.
    fn beside(&self, file: &DataFile) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some((low, high)) = self.lsn {
            let min = file.min_lsn.unwrap_or(0);
            if low < min || high > file.max_lsn {
                wrong.push(format!(
                    "holds LSN {low} to {high}, the table says {min} to {}",
                    file.max_lsn
                ));
            }
        }
        if let (Some((low, high)), Some((min, max))) = (self.at, file.at)
            && (low < min || high > max)
        {
            let [low, high, min, max] = [low, high, min, max].map(time::to_rfc3339);
            wrong.push(format!("holds times {low} to {high}, the table says {min} to {max}"));
        }
        if let (Some((low, high)), Some(date)) = (self.at, file.event_date)
            && [low, high].iter().any(|at| time::date_of(*at) != date)
        {
            wrong.push(format!("holds rows of other days than {}", time::date_text(date)));
        }
        if let (Some((low, high)), Some((min, max))) = (&self.organization, &file.organization_id)
            && (low < min || high > max)
        {
            wrong.push(format!(
                "holds organizations {low} to {high}, the table says {min} to {max}"
            ));
        }
        if self.corrects && !file.corrects {
            wrong.push("holds corrections, the table says none".into());
        }
        wrong
    }
}

fn range<T: ArrowPrimitiveType>(rows: &RecordBatch, name: &str) -> Option<(T::Native, T::Native)>
where
    T::Native: arrow::array::ArrowNativeTypeOp,
{
    let column = rows.column_by_name(name)?.as_primitive_opt::<T>()?;
    Some((compute::min(column)?, compute::max(column)?))
}

fn widen<T: Ord>(held: &mut Option<(T, T)>, more: (T, T)) {
    *held = Some(match held.take() {
        Some((low, high)) => (low.min(more.0), high.max(more.1)),
        None => more,
    });
}

/// Opens a file of the lake, and gives its length: one on this disk in place, any other after it was copied.
/// `None` when it is not there.
pub(crate) async fn open(
    root: &Root,
    table: Table,
    file: &DataFile,
    scratch: &Path,
) -> Result<Option<(File, u64)>, Error> {
    let path = file.object_path(root, table);
    let stored = |source| Error::Store { path: path.to_string(), source };
    let got = match root.store.get(&path).await {
        Ok(got) => got,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(stored(source)),
    };
    let bytes = got.meta.size;
    let mut pieces = match got.payload {
        GetResultPayload::File(file, _) => return Ok(Some((file, bytes))),
        GetResultPayload::Stream(pieces) => pieces,
    };
    let copy: PathBuf = scratch.join("file.parquet");
    let mut written = File::create(&copy).map_err(Error::file(&copy))?;
    while let Some(piece) = pieces.next().await {
        written.write_all(&piece.map_err(stored)?).map_err(Error::file(&copy))?;
    }
    Ok(Some((File::open(&copy).map_err(Error::file(&copy))?, bytes)))
}
