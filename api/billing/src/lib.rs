//! What usage costs: charges, rating and bills. The rules are pure: quantities and prices in, lines out.
//!
//! Amounts are decimals. A line is rounded once, half away from zero, to the digits of its currency (ISO 4217), and a
//! total is the sum of rounded lines.

mod accrual;
mod agreement;
mod allocation;
mod bill;
mod charge;
mod currency;
mod customers;
mod decimal;
mod desk;
mod due;
mod fault;
mod invoices;
mod m0027_billing;
mod m0028_payments;
mod mails;
mod meter;
mod own;
mod payments;
mod portal;
mod price_book;
mod prices;
mod proration;
mod rate;
mod request;
mod runs;
mod segment;
mod subscription;
mod subscriptions;
mod tokens;
mod usage;

pub use accrual::{Accrual, AccruedDay, accruals};
pub use agreement::PriceOverride;
pub use allocation::allocate;
pub use bill::{Bill, Coupon};
pub use charge::{Charge, ChargeModel, PackagePrice, Tier, UnitPrice};
pub use currency::digits;
pub use customers::Customer;
pub use desk::{Billing, Seller, Settings};
pub use due::{Billed, Due, DueLine, LATE_PERIODS, LineKey, billing_days, due, reads_from};
pub use fault::Fault;
pub use invoices::{Buyer, Document, Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, midnight};
pub use meter::{DailyUsage, Meter, ModelUsage};
pub use price_book::Applied;
pub use prices::{Interval, ModelPrices, ModelVersion, PlanPrices, PlanVersion, PriceList};
pub use proration::{BillingDay, Share};
pub use rate::{LineKind, Progress, RatedLine, rate};
pub use request::RateRequest;
pub use runs::{BillingRun, RunFailure, RunReport};
pub use segment::{PriceBook, Segment, segments};
pub use subscription::{
    Offer, Phase, Subscription, SubscriptionFault, SubscriptionStatus, When, begin,
};
pub use subscriptions::StoredSubscription;
pub use tokens::{TokenCounts, TokenPrices};
pub use usage::{EventsQuestion, UsageCut, UsageError, UsageQuestion, UsageSource};

use rest::feature::Feature;

/// The features of this crate.
pub const FEATURES: &[Feature<Billing>] = &[
    price_book::FEATURE,
    customers::FEATURE,
    subscriptions::FEATURE,
    invoices::FEATURE,
    runs::FEATURE,
    payments::FEATURE,
    portal::FEATURE,
];

/// Why something cannot be rated.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BillingError {
    /// The text of a request is not what it should be.
    #[error("the request is not readable: {0}")]
    Yaml(String),
    /// A charge makes no sense.
    #[error("the charge `{charge}`: {reason}")]
    Charge {
        /// Its name.
        charge: String,
        /// What is wrong.
        reason: String,
    },
    /// A quantity, an amount or a rate that is not possible.
    #[error("{name}: {reason}")]
    Invalid {
        /// What it is, such as `tax_percent`.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A plan has no price on a day.
    #[error("the plan `{plan}` has no price on {day}")]
    Unpriced {
        /// Its name.
        plan: String,
        /// The day.
        day: chrono::NaiveDate,
    },
    /// An amount has more than 28 digits.
    #[error("an amount is too large")]
    Overflow,
}
