//! Users and how they sign in.

mod admin_routes;
mod administration;
mod cookies;
mod device;
mod email;
mod error;
mod m0004_user_epochs;
mod password;
mod refusals;
mod routes;
mod session;
mod session_row;
mod sign_in;
mod sign_in_page;
mod throttle;
mod user;
mod user_row;

pub use admin_routes::{AccountList, AccountView, NewPassword, ResetBody};
pub use administration::made_up_password;
pub(crate) use administration::{addresses_of, departed_of};
pub use device::Devices;
pub use email::Email;
pub use error::AccountError;
pub use password::{PasswordFault, check_password};
pub use routes::{LoginBody, LoginView, Me, UserView};
pub use session::end_all_sessions;
pub use session::{SessionToken, session_user};
pub use sign_in::SignedInSession;
pub use throttle::Throttle;
pub use user::{NewUser, Status, User, find_user, list_users};

use rand::Rng;
use rest::feature::Feature;
use state::{clock::Clock, migration::Migration, store::Store};

use crate::Directory;
use password::Hasher;
use refusals::Refusals;

/// Users: how they sign in, and how administrators see them.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("users").with_routes(routes::routes).with_migrations(&[Migration {
        name: "m0004_user_epochs",
        up: |m| Box::pin(m0004_user_epochs::up(m)),
    }]);

/// Creates users and signs them in; one per process, as `web::Data<Accounts>`, for it counts the attempts.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    throttle: Throttle,
    devices: Devices,
    hasher: Hasher,
    refusals: Refusals,
}

impl Accounts {
    /// Over the users of `store`, with a random device key: marks of other processes are unknown until
    /// [`Self::with_devices`]. The throttle measures time by `clock`.
    pub fn new(store: Store, clock: &Clock) -> Self {
        // A process that signs nobody in needs no devices that another one knows.
        let devices = Devices::new(rand::rng().random());
        let refusals = Refusals::new(store.clone());
        Self { store, throttle: Throttle::new(clock), devices, hasher: Hasher::new(), refusals }
    }

    /// Knows devices again that other processes with the same key have marked.
    pub fn with_devices(mut self, devices: Devices) -> Self {
        self.devices = devices;
        self
    }
}

#[cfg(test)]
pub(crate) mod tests;
