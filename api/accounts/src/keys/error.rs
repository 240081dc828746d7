//! What can go wrong with API keys.

use rest::{
    principal::UnknownScope,
    problem::{Code, Problem},
};
use state::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{field}` {reason}")]
    Invalid { field: &'static str, reason: &'static str },
    #[error("there is no organization `{organization_id}`")]
    UnknownOrganization { organization_id: String },
    #[error("there is no API key `{api_key_id}`")]
    UnknownKey { api_key_id: String },
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
            KeyError::WrongKey => Self::unauthorized(Code::WrongKey, detail),
        }
    }
}
