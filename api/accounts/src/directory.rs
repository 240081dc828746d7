//! What the features of this crate work with, and what all others ask: who somebody is.

use std::collections::HashSet;

use actix_web::web::Data;
use rest::{
    principal::{Authenticator, Principal},
    problem::Problem,
};
use state::State;

use crate::{
    keys::{self, KeyRing},
    users::{self, Accounts, Devices},
};

/// Users, keys and organizations. Clones share what it counts and remembers.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The database, the clock and the background tasks, as all features share them.
    pub state: State,
    /// Creates users and signs them in. It counts the attempts to sign in, for all clones together.
    pub accounts: Data<Accounts>,
    pub(crate) keys: Data<KeyRing>,
}

impl Directory {
    /// A directory over the database of `state`. `devices` recognizes the browsers that users have signed in with.
    pub fn new(state: State, devices: Devices) -> Self {
        let accounts = Accounts::new(state.store.clone(), &state.clock).with_devices(devices);
        let keys = Data::new(KeyRing::new(state.store.clone()));
        Self { state, accounts: Data::new(accounts), keys }
    }
}

#[async_trait::async_trait]
impl Authenticator for Directory {
    async fn by_key(&self, secret: &str) -> Result<Principal, Problem> {
        Ok(self.keys.verify(secret, self.state.clock.now()).await?)
    }

    async fn by_session(&self, token: &str) -> Result<Option<Principal>, Problem> {
        let State { store, clock, .. } = &self.state;
        let user = users::session_user(store, token, clock.now()).await?;
        Ok(user.map(|user| user.principal()))
    }

    async fn departed(&self, ids: &HashSet<String>) -> Result<HashSet<String>, Problem> {
        let store = &self.state.store;
        let of = |start: &str| -> HashSet<String> {
            ids.iter().filter(|id| id.starts_with(start)).cloned().collect()
        };
        let (users, keys) = (of("user_"), of("key_"));
        let mut departed = HashSet::new();
        if !users.is_empty() {
            departed.extend(users::disabled_of(store, &users).await?);
        }
        if !keys.is_empty() {
            departed.extend(keys::revoked_of(store, &keys).await?);
        }
        Ok(departed)
    }
}
