//! What the events of the lake say of a subscription: it began, changed or ended, with what it recurs to.

use accounts::organizations;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use state::{
    outbox::{self, OwnEvent},
    store::Write,
};

use super::stored::{Announced, StoredSubscription, newest};
use crate::{
    PriceBook, SubscriptionStatus, currency::digits, customers::billing, fault::Fault,
    prices::Interval,
};

/// The source of all events of billing.
pub(crate) const SOURCE: &str = "/aihub/billing";

/// Says what is not as it was said before, and gives the organization the plan of today. Also prices that change are said.
pub(crate) async fn announce(
    write: &Write,
    stored: &mut StoredSubscription,
    book: &PriceBook,
    plan_after: &str,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    if stored.ended_at.is_some() {
        return Ok(());
    }
    let of = stored.subscription.clone();
    let today = stored.today(now);
    if of.status_on(today) == SubscriptionStatus::Canceled {
        return end(write, stored, plan_after, now).await;
    }
    let Some(phase) = of.phase_on(today) else { return Ok(()) };
    let amount = book.recurring(&of, phase, today, digits(of.currency)?)?;
    let present = Announced {
        plan: phase.plan.clone(),
        seats: phase.seats,
        months: phase.billing_day.months,
        amount,
        is_trial: phase.is_trial,
    };
    if stored.announced.as_ref() == Some(&present) {
        return Ok(());
    }
    let kind = match &stored.announced {
        _ if present.is_trial => "trial_started",
        None => "subscription_created",
        Some(before) if before.is_trial => "subscription_created",
        Some(_) => "subscription_changed",
    };
    // A trial is said once, also when its plan changes.
    let was_trial = stored.announced.as_ref().is_some_and(|before| before.is_trial);
    if !(present.is_trial && was_trial) {
        let interval = if present.months == Interval::Year.months() { "year" } else { "month" };
        let previous = stored.announced.as_ref().map(|before| before.plan.as_str());
        let data = match present.is_trial {
            true => json!({"subscription_id": of.subscription_id, "plan": present.plan}),
            false => json!({
                "subscription_id": of.subscription_id, "plan": present.plan,
                "previous_plan": previous.filter(|_| kind == "subscription_changed"),
                "quantity": present.seats, "amount": present.amount.to_string(),
                "currency": of.currency.as_str(), "billing_interval": interval,
            }),
        };
        say(write, stored, kind, data, now).await?;
    }
    organizations::set_plan(write, &of.organization_id, &present.plan, &billing(), now).await?;
    stored.announced = Some(present);
    Ok(())
}

/// Says that a subscription is over, though its last day may not be.
pub(crate) async fn end(
    write: &Write,
    stored: &mut StoredSubscription,
    plan_after: &str,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    stored.ended_at = Some(now);
    let of = &stored.subscription;
    let data = json!({"subscription_id": of.subscription_id, "reason": of.end_reason});
    say(write, stored, "subscription_canceled", data, now).await?;
    let organization_id = &stored.subscription.organization_id;
    // Another one may have begun since: the plan is of that.
    let newest = newest(write.db(), organization_id).await?;
    let own = stored.subscription.subscription_id.as_str();
    if newest.is_some_and(|one| one.subscription.subscription_id != own && one.ended_at.is_none()) {
        return Ok(());
    }
    Ok(organizations::set_plan(write, organization_id, plan_after, &billing(), now).await?)
}

async fn say(
    write: &Write,
    stored: &StoredSubscription,
    kind: &str,
    data: Value,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let of = &stored.subscription;
    // Nothing is said twice of one subscription at one time.
    let id = format!("{}:{kind}:{}", of.subscription_id, now.timestamp_micros());
    let event_type = format!("billing.{kind}");
    let event = OwnEvent {
        id: &id,
        source: SOURCE,
        event_type: &event_type,
        organization_id: Some(&of.organization_id),
        data,
    };
    Ok(outbox::append_event(write, event, now).await?)
}
