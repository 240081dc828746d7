//! Segments: the parts of a billing period that have one price.

use std::collections::BTreeSet;

use accounts::plans::Currency;
use chrono::NaiveDate;
use rust_decimal::Decimal;

use crate::{
    BillingError, Charge, ChargeModel, Meter, PriceList,
    agreement::PriceOverride,
    decimal::Checked,
    proration::Share,
    rate::amount,
    subscription::{Phase, Subscription},
};

/// A part of a billing period in which plan, seats and prices stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its days, of those of the whole period.
    pub share: Share,
    /// The first day of the period.
    pub period_start: NaiveDate,
    /// The plan.
    pub plan: String,
    /// The version of its price: `pro@2`, or the id of an override.
    pub price_version: String,
    /// How many seats.
    pub seats: u32,
    /// Nothing is charged.
    pub is_trial: bool,
    /// Of all charges.
    pub currency: Currency,
    /// What is charged for a whole period.
    pub charges: Vec<Charge>,
}

/// What things cost: the list for all, and what is agreed with single organizations.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    /// The list.
    pub list: PriceList,
    /// The oldest first. Of several that hold on a day, the last counts.
    pub overrides: Vec<PriceOverride>,
}

impl PriceBook {
    /// The charges of a plan for an organization on a day, and the name of their version.
    pub fn charges_on(
        &self,
        organization_id: &str,
        plan: &str,
        day: NaiveDate,
    ) -> Option<(String, Currency, &[Charge])> {
        let (number, version) = self.list.plan_on(plan, day)?;
        let holds = |one: &&PriceOverride| {
            one.organization_id == organization_id && one.plan == plan && one.holds_on(day)
        };
        Some(match self.overrides.iter().rfind(holds) {
            Some(one) => (one.override_id.clone(), version.currency, &one.charges),
            None => (format!("{plan}@{number}"), version.currency, &version.charges),
        })
    }

    /// The days on which prices of a plan change for an organization.
    fn changes(&self, organization_id: &str, plan: &str) -> BTreeSet<NaiveDate> {
        let versions = self.list.plans.iter().filter(|prices| prices.plan == plan);
        let versions = versions.flat_map(|prices| prices.versions.iter().map(|one| one.from));
        let agreed = self.overrides.iter();
        let agreed =
            agreed.filter(|one| one.organization_id == organization_id && one.plan == plan);
        versions
            .chain(agreed.flat_map(|one| [Some(one.starts_on), one.ends_on]).flatten())
            .collect()
    }

    /// What recurs in each billing period of a phase: flat charges and seats, by the prices of a day.
    pub fn recurring(
        &self,
        subscription: &Subscription,
        phase: &Phase,
        day: NaiveDate,
        digits: u32,
    ) -> Result<Decimal, BillingError> {
        let found = self.charges_on(&subscription.organization_id, &phase.plan, day);
        let (_, _, charges) = found.ok_or_else(|| unpriced(&phase.plan, day))?;
        let mut sum = amount(Decimal::ZERO, digits);
        for charge in charges {
            let quantity = match charge.meter.as_deref().and_then(Meter::parse) {
                None => Decimal::ONE,
                Some(Meter::Seats) => phase.seats.into(),
                Some(_) => continue,
            };
            for line in crate::rate::rate(charge, quantity, &crate::Progress::default(), digits)? {
                sum = sum.plus(line.amount)?;
            }
        }
        Ok(sum)
    }
}

fn unpriced(plan: &str, day: NaiveDate) -> BillingError {
    BillingError::Unpriced { plan: plan.to_owned(), day }
}

/// The segments of a billing period of a subscription, in their order.
pub fn segments(
    subscription: &Subscription,
    (start, end): (NaiveDate, NaiveDate),
    book: &PriceBook,
) -> Result<Vec<Segment>, BillingError> {
    let from = start.max(subscription.starts_on());
    let to = subscription.ends_on.map_or(end, |last| last.min(end));
    let mut days: BTreeSet<NaiveDate> = [from].into();
    for phase in &subscription.phases {
        days.insert(phase.from);
        days.extend(book.changes(&subscription.organization_id, &phase.plan));
    }
    let days: Vec<_> = days.into_iter().filter(|day| from <= *day && *day < to).collect();
    let mut segments: Vec<Segment> = Vec::new();
    for (place, day) in days.iter().enumerate() {
        let until = days.get(place + 1).copied().unwrap_or(to);
        let Some(phase) = subscription.phase_on(*day) else { continue };
        let found = book.charges_on(&subscription.organization_id, &phase.plan, *day);
        let found = found.filter(|(_, currency, _)| *currency == subscription.currency);
        let (price_version, currency, charges) =
            found.ok_or_else(|| unpriced(&phase.plan, *day))?;
        if let Some(last) = segments.last_mut()
            && (&last.plan, &last.price_version, last.seats, last.is_trial)
                == (&phase.plan, &price_version, phase.seats, phase.is_trial)
        {
            last.share.to = until;
            continue;
        }
        let days_of_period = (end - start).num_days();
        segments.push(Segment {
            share: Share { from: *day, to: until, days_of_period },
            period_start: start,
            plan: phase.plan.clone(),
            price_version,
            seats: phase.seats,
            is_trial: phase.is_trial,
            currency,
            charges: if phase.is_trial { Vec::new() } else { charges.to_vec() },
        });
    }
    Ok(segments)
}

impl Segment {
    /// A charge as it is for the days of the segment: flat amounts, prices of seats, what is included, and bounds are in
    /// proportion. Prices of what is counted stay, and their tiers.
    pub(crate) fn prorated(&self, charge: &Charge, digits: u32) -> Result<Charge, BillingError> {
        if self.share.days() == self.share.days_of_period {
            return Ok(charge.clone());
        }
        let part = |whole: Decimal| self.share.of(whole);
        let mut charge = charge.clone();
        let is_seats = charge.meter.as_deref() == Some(Meter::Seats.as_str());
        for bound in [&mut charge.minimum, &mut charge.maximum].into_iter().flatten() {
            *bound = amount(part(*bound)?, digits);
        }
        if !is_seats {
            let meter = charge.meter.as_deref().and_then(Meter::parse);
            let is_money = matches!(meter, Some(Meter::ListPrice | Meter::ModelPrice));
            let scale = charge.included.scale();
            let scale = if is_money { scale.max(digits) } else { scale };
            charge.included = amount(part(charge.included)?, scale);
        }
        match &mut charge.price {
            ChargeModel::Flat(price) => *price = part(*price)?,
            ChargeModel::PerUnit(price) if is_seats => price.amount = part(price.amount)?,
            ChargeModel::Package(price) if is_seats => price.amount = part(price.amount)?,
            ChargeModel::Graduated(tiers) | ChargeModel::Volume(tiers) if is_seats => {
                for tier in tiers {
                    tier.unit = part(tier.unit)?;
                    tier.flat = part(tier.flat)?;
                }
            }
            _ => {}
        }
        Ok(charge)
    }
}
