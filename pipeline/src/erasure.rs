//! Takes erased persons out of the tables: files that name them are written anew without them, and what was
//! replaced is removed. Like upkeep, every change is a commit that holds at one version of a table only.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use arrow::array::RecordBatch;
use ingest::{
    Table,
    dedup::{ENTRY_BYTES, encode_entry, keys_of},
    erasure::{self, Lookup},
    identity::Pseudonyms,
    time::Micros,
};
use parquet::arrow::{ArrowWriter, ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

use crate::{
    DataFile, Error, LakeTable, Root,
    append::Reason,
    check::file::open,
    parquet_file::{self, Encoded},
    statistics::Statistics,
    upkeep::{
        Amount, Report, TableReport, Task,
        digest::{Digest, Digester},
        vacuum,
    },
};

/// Takes the erased persons of `pseudonyms` out of every table. The identities of changed rows are appended to
/// `entries` with their new content hashes before a table changes: the index is to learn them afterwards.
///
/// Of a task the place, the dry run and the folder for what does not fit in memory count.
///
/// # Errors
/// Tables that were done stay so. Done again, it goes on where it stopped.
pub async fn erase(
    task: &Task,
    pseudonyms: &Pseudonyms,
    entries: &Path,
    clock: fn() -> Micros,
) -> Result<Report, Error> {
    let root = task.location.open()?;
    let mut report = Report { dry_run: task.dry_run, tables: Vec::new() };
    for table in Table::ALL.into_iter().filter(|table| names_persons(*table)) {
        if let Some(table) = LakeTable::open(&root, table).await? {
            let lookup = Lookup::new(pseudonyms);
            let erasing = Erasing { task, root: &root, table, lookup, entries };
            report.tables.push(erasing.run(clock).await?);
        }
    }
    Ok(report)
}

/// Removes for good what left the tables, or was never part of them, before `before_ms`. No writer may be between
/// its files and their commit.
pub async fn remove_replaced(task: &Task, before_ms: i64) -> Result<Report, Error> {
    let root = task.location.open()?;
    let mut report = Report::default();
    for table in Table::ALL {
        let Some(mut opened) = LakeTable::open(&root, table).await? else { continue };
        let mut found = vacuum::removed(&root, &opened, before_ms).await?;
        found.extend(vacuum::orphans(&root, &mut opened, before_ms).await?);
        vacuum::delete(&root, &found).await?;
        let bytes = found.iter().map(|meta| meta.size).sum();
        let vacuumed = Amount { files: found.len() as u64, bytes, rows: 0 };
        report.tables.push(TableReport {
            table: table.name().into(),
            vacuumed,
            ..TableReport::default()
        });
    }
    Ok(report)
}

fn names_persons(table: Table) -> bool {
    let schema = table.schema();
    ["user_id", "raw"].iter().any(|name| schema.column_with_name(name).is_some())
}

struct Erasing<'a> {
    task: &'a Task,
    root: &'a Root,
    table: LakeTable,
    lookup: Lookup<'a>,
    entries: &'a Path,
}

/// A file without the persons, not yet stored.
struct Rewritten {
    encoded: Encoded,
    rows: u64,
    before: Digests,
    /// Identities and new content hashes, as the index holds them.
    entries: Vec<u8>,
}

/// What rows are as a whole, and without what an erasure changes.
#[derive(Debug, PartialEq, Eq)]
struct Digests {
    all: Digest,
    kept: Digest,
}

