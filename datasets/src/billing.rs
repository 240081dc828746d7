//! The commercial facts of an organization: what its lifecycle and its invoices leave in the books.
//!
//! The usage part of an invoice is an estimate from the organization's size, not the sum of its requests:
//! a day must not depend on the bytes of the days before it.

use chrono::{Datelike, Days, NaiveDate};

use crate::identity::{Ids, member};
use crate::plan::{Interval, Plan, Terms};
use crate::random::Stream;
use crate::roster::{Account, DAY_US};
use crate::write::{EventHead, Page};

/// One commercial fact.
#[derive(Debug, Clone)]
pub(crate) struct BillingEvent {
    /// Microseconds from the start of the period.
    pub(crate) at: u64,
    pub(crate) kind: BillingEventKind,
    /// Counted per organization from 0.
    subscription: Option<u32>,
    invoice: Option<u32>,
    terms: Option<Terms>,
    previous: Option<Plan>,
    cents: Option<u64>,
    reason: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BillingEventKind {
    SignedUp,
    TrialStarted,
    SubscriptionCreated,
    SubscriptionChanged,
    SubscriptionCanceled,
    InvoiceFinalized,
    PaymentSucceeded,
    PaymentFailed,
    PaymentRefunded,
}

/// The books of one organization while its life is played.
pub(crate) struct Ledger {
    start: NaiveDate,
    events: Vec<BillingEvent>,
    /// Counted from 1, so that 0 means none yet.
    subscriptions: u32,
    invoices: u32,
    /// The day of the month on which invoices are made, 1 to 28.
    anniversary: u32,
    /// The month in which a yearly subscription is renewed.
    renewal: u32,
    usage_cents: f64,
}

const MINUTE_US: u64 = 60_000_000;

impl BillingEventKind {
    fn event_type(self) -> &'static str {
        match self {
            Self::SignedUp => "billing.signed_up",
            Self::TrialStarted => "billing.trial_started",
            Self::SubscriptionCreated => "billing.subscription_created",
            Self::SubscriptionChanged => "billing.subscription_changed",
            Self::SubscriptionCanceled => "billing.subscription_canceled",
            Self::InvoiceFinalized => "billing.invoice_finalized",
            Self::PaymentSucceeded => "billing.payment_succeeded",
            Self::PaymentFailed => "billing.payment_failed",
            Self::PaymentRefunded => "billing.payment_refunded",
        }
    }
}

impl BillingEvent {
    /// The monthly recurring revenue of the organization after this fact; none if it changes nothing.
    pub(crate) fn monthly_cents(&self) -> Option<u64> {
        match self.kind {
            BillingEventKind::SubscriptionCreated | BillingEventKind::SubscriptionChanged => {
                self.terms.map(Terms::monthly_cents)
            }
            BillingEventKind::SubscriptionCanceled => Some(0),
            _ => None,
        }
    }

    pub(crate) fn write(&self, page: &mut Page, ids: Ids, organization: u32) {
        let head = EventHead {
            prefix: "bil_",
            source: "/billing",
            kind: self.kind.event_type(),
            organization: Some(organization),
            at: self.at % DAY_US,
        };
        page.event(&head, |fields| {
            if let Some(number) = self.subscription {
                fields.code("subscription_id", "sub_", &ids.short(member(organization, number)));
            }
            if let Some(number) = self.invoice {
                fields.code("invoice_id", "inv_", &ids.short(member(organization, number)));
            }
            match self.terms {
                Some(terms) => {
                    fields.text("plan", terms.plan.name());
                    if let Some(previous) = self.previous {
                        fields.text("previous_plan", previous.name());
                    }
                    fields.number("quantity", u64::from(terms.quantity));
                    fields.text("billing_interval", terms.interval.name());
                }
                None if self.kind == BillingEventKind::SignedUp => {
                    fields.text("plan", Plan::Free.name())
                }
                None => {}
            }
            if let Some(cents) = self.cents {
                fields.cents("amount", cents);
                fields.text("currency", "USD");
            }
            if let Some(reason) = self.reason {
                fields.text("reason", reason);
            }
        });
    }
}

impl Ledger {
    pub(crate) fn new(start: NaiveDate, account: &Account) -> Self {
        Self {
            start,
            events: Vec::new(),
            subscriptions: 0,
            invoices: 0,
            anniversary: 1,
            renewal: 0,
            // About 1,700 requests a month at one and a half cents.
            usage_cents: account.weight * 2_500.0,
        }
    }

    pub(crate) fn sign_up(&mut self, at: u64) {
        self.events.push(BillingEvent::new(at, BillingEventKind::SignedUp));
    }

    /// A trial names the plan that is tried, without an amount.
    pub(crate) fn trial(&mut self, at: u64, terms: Terms) {
        self.events.push(BillingEvent {
            terms: Some(terms),
            ..BillingEvent::new(at, BillingEventKind::TrialStarted)
        });
    }

