//! Subscriptions: which plan counts on which day, and what can be done to them. Days are local days of the bill's zone.

use accounts::plans::Currency;
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::proration::BillingDay;

/// The plan of an organization, from its first day to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// `sub_…`
    pub subscription_id: String,
    /// Who pays.
    pub organization_id: String,
    /// Of all its invoices.
    pub currency: Currency,
    /// Its days begin at midnight there.
    pub zone: Tz,
    /// What counts from a day on, by day; never empty.
    pub phases: Vec<Phase>,
    /// The first day after it.
    pub ends_on: Option<NaiveDate>,
    /// Why it ends.
    pub end_reason: Option<String>,
}

/// What counts from a day until the next phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The first day.
    pub from: NaiveDate,
    /// The plan.
    pub plan: String,
    /// How many seats.
    pub seats: u32,
    /// Nothing is charged.
    pub is_trial: bool,
    /// When its billing periods begin.
    pub billing_day: BillingDay,
}

/// How a subscription stands on a day. In texts it is the name in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, strum::IntoStaticStr, strum::EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum SubscriptionStatus {
    /// Nothing is charged yet.
    Trialing,
    /// It is charged.
    Active,
    /// It has ended.
    Canceled,
}

/// When a change begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum When {
    /// Today: what is charged is in proportion to the days.
    Now,
    /// With the next billing period; of a trial, when it ends.
    PeriodEnd,
}

/// What a plan says of a subscription to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Its name.
    pub plan: &'a str,
    /// Of its prices.
    pub currency: Currency,
    /// Months of a billing period.
    pub months: u32,
    /// Days without charge at the beginning.
    pub trial_days: u16,
}

/// Why something cannot be done to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    /// It is over, or its end was today.
    #[error("the subscription has ended: start another one")]
    Ended,
    /// It ends at a day that is known.
    #[error("the subscription is to end: reactivate it first")]
    Ending,
    /// It goes on.
    #[error("the subscription is not to end")]
    NotEnding,
    /// The plan and the seats are those of now.
    #[error("nothing would change")]
    NoChange,
    /// The plan has prices in another currency.
    #[error("the plan has prices in another currency")]
    OtherCurrency,
    /// A billing period cannot change its length while it runs.
    #[error(
        "the plan has another billing interval, so the change is possible at the end of the period only"
    )]
    OtherInterval,
    /// At least one.
    #[error("seats are 1 to 1000000")]
    Seats,
    /// The calendar ends.
    #[error("the day is out of range")]
    Day,
}

const SEATS_MAX: u32 = 1_000_000;

impl SubscriptionStatus {
    /// The text in the database and in answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The phases of a subscription that begins: with the trial of its plan, if it has one and it is wanted.
pub fn begin(
    offer: &Offer<'_>,
    seats: u32,
    with_trial: bool,
    today: NaiveDate,
) -> Result<Vec<Phase>, SubscriptionFault> {
    check_seats(seats)?;
    let trial_days = if with_trial { offer.trial_days.into() } else { 0 };
    let paid_from = today.checked_add_days(Days::new(trial_days)).ok_or(SubscriptionFault::Day)?;
    let billing_day = BillingDay { anchor: paid_from, months: offer.months };
    let phase =
        |from, is_trial| Phase { from, plan: offer.plan.to_owned(), seats, is_trial, billing_day };
    let mut phases = Vec::new();
    if trial_days > 0 {
        phases.push(phase(today, true));
    }
    phases.push(phase(paid_from, false));
    Ok(phases)
}

fn check_seats(seats: u32) -> Result<(), SubscriptionFault> {
    match (1..=SEATS_MAX).contains(&seats) {
        true => Ok(()),
        false => Err(SubscriptionFault::Seats),
    }
}

impl Subscription {
    /// The first day.
    pub fn starts_on(&self) -> NaiveDate {
        self.phases.first().map_or(NaiveDate::MIN, |phase| phase.from)
    }

    /// The phase of a day: the last one that has begun, else the first.
    pub fn phase_on(&self, day: NaiveDate) -> Option<&Phase> {
        let begun = self.phases.iter().take_while(|phase| phase.from <= day).last();
        begun.or(self.phases.first())
    }

    /// The phase that is to follow, if it begins before the end.
    pub fn next_phase(&self, today: NaiveDate) -> Option<&Phase> {
        let next = self.phases.iter().find(|phase| phase.from > today);
        next.filter(|next| self.ends_on.is_none_or(|end| next.from < end))
    }

    /// The first day that is charged; none where it ends with its trial.
    pub fn paid_from(&self) -> Option<NaiveDate> {
        let paid = self.phases.iter().find(|phase| !phase.is_trial).map(|phase| phase.from);
        paid.filter(|from| self.ends_on.is_none_or(|end| *from < end))
    }

