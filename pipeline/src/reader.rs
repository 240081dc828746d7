//! Reads the lake at a cut, from any process on the machine: tables at their versions, and the log's rows
//! above them. What was read once is kept, so that a query only pays for what is new.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{AsArray, RecordBatch, RecordBatchOptions},
    compute,
    datatypes::{DataType, Int64Type, Schema, SchemaRef},
    error::ArrowError,
};
use ingest::{
    Table,
    dedup::{AcceptedEvent, keys_of},
    identity::Key,
    log::{self, LogId, Lsn, Tail},
};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{
    Cut, DataFile, Error, LakeTable, Location, RollupTable, Root, StoredTable, TableVersion,
    parquet_file, scan::FileReversals,
};

/// A reader of one lake.
#[derive(Debug)]
pub struct Reader {
    root: Root,
    log_dir: PathBuf,
    tail: Option<Tail>,
    fresh: VecDeque<FreshRows>,
    /// Rows of the log up to here are not held (any more).
    forgotten: Lsn,
    tables: BTreeMap<StoredTable, (LakeTable, Arc<Vec<DataFile>>)>,
    rollups: Vec<&'static RollupTable>,
    reversals: FileReversals,
}

/// Rows of the log, shaped as [`Table::schema`].
#[derive(Debug, Clone)]
struct FreshRows {
    table: Table,
    first_lsn: Lsn,
    last_lsn: Lsn,
    rows: RecordBatch,
}

/// The tables of the lake at one cut.
#[derive(Debug, Clone)]
pub struct Tables {
    pub root: Root,
    pub cut: Cut,
    pub(crate) reversals: FileReversals,
    contents: BTreeMap<StoredTable, Contents>,
}

/// What one table holds at a cut.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    pub files: Arc<Vec<DataFile>>,
    /// Rows of the log that no file holds, shaped as [`Table::schema`].
    pub fresh: Vec<RecordBatch>,
}

/// The schema that queries see: text as views, which compare and group faster.
pub fn query_schema(table: Table) -> SchemaRef {
    with_views(&table.schema())
}

pub(crate) fn with_views(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Reader {
    pub fn open(location: &Location, log_dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            root: location.open()?,
            log_dir: log_dir.to_path_buf(),
            tail: None,
            fresh: VecDeque::new(),
            forgotten: 0,
            tables: BTreeMap::new(),
            rollups: Vec::new(),
            reversals: FileReversals::default(),
        })
    }

    /// The same, which reads these rollups where a cut names them.
    pub fn with_rollups(self, rollups: Vec<&'static RollupTable>) -> Self {
        Self { rollups, ..self }
    }

    /// The newest cut of a lake that no process writes to.
    pub async fn newest(&mut self) -> Result<Cut, Error> {
        let Some(description) = log::describe(&self.log_dir)? else {
            return Ok(Cut::default());
        };
        let floor = log::retired_through(&self.log_dir)?;
        let mut tail = Tail::new(&self.log_dir, description.log, floor);
        tail.read_available()?;
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            if let Some(opened) = LakeTable::open(&self.root, table).await? {
                let txn = opened.committed(description.log).await?;
                tables.insert(
                    table.name().to_owned(),
                    TableVersion { version: opened.version(), txn },
                );
            }
        }
        let mut rollups = BTreeMap::new();
        for rollup in &self.rollups {
            match mark(&self.root, rollup, description.log).await {
                Ok(Some(mark)) => drop(rollups.insert(rollup.name().to_owned(), mark)),
                Ok(None) => {}
                // Nothing needs it.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(rollup = rollup.name(), error, "a rollup is not readable");
                }
            }
        }
        let (log, lsn) = (description.log.0, tail.last_lsn());
        Ok(Cut { log, lsn, floor, tables, rollups })
    }

    /// Everything up to `cut`.
    pub async fn at(&mut self, cut: &Cut) -> Result<Tables, Error> {
        self.follow(cut)?;
        let mut contents = BTreeMap::new();
        for table in Table::ALL {
            let mark = cut.mark(table);
            let files = match mark {
                Some(mark) => self.files(table.into(), mark.version).await?,
                None => Arc::default(),
            };
            let after = mark.map_or(0, |mark| mark.txn);
            let fresh = self
                .fresh
                .iter()
                .filter(|rows| rows.table == table)
                .filter_map(|rows| rows.between(after, cut.lsn))
                .collect();
            contents.insert(table.into(), Contents { files, fresh });
        }
        for rollup in self.rollups.clone() {
            if let Some(mark) = cut.usable_rollup(rollup.name()) {
                let files = self.files(rollup.into(), mark.version).await?;
                contents.insert(rollup.into(), Contents { files, fresh: Vec::new() });
            }
        }
        let (root, reversals) = (self.root.clone(), self.reversals.clone());
        Ok(Tables { root, cut: cut.clone(), reversals, contents })
    }

    /// Reads the log on to the cut, and forgets what the tables hold.
    fn follow(&mut self, cut: &Cut) -> Result<(), Error> {
        let log = LogId(cut.log);
        if cut.lsn == 0 {
            return Ok(());
        }
        let behind = self.tail.as_ref().is_none_or(|t| t.log() != log || t.last_lsn() < cut.floor);
        // A query that waited comes with an older cut than one that was faster: its rows are read again.
        if behind || cut.floor < self.forgotten {
            self.fresh.clear();
            self.tail = None;
            self.forgotten = cut.floor;
        }
        let tail = self.tail.get_or_insert_with(|| Tail::new(&self.log_dir, log, cut.floor));
        tail.read_to(cut.lsn)?;
        for record in tail.take() {
            let rows = parquet_file::read_shape(log, &record, 0, Lsn::MAX)
                .map_err(Error::arrow(record.table))?;
            if let Some(rows) = rows {
                let (table, first_lsn, last_lsn) =
                    (record.table, record.first_lsn, record.last_lsn());
                self.fresh.push_back(FreshRows { table, first_lsn, last_lsn, rows });
            }
        }
        while self.fresh.front().is_some_and(|rows| rows.last_lsn <= cut.floor) {
            self.fresh.pop_front();
        }
        self.forgotten = self.forgotten.max(cut.floor);
        Ok(())
    }

    async fn files(
        &mut self,
        table: StoredTable,
        version: u64,
    ) -> Result<Arc<Vec<DataFile>>, Error> {
        let missing = || Error::Unsupported { table: table.name(), feature: "a missing table" };
        if !self.tables.contains_key(&table) {
            let opened = LakeTable::open(&self.root, table).await?.ok_or_else(missing)?;
            let files = Arc::new(opened.files()?);
            self.tables.insert(table, (opened, files));
        }
        let (opened, files) = self.tables.get_mut(&table).ok_or_else(missing)?;
        if opened.version() != version {
            opened.advance(Some(version)).await?;
            *files = Arc::new(opened.files()?);
            if let Some(table) = table.ingested() {
                self.reversals.retain(table, files);
            }
        }
        Ok(Arc::clone(files))
    }
}

