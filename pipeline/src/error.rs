use std::{
    io,
    path::{Path, PathBuf},
};

use ingest::log::Lsn;

use crate::StoredTable;

/// What can go wrong with the lake.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the storage location {location} is not usable: {reason}")]
    Location { location: String, reason: String },
    #[error("the object store, at {path}")]
    Store {
        path: String,
        #[source]
        source: object_store::Error,
    },
    #[error("reading or writing {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the table {table}, while {doing}")]
    Delta {
        table: &'static str,
        doing: &'static str,
        #[source]
        source: Box<deltalake_core::DeltaTableError>,
    },
    #[error("the table {table} uses {feature}, which this program does not read")]
    Unsupported { table: &'static str, feature: &'static str },
    #[error("another process writes to {table}: it stands at {found}, not at {expected}")]
    Fenced { table: &'static str, expected: Lsn, found: Lsn },
    #[error("encoding a Parquet file for {table}")]
    Parquet {
        table: &'static str,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error("the rows of {table}")]
    Arrow {
        table: &'static str,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("reading and sorting the rows of {table}")]
    Engine {
        table: &'static str,
        #[source]
        source: Box<datafusion::error::DataFusionError>,
    },
    #[error(
        "rewritten files of {table} do not hold the rows of the old ones ({before} before, {after} after); \
         the old ones stay"
    )]
    Altered { table: &'static str, before: u64, after: u64 },
    #[error("others changed {table} at each attempt to exchange files")]
    Contended { table: &'static str },
    #[error(transparent)]
    Ingest(#[from] ingest::Error),
    #[error("the cut `{0}` does not fit this lake")]
    Cut(String),
    #[error("{0}")]
    Backup(String),
    #[error("threads could not be started: {0}")]
    Threads(String),
    #[error("a task of the lake was stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn delta(
        table: impl Into<StoredTable>,
        doing: &'static str,
    ) -> impl FnOnce(deltalake_core::DeltaTableError) -> Self {
        let table = table.into().name();
        move |source| Self::Delta { table, doing, source: Box::new(source) }
    }

    pub(crate) fn engine(
        table: impl Into<StoredTable>,
    ) -> impl FnOnce(datafusion::error::DataFusionError) -> Self + Copy {
        let table = table.into().name();
        move |source| Self::Engine { table, source: Box::new(source) }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }

    pub(crate) fn arrow(
        table: impl Into<StoredTable>,
    ) -> impl FnOnce(arrow::error::ArrowError) -> Self + Copy {
        let table = table.into().name();
        move |source| Self::Arrow { table, source }
    }
}
