//! Takes erased persons out of the tables: files that name them are written anew without them, and what was
//! replaced is removed. Like upkeep, every change is a commit that holds at one version of a table only.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use arrow::{
    array::{RecordBatch, RecordBatchReader},
    compute,
};
use ingest::{
    Table,
    dedup::{ENTRY_BYTES, encode_entry, keys_of},
    erasure::{self, Lookup},
    identity::Pseudonyms,
    time::Micros,
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};

use crate::{
    DataFile, Error, LakeTable, RollupTable, Root, StoredTable,
    append::Reason,
    check::file::open,
    new_file::{NewFile, StoredFile},
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
        if let Some(opened) = LakeTable::open(&root, table).await? {
            let lookup = Lookup::new(pseudonyms);
            let erasing = Erasing { task, root: &root, of: table, table: opened, lookup, entries };
            report.tables.push(erasing.run(clock).await?);
        }
    }
    Ok(report)
}

/// Removes for good what left the tables and rollups, or was never part of them, before `before_ms`. No writer may be
/// between its files and their commit.
pub async fn remove_replaced(
    task: &Task,
    rollups: impl Iterator<Item = &'static RollupTable>,
    before_ms: i64,
) -> Result<Report, Error> {
    let root = task.location.open()?;
    let mut report = Report::default();
    let tables = Table::ALL.into_iter().map(StoredTable::from);
    for table in tables.chain(rollups.map(StoredTable::from)) {
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
    of: Table,
    table: LakeTable,
    lookup: Lookup<'a>,
    entries: &'a Path,
}

/// A file without the persons, stored and not yet committed.
struct Rewritten {
    written: StoredFile,
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
        let table = self.of;
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
            let new = rewritten.written.file;
            report.rewritten.add(Amount::of(std::slice::from_ref(&new)));
            let after = self.digests(&new).await?;
            if after != rewritten.before || new.rows != file.rows {
                let (before, after) = (file.rows, after.all.rows);
                return Err(Error::Altered { table: table.name(), before, after });
            }
            entries.extend(rewritten.entries);
            removed.push(file);
            added.push(rewritten.written.add);
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
        let table = self.of;
        let wanted = |name: &str| erasure::PERSONS.contains(&name) || name == table.time_column();
        let mut count = 0;
        for rows in self.read(file, wanted).await? {
            let rows = rows.map_err(Error::arrow(table))?;
            count += self.lookup.named(table, &rows).true_count() as u64;
        }
        Ok(count)
    }

    async fn rewrite(&self, file: &DataFile, now_ms: i64) -> Result<Rewritten, Error> {
        let table = self.of;
        let arrow = Error::arrow(table);
        let mut digesters = Digesters::default();
        let mut entries = Vec::new();
        let reader = self.read(file, |_| true).await?;
        let expected = usize::try_from(file.rows).unwrap_or(usize::MAX);
        let (schema, date) = (reader.schema(), file.event_date);
        let mut new_file = NewFile::create(self.root, table, date, expected, schema)?;
        for old in reader {
            let old = old.map_err(arrow)?;
            let new = match self.lookup.erase(table, &old).map_err(arrow)? {
                Some((new, changed)) => {
                    let changed = compute::filter_record_batch(&new, &changed).map_err(arrow)?;
                    entries.extend(identities(&changed));
                    new
                }
                None => old.clone(),
            };
            digesters.add(table, &new, &old).map_err(arrow)?;
            new_file.write(&new).await?;
        }
        let written = new_file.close(now_ms).await?;
        Ok(Rewritten { written, before: digesters.finish(), entries })
    }

    /// What a stored file holds. It must name nobody who is erased.
    async fn digests(&self, file: &DataFile) -> Result<Digests, Error> {
        let table = self.of;
        let mut digesters = Digesters::default();
        for rows in self.read(file, |_| true).await? {
            let rows = rows.map_err(Error::arrow(table))?;
            if self.lookup.named(table, &rows).true_count() > 0 {
                let rows = rows.num_rows() as u64;
                return Err(Error::Altered { table: table.name(), before: rows, after: rows });
            }
            digesters.add(table, &rows, &rows).map_err(Error::arrow(table))?;
        }
        Ok(digesters.finish())
    }

    /// Reads columns of a file, batch by batch.
    async fn read(
        &self,
        file: &DataFile,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<ParquetRecordBatchReader, Error> {
        let table = self.of;
        let parquet = |source| Error::Parquet { table: table.name(), source };
        let Some((opened, _)) = open(self.root, table, file, &self.task.spill_dir).await? else {
            return Err(Error::Altered { table: table.name(), before: file.rows, after: 0 });
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(parquet)?;
        let schema = Arc::clone(reader.schema());
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let mask =
            ProjectionMask::columns(reader.parquet_schema(), names.filter(|name| wanted(name)));
        reader.with_projection(mask).build().map_err(parquet)
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
