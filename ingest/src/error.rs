use std::{io, path::PathBuf};

/// What can go wrong while taking events in. A bad event is not an error: it is a [`crate::Rejection`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading or writing {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the disk is full: {path}")]
    DiskFull {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another process has the log {0} open")]
    Locked(PathBuf),
    #[error("log format {found} is newer than this program reads ({supported}): {path}")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    #[error("the log is damaged at byte {offset} of {path}: {what}")]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
    #[error("the log is missing the records after {after}: the next one held is {next}")]
    Gap { after: u64, next: u64 },
    #[error("the description of the log in {path} does not parse")]
    Description {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the log is closed, since an earlier write failed")]
    Closed,
    #[error("too many events wait for the disk")]
    Overloaded,
    #[error("encoding events as columns")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("the index of seen events")]
    Index(#[from] fjall::Error),
    #[error("the index of seen events has a damaged entry")]
    DamagedIndex,
    #[error("the mapping is not usable: {0}")]
    Mapping(String),
}

impl Error {
    /// Attaches the path to an I/O error; a full disk is told apart, since it passes.
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io { path, source },
        }
    }
}
