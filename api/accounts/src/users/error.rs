//! What can go wrong with users, passwords and sessions.

use rest::problem::{Code, Problem};
use state::store::StoreError;

use super::PasswordFault;
use crate::organizations::OrganizationError;

/// Why an operation on users, passwords or sessions failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The database failed, was busy for too long, or holds a damaged row.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password could not be hashed, or a stored hash could not be read. The client gets status 500.
    #[error("could not hash a password: {reason}")]
    Hash {
        /// The message of the hash library or of its thread, for the log only.
        reason: String,
    },
    /// The hashing of other passwords took more than five seconds. The client gets status 503.
    #[error("too many passwords are being checked")]
    HashQueue,
    /// A field has a value that is not allowed.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The name of the field in the request, such as `email`.
        field: &'static str,
        /// What the value must be: the end of a sentence that begins with the field.
        reason: &'static str,
    },
    /// A new password is refused. The value says why.
    #[error("the password {0}")]
    Password(PasswordFault),
    /// Another user has the e-mail address already.
    #[error("a user with this e-mail address exists already")]
    EmailTaken,
    /// A new user names an organization that does not exist.
    #[error("there is no organization `{organization_id}`")]
    UnknownOrganization {
        /// The id that was named.
        organization_id: String,
    },
    /// No user has the id or the e-mail address.
    #[error("there is no user `{user_id}`")]
    UnknownUser {
        /// The id or the e-mail address that was asked for.
        user_id: String,
    },
    /// The user is the last active administrator, and cannot be disabled.
    #[error("the last administrator who can sign in cannot be disabled")]
    LastAdministrator,
    /// The password is right, and the second factor is missing.
    #[error("send the code of your authenticator app, or a recovery code, with the challenge")]
    SecondFactorRequired {
        /// What comes back with the code.
        challenge: String,
    },
    /// A code of the second factor is wrong, or was used before.
    #[error("the code is wrong, or was used before")]
    WrongCode,
    /// The second factor is on already.
    #[error("the second factor is on already")]
    FactorIsOn,
    /// The second factor is off.
    #[error("the second factor is off")]
    FactorIsOff,
    /// A refresh token is unknown, over, or was used before.
    #[error("the refresh token is not valid: sign in again")]
    WrongRefresh,
    /// A token is unknown, was used, or is too old.
    #[error("the link is not valid any more: it was used, or is too old")]
    WrongToken,
    /// Who wants to come is not invited, or no mail is configured.
    #[error("registration is closed here")]
    RegistrationClosed,
    /// There is no mail server.
    #[error("no mail server is configured: ask an administrator")]
    NoMail,
    /// The password that confirms an act is wrong.
    #[error("the present password is wrong")]
    WrongPassword,
    /// No invitation has the id.
    #[error("there is no such invitation")]
    UnknownInvitation,
    /// No session has the id.
    #[error("there is no such session")]
    UnknownSession,
    /// No project has the id.
    #[error("there is no such project")]
    UnknownProject,
    /// The organization could not be created.
    #[error(transparent)]
    Organization(#[from] OrganizationError),
    /// One answer for an unknown address, a wrong password and a disabled account.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// Too many attempts to sign in came from one network or for one user. This one was not looked at.
    #[error("too many sign-in attempts: try again in {retry_after_s} s")]
    TooManyAttempts {
        /// The seconds until the next attempt may be made.
        retry_after_s: u64,
    },
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
            AccountError::UnknownUser { .. }
            | AccountError::UnknownInvitation
            | AccountError::UnknownSession
            | AccountError::UnknownProject => Self::not_found(detail),
            AccountError::SecondFactorRequired { challenge } => {
                Self::unauthorized(Code::SecondFactorRequired, detail).with("challenge", challenge)
            }
            AccountError::WrongRefresh => Self::unauthorized(Code::SessionOver, detail),
            AccountError::WrongCode => Self::unauthorized(Code::WrongCode, detail),
            AccountError::FactorIsOn | AccountError::FactorIsOff => {
                Self::conflict(Code::SecondFactorState, detail)
            }
            AccountError::WrongToken => Self::bad_request(Code::InvalidToken, detail),
            AccountError::RegistrationClosed => Self::forbidden(Code::RegistrationClosed, detail),
            AccountError::NoMail => Self::forbidden(Code::NoMail, detail),
            AccountError::WrongPassword => Self::forbidden(Code::WrongPassword, detail),
            AccountError::Organization(error) => error.into(),
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
