//! Users and how they sign in.

mod email;
mod password;
mod role;
mod routes;
mod session;
mod session_row;
mod sign_in;
mod throttle;
mod user;
mod user_row;

pub use email::Email;
pub use password::{PasswordFault, check_password};
pub use role::Role;
pub use routes::{__path_login, __path_logout, __path_me};
pub use routes::{LoginBody, LoginView, Me, UserView, configure};
pub use session::{SessionToken, session_user};
pub use sign_in::SignedInSession;
pub use throttle::Throttle;
pub use user::{NewUser, Status, User, list_users};

use crate::{clock::Clock, store::Store};
use password::Hasher;

/// Creates users and signs them in; one per process, as `web::Data<Accounts>`, for it counts the attempts.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    throttle: Throttle,
    hasher: Hasher,
}

impl Accounts {
    pub fn new(store: Store, clock: &Clock) -> Self {
        Self { store, throttle: Throttle::new(clock), hasher: Hasher::new() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
