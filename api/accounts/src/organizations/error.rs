//! What can go wrong with organizations.

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
}
