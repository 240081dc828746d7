//! What a run does to one subscription: in one transaction, and again from where it stopped.

use std::collections::BTreeSet;

use accounts::plans::Currency;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use state::store::Write;

use super::rated;
use crate::{
    DailyUsage, Due, Meter, PriceBook,
    currency::digits,
    desk::Settings,
    due::{billing_days, due, reads_from},
    fault::Fault,
    invoices::{self, Document, Invoice, InvoiceKind, InvoiceStatus, midnight},
    price_book,
    segment::segments,
    subscriptions::{StoredSubscription, announce, put},
    usage::UsageCut,
};

/// What a run works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) book: &'a PriceBook,
    pub(crate) settings: &'a Settings,
    pub(crate) cut: &'a UsageCut,
    pub(crate) now: DateTime<Utc>,
    /// The draft of this day becomes final, though its grace is not over, or nobody approved it.
    pub(crate) finalizes: Option<NaiveDate>,
    /// Usage before this day is not kept.
    pub(crate) kept_from: NaiveDate,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// Drafts that are there now.
    pub(crate) drafts: Vec<Invoice>,
    /// Invoices and credit notes that are final now.
    pub(crate) issued: Vec<Invoice>,
    /// Rows that the lake is told.
    pub(crate) rated_rows: u64,
}

/// Brings a subscription up to date: its events, its invoices, and what the lake is told of its usage.
pub(crate) async fn bring_up_to_date(
    write: &Write,
    mut stored: StoredSubscription,
    usage: &DailyUsage,
    ground: &Ground<'_>,
) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::default();
    if stored.is_closed || stored.is_ahead_of(ground.cut) {
        return Ok(outcome);
    }
    let read_from = read_from(&stored, stored.today(ground.now));
    if read_from < ground.kept_from {
        // What is not kept would be credited.
        let (needed, kept) = (read_from, ground.kept_from);
        return Err(Fault::UsageGone(format!(
            "usage since {needed} is needed, and kept since {kept}: see `retention.usage_ledger`"
        )));
    }
    let before = stored.clone();
    let plan_after = &ground.settings.plan_after;
    announce(write, &mut stored, ground.book, plan_after, ground.now).await?;
    let today = stored.today(ground.now);
    let told = periods(&stored, today);
    for day in billing_days(&stored.subscription, stored.billed_through, today) {
        if !bill(write, &stored, day, usage, ground, &mut outcome).await? {
            break;
        }
        stored.billed_through = Some(day);
    }
    tell(write, &stored, &told, usage, ground, &mut outcome).await?;
    let never_paid = stored.subscription.paid_from().is_none();
    // After its end, late usage is billed once more.
    let is_settled =
        |end: NaiveDate| never_paid || stored.billed_through.is_some_and(|last| last > end);
    stored.is_closed =
        stored.subscription.ends_on.is_some_and(|end| end <= today && is_settled(end));
    if stored != before || outcome.rated_rows > 0 || !outcome.drafts.is_empty() {
        stored.cut = Some((ground.cut.log, ground.cut.lsn));
        put(write, &stored).await?;
    }
    Ok(outcome)
}

/// Bills one of the billing days. Gives whether it is done.
async fn bill(
    write: &Write,
    stored: &StoredSubscription,
    day: NaiveDate,
    usage: &DailyUsage,
    ground: &Ground<'_>,
    outcome: &mut Outcome,
) -> Result<bool, Fault> {
    let of = &stored.subscription;
    let digits = digits(of.currency)?;
    let mut known = invoices::of_subscription(write.db(), &of.subscription_id).await?;
    let due = due(of, day, (ground.book, digits), usage, &invoices::billed(&known)?)?;
    let draft = known.iter().position(|one| one.status == InvoiceStatus::Draft);
    let is_empty = due.lines.is_empty() && due.problems.is_empty();
    let mut draft = draft.map(|place| known.remove(place));
    if let Some(other) = draft.take_if(|draft| draft.billed_on != day || is_empty) {
        invoices::remove(write, &other.invoice_id).await?;
    }
    let grace = TimeDelta::hours(ground.settings.grace_hours.into());
    let finalizes_at = midnight(day, of.zone) + grace;
    let may_finalize =
        ground.now >= finalizes_at && !ground.settings.approve_drafts && due.problems.is_empty();
    let invoice = match is_empty {
        true => None,
        false => {
            let parties =
                invoices::parties(write.db(), ground.settings, &of.organization_id).await?;
            let document = Document::of(&due, parties, digits)?;
            Some(drafted(stored, day, document, draft, finalizes_at, ground)?)
        }
    };
    let is_final =
        may_finalize || ground.finalizes == Some(day) || is_empty && ground.now >= finalizes_at;
    if !is_final {
        if let Some(draft) = invoice {
            invoices::put(write, &draft).await?;
            outcome.drafts.push(draft);
        }
        return Ok(false);
    }
    freeze(write, stored, ground).await?;
    // First, so that the invoice is paid by it.
    credit(write, &mut known, &due, ground, outcome).await?;
    if let Some(draft) = invoice.filter(|draft| !draft.document.lines.is_empty()) {
        let issued = invoices::finalize(write, ground.settings, draft, ground.now).await?;
        outcome.issued.push(issued);
    }
    Ok(true)
}

