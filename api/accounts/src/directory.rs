//! What the features of this crate work with, and what all others ask: who somebody is.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use actix_web::web::Data;
use delivery::Courier;
use rest::{
    client_limiter::ClientLimiter,
    principal::{Authenticator, Principal, Restriction, Role},
    problem::{Code, Problem},
};
use state::{State, store::Store};

use crate::{
    keys::{self, KeyRing},
    plans::Plans,
    quotas::{self, Quotas},
    users::{
        self, AccountError, Accounts, Devices, Email, Outgoing, Session, SessionKind, Settings,
        Status, User, Vault,
    },
};

/// Users, keys and organizations. Clones share what it counts and remembers.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The database, the clock and the background tasks, as all features share them.
    pub state: State,
    /// Creates users and signs them in. It counts the attempts to sign in, for all clones together.
    pub accounts: Data<Accounts>,
    pub(crate) keys: Data<KeyRing>,
    pub(crate) plans: Data<Plans>,
    /// What was used in this month.
    pub quotas: Data<Quotas>,
    pub(crate) courier: Arc<Courier>,
    /// The places of streams.
    pub(crate) streams: ClientLimiter,
    /// Where thresholds of quotas are told; empty: nowhere.
    pub(crate) quota_webhook: String,
}

/// What accounts are made with.
#[derive(Debug)]
pub struct Secrets {
    /// Recognizes the browsers that users have signed in with.
    pub devices: Devices,
    /// Opens what the database holds sealed.
    pub vault: Vault,
    /// How users come.
    pub settings: Settings,
}

impl Directory {
    /// A directory over the database of `state`.
    pub fn new(state: State, secrets: Secrets, plans: Plans, courier: Courier) -> Self {
        let Secrets { devices, vault, settings } = secrets;
        let outgoing = Outgoing { links: courier.links.clone(), sends_mail: courier.sends_mail() };
        let accounts = Accounts::new(state.store.clone(), &state.clock)
            .with_devices(devices)
            .with_vault(vault)
            .with_mails(outgoing, settings);
        let keys = Data::new(KeyRing::new(state.store.clone()));
        Self {
            state,
            accounts: Data::new(accounts),
            keys,
            plans: Data::new(plans),
            quotas: Data::default(),
            courier: Arc::new(courier),
            streams: quotas::stream_limiter(),
            quota_webhook: String::new(),
        }
    }

    /// Tells this address, too, when a threshold of a quota is reached.
    pub fn with_quota_webhook(self, address: &str) -> Self {
        Self { quota_webhook: address.to_owned(), ..self }
    }
}

impl Directory {
    /// Whether an organization is registered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_organization(&self, organization_id: &str) -> Result<bool, Problem> {
        let now = self.state.clock.now();
        Ok(self.keys.organization(organization_id, now).await?.is_some())
    }

    async fn by_access_token(&self, token: &str) -> Result<Principal, Problem> {
        let now = self.state.clock.now();
        let found = self.accounts.by_access_token(token, now).await?;
        let over = || Problem::unauthorized(Code::SessionOver, "the access token is not valid");
        let (user, session) = found.ok_or_else(over)?;
        Ok(self.in_session(user, session).await?)
    }

    /// The principal of a user in a session.
    async fn in_session(&self, user: User, session: Session) -> Result<Principal, AccountError> {
        let restriction = match session.kind {
            SessionKind::View => Some(Restriction::View),
            SessionKind::Browser | SessionKind::Program => self.accounts.restriction(&user).await?,
        };
        let needs_confirmation = self.accounts.needs_confirmation(&session, self.state.clock.now());
        let principal = user.principal();
        Ok(Principal {
            session_id: Some(session.session_id),
            restriction: restriction.or(principal.restriction),
            needs_confirmation,
            ..principal
        })
    }
}

#[async_trait::async_trait]
impl Authenticator for Directory {
    async fn by_key(&self, secret: &str, from: Option<IpAddr>) -> Result<Principal, Problem> {
        // A JWT has dots, and a key has none.
        if secret.contains('.') {
            return self.by_access_token(secret).await;
        }
        Ok(self.keys.verify(secret, from, self.state.clock.now()).await?)
    }

    async fn by_session(&self, token: &str) -> Result<Option<Principal>, Problem> {
        let State { store, clock, .. } = &self.state;
        let found = users::find_session(store, token, clock.now()).await?;
        let Some((user, session)) = found else { return Ok(None) };
        Ok(Some(self.in_session(user, session).await?))
    }

    async fn by_id(&self, id: &str) -> Result<Option<Principal>, Problem> {
        let State { store, clock, .. } = &self.state;
        if id == Principal::local_process().id {
            return Ok(Some(Principal::local_process()));
        }
        if id.starts_with("key_") {
            return Ok(keys::find_working(store, id, clock.now())
                .await?
                .map(|key| key.principal()));
        }
        found(store, users::find_user(store, id).await).await
    }

    async fn by_email(&self, email: &str) -> Result<Option<Principal>, Problem> {
        match Email::parse(email) {
            Ok(email) => {
                let store = &self.state.store;
                found(store, users::find_user(store, email.as_str()).await).await
            }
            Err(_) => Ok(None),
        }
    }

    async fn administrators(&self) -> Result<Vec<String>, Problem> {
        let users = users::list_users(&self.state.store).await?;
        let administrators = users
            .into_iter()
            .filter(|user| user.role == Role::Admin && user.status == Status::Active);
        Ok(administrators.map(|user| user.email.to_string()).collect())
    }

    async fn departed(&self, ids: &HashSet<String>) -> Result<HashSet<String>, Problem> {
        let store = &self.state.store;
        let of = |start: &str| -> HashSet<String> {
            ids.iter().filter(|id| id.starts_with(start)).cloned().collect()
        };
        let (users, keys) = (of("user_"), of("key_"));
        let mut departed = HashSet::new();
        if !users.is_empty() {
            departed.extend(users::departed_of(store, &users).await?);
        }
        if !keys.is_empty() {
            departed.extend(keys::departed_of(store, &keys, self.state.clock.now()).await?);
        }
        Ok(departed)
    }
}

/// The principal of a user who can sign in.
async fn found(
    store: &Store,
    user: Result<User, AccountError>,
) -> Result<Option<Principal>, Problem> {
    match user {
        Ok(user) => Ok(user.admitted(store.db()).await?.map(User::principal)),
        Err(AccountError::UnknownUser { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
