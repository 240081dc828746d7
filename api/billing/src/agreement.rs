//! Prices that are agreed with one organization.

use chrono::NaiveDate;

use crate::Charge;

/// Charges of a plan that count for one organization instead of those of the list, for some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceOverride {
    /// `price_…`
    pub override_id: String,
    /// With whom it is agreed.
    pub organization_id: String,
    /// The plan.
    pub plan: String,
    /// Its charges, in the currency of the plan.
    pub charges: Vec<Charge>,
    /// The first day.
    pub starts_on: NaiveDate,
    /// The first day after it; none: for good.
    pub ends_on: Option<NaiveDate>,
    /// Why.
    pub note: String,
}

impl PriceOverride {
    /// Whether it counts on a day.
    pub fn holds_on(&self, day: NaiveDate) -> bool {
        self.starts_on <= day && self.ends_on.is_none_or(|end| day < end)
    }
}