/// Where a rollup stands, if it is complete.
async fn mark(
    root: &Root,
    rollup: &'static RollupTable,
    log: LogId,
) -> Result<Option<TableVersion>, Error> {
    let Some(opened) = LakeTable::open(root, rollup).await? else { return Ok(None) };
    let txn = opened.committed(log).await?;
    Ok((txn > 0).then(|| TableVersion { version: opened.version(), txn }))
}

impl FreshRows {
    fn between(&self, after: Lsn, through: Lsn) -> Option<RecordBatch> {
        let from = (after + 1).max(self.first_lsn);
        let to = through.min(self.last_lsn);
        (from <= to)
            .then(|| self.rows.slice((from - self.first_lsn) as usize, (to - from + 1) as usize))
    }
}

impl Tables {
    /// Some files of one table, and nothing else.
    pub(crate) fn of_files(root: &Root, table: Table, files: &[DataFile]) -> Self {
        let cut = Cut { lsn: Lsn::MAX, ..Cut::default() };
        let contents = Contents { files: Arc::new(files.to_vec()), fresh: Vec::new() };
        let contents = BTreeMap::from([(table.into(), contents)]);
        Self { root: root.clone(), cut, reversals: FileReversals::default(), contents }
    }

    pub fn contents(&self, table: impl Into<StoredTable>) -> Contents {
        self.contents.get(&table.into()).cloned().unwrap_or_default()
    }
}

/// Rows as queries see them. Views take more memory than text: only columns that a query reads become some.
pub(crate) fn to_views(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = with_views(&rows.schema());
    let columns = rows
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| compute::cast(column, field.data_type()))
        .collect::<Result<_, _>>()?;
    // Without a column there are rows, too.
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

/// The identities of the rows above `after` that the tables hold, read from their files.
pub(crate) async fn stored_keys(
    root: &Root,
    after: Lsn,
) -> Result<Vec<(Key, AcceptedEvent)>, Error> {
    let mut keys = Vec::new();
    for table in Table::ALL {
        let Some(opened) = LakeTable::open(root, table).await? else { continue };
        for file in opened.files()?.iter().filter(|file| file.max_lsn > after) {
            let path = file.object_path(root, table);
            let stored = |source| Error::Store { path: path.to_string(), source };
            let bytes = root.store.get(&path).await.map_err(stored)?;
            let bytes = bytes.bytes().await.map_err(stored)?;
            let parquet = |source| Error::Parquet { table: table.name(), source };
            let rows = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(parquet)?;
            for rows in rows.build().map_err(parquet)? {
                let rows = rows.map_err(Error::arrow(table))?;
                let lsns = rows.column_by_name("lsn");
                let lsns = lsns.and_then(|column| column.as_primitive_opt::<Int64Type>());
                let Some(lsns) = lsns else { continue };
                let found = keys_of(&rows, |row| lsns.value(row).unsigned_abs());
                keys.extend(found.into_iter().filter(|(_, seen)| seen.lsn > after));
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
