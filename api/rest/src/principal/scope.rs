//! What a key is for.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

use super::Ability;

#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Scope {
    Read,
    Write,
    /// Lifts the limit on the age of events; it takes `Write` to send any.
    Backfill,
    Admin,
}

/// A set of scopes, never empty. Its text is a comma list in the order read, write, backfill, admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

/// A text is no list of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::REASON)]
pub struct UnknownScope;

impl UnknownScope {
    pub const REASON: &str = "must be some of read, write, backfill, admin";
}

impl Scope {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn abilities(self) -> &'static [Ability] {
        match self {
            Self::Read => &[Ability::RunSql, Ability::ReadMetrics, Ability::ViewDashboard],
            Self::Write => &[Ability::SendEvents],
            Self::Backfill => &[Ability::Backfill],
            Self::Admin => &[Ability::Administer],
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

    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        let mut bits = 0;
        for name in names {
            match Scope::ALL.iter().find(|scope| scope.as_str() == name) {
                Some(scope) => bits |= scope.bit(),
                None => return Err(UnknownScope),
            }
        }
        if bits == 0 { Err(UnknownScope) } else { Ok(Self(bits)) }
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

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
