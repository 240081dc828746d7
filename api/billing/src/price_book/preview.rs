//! What the last billing periods would have cost by another price list.

use std::collections::BTreeMap;

use accounts::plans::Currency;
use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    BillingError, DailyUsage, PriceBook, PriceList, Subscription, accrual::accruals,
    currency::digits, decimal::Checked, segment::segments, subscription::SubscriptionStatus,
};

/// What the last billing period of each organization costs, and would have cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PricePreview {
    /// The organizations whose bill would be another one, the largest difference first.
    pub(crate) organizations: Vec<PreviewedBill>,
    /// How many bills would be the same.
    pub(crate) unchanged: usize,
    /// The sums of each currency.
    pub(crate) totals: Vec<PreviewedTotal>,
    /// What could not be rated, in words.
    pub(crate) problems: Vec<String>,
}

/// The bill of an organization, before tax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PreviewedBill {
    /// Whose it is.
    pub(crate) organization_id: String,
    /// The first day of the period.
    #[schema(value_type = String, format = Date)]
    pub(crate) from: NaiveDate,
    /// The first day after it.
    #[schema(value_type = String, format = Date)]
    pub(crate) to: NaiveDate,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub(crate) currency: Currency,
    /// By the prices that are in force.
    #[schema(value_type = String)]
    pub(crate) now: Decimal,
    /// By the last versions of the other list.
    #[schema(value_type = String)]
    pub(crate) then: Decimal,
}

/// The sum of all bills of a currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PreviewedTotal {
    /// ISO 4217.
    #[schema(value_type = String)]
    pub(crate) currency: Currency,
    /// By the prices that are in force.
    #[schema(value_type = String)]
    pub(crate) now: Decimal,
    /// By the last versions of the other list.
    #[schema(value_type = String)]
    pub(crate) then: Decimal,
}

/// The period that is compared: the last one that is over, else the present one.
pub(crate) fn period(
    subscription: &Subscription,
    today: NaiveDate,
) -> Option<(NaiveDate, NaiveDate)> {
    let present = subscription.period_on(today)?;
    let before = present.0.pred_opt().and_then(|day| subscription.period_on(day));
    before.filter(|(start, _)| *start >= subscription.starts_on()).or(Some(present))
}

/// Compares the bills of subscriptions. Of the other list, the last version of each plan and model counts, whatever its day.
pub(crate) fn preview<'a>(
    subscriptions: impl Iterator<Item = (&'a Subscription, &'a DailyUsage)>,
    book: &PriceBook,
    other: &PriceList,
    today: impl Fn(&Subscription) -> NaiveDate,
) -> PricePreview {
    let changed =
        PriceBook { list: in_force(&book.list, other), overrides: book.overrides.clone() };
    let mut found = PricePreview::default();
    let mut totals: BTreeMap<Currency, (Decimal, Decimal)> = BTreeMap::new();
    for (subscription, usage) in subscriptions {
        let today = today(subscription);
        if subscription.status_on(today) == SubscriptionStatus::Canceled {
            continue;
        }
        let Some(span) = period(subscription, today) else { continue };
        let cost = |book: &PriceBook| cost(subscription, span, book, usage, today);
        let (now, then) = match (cost(book), cost(&changed)) {
            (Ok(now), Ok(then)) => (now, then),
            (Err(error), _) | (_, Err(error)) => {
                found.problems.push(format!("{}: {error}", subscription.organization_id));
                continue;
            }
        };
        let sums = totals.entry(subscription.currency).or_default();
        sums.0 += now;
        sums.1 += then;
        if now == then {
            found.unchanged += 1;
            continue;
        }
        found.organizations.push(PreviewedBill {
            organization_id: subscription.organization_id.clone(),
            from: span.0,
            to: span.1,
            currency: subscription.currency,
            now,
            then,
        });
    }
    found.organizations.sort_by_key(|bill| std::cmp::Reverse((bill.then - bill.now).abs()));
    let total = |(currency, (now, then))| PreviewedTotal { currency, now, then };
    found.totals = totals.into_iter().map(total).collect();
    found
}

/// The list with the plans and models of the other one, each with its last version from the first day on.
fn in_force(list: &PriceList, other: &PriceList) -> PriceList {
    let mut list = list.clone();
    let since = NaiveDate::MIN;
    for prices in &other.plans {
        let mut prices = prices.clone();
        prices.versions = prices.versions.split_off(prices.versions.len().saturating_sub(1));
        prices.versions.iter_mut().for_each(|version| version.from = since);
        list.plans.retain(|old| old.plan != prices.plan);
        list.plans.push(prices);
    }
    for prices in other.models.iter().rev() {
        let mut prices = prices.clone();
        prices.versions = prices.versions.split_off(prices.versions.len().saturating_sub(1));
        prices.versions.iter_mut().for_each(|version| version.from = since);
        list.models.retain(|old| old.model != prices.model);
        list.models.insert(0, prices);
    }
    list
}

/// What a period costs, before tax.
fn cost(
    subscription: &Subscription,
    span: (NaiveDate, NaiveDate),
    book: &PriceBook,
    usage: &DailyUsage,
    today: NaiveDate,
) -> Result<Decimal, BillingError> {
    let digits = digits(subscription.currency)?;
    let mut sum = Decimal::new(0, digits);
    for segment in segments(subscription, span, book)? {
        for accrual in accruals(&segment, usage, &book.list, digits, today)? {
            sum = sum.plus(accrual.total().1)?;
        }
    }
    Ok(sum)
}
