//! What can go wrong with organizations.

use state::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum OrganizationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{field}` {reason}")]
    Invalid { field: &'static str, reason: &'static str },
}