    pub(crate) fn carry_over(&mut self, at: u64, anniversary: u32, terms: Terms) {
        self.open(at, terms, "carried_over");
        self.anniversary = anniversary;
        self.renewal = 1 + anniversary * 7 % 12;
    }

    /// A subscription begins and its first interval is invoiced.
    pub(crate) fn subscribe(
        &mut self,
        at: u64,
        terms: Terms,
        reason: &'static str,
        stream: &mut Stream,
    ) {
        self.open(at, terms, reason);
        self.invoice(at + MINUTE_US, terms.cents(), terms, stream);
    }

    pub(crate) fn change(&mut self, at: u64, from: Terms, to: Terms) {
        let reason = match to.monthly_cents() > from.monthly_cents() {
            true => "upgrade",
            false => "downgrade",
        };
        self.events.push(BillingEvent {
            previous: Some(from.plan),
            ..self.of_subscription(at, BillingEventKind::SubscriptionChanged, to, reason)
        });
    }

    /// The amount of a cancellation is the recurring amount that ends.
    pub(crate) fn cancel(&mut self, at: u64, terms: Terms, reason: &'static str) {
        self.events.push(self.of_subscription(
            at,
            BillingEventKind::SubscriptionCanceled,
            terms,
            reason,
        ));
    }

    /// Makes the monthly invoice if the day is due: the recurring amount when an interval begins, and usage.
    pub(crate) fn bill(&mut self, day: u32, terms: Terms, stream: &mut Stream) {
        let Some(date) = self.start.checked_add_days(Days::new(u64::from(day))) else {
            return;
        };
        if date.day() != self.anniversary {
            return;
        }
        let recurring = match terms.interval {
            Interval::Year if date.month() != self.renewal => 0,
            _ => terms.cents(),
        };
        let usage = (self.usage_cents * stream.spread(0.3)) as u64;
        let at = u64::from(day) * DAY_US + u64::from(stream.below(240)) * MINUTE_US;
        let at = at + u64::from(stream.below(MINUTE_US as u32));
        if recurring + usage > 0 {
            self.invoice(at, recurring + usage, terms, stream);
        }
    }

    /// The events in order of time. What lies beyond the end of the period is left out.
    pub(crate) fn events_before(mut self, end: u64) -> Vec<BillingEvent> {
        self.events.retain(|event| event.at < end);
        self.events.sort_by_key(|event| event.at);
        self.events
    }

    fn open(&mut self, at: u64, terms: Terms, reason: &'static str) {
        self.subscriptions += 1;
        if let Some(date) = self.start.checked_add_days(Days::new(at / DAY_US)) {
            self.anniversary = date.day().min(28);
            self.renewal = date.month();
        }
        self.events.push(self.of_subscription(
            at,
            BillingEventKind::SubscriptionCreated,
            terms,
            reason,
        ));
    }

    fn of_subscription(
        &self,
        at: u64,
        kind: BillingEventKind,
        terms: Terms,
        reason: &'static str,
    ) -> BillingEvent {
        BillingEvent {
            subscription: Some(self.subscriptions),
            terms: Some(terms),
            cents: Some(terms.cents()),
            reason: Some(reason),
            ..BillingEvent::new(at, kind)
        }
    }

    /// An invoice and what becomes of it: one in twenty payments fails first, a few are refunded by half.
    fn invoice(&mut self, at: u64, cents: u64, terms: Terms, stream: &mut Stream) {
        const FAILURES: [&str; 4] =
            ["card_declined", "insufficient_funds", "expired_card", "processing_error"];
        self.invoices += 1;
        let fact = BillingEvent {
            subscription: Some(self.subscriptions),
            invoice: Some(self.invoices),
            cents: Some(cents),
            ..BillingEvent::new(at, BillingEventKind::InvoiceFinalized)
        };
        self.events.push(BillingEvent { terms: Some(terms), ..fact.clone() });
        let mut paid_at = at + u64::from(2 + stream.below(90)) * MINUTE_US;
        if stream.chance(0.05) {
            self.events.push(BillingEvent {
                at: paid_at,
                kind: BillingEventKind::PaymentFailed,
                reason: Some(stream.choose(&FAILURES)),
                ..fact.clone()
            });
            paid_at += u64::from(1 + stream.below(3)) * DAY_US;
        }
        self.events.push(BillingEvent {
            at: paid_at,
            kind: BillingEventKind::PaymentSucceeded,
            ..fact.clone()
        });
        if cents > 1 && stream.chance(0.015) {
            self.events.push(BillingEvent {
                at: paid_at + u64::from(1 + stream.below(5)) * DAY_US,
                kind: BillingEventKind::PaymentRefunded,
                cents: Some(cents / 2),
                reason: Some("goodwill"),
                ..fact
            });
        }
    }
}

impl BillingEvent {
    fn new(at: u64, kind: BillingEventKind) -> Self {
        Self {
            at,
            kind,
            subscription: None,
            invoice: None,
            terms: None,
            previous: None,
            cents: None,
            reason: None,
        }
    }
}
