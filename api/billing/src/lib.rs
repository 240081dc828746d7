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
mod decimal;
mod due;
mod meter;
mod prices;
mod proration;
mod rate;
mod request;
mod segment;
mod subscription;
mod tokens;

pub use accrual::{Accrual, AccruedDay, accruals};
pub use agreement::PriceOverride;
pub use allocation::allocate;
pub use bill::{Bill, Coupon};
pub use charge::{Charge, ChargeModel, PackagePrice, Tier, UnitPrice};
pub use currency::digits;
pub use due::{Billed, Due, DueLine, LATE_PERIODS, LineKey, billing_days, due, reads_from};
pub use meter::{DailyUsage, Meter, ModelUsage};
pub use prices::{Interval, ModelPrices, ModelVersion, PlanPrices, PlanVersion, PriceList};
pub use proration::{BillingDay, Share};
pub use rate::{LineKind, Progress, RatedLine, rate};
pub use request::RateRequest;
pub use segment::{PriceBook, Segment, segments};
pub use subscription::{
    Offer, Phase, Subscription, SubscriptionFault, SubscriptionStatus, When, begin,
};
pub use tokens::{TokenCounts, TokenPrices};

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
