//! What an event is: a CloudEvent whose `type` chooses the table, and whose `data` carries its columns.

use std::{fmt, sync::Arc};

use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use crate::Table;

/// The tenant: one customer of AI Hub. 1 to 64 characters out of `A–Z a–z 0–9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganizationId(Arc<str>);

impl OrganizationId {
    /// Parses an id; `None` when it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fits.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrganizationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Durable, and counted once.
    Accepted,
    /// The same event was accepted before (or earlier in the same request).
    Duplicate,
    /// Not counted; kept as a dead letter.
    Rejected(Rejection),
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub code: RejectionCode,
    /// RFC 6901 pointer to the offending member, empty for the whole event.
    pub pointer: String,
    /// A sentence for a person.
    pub reason: String,
}

impl Rejection {
    pub fn new(code: RejectionCode, pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { code, pointer: pointer.into(), reason: reason.into() }
    }
}

/// The closed list of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RejectionCode {
    /// The line is not JSON, or not an object.
    MalformedJson,
    /// A member that every event needs is absent or empty.
    MissingField,
    /// A member has another JSON type than its column.
    WrongType,
    /// A member has the right type and an impossible value.
    InvalidValue,
    /// `type` names no table of ours.
    UnknownType,
    /// The key belongs to one organization and the event names another.
    WrongOrganization,
    /// Parts of the tokens exceed their total.
    InconsistentTokens,
    /// More than 32 attributes, or one longer than 256 bytes, or one that is not a scalar.
    InvalidAttributes,
    /// The event's JSON is nested deeper than any event needs.
    TooDeep,
    /// The event happened longer ago than its sender may report.
    TimeTooOld,
    /// The event lies ahead of our clock.
    TimeInFuture,
    /// The same identity was accepted before with other content.
    IdConflict,
    /// The key may not write under this source.
    SourceNotAllowed,
    /// The key may not write events of this type.
    TypeNotAllowed,
    /// An organization's own key states no cost, price or currency.
    MoneyNotAllowed,
    /// A member of `data` is no column, and the sender wants to know.
    UnknownMember,
}

/// What is odd about an event that is not rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The member that became an attribute.
    pub pointer: String,
    /// The column that may be meant.
    pub column: &'static str,
}

impl RejectionCode {
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Whether the sender may not write that, whatever it says.
    pub fn is_outside_grant(self) -> bool {
        matches!(self, Self::SourceNotAllowed | Self::TypeNotAllowed | Self::MoneyNotAllowed)
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The table and the `kind` or `action` that an event's `type` names.
pub(crate) fn route(event_type: &str) -> Option<(Table, Option<&str>)> {
    match event_type.split_once('.')? {
        ("usage", "request") => Some((Table::UsageLedger, None)),
        ("billing", kind) if BILLING_KINDS.contains(&kind) => {
            Some((Table::BillingEvents, Some(kind)))
        }
        ("activity", action) if is_word(action) => Some((Table::ActivityEvents, Some(action))),
        _ => None,
    }
}

/// The table that events of a type fill.
pub fn table_of(event_type: &str) -> Option<Table> {
    route(event_type).map(|(table, _)| table)
}

/// The facts of the commercial life.
const BILLING_KINDS: [&str; 9] = [
    "signed_up",
    "trial_started",
    "subscription_created",
    "subscription_changed",
    "subscription_canceled",
    "invoice_finalized",
    "payment_succeeded",
    "payment_failed",
    "payment_refunded",
];

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_choose_tables() {
        assert_eq!(route("usage.request"), Some((Table::UsageLedger, None)));
        assert_eq!(
            route("billing.payment_failed"),
            Some((Table::BillingEvents, Some("payment_failed")))
        );
        assert_eq!(route("activity.login"), Some((Table::ActivityEvents, Some("login"))));
        for bad in ["usage", "usage.other", "billing.gift", "activity.", "activity.Log In", ""] {
            assert_eq!(route(bad), None, "{bad}");
        }
    }

    #[test]
    fn organization_ids_are_checked() {
        assert!(OrganizationId::parse("org_1-A").is_some());
        let long = "x".repeat(65);
        for bad in ["", "a b", "a/b", "é", long.as_str()] {
            assert!(OrganizationId::parse(bad).is_none(), "{bad}");
        }
    }
}
