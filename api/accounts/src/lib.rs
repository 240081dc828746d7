//! Users and how they sign in, API keys, organizations, and the audit log as administrators read it. It implements
//! [`Authenticator`](rest::principal::Authenticator) for all other rooms. It knows nothing of the lake: what changes
//! here reaches it through the outbox.

pub mod audit;
mod directory;
pub mod keys;
pub mod organizations;
pub mod plans;
mod portal;
pub mod quotas;
pub mod users;

pub use directory::{Directory, Secrets};
pub use portal::{Fields, Visit, filled_in, posted, staff_tabs, usage_sections, value, visit};
pub use users::{
    AccountError, Accounts, Devices, Email, NewUser, PasswordFault, Settings, Status, User, Vault,
    check_password, end_all_sessions, find_user, list_users, made_up_password, managers_of,
};

use rest::feature::Feature;

/// The features of this crate.
pub const FEATURES: &[Feature<Directory>] = &[
    organizations::FEATURE,
    plans::FEATURE,
    users::FEATURE,
    audit::FEATURE,
    keys::FEATURE,
    quotas::FEATURE,
    portal::FEATURE,
];

#[cfg(test)]
mod migration_tests;
#[cfg(test)]
mod tests;

/// A database with the tables of this crate.
#[cfg(test)]
async fn scratch() -> state::scratch::Scratch {
    state::scratch::Scratch::new(&all_migrations()).await
}

#[cfg(test)]
fn all_migrations() -> Vec<state::migration::Migration> {
    let delivery = rest::feature::migrations(delivery::FEATURES);
    let own = rest::feature::migrations(FEATURES);
    state::migration::MIGRATIONS.iter().copied().chain(delivery).chain(own).collect()
}
