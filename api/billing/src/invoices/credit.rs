//! The credit of an organization: what credit notes gave back and no invoice has used yet.

use accounts::plans::Currency;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
};
use state::store::{StoreContext, StoreError, Write};

use super::{
    credit_row as row,
    stored::{major, minor},
};
use crate::{BillingError, fault::Fault};

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
