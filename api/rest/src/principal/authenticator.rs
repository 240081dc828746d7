//! Who knows the credentials.

use std::{collections::HashSet, fmt, net::IpAddr};

use super::Principal;
use crate::problem::Problem;

/// Finds the principals behind credentials. Accounts implement it; the server registers it.
#[async_trait::async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The principal of an API key that is used from an address; none where that is not known.
    async fn by_key(&self, secret: &str, from: Option<IpAddr>) -> Result<Principal, Problem>;

    /// The principal of a session's token; none when the session is over.
    async fn by_session(&self, token: &str) -> Result<Option<Principal>, Problem>;

    /// The principal with this id; none when it cannot sign in, or work, any more.
    async fn by_id(&self, id: &str) -> Result<Option<Principal>, Problem>;

    /// The user with this e-mail address; none when nobody can sign in with it.
    async fn by_email(&self, email: &str) -> Result<Option<Principal>, Problem>;

    /// The e-mail addresses of the administrators who can sign in.
    async fn administrators(&self) -> Result<Vec<String>, Problem>;

    /// Which of these principals, by id, were disabled or revoked.
    async fn departed(&self, ids: &HashSet<String>) -> Result<HashSet<String>, Problem>;
}
