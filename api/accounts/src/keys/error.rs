//! What can go wrong with API keys.

use rest::{
    principal::UnknownScope,
    problem::{Code, Problem},
};
use state::store::StoreError;

/// Why an operation on API keys failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The database failed, was busy for too long, or holds a damaged row.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value of a new key, or of a grant, is not allowed.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The name of the field in the request, such as `expires_at`.
        field: &'static str,
        /// What is wrong with the value: the end of a sentence that begins with the field.
        reason: &'static str,
    },
    /// A new key names an organization that does not exist.
    #[error("there is no organization `{organization_id}`")]
    UnknownOrganization {
        /// The id that was named.
        organization_id: String,
    },
    /// No key has the id.
    #[error("there is no API key `{api_key_id}`")]
    UnknownKey {
        /// The id that was asked for.
        api_key_id: String,
    },
    /// The organization of the key is suspended or disabled, or the address is not one of the key's networks.
    #[error(
        "the API key is not to be used: its organization is suspended, or it is not for this address"
    )]
    Disabled,
    /// One answer for a secret that is malformed, unknown, expired or revoked.
    #[error("the API key is not valid")]
    WrongKey,
}

impl From<UnknownScope> for KeyError {
    fn from(_: UnknownScope) -> Self {
        Self::Invalid { field: "scopes", reason: UnknownScope::REASON }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let detail = error.to_string();
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Invalid { field, .. } => {
                Self::bad_request(Code::InvalidField, detail).with("field", field)
            }
            KeyError::UnknownOrganization { .. } => {
                Self::bad_request(Code::UnknownOrganization, detail)
            }
            KeyError::UnknownKey { .. } => Self::not_found(detail),
            KeyError::Disabled => Self::forbidden(Code::KeyDisabled, detail),
            KeyError::WrongKey => Self::unauthorized(Code::WrongKey, detail),
        }
    }
}