    /// How it stands on a day.
    pub fn status_on(&self, day: NaiveDate) -> SubscriptionStatus {
        if self.ends_on.is_some_and(|end| end <= day) {
            return SubscriptionStatus::Canceled;
        }
        match self.phase_on(day) {
            Some(phase) if phase.is_trial => SubscriptionStatus::Trialing,
            _ => SubscriptionStatus::Active,
        }
    }

    /// The billing period of a day: its first day, and the first day after it.
    pub fn period_on(&self, day: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
        self.phase_on(day)?.billing_day.period(day)
    }

    /// The first day after the present billing period, or after the trial.
    fn turn(&self, today: NaiveDate) -> Result<NaiveDate, SubscriptionFault> {
        let phase = self.phase_on(today).ok_or(SubscriptionFault::Day)?;
        match phase.is_trial {
            true => Ok(phase.billing_day.anchor),
            false => {
                phase.billing_day.period(today).map(|(_, end)| end).ok_or(SubscriptionFault::Day)
            }
        }
    }

    fn check_goes_on(&self, today: NaiveDate) -> Result<(), SubscriptionFault> {
        match self.ends_on {
            Some(end) if end <= today => Err(SubscriptionFault::Ended),
            Some(_) => Err(SubscriptionFault::Ending),
            None => Ok(()),
        }
    }

    /// The subscription with another plan, or with other seats.
    pub fn changed(
        &self,
        offer: &Offer<'_>,
        seats: u32,
        when: When,
        today: NaiveDate,
    ) -> Result<Self, SubscriptionFault> {
        self.check_goes_on(today)?;
        // Before its first day, that is what changes.
        let today = today.max(self.starts_on());
        check_seats(seats)?;
        if offer.currency != self.currency {
            return Err(SubscriptionFault::OtherCurrency);
        }
        let present = self.phase_on(today).ok_or(SubscriptionFault::Day)?;
        let is_present = present.plan == offer.plan && present.seats == seats;
        // What follows a trial is no change.
        let awaits_change = self
            .next_phase(today)
            .is_some_and(|next| (&next.plan, next.seats) != (&present.plan, present.seats));
        if is_present && !awaits_change {
            return Err(SubscriptionFault::NoChange);
        }
        let months = present.billing_day.months;
        let turn = self.turn(today)?;
        let phase = |from, is_trial, billing_day| Phase {
            from,
            plan: offer.plan.to_owned(),
            seats,
            is_trial,
            billing_day,
        };
        let mut phases: Vec<_> =
            self.phases.iter().filter(|phase| phase.from <= today).cloned().collect();
        let from_turn = match offer.months == months {
            true => present.billing_day,
            false => BillingDay { anchor: turn, months: offer.months },
        };
        match when {
            When::Now if present.is_trial => {
                phases.retain(|phase| phase.from < today);
                // Of the trial, the day on which it ends stays.
                let of_trial = BillingDay { anchor: turn, months: offer.months };
                phases.push(phase(today, true, of_trial));
                phases.push(phase(turn, false, of_trial));
            }
            When::Now if offer.months != months => return Err(SubscriptionFault::OtherInterval),
            When::Now if is_present => {}
            When::Now => {
                phases.retain(|phase| phase.from < today);
                phases.push(phase(today, false, present.billing_day));
            }
            When::PeriodEnd if is_present && !present.is_trial => {}
            When::PeriodEnd => phases.push(phase(turn, false, from_turn)),
        }
        Ok(Self { phases, ..self.clone() })
    }

    /// The subscription with an end. With `Now`, today is its last day.
    pub fn canceled(
        &self,
        when: When,
        reason: &str,
        today: NaiveDate,
    ) -> Result<Self, SubscriptionFault> {
        match self.ends_on {
            Some(end) if end <= today => return Err(SubscriptionFault::Ended),
            Some(_) if when == When::PeriodEnd => return Err(SubscriptionFault::Ending),
            _ => {}
        }
        let today = today.max(self.starts_on());
        let ends_on = match when {
            When::Now => today.succ_opt().ok_or(SubscriptionFault::Day)?,
            When::PeriodEnd => self.turn(today)?,
        };
        // What was to come stays, if it goes on after all.
        let end_reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        Ok(Self { ends_on: Some(ends_on), end_reason, ..self.clone() })
    }

    /// The subscription without the end that was to come.
    pub fn reactivated(&self, today: NaiveDate) -> Result<Self, SubscriptionFault> {
        let Some(end) = self.ends_on else { return Err(SubscriptionFault::NotEnding) };
        if end <= today {
            return Err(SubscriptionFault::Ended);
        }
        Ok(Self { ends_on: None, end_reason: None, ..self.clone() })
    }
}

#[cfg(test)]
mod tests;
