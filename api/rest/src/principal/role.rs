//! What a user is for.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Ability;

/// The role of a user. In texts it is the name in lowercase, such as `analyst`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    IntoStaticStr,
    VariantArray,
    EnumString,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Asks questions in SQL, over all organizations.
    Analyst,
    /// Reads dashboards, over all organizations.
    Manager,
    /// A customer's user: sees the own organization only.
    User,
    /// A customer's user who manages the members and the subscription of the own organization, too.
    Enterprise,
}

/// A text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be admin, analyst, manager, user or enterprise")]
pub struct UnknownRole;

impl Role {
    /// Every role, in the order of their declaration.
    pub const ALL: &'static [Self] = Self::VARIANTS;
    /// Those that something is shared with or granted to. Of a customer's users, it is for all.
    pub const SHARED: [Self; 4] = [Self::Admin, Self::Analyst, Self::Manager, Self::User];

    /// Reads the text that [`Self::as_str`] gives. Fails for any other text.
    pub fn parse(text: &str) -> Result<Self, UnknownRole> {
        text.parse().map_err(|_| UnknownRole)
    }

    /// The text in the database and in answers, such as `analyst`.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Reads the text of one of [`Self::SHARED`]. Fails for any other text.
    pub fn parse_shared(text: &str) -> Result<Self, UnknownRole> {
        Self::parse(text).ok().filter(|role| Self::SHARED.contains(role)).ok_or(UnknownRole)
    }

    /// Whether users in this role belong to an organization, and see nothing else.
    pub fn is_of_organization(self) -> bool {
        matches!(self, Self::User | Self::Enterprise)
    }

    /// What users in this role may do.
    pub fn abilities(self) -> &'static [Ability] {
        match self {
            Self::Admin => &Ability::ALL,
            Self::Analyst => &[Ability::RunSql, Ability::ReadMetrics, Ability::ViewDashboard],
            Self::User => &[
                Ability::RunSql,
                Ability::ReadMetrics,
                Ability::ViewDashboard,
                Ability::ManageKeys,
            ],
            Self::Enterprise => &[
                Ability::RunSql,
                Ability::ReadMetrics,
                Ability::ViewDashboard,
                Ability::ManageKeys,
                Ability::ManageMembers,
                Ability::ManageBilling,
            ],
            Self::Manager => &[Ability::ReadMetrics, Ability::ViewDashboard],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_sees_dashboards() {
        for role in Role::ALL {
            assert!(role.abilities().contains(&Ability::ViewDashboard), "{}", role.as_str());
        }
    }
}