impl Erasing<'_> {
    async fn run(mut self, clock: fn() -> Micros) -> Result<TableReport, Error> {
        let table = self.table.table();
        let files = self.table.files()?;
        let mut report = TableReport {
            table: table.name().into(),
            before: Amount::of(&files),
            ..TableReport::default()
        };
        let (mut removed, mut added, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let rows = self.count(&file).await?;
            if rows == 0 {
                continue;
            }
            report.erased.add(Amount { files: 1, bytes: file.size_bytes, rows });
            if self.task.dry_run {
                continue;
            }
            let rewritten = self.rewrite(&file, clock() / 1_000).await?;
            entries.extend(rewritten.entries);
            let add = rewritten.encoded.add.clone();
            let new = described(table, &rewritten.encoded);
            report.rewritten.add(Amount::of(std::slice::from_ref(&new)));
            self.table.store(vec![rewritten.encoded]).await?;
            let after = self.digests(&new).await?;
            if after != rewritten.before || rewritten.rows != file.rows {
                let (before, after) = (file.rows, after.all.rows);
                return Err(Error::Altered { table: table.name(), before, after });
            }
            removed.push(file);
            added.push(add);
        }
        if !removed.is_empty() {
            // The index first: what it learns twice it knows once.
            append(self.entries, &entries)?;
            if !self.table.replace(&removed, &added, Reason::Erasure, clock() / 1_000).await? {
                return Err(Error::Contended { table: table.name() });
            }
        }
        report.after = Amount::of(&self.table.files()?);
        Ok(report)
    }

    /// How many rows name erased persons. Only the columns that tell are read.
    async fn count(&self, file: &DataFile) -> Result<u64, Error> {
        let table = self.table.table();
        let mut count = 0;
        let wanted = |name: &str| erasure::PERSONS.contains(&name) || name == table.time_column();
        self.read(file, wanted, |rows| {
            count += self.lookup.named(table, &rows).true_count() as u64;
            Ok(())
        })
        .await?;
        Ok(count)
    }

    async fn rewrite(&self, file: &DataFile, now_ms: i64) -> Result<Rewritten, Error> {
        let table = self.table.table();
        let parquet = |source| Error::Parquet { table: table.name(), source };
        let mut statistics = Statistics::new(table);
        let mut digesters = Digesters::default();
        let (mut writer, mut rows, mut entries) = (None::<ArrowWriter<_>>, 0, Vec::new());
        let expected = usize::try_from(file.rows).unwrap_or(usize::MAX);
        let properties = parquet_file::writer_properties(table, expected).map_err(parquet)?;
        self.read(
            file,
            |_| true,
            |old| {
                let erased = self.lookup.erase(table, &old).map_err(Error::arrow(table))?;
                let new = erased.map_or_else(|| old.clone(), |(rows, _)| rows);
                digesters.add(table, &new, &old).map_err(Error::arrow(table))?;
                let changed = self.lookup.named(table, &old);
                let changed = arrow::compute::filter_record_batch(&new, &changed)
                    .map_err(Error::arrow(table))?;
                entries.extend(identities(&changed));
                statistics.add(&new);
                rows += new.num_rows() as u64;
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => {
                        let properties = Some(properties.clone());
                        let opened = ArrowWriter::try_new(Vec::new(), new.schema(), properties);
                        none.insert(opened.map_err(parquet)?)
                    }
                };
                writer.write(&new).map_err(parquet)
            },
        )
        .await?;
        let bytes = match writer {
            Some(writer) => writer.into_inner().map_err(parquet)?,
            None => Vec::new(),
        };
        let path = parquet_file::new_path(file.event_date);
        let size = bytes.len() as u64;
        let add = parquet_file::describe(path.clone(), file.event_date, size, now_ms, &statistics);
        let encoded = Encoded { path, bytes, add };
        Ok(Rewritten { encoded, rows, before: digesters.finish(), entries })
    }

    /// What a stored file holds. It must name nobody who is erased.
    async fn digests(&self, file: &DataFile) -> Result<Digests, Error> {
        let table = self.table.table();
        let mut digesters = Digesters::default();
        self.read(
            file,
            |_| true,
            |rows| {
                if self.lookup.named(table, &rows).true_count() > 0 {
                    let rows = rows.num_rows() as u64;
                    return Err(Error::Altered { table: table.name(), before: rows, after: rows });
                }
                digesters.add(table, &rows, &rows).map_err(Error::arrow(table))
            },
        )
        .await?;
        Ok(digesters.finish())
    }

    /// Reads columns of a file, batch by batch.
    async fn read(
        &self,
        file: &DataFile,
        wanted: impl Fn(&str) -> bool,
        mut each: impl FnMut(RecordBatch) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let table = self.table.table();
        let parquet = |source| Error::Parquet { table: table.name(), source };
        let Some((opened, _)) = open(self.root, table, file, &self.task.spill_dir).await? else {
            return Err(Error::Altered { table: table.name(), before: file.rows, after: 0 });
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(parquet)?;
        let schema = Arc::clone(reader.schema());
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let wanted: Vec<_> = names.filter(|name| wanted(name)).collect();
        let mask = ProjectionMask::columns(reader.parquet_schema(), wanted);
        for rows in reader.with_projection(mask).build().map_err(parquet)? {
            each(rows.map_err(Error::arrow(table))?)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Digesters(Option<(Digester, Digester)>);

impl Digesters {
    /// Adds rows as they are to be, and as they were.
    fn add(
        &mut self,
        table: Table,
        new: &RecordBatch,
        old: &RecordBatch,
    ) -> Result<(), arrow::error::ArrowError> {
        let kept = kept(table, old)?;
        let (all_digester, kept_digester) = match &mut self.0 {
            Some(digesters) => digesters,
            none => {
                none.insert((Digester::new(new.schema_ref())?, Digester::new(kept.schema_ref())?))
            }
        };
        all_digester.add(new)?;
        kept_digester.add(&kept)
    }

    fn finish(self) -> Digests {
        let (all, kept) =
            self.0.map(|(all, kept)| (all.finish(), kept.finish())).unwrap_or_default();
        Digests { all, kept }
    }
}

/// The columns that an erasure leaves alone.
fn kept(table: Table, rows: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let stays = |name: &str| name != "content_hash" && !erasure::is_cleared(table, name);
    let fields = rows.schema_ref().fields().iter().enumerate();
    let kept: Vec<_> = fields.filter(|(_, field)| stays(field.name())).map(|(at, _)| at).collect();
    rows.project(&kept)
}

fn described(table: Table, encoded: &Encoded) -> DataFile {
    let add = &encoded.add;
    let date = add.partition_values.get("event_date").cloned().flatten();
    let date = date.and_then(|date| date.parse().ok());
    DataFile::new(
        table,
        encoded.path.clone(),
        encoded.bytes.len() as u64,
        add.modification_time,
        date.map(|date: chrono::NaiveDate| date.to_epoch_days()),
        add.stats.as_deref(),
    )
}

fn identities(rows: &RecordBatch) -> Vec<u8> {
    use arrow::{array::AsArray, datatypes::Int64Type};
    let lsns = rows.column_by_name("lsn").and_then(|c| c.as_primitive_opt::<Int64Type>());
    let Some(lsns) = lsns else { return Vec::new() };
    let keys = keys_of(rows, |row| lsns.value(row).unsigned_abs());
    keys.into_iter().flat_map(|(key, seen)| encode_entry(key, seen)).collect()
}

fn append(path: &Path, entries: &[u8]) -> Result<(), Error> {
    let mut file =
        File::options().create(true).append(true).open(path).map_err(Error::file(path))?;
    // A process that was killed may have left a part of an entry.
    let whole = |file: &File| {
        let length = file.metadata()?.len();
        file.set_len(length - length % ENTRY_BYTES as u64)
    };
    whole(&file)
        .and_then(|()| file.write_all(entries))
        .and_then(|()| file.sync_all())
        .map_err(Error::file(path))
}

#[cfg(test)]
mod tests;
