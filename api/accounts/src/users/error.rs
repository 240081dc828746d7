//! What can go wrong with users, passwords and sessions.

use rest::problem::{Code, Problem};
use state::store::StoreError;

use super::PasswordFault;

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// One answer for an unknown address, a wrong password and a disabled account.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    #[error("too many sign-in attempts: try again in {retry_after_s} s")]
    TooManyAttempts { retry_after_s: u64 },
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let detail = error.to_string();
        match error {
            AccountError::Store(error) => error.into(),
            AccountError::Invalid { field, .. } => {
                Self::bad_request(Code::InvalidField, detail).with("field", field)
            }
            AccountError::Password(_) => {
                Self::bad_request(Code::WeakPassword, detail).with("field", "password")
            }
            AccountError::UnknownOrganization { .. } => {
                Self::bad_request(Code::UnknownOrganization, detail)
            }
            AccountError::EmailTaken => Self::conflict(Code::EmailTaken, detail),
            AccountError::LastAdministrator => Self::conflict(Code::LastAdministrator, detail),
            AccountError::UnknownUser { .. } => Self::not_found(detail),
            AccountError::WrongCredentials => Self::unauthorized(Code::WrongCredentials, detail),
            AccountError::TooManyAttempts { retry_after_s } => {
                Self::too_many_requests(retry_after_s).explained("too many sign-in attempts")
            }
            AccountError::HashQueue => Self::unavailable(1),
            AccountError::Hash { .. } => {
                tracing::error!(%detail, "a password could not be hashed");
                Self::internal()
            }
        }
    }
}
