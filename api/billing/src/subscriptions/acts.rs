//! What can be done to the subscription of an organization.

use chrono::{DateTime, Months, NaiveDate, Utc};
use ingest::control;
use serde_json::{Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::Write,
};

use super::announcing::{announce, end};
use super::stored::{StoredSubscription, had_trial, newest, put};
use crate::{
    Offer, PriceBook, PriceList, Subscription, SubscriptionStatus, When, begin, desk::Settings,
    fault::Fault, price_book,
};

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// It begins, with the trial of the plan if the organization never had one and wants it.
    Start { plan: String, seats: u32, trial: bool, starts_on: Option<NaiveDate> },
    /// Another plan, or other seats; those of now if none are named.
    Change { plan: String, seats: Option<u32>, when: When },
    /// It ends.
    Cancel { when: When, reason: String },
    /// It goes on after all.
    Reactivate,
}

const REASON_MAX: usize = 500;
/// So far back may a subscription begin.
const BACKDATED_MONTHS: u32 = 24;

impl Act {
    fn name(&self) -> &'static str {
        match self {
            Self::Start { .. } => "subscription.started",
            Self::Change { .. } => "subscription.changed",
            Self::Cancel { .. } => "subscription.canceled",
            Self::Reactivate => "subscription.reactivated",
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::Start { plan, seats, .. } => json!({"plan": plan, "seats": seats}),
            Self::Change { plan, seats, when } => {
                json!({"plan": plan, "seats": seats, "when": format!("{when:?}")})
            }
            Self::Cancel { when, .. } => json!({"when": format!("{when:?}")}),
            Self::Reactivate => json!({}),
        }
    }
}

/// What a plan offers on a day.
fn offer<'a>(list: &PriceList, plan: &'a str, day: NaiveDate) -> Result<Offer<'a>, Fault> {
    let found = list.plan_on(plan, day);
    let unpriced = || Fault::invalid("plan", format!("`{plan}` has no price on {day}"));
    let (_, version) = found.ok_or_else(unpriced)?;
    Ok(Offer {
        plan,
        currency: version.currency,
        months: version.interval.months(),
        trial_days: version.trial_days,
    })
}

/// The first day of a subscription: today, or a day before it that staff names.
fn first_day(
    named: Option<NaiveDate>,
    former: Option<NaiveDate>,
    today: NaiveDate,
) -> Result<NaiveDate, Fault> {
    let Some(named) = named else { return Ok(former.map_or(today, |end| end.max(today))) };
    let earliest = today.checked_sub_months(Months::new(BACKDATED_MONTHS)).unwrap_or(today);
    if named > today || named < earliest {
        return Err(Fault::invalid("starts_on", format!("is {earliest} to {today}")));
    }
    match former {
        Some(end) if named < end => {
            Err(Fault::invalid("starts_on", format!("is not before {end}, when another one ended")))
        }
        _ => Ok(named),
    }
}

/// The subscription as it would be after an act.
pub(crate) async fn planned(
    db: &impl sea_orm::ConnectionTrait,
    (book, settings): (&PriceBook, &Settings),
    organization_id: &str,
    act: &Act,
    now: DateTime<Utc>,
) -> Result<StoredSubscription, Fault> {
    let found = newest(db, organization_id).await?;
    if let Act::Start { plan, seats, trial, starts_on } = act {
        let is_over = |one: &StoredSubscription| {
            one.ended_at.is_some()
                || one.subscription.status_on(one.today(now)) == SubscriptionStatus::Canceled
        };
        if found.as_ref().is_some_and(|one| !is_over(one)) {
            return Err(Fault::Subscribed);
        }
        let today = now.with_timezone(&settings.zone).date_naive();
        // The last day of another one is billed with that.
        let former = found.and_then(|one| one.subscription.ends_on);
        let first = first_day(*starts_on, former, today)?;
        let offer = offer(&book.list, plan, first)?;
        let trial = *trial && !had_trial(db, organization_id).await?;
        let id: [u8; 16] = random_bytes()?;
        return Ok(StoredSubscription {
            subscription: Subscription {
                subscription_id: format!("sub_{}", base62(&id, 22)),
                organization_id: organization_id.to_owned(),
                currency: offer.currency,
                zone: settings.zone,
                phases: begin(&offer, *seats, trial, first)?,
                ends_on: None,
                end_reason: None,
            },
            announced: None,
            ended_at: None,
            billed_through: None,
            is_closed: false,
            cut: None,
            created_at: now,
        });
    }
    let absent = || Fault::Unknown("subscription of this organization".to_owned());
    let stored = found.ok_or_else(absent)?;
    let today = stored.today(now);
    if stored.ended_at.is_some() {
        return Err(crate::SubscriptionFault::Ended.into());
    }
    let of = &stored.subscription;
    let subscription = match act {
        Act::Start { .. } => return Err(Fault::Subscribed),
        Act::Change { plan, seats, when } => {
            let day = match when {
                When::Now => today,
                When::PeriodEnd => of.period_on(today).map_or(today, |(_, end)| end),
            };
            let present = of.phase_on(today).map_or(1, |phase| phase.seats);
            let seats = seats.unwrap_or(present);
            of.changed(&offer(&book.list, plan, day)?, seats, *when, today)?
        }
        Act::Cancel { when, reason } => {
            if reason.chars().count() > REASON_MAX || control::in_name(reason) {
                let expected = "is at most 500 characters without control characters";
                return Err(Fault::invalid("reason", expected));
            }
            of.canceled(*when, reason, today)?
        }
        Act::Reactivate => of.reactivated(today)?,
    };
    Ok(StoredSubscription { subscription, ..stored })
}

/// Does it.
pub(crate) async fn take(
    write: &Write,
    settings: &Settings,
    organization_id: &str,
    act: &Act,
    (origin, now): (&AuditOrigin, DateTime<Utc>),
) -> Result<StoredSubscription, Fault> {
    let book = price_book::book(write.db()).await?;
    let mut stored = planned(write.db(), (&book, settings), organization_id, act, now).await?;
    match act {
        Act::Cancel { when: When::Now, .. } => {
            end(write, &mut stored, &settings.plan_after, now).await?;
        }
        _ => announce(write, &mut stored, &book, &settings.plan_after, now).await?,
    }
    put(write, &stored).await.map_err(|error| match error {
        error if error.is_foreign_key_violation() => {
            Fault::Unknown(format!("organization `{organization_id}`"))
        }
        error => error.into(),
    })?;
    let detail = act.detail();
    let target = stored.subscription.subscription_id.clone();
    audit::append(write, origin, AuditAction { action: act.name(), target, detail }, now).await?;
    Ok(stored)
}
