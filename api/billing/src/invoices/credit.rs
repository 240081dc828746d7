//! The credit of an organization: what credit notes gave back and no invoice has used yet.

use accounts::plans::Currency;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
};
use state::store::{StoreContext, StoreError, Write, time_of};

use super::{
    credit_row as row,
    stored::{major, minor},
};
use crate::{BillingError, fault::Fault};

/// Why there is an entry: it was paid out by a payment provider.
pub(crate) const REFUND: &str = "refund";
/// The provider refused to pay out; the id of what was to be paid follows.
pub(crate) const REFUND_REFUSED: &str = "refund_refused:";

/// What an organization has in a currency.
pub(crate) async fn balance(
    db: &impl ConnectionTrait,
    organization_id: &str,
    currency: Currency,
) -> Result<Decimal, Fault> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Currency.eq(currency.as_str()))
        .all(db)
        .await
        .doing("reading credit")?;
    let sum = rows.iter().try_fold(0_i64, |sum, row| sum.checked_add(row.amount));
    Ok(major(sum.ok_or(BillingError::Overflow)?, currency)?)
}

/// Adds an entry: above zero the organization gets it, below zero it is used.
pub(crate) async fn enter(
    write: &Write,
    organization_id: &str,
    (amount, currency): (Decimal, Currency),
    (invoice_id, reason): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    if amount.is_zero() {
        return Ok(());
    }
    let entry = row::ActiveModel {
        entry_id: NotSet,
        organization_id: Set(organization_id.to_owned()),
        currency: Set(currency.as_str().to_owned()),
        amount: Set(minor(amount, currency)?),
        invoice_id: Set(invoice_id.to_owned()),
        reason: Set(reason.to_owned()),
        created_at: Set(now.timestamp_micros()),
    };
    let added = row::Entity::insert(entry).exec_without_returning(write.db()).await;
    Ok(added.doing("entering credit").map(drop)?)
}

/// Whether an organization has an entry for a reason.
pub(crate) async fn has_entry(
    db: &impl ConnectionTrait,
    organization_id: &str,
    reason: &str,
) -> Result<bool, Fault> {
    let found = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Reason.eq(reason))
        .one(db)
        .await
        .doing("reading credit")?;
    Ok(found.is_some())
}

/// What was paid out of the credit of an organization, and what of it was refused and came back: times and amounts, which are
/// above zero for what was paid out.
pub(crate) async fn refunds(
    db: &impl ConnectionTrait,
    organization_id: &str,
    currency: Currency,
) -> Result<Vec<(DateTime<Utc>, Decimal)>, Fault> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .filter(row::Column::Currency.eq(currency.as_str()))
        .filter(
            Condition::any()
                .add(row::Column::Reason.eq(REFUND))
                .add(row::Column::Reason.starts_with(REFUND_REFUSED)),
        )
        .all(db)
        .await
        .doing("reading credit")?;
    let mut refunds = Vec::new();
    for row in rows {
        let at = time_of("credit_entries", row.created_at)?;
        refunds.push((at, -major(row.amount, currency)?));
    }
    Ok(refunds)
}

/// The balances of an organization in all currencies, without those that are zero.
pub(crate) async fn balances(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Vec<(Currency, Decimal)>, Fault> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .all(db)
        .await
        .doing("reading credit")?;
    let mut sums = std::collections::BTreeMap::<Currency, i64>::new();
    for row in rows {
        let damaged = StoreError::Damaged { table: "credit_entries", what: "a currency" };
        let currency = Currency::parse(&row.currency).ok_or(damaged)?;
        let sum = sums.entry(currency).or_default();
        *sum = sum.checked_add(row.amount).ok_or(BillingError::Overflow)?;
    }
    let mut balances = Vec::new();
    for (currency, units) in sums.into_iter().filter(|(_, units)| *units != 0) {
        balances.push((currency, major(units, currency)?));
    }
    Ok(balances)
}
