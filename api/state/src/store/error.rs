//! What can go wrong with the database.

use std::{io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not make the database file {path} private to its owner")]
    File { path: PathBuf, source: io::Error },
    #[error("could not open the database {path}")]
    Open { path: PathBuf, source: DbErr },
    #[error("could not bring the database's tables up to date")]
    Migrate { source: DbErr },
    #[error("the database was busy for too long while {doing}")]
    Busy { doing: &'static str },
    #[error("the database failed while {doing}")]
    Query { doing: &'static str, source: DbErr },
    #[error("a row of {table} is damaged: {what}")]
    Damaged { table: &'static str, what: &'static str },
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Says what was being done when the database failed.
pub trait StoreContext<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> StoreContext<T> for Result<T, DbErr> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| {
            if is_busy(&source) {
                StoreError::Busy { doing }
            } else {
                StoreError::Query { doing, source }
            }
        })
    }
}

impl StoreError {
    pub fn is_unique_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }

    pub fn is_foreign_key_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
    }
}

/// SQLite's primary result code 5 is SQLITE_BUSY; its extended codes keep it in the low byte.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let runtime = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        _ => return false,
    };
    let RuntimeErr::SqlxError(error) = runtime else { return false };
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == 5)
}
