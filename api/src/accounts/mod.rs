//! Users and how they sign in.

mod admin_routes;
mod administration;
mod device;
mod email;
mod error;
mod password;
mod refusals;
mod role;
mod routes;
mod session;
mod session_row;
mod sign_in;
mod throttle;
mod user;
mod user_row;

pub use admin_routes::{
    __path_disable_user, __path_enable_user, __path_list_users, __path_reset_password,
    __path_sign_out_user,
};
pub use admin_routes::{AccountList, AccountView, NewPassword, ResetBody};
pub(crate) use administration::disabled_of;
pub use administration::made_up_password;
pub use device::Devices;
pub use email::Email;
pub use error::AccountError;
pub use password::{PasswordFault, check_password};
pub use role::Role;
pub use routes::{__path_login, __path_logout, __path_me};
pub use routes::{LoginBody, LoginView, Me, UserView, configure};
pub(crate) use session::end_all_sessions;
pub use session::{SessionToken, session_user};
pub use sign_in::SignedInSession;
pub use throttle::Throttle;
pub(crate) use throttle::network_of;
pub use user::{NewUser, Status, User, find_user, list_users};

use rand::Rng;

use crate::{clock::Clock, store::Store};
use password::Hasher;
use refusals::Refusals;

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
