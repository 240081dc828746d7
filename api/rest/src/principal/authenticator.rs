//! Who knows the credentials.

use std::{collections::HashSet, fmt};

use super::Principal;
use crate::problem::Problem;

/// Finds the principals behind credentials. Accounts implement it; the server registers it.
#[async_trait::async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The principal of an API key.
    async fn by_key(&self, secret: &str) -> Result<Principal, Problem>;

    /// The principal of a session's token; none when the session is over.
    async fn by_session(&self, token: &str) -> Result<Option<Principal>, Problem>;

    /// Which of these principals, by id, were disabled or revoked.
    async fn departed(&self, ids: &HashSet<String>) -> Result<HashSet<String>, Problem>;
}
