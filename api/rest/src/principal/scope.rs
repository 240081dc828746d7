//! What a key is for.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

use super::Ability;

/// A part of what an API key may do. In texts it is the name in lowercase, such as `backfill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Scope {
    /// To run SQL, read metrics and see dashboards.
    Read,
    /// To send events.
    Write,
    /// Lifts the limit on the age of events; it takes `Write` to send any.
    Backfill,
    /// To manage keys, users and the system. No key of one organization holds it.
    Admin,
    /// To verify the keys of customers. No key of one organization holds it.
    Verify,
}

/// A set of scopes, never empty. Its text is a comma list in the order read, write, backfill, admin, verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

/// A text is no list of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::REASON)]
pub struct UnknownScope;

/// A name of two scopes together.
const READ_WRITE: &str = "read-write";

impl UnknownScope {
    /// What a list of scopes must be: the end of a sentence that begins with the field.
    pub const REASON: &str = "must be some of read, write, read-write, backfill, admin, verify";
}

impl Scope {
    /// Every scope, in the order read, write, backfill, admin, verify.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The text in the database and in answers, such as `backfill`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// What keys with this scope may do.
    pub fn abilities(self) -> &'static [Ability] {
        match self {
            Self::Read => &[Ability::RunSql, Ability::ReadMetrics, Ability::ViewDashboard],
            Self::Write => &[Ability::SendEvents],
            Self::Backfill => &[Ability::Backfill],
            Self::Admin => &[
                Ability::Administer,
                Ability::ManageKeys,
                Ability::ManageMembers,
                Ability::ManageBilling,
            ],
            Self::Verify => &[Ability::VerifyKeys],
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    /// Reads a comma list such as `read,write`.
    pub fn parse(text: &str) -> Result<Self, UnknownScope> {
        Self::of(text.split(',').map(str::trim))
    }

    /// The set of the scopes with these names, each of which may come twice. Fails for an unknown name, and for no name
    /// at all.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        let mut bits = 0;
        for name in names {
            if name == READ_WRITE {
                bits |= Scope::Read.bit() | Scope::Write.bit();
                continue;
            }
            match Scope::ALL.iter().find(|scope| scope.as_str() == name) {
                Some(scope) => bits |= scope.bit(),
                None => return Err(UnknownScope),
            }
        }
        if bits == 0 { Err(UnknownScope) } else { Ok(Self(bits)) }
    }

    /// Whether the set holds the scope.
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The scopes of the set, in the order read, write, backfill, admin, verify.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.contains(*scope))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}
