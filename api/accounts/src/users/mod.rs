//! Users and how they sign in.

mod access;
mod account_routes;
mod admin_routes;
mod administration;
mod code_row;
mod confirmation;
mod cookies;
mod device;
mod email;
mod error;
mod factor_routes;
mod key_row;
mod m0004_user_epochs;
mod m0023_accounts;
mod m0026_views;
mod mail;
mod mail_limit;
mod member_routes;
mod members;
mod password;
mod profile;
mod project_row;
mod projects;
mod recovery;
mod refresh;
mod refusals;
mod registration;
mod routes;
mod second_factor;
mod session;
mod session_cache;
mod session_row;
mod sign_in;
mod sign_in_page;
mod throttle;
mod token_routes;
mod token_row;
mod tokens;
mod user;
mod user_row;

pub use admin_routes::{AccountList, AccountView, NewPassword, ResetBody};
pub use administration::made_up_password;
pub use administration::managers_of;
pub(crate) use administration::{addresses_of, barred, departed_of};
pub(crate) use cookies::{mark as device_mark, signed_in as signed_in_cookies};
pub use device::Devices;
pub use email::Email;
pub use error::AccountError;
pub use mail::Outgoing;
pub use members::{Member, members_of};
pub use password::{PasswordFault, check_password};
pub use profile::{Profile, ProfileChange, profile_of};
pub use projects::archive_project;
pub use projects::{Project, create_project_of, projects_of};
pub use refresh::TokenPair;
pub use registration::{Invitation, NewRegistration, Registration, invitations};
pub use routes::{LoginBody, LoginView, Me, UserView};
pub(crate) use routes::{agent, own_user};
pub use second_factor::{Enrolment, FactorState};
pub(crate) use session::VIEW_LIFETIME;
pub use session::end_all_sessions;
pub use session::{Session, SessionKind, SessionToken, session_user, sessions_of};
pub(crate) use session::{find as find_session, session_is_open};
pub use sign_in::{Browser, SignedInSession};
pub(crate) use sign_in_page::own_path;
pub use state::vault::Vault;
pub use throttle::Throttle;
pub use user::{NewUser, Status, User, find_user, list_users};

use std::{num::NonZeroU32, sync::Arc};

use chrono::{DateTime, Utc};
use rand::Rng;
use rest::{
    feature::Feature,
    principal::{Restriction, Role},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::{clock::Clock, migration::Migration, store::Store};
use tokio::sync::Notify;

use crate::Directory;
use access::AccessTokens;
use mail_limit::MailLimit;
use password::Hasher;
use refusals::Refusals;
use session_cache::SessionCache;

/// Who issues access tokens, whatever the address of the server is.
const ISSUER: &str = "aihub";

/// Users: how they sign in, and how administrators see them.
pub(crate) const FEATURE: Feature<Directory> = Feature::new("users")
    .with_routes(routes::routes)
    .with_migrations(&[
        Migration { name: "m0004_user_epochs", up: |m| Box::pin(m0004_user_epochs::up(m)) },
        Migration { name: "m0023_accounts", up: |m| Box::pin(m0023_accounts::up(m)) },
        Migration { name: "m0026_views", up: |m| Box::pin(m0026_views::up(m)) },
    ])
    .with_tasks(|directory| {
        let directory = directory.clone();
        directory.state.tasks.clone().run("first_administrator", async move {
            let now = directory.state.clock.now();
            match directory.accounts.invite_first_administrator(now).await {
                Ok(Some(path)) => {
                    let link = directory.courier.links.to(&path);
                    tracing::warn!(
                        link,
                        "nobody administers yet: open this page within seven days"
                    );
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the first administrator is not invited"),
            }
        });
    });

/// How users come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Who may come: `open`, `invited` or `closed`. Without a mail server it is `closed`.
    pub registration: Registration,
    /// The roles whose users must have a second factor.
    pub second_factor: Vec<Role>,
    /// So many seconds after the password was given, keys, members and acts of administrators ask for it again.
    pub confirm_seconds: NonZeroU32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration: Registration::default(),
            second_factor: Vec::new(),
            confirm_seconds: NonZeroU32::MIN.saturating_add(15 * 60 - 1),
        }
    }
}

/// Creates users and signs them in; one per process, as `web::Data<Accounts>`, for it counts the attempts.
#[derive(Debug, Clone)]
pub struct Accounts {
    store: Store,
    throttle: Arc<Throttle>,
    devices: Devices,
    hasher: Hasher,
    refusals: Arc<Refusals>,
    mails: Arc<MailLimit>,
    outgoing: Outgoing,
    vault: Vault,
    access: AccessTokens,
    sessions: Arc<SessionCache>,
    settings: Settings,
    /// Told when a mail was added beside an answer.
    wake: Arc<Notify>,
}

impl Accounts {
    /// Over the users of `store`, with a random device key: marks of other processes are unknown until
    /// [`Self::with_devices`]. The throttle measures time by `clock`.
    pub fn new(store: Store, clock: &Clock) -> Self {
        // A process that signs nobody in needs no devices that another one knows.
        let devices = Devices::new(rand::rng().random());
        let refusals = Arc::new(Refusals::new(store.clone()));
        let vault = Vault::new(rand::rng().random());
        let access = AccessTokens::new(store.clone(), vault.clone(), ISSUER.to_owned());
        Self {
            store,
            access,
            sessions: Arc::default(),
            throttle: Arc::new(Throttle::new(clock)),
            devices,
            hasher: Hasher::new(),
            refusals,
            mails: Arc::new(MailLimit::new(clock)),
            outgoing: Outgoing::none(),
            vault,
            settings: Settings::default(),
            wake: Arc::default(),
        }
    }

    /// Why a user may do nothing yet: the role needs a second factor that the user lacks.
    pub(crate) async fn restriction(
        &self,
        user: &User,
    ) -> Result<Option<Restriction>, AccountError> {
        let is_needed = self.settings.second_factor.contains(&user.role);
        match is_needed && !second_factor::is_on(&self.store, &user.user_id).await? {
            true => Ok(Some(Restriction::SecondFactorMissing)),
            false => Ok(None),
        }
    }

    /// Sends mails, and lets in who the settings let in.
    pub fn with_mails(mut self, outgoing: Outgoing, settings: Settings) -> Self {
        self.outgoing = outgoing;
        self.settings = settings;
        self
    }

    /// Reads the secrets that other processes with the same key have sealed.
    pub fn with_vault(mut self, vault: Vault) -> Self {
        self.access = AccessTokens::new(self.store.clone(), vault.clone(), ISSUER.to_owned());
        self.vault = vault;
        self
    }

    /// The user and the session of an access token that is good.
    pub(crate) async fn by_access_token(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(User, Session)>, AccountError> {
        let Some(claims) = self.access.read(token, now).await? else { return Ok(None) };
        self.sessions.find(&self.store, &claims.sid, now).await
    }

    /// The public keys of access tokens.
    pub async fn jwks(&self, now: DateTime<Utc>) -> Result<Value, AccountError> {
        self.access.jwks(now).await
    }

    /// Knows devices again that other processes with the same key have marked.
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }
}

#[cfg(test)]
mod refresh_tests;
#[cfg(test)]
mod removal_tests;
#[cfg(test)]
pub(crate) mod tests;
