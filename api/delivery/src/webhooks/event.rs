//! What webhooks tell of.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

/// Something that happened to an organization. Programs decide by it: a type is never renamed.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    IntoStaticStr,
    EnumString,
    VariantArray,
)]
pub enum EventType {
    /// An invoice or a credit note is final.
    #[serde(rename = "invoice.issued")]
    #[strum(serialize = "invoice.issued")]
    InvoiceIssued,
    /// An invoice is paid.
    #[serde(rename = "invoice.paid")]
    #[strum(serialize = "invoice.paid")]
    InvoicePaid,
    /// An invoice was canceled as a whole.
    #[serde(rename = "invoice.voided")]
    #[strum(serialize = "invoice.voided")]
    InvoiceVoided,
    /// An invoice was not paid in time.
    #[serde(rename = "invoice.overdue")]
    #[strum(serialize = "invoice.overdue")]
    InvoiceOverdue,
    /// A payment came.
    #[serde(rename = "payment.succeeded")]
    #[strum(serialize = "payment.succeeded")]
    PaymentSucceeded,
    /// A charge was declined.
    #[serde(rename = "payment.failed")]
    #[strum(serialize = "payment.failed")]
    PaymentFailed,
    /// A payment was given back.
    #[serde(rename = "payment.refunded")]
    #[strum(serialize = "payment.refunded")]
    PaymentRefunded,
    /// Half, four fifths or all of a quota is used.
    #[serde(rename = "quota.threshold_reached")]
    #[strum(serialize = "quota.threshold_reached")]
    QuotaThresholdReached,
    /// An API key was made.
    #[serde(rename = "key.created")]
    #[strum(serialize = "key.created")]
    KeyCreated,
    /// An API key has another secret.
    #[serde(rename = "key.rotated")]
    #[strum(serialize = "key.rotated")]
    KeyRotated,
    /// An API key does not work any more.
    #[serde(rename = "key.revoked")]
    #[strum(serialize = "key.revoked")]
    KeyRevoked,
    /// An alert found what it looks for.
    #[serde(rename = "alert.opened")]
    #[strum(serialize = "alert.opened")]
    AlertOpened,
    /// It is over.
    #[serde(rename = "alert.resolved")]
    #[strum(serialize = "alert.resolved")]
    AlertResolved,
    /// A run of a report was sent.
    #[serde(rename = "report.sent")]
    #[strum(serialize = "report.sent")]
    ReportSent,
    /// A run of a report failed.
    #[serde(rename = "report.failed")]
    #[strum(serialize = "report.failed")]
    ReportFailed,
    /// The organization was suspended.
    #[serde(rename = "organization.suspended")]
    #[strum(serialize = "organization.suspended")]
    OrganizationSuspended,
    /// The organization works again.
    #[serde(rename = "organization.activated")]
    #[strum(serialize = "organization.activated")]
    OrganizationActivated,
    /// The organization was disabled.
    #[serde(rename = "organization.disabled")]
    #[strum(serialize = "organization.disabled")]
    OrganizationDisabled,
    /// Somebody tries the endpoint. It cannot be chosen.
    #[serde(rename = "webhook.test")]
    #[strum(serialize = "webhook.test")]
    WebhookTest,
}

impl EventType {
    /// The text in bodies.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Those that an endpoint may choose.
    pub fn choices() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied().filter(|event| *event != Self::WebhookTest)
    }
}
