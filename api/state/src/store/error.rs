//! What can go wrong with the database.

use std::{io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx::sqlite::SqliteError};

/// Why an operation on the database failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file could not be created, or its mode could not be set to 0600.
    #[error("could not make the database file {path} private to its owner")]
    File {
        /// The path of the database file.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The file could not be opened as a database.
    #[error("could not open the database {path}")]
    Open {
        /// The path of the database file.
        path: PathBuf,
        /// The error of the database.
        source: DbErr,
    },
    /// PostgreSQL could not be reached, or refused the connection.
    #[error("could not connect to the PostgreSQL of `state.url`")]
    Connect {
        /// The error of the database.
        source: DbErr,
    },
    /// A migration failed, or the file holds one that this program does not know. The tables are as before.
    #[error("could not bring the database's tables up to date")]
    Migrate {
        /// The error of the database or of the migration.
        source: DbErr,
    },
    /// Another writer did not finish within five seconds, or no connection became free within ten.
    #[error("the database was busy for too long while {doing}")]
    Busy {
        /// What was being done, such as "creating a user".
        doing: &'static str,
    },
    /// A statement failed for another reason, such as a value that is not unique.
    #[error("the database failed while {doing}")]
    Query {
        /// What was being done, such as "creating a user".
        doing: &'static str,
        /// The error of the database.
        source: DbErr,
    },
    /// A row holds a value that this program does not write.
    #[error("a row of {table} is damaged: {what}")]
    Damaged {
        /// The name of the table.
        table: &'static str,
        /// What is wrong with the row, such as "an unknown kind".
        what: &'static str,
    },
    /// The random source of the operating system failed.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// Says what was being done when the database failed.
pub trait StoreContext<T> {
    /// Turns a database error into [`StoreError::Busy`] or [`StoreError::Query`]. `doing` says what was being done,
    /// such as "creating a user".
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
    /// Whether a statement failed because another row has the same value in a unique column.
    pub fn is_unique_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }

    /// Whether a statement failed because a row would refer to another row that does not exist.
    pub fn is_foreign_key_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
    }
}

/// SQLite's primary result code 5 is SQLITE_BUSY; its extended codes keep it in the low byte. PostgreSQL's 55P03 is
/// lock_not_available.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let runtime = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
        _ => return false,
    };
    let RuntimeErr::SqlxError(error) = runtime else { return false };
    let Some(error) = error.as_database_error() else { return false };
    let Some(code) = error.code() else { return false };
    match error.try_downcast_ref::<SqliteError>() {
        Some(_) => code.parse::<u32>().is_ok_and(|code| code & 0xff == 5),
        None => code == "55P03",
    }
}
