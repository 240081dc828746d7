//! Why an act of billing is refused, and how a client is told.

use accounts::organizations::OrganizationError;
use rest::problem::{Code, Problem};
use state::store::StoreError;

use crate::{BillingError, SubscriptionFault, usage::UsageError};

/// Why an act of billing failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Of an organization.
    #[error(transparent)]
    Organization(#[from] OrganizationError),
    /// Prices, quantities or amounts make no sense.
    #[error(transparent)]
    Rules(#[from] BillingError),
    /// It cannot be done to the subscription.
    #[error(transparent)]
    Subscription(#[from] SubscriptionFault),
    /// The usage could not be read.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A price was used.
    #[error("the price `{version}` {reason}")]
    Frozen {
        /// Such as `pro@2`.
        version: String,
        /// The end of the sentence.
        reason: String,
    },
    /// A field has a value that is not possible.
    #[error("`{field}` {reason}")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// The end of the sentence.
        reason: String,
    },
    /// Nothing is there, or it belongs to somebody else.
    #[error("there is no {0}")]
    Unknown(String),
    /// The organization has a subscription.
    #[error("the organization has a subscription: change it")]
    Subscribed,
    /// The invoice is not in a state in which this can be done.
    #[error("{0}")]
    InvoiceState(String),
    /// Usage that is needed is not kept.
    #[error("{0}")]
    UsageGone(String),
    /// A payment provider is not configured.
    #[error("{0}")]
    PaymentsNotConfigured(String),
    /// A payment provider does not answer.
    #[error("{0}")]
    ProviderAway(String),
    /// No font for a document.
    #[error("{0}")]
    FontMissing(String),
}

impl Fault {
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        match fault {
            Fault::Store(error) => error.into(),
            Fault::Organization(error) => error.into(),
            Fault::Usage(error) => error.into(),
            Fault::Rules(BillingError::Unpriced { .. }) => {
                Self::conflict(Code::PriceMissing, detail)
            }
            Fault::Rules(_) => Self::bad_request(Code::InvalidField, detail),
            Fault::Subscription(SubscriptionFault::Seats) => {
                Self::bad_request(Code::InvalidField, detail).with("field", "seats")
            }
            Fault::Subscription(_) | Fault::Subscribed => {
                Self::conflict(Code::SubscriptionState, detail)
            }
            Fault::Frozen { .. } => Self::conflict(Code::PriceFrozen, detail),
            Fault::Invalid { field, .. } => {
                Self::bad_request(Code::InvalidField, detail).with("field", field)
            }
            Fault::Unknown(_) => Self::not_found(detail),
            Fault::UsageGone(_) | Fault::InvoiceState(_) => {
                Self::conflict(Code::InvoiceState, detail)
            }
            Fault::PaymentsNotConfigured(_) => Self::conflict(Code::PaymentsNotConfigured, detail),
            Fault::ProviderAway(_) => Self::unavailable(5).explained(detail),
            Fault::FontMissing(_) => Self::conflict(Code::FontMissing, detail),
        }
    }
}
