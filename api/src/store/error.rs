//! What can go wrong with relational state, and what a client is told about it.

use std::{io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr};

use crate::{accounts::PasswordFault, problem::Problem};

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
    #[error("could not hash a password: {reason}")]
    Hash { reason: String },
    #[error("too many passwords are being checked")]
    HashQueue,

    #[error("`{field}` {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    #[error("the password {0}")]
    Password(PasswordFault),
    #[error("a user with this e-mail address exists already")]
    EmailTaken,
    #[error("there is no organization `{organization_id}`")]
    UnknownOrganization { organization_id: String },
    #[error("there is no user `{user_id}`")]
    UnknownUser { user_id: String },
    #[error("the last administrator who can sign in cannot be disabled")]
    LastAdministrator,
    #[error("there is no API key `{api_key_id}`")]
    UnknownKey { api_key_id: String },
    /// One answer for an unknown address, a wrong password and a disabled account.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// One answer for a secret that is malformed, unknown, expired or revoked.
    #[error("the API key is not valid")]
    WrongKey,
    #[error("too many sign-in attempts: try again in {retry_after_s} s")]
    TooManyAttempts { retry_after_s: u64 },
}

/// Says what was being done when the database failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, DbErr> {
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
    pub(crate) fn is_unique_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }

    pub(crate) fn is_foreign_key_violation(&self) -> bool {
        let Self::Query { source, .. } = self else { return false };
        matches!(source.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_)))
    }
}

/// The boundary: what is our fault is logged here, once, and the client learns only that it happened.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Invalid { field, .. } => {
                Self::bad_request("invalid_field", detail).with("field", field)
            }
            StoreError::Password(_) => {
                Self::bad_request("weak_password", detail).with("field", "password")
            }
            StoreError::UnknownOrganization { .. } => {
                Self::bad_request("unknown_organization", detail)
            }
            StoreError::EmailTaken => Self::conflict("email_taken", detail),
            StoreError::LastAdministrator => Self::conflict("last_administrator", detail),
            StoreError::UnknownUser { .. } | StoreError::UnknownKey { .. } => {
                Self::not_found(detail)
            }
            StoreError::WrongCredentials => Self::unauthorized("wrong_credentials", detail),
            StoreError::WrongKey => Self::unauthorized("wrong_key", detail),
            StoreError::TooManyAttempts { retry_after_s } => {
                Self::too_many_requests(retry_after_s).explained("too many sign-in attempts")
            }
            StoreError::Busy { .. } | StoreError::HashQueue => {
                tracing::warn!(%detail, "relational state is busy");
                Self::unavailable(1)
            }
            StoreError::File { .. }
            | StoreError::Open { .. }
            | StoreError::Migrate { .. }
            | StoreError::Query { .. }
            | StoreError::Damaged { .. }
            | StoreError::Random
            | StoreError::Hash { .. } => {
                let cause =
                    std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%detail, %cause, "relational state failed");
                Self::internal()
            }
        }
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
