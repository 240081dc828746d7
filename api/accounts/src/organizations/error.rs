//! What can go wrong with organizations.

use rest::problem::{Code, Problem};
use state::store::StoreError;

/// Why an operation on organizations failed.
#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    /// The database failed, was busy for too long, or holds a damaged row.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A field of an organization has a value that is not allowed.
    #[error("`{field}` {reason}")]
    Invalid {
        /// The name of the field: `organization_id`, `name`, `plan` or `country`.
        field: &'static str,
        /// What the value must be: the end of a sentence that begins with the field.
        reason: &'static str,
    },
    /// No organization has the id.
    #[error("there is no organization `{organization_id}`")]
    Unknown {
        /// The id that was asked for.
        organization_id: String,
    },
    /// No override of the organization has the id.
    #[error("there is no override `{override_id}` of this organization")]
    UnknownOverride {
        /// The id that was asked for.
        override_id: String,
    },
}

impl From<OrganizationError> for Problem {
    fn from(error: OrganizationError) -> Self {
        let detail = error.to_string();
        match error {
            OrganizationError::Store(error) => error.into(),
            OrganizationError::Invalid { field, .. } => {
                Self::bad_request(Code::InvalidField, detail).with("field", field)
            }
            OrganizationError::Unknown { .. } | OrganizationError::UnknownOverride { .. } => {
                Self::not_found(detail)
            }
        }
    }
}
