//! Permissions as types, for the signatures of handlers.

use super::{Ability, Principal};
use crate::problem::{Code, Problem};

/// A permission as a type: what a handler needs, as in `Authorized<RunSql>`.
pub trait Permission: 'static {
    /// The text in answers with status 403, such as `run_sql`.
    const NAME: &'static str;
    /// Whether who changes something gives the password again, if it was given long ago.
    const IS_SENSITIVE: bool;

    /// Whether the principal holds the permission.
    fn allows(principal: &Principal) -> bool;

    /// 403 without the permission.
    fn check(principal: &Principal) -> Result<(), Problem> {
        if Self::allows(principal) {
            return Ok(());
        }
        let detail = match principal.restriction {
            Some(restriction) => restriction.reason().to_owned(),
            None => format!("this needs the permission `{}`", Self::NAME),
        };
        Err(Problem::forbidden(Code::Forbidden, detail).with("permission", Self::NAME))
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Permission for $name {
            const NAME: &'static str = Ability::$name.name();
            const IS_SENSITIVE: bool = Ability::$name.is_sensitive();

            fn allows(principal: &Principal) -> bool {
                principal.may(Ability::$name)
            }
        }
    )*};
}

permissions! {
    /// To send events.
    SendEvents
    /// To run SQL over the rows in reach.
    RunSql
    /// To read metrics over the rows in reach.
    ReadMetrics
    /// To see dashboards over the rows in reach.
    ViewDashboard
    /// To manage keys, users and the system.
    Administer
    /// To verify the keys of customers.
    VerifyKeys
    /// To manage the keys of the organizations in reach.
    ManageKeys
    /// To manage the members of the organizations in reach.
    ManageMembers
    /// To manage the subscription and the payments of the organizations in reach.
    ManageBilling
}

/// Any principal at all.
#[derive(Clone, Copy, Debug)]
pub struct SignedIn;

impl Permission for SignedIn {
    const NAME: &'static str = "signed_in";
    const IS_SENSITIVE: bool = false;

    fn allows(_: &Principal) -> bool {
        true
    }
}
