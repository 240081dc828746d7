//! Whether a key may be used for something: the rule.

use std::{net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use rest::principal::Scope;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiKey;
use crate::organizations::{OrganizationStatus, Standing};

/// What a key is to be used for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verification<'a> {
    /// The model that is called.
    pub model: Option<&'a str>,
    /// Where the call comes from.
    pub from: Option<IpAddr>,
    /// A scope that the call needs.
    pub scope: Option<Scope>,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// It may be used.
    #[default]
    Valid,
    /// It is malformed or unknown.
    NotFound,
    /// It was revoked, or its organization or the user who made it is suspended or disabled.
    Disabled,
    /// Its time is over.
    Expired,
    /// It is not for this address, or it belongs to the platform and to no customer.
    Forbidden,
    /// It lacks the scope.
    InsufficientPermissions,
    /// Neither it nor the plan of its organization is for another model.
    ModelNotAllowed,
    /// A quota of the month is used up.
    UsageExceeded,
    /// Somebody has called as often as the plan or the key allows.
    RateLimited,
}

/// A key with what is known of its organization.
#[derive(Debug, Clone)]
pub(crate) struct KnownKey {
    pub(crate) key: ApiKey,
    /// None for a key of the platform.
    pub(crate) organization: Option<Arc<Standing>>,
    /// The customer's user who made it is suspended or disabled.
    pub(crate) is_barred: bool,
}

impl KnownKey {
    /// Whether it works at all.
    pub(crate) fn standing(&self, now: DateTime<Utc>) -> Verdict {
        let organization = self.organization.as_deref();
        let is_active = organization.is_none_or(|one| one.status == OrganizationStatus::Active);
        if self.key.revoked_at.is_some() || self.is_barred || !is_active {
            return Verdict::Disabled;
        }
        let max_age = organization.and_then(|one| one.key_max_age);
        if self.key.ends_at(max_age).is_some_and(|at| at <= now) {
            return Verdict::Expired;
        }
        Verdict::Valid
    }

    /// Whether it may be used for something. The first reason against it counts, in the order of [`Verdict`].
    pub(crate) fn verdict(&self, asked: &Verification<'_>, now: DateTime<Utc>) -> Verdict {
        let standing = self.standing(now);
        let limits = &self.key.limits;
        if standing != Verdict::Valid {
            standing
        } else if self.organization.is_none() || !limits.allows_address(asked.from) {
            Verdict::Forbidden
        } else if asked.scope.is_some_and(|scope| !self.key.scopes.contains(scope)) {
            Verdict::InsufficientPermissions
        } else if !limits.allows_model(asked.model) {
            Verdict::ModelNotAllowed
        } else {
            Verdict::Valid
        }
    }
}