/// The draft of a billing day: a new one, or the one that is there with what is due now.
fn drafted(
    stored: &StoredSubscription,
    day: NaiveDate,
    document: Document,
    draft: Option<Invoice>,
    finalizes_at: DateTime<Utc>,
    ground: &Ground<'_>,
) -> Result<Invoice, Fault> {
    let of = &stored.subscription;
    let (invoice_id, created_at) = match draft {
        Some(draft) => (draft.invoice_id, draft.created_at),
        None => (invoices::new_id("inv")?, ground.now),
    };
    Ok(Invoice {
        invoice_id,
        organization_id: of.organization_id.clone(),
        subscription_id: of.subscription_id.clone(),
        kind: InvoiceKind::Invoice,
        status: InvoiceStatus::Draft,
        number: None,
        corrects_id: None,
        billed_on: day,
        currency: of.currency,
        outstanding: document.due,
        created_at,
        finalizes_at: Some(finalizes_at),
        issued_at: None,
        due_at: None,
        reminded_at: None,
        cut: ground.cut.token.clone(),
        document,
    })
}

/// Issues the credit notes of what was billed too much.
async fn credit(
    write: &Write,
    known: &mut Vec<Invoice>,
    due: &Due,
    ground: &Ground<'_>,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    for one in invoices::to_credit(&due.credits, known) {
        let mut of = known[one.place].clone();
        let mut note = invoices::note(&of, known, one.lines, &ground.cut.token, ground.now)?;
        note.document.reason = Some("usage_or_plan_changed".to_owned());
        let note = invoices::credit_note(write, note, &mut of, ground.now).await?;
        if of.status == InvoiceStatus::Paid {
            invoices::lift(write, ground.settings, &of.organization_id, ground.now).await?;
        }
        known[one.place] = of;
        known.push(note.clone());
        outcome.issued.push(note);
    }
    Ok(())
}

/// Freezes the prices that were used up to now.
async fn freeze(
    write: &Write,
    stored: &StoredSubscription,
    ground: &Ground<'_>,
) -> Result<(), Fault> {
    let mut versions = BTreeSet::new();
    let mut uses_models = false;
    for (start, end) in periods(stored, stored.today(ground.now)) {
        for segment in segments(&stored.subscription, (start, end), ground.book)? {
            let meter = |charge: &crate::Charge| {
                charge.meter.as_deref() == Some(Meter::ModelPrice.as_str())
            };
            uses_models |= segment.charges.iter().any(meter);
            versions.insert(segment.price_version);
        }
    }
    Ok(price_book::freeze(write, &versions, uses_models, ground.now).await?)
}

/// The first day whose usage may be billed now.
pub(crate) fn read_from(stored: &StoredSubscription, today: NaiveDate) -> NaiveDate {
    let of = &stored.subscription;
    let first = billing_days(of, stored.billed_through, today).first().copied();
    reads_from(of, first.unwrap_or(today)).min(reads_from(of, today))
}

/// The billing periods whose usage may be billed now, and the present one.
fn periods(stored: &StoredSubscription, today: NaiveDate) -> Vec<(NaiveDate, NaiveDate)> {
    let of = &stored.subscription;
    let from = read_from(stored, today);
    let mut periods = Vec::new();
    let mut day =
        Some(of.ends_on.and_then(|end| end.pred_opt()).map_or(today, |last| last.min(today)));
    while let Some(at) = day.filter(|day| *day >= from.max(of.starts_on()))
        && let Some((start, end)) = of.period_on(at)
    {
        periods.push((start, end));
        day = start.pred_opt();
    }
    periods
}

/// Tells the lake what the last periods have come to.
async fn tell(
    write: &Write,
    stored: &StoredSubscription,
    periods: &[(NaiveDate, NaiveDate)],
    usage: &DailyUsage,
    ground: &Ground<'_>,
    outcome: &mut Outcome,
) -> Result<(), Fault> {
    let (of, today) = (&stored.subscription, stored.today(ground.now));
    for period in periods.iter().copied() {
        let priced = (ground.book, usage);
        outcome.rated_rows += rated::tell(write, of, period, priced, (today, ground.now)).await?;
    }
    if outcome.rated_rows > 0 {
        freeze(write, stored, ground).await?;
    }
    Ok(())
}

/// What a subscription would be billed if it ended its period now: the lines of its next invoice, before tax.
pub(crate) fn so_far(
    stored: &StoredSubscription,
    usage: &DailyUsage,
    known: &[Invoice],
    book: &PriceBook,
    now: DateTime<Utc>,
) -> Result<(NaiveDate, Due), Fault> {
    let of = &stored.subscription;
    let today = stored.today(now);
    let next = next_billing_day(stored, today).unwrap_or(today);
    let due = due(of, next, (book, digits(of.currency)?), usage, &invoices::billed(known)?)?;
    Ok((next, due))
}

/// The first billing day that is not done.
pub(crate) fn next_billing_day(stored: &StoredSubscription, today: NaiveDate) -> Option<NaiveDate> {
    let of = &stored.subscription;
    let far = today.checked_add_months(chrono::Months::new(13))?;
    billing_days(of, stored.billed_through, far).into_iter().next()
}

/// The sum of amounts in the digits of a currency.
pub(crate) fn total(due: &Due, currency: Currency) -> Result<Decimal, Fault> {
    let zero = Decimal::new(0, digits(currency)?);
    Ok(due.lines.iter().chain(&due.credits).fold(zero, |sum, line| sum + line.amount))
}
