//! What the lake is told of the usage that was rated: for each day of a charge what it added, and every later difference. What
//! was told is kept beside it, in the transaction of the telling: so the rows of a charge add up to what it costs.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use ingest::money::round;
use rust_decimal::Decimal;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use serde_json::json;
use state::{
    outbox::{self, MirroredTable},
    store::{StoreContext, StoreError, Write, rfc3339},
};

use super::rated_row as row;
use crate::{
    DailyUsage, PriceBook, Segment, Subscription,
    accrual::{Accrual, accruals},
    currency::digits,
    fault::Fault,
    invoices::{midnight, object},
    segment::segments,
};

/// Quantity and amount of the days of a charge: what each added.
type Days = BTreeMap<NaiveDate, (Decimal, Decimal)>;
/// By segment and charge, as text: the keys of JSON.
type Rated = BTreeMap<String, Days>;

/// What names a charge of a segment in the lake.
#[derive(Debug, Clone, Default)]
struct Told {
    plan: String,
    price_version: String,
    charge: String,
    meter: Option<&'static str>,
}

/// Tells the lake what a billing period of a subscription has come to through a day. Gives the number of rows.
pub(crate) async fn tell(
    write: &Write,
    of: &Subscription,
    (start, end): (NaiveDate, NaiveDate),
    (book, usage): (&PriceBook, &DailyUsage),
    (today, now): (NaiveDate, DateTime<Utc>),
) -> Result<u64, Fault> {
    let (mut present, mut names) = (Rated::new(), BTreeMap::new());
    for segment in segments(of, (start, end), book)? {
        for accrual in accruals(&segment, usage, &book.list, digits(of.currency)?, today)? {
            let told = Told {
                plan: segment.plan.clone(),
                price_version: segment.price_version.clone(),
                charge: accrual.charge.name.clone(),
                meter: accrual.meter.map(|meter| meter.as_str()),
            };
            let key = key(&segment, &told);
            present.insert(key.clone(), added(&accrual));
            names.insert(key, told);
        }
    }
    let id = (of.subscription_id.clone(), start.to_string());
    let doing = "reading what was rated";
    let stored = row::Entity::find_by_id(id).one(write.db()).await.doing(doing)?;
    let damaged =
        |_| StoreError::Damaged { table: "rated_periods", what: "days that are not readable" };
    let before: Rated = match &stored {
        Some(row) => serde_json::from_str(&row.rated).map_err(damaged)?,
        None => Rated::new(),
    };
    if before == present {
        return Ok(0);
    }
    let mut rows = 0;
    for (key, day, (quantity, amount)) in differences(&before, &present) {
        let told = names.get(&key).cloned().unwrap_or_else(|| told_by(&key));
        let row = json!({
            "organization_id": of.organization_id,
            "occurred_at": rfc3339(midnight(day, of.zone)),
            "subscription_id": of.subscription_id,
            "period_start": rfc3339(midnight(start, chrono_tz::Tz::UTC)),
            "plan": told.plan,
            "price_version": told.price_version,
            "charge": told.charge,
            "meter": told.meter,
            "quantity": round(quantity, 12).normalize().to_string(),
            "amount": amount.to_string(),
            "currency": of.currency.as_str(),
        });
        outbox::append(write, MirroredTable::RatedUsageDaily, &object(row), now).await?;
        rows += 1;
    }
    let row = row::ActiveModel {
        subscription_id: Set(of.subscription_id.clone()),
        period_start: Set(start.to_string()),
        rated: Set(serde_json::to_string(&present).map_err(damaged)?),
    };
    let replace = OnConflict::columns([row::Column::SubscriptionId, row::Column::PeriodStart])
        .update_column(row::Column::Rated)
        .to_owned();
    let written = row::Entity::insert(row).on_conflict(replace);
    written.exec_without_returning(write.db()).await.doing("storing what was rated")?;
    Ok(rows)
}

/// Names a charge of a segment, in JSON.
fn key(segment: &Segment, told: &Told) -> String {
    json!([segment.share.from, told.plan, told.price_version, told.charge]).to_string()
}

/// The names in a key, of a charge that there is no more.
fn told_by(key: &str) -> Told {
    let names: Result<(NaiveDate, String, String, String), _> = serde_json::from_str(key);
    let Ok((_, plan, price_version, charge)) = names else { return Told::default() };
    Told { plan, price_version, charge, meter: None }
}

/// What each day added.
fn added(accrual: &Accrual) -> Days {
    let mut before = (Decimal::ZERO, Decimal::ZERO);
    let mut days = Days::new();
    for day in &accrual.days {
        let whole = (day.quantity, day.amount);
        days.insert(day.day, (whole.0 - before.0, whole.1 - before.1));
        before = whole;
    }
    days.retain(|_, (quantity, amount)| !quantity.is_zero() || !amount.is_zero());
    days
}

fn differences(before: &Rated, present: &Rated) -> Vec<(String, NaiveDate, (Decimal, Decimal))> {
    let mut differences: BTreeMap<(&String, NaiveDate), (Decimal, Decimal)> = BTreeMap::new();
    for (rated, sign) in [(present, Decimal::ONE), (before, -Decimal::ONE)] {
        for (key, days) in rated {
            for (day, (quantity, amount)) in days {
                let sum = differences.entry((key, *day)).or_default();
                sum.0 += *quantity * sign;
                sum.1 += *amount * sign;
            }
        }
    }
    let changed = differences.into_iter();
    let changed =
        changed.filter(|(_, (quantity, amount))| !quantity.is_zero() || !amount.is_zero());
    changed.map(|((key, day), sums)| (key.clone(), day, sums)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(days: &[(&str, &str, i64, i64)]) -> Rated {
        let mut rated = Rated::new();
        for (key, day, quantity, amount) in days {
            let days = rated.entry((*key).to_owned()).or_default();
            days.insert(day.parse().unwrap(), (Decimal::from(*quantity), Decimal::from(*amount)));
        }
        rated
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = rated(&[
            ("a", "2026-01-01", 1, 10),
            ("a", "2026-01-02", 2, 20),
            ("b", "2026-01-01", 1, 5),
        ]);
        let present = rated(&[
            ("a", "2026-01-01", 1, 10),
            ("a", "2026-01-02", 3, 30),
            ("c", "2026-01-03", 4, 4),
        ]);
        let said: Vec<_> = differences(&before, &present)
            .into_iter()
            .map(|(key, day, (quantity, amount))| format!("{key} {day} {quantity} {amount}"))
            .collect();
        assert_eq!(said, ["a 2026-01-02 1 10", "b 2026-01-01 -1 -5", "c 2026-01-03 4 4"]);
        assert!(differences(&present, &present).is_empty());
    }

    #[test]
    fn a_key_leads_back_to_its_names() {
        let key = json!(["2026-01-01", "my plan", "my plan@2", "Base, \"and\" more"]).to_string();
        let told = told_by(&key);
        let expected = ("my plan", "my plan@2", "Base, \"and\" more");
        assert_eq!((&*told.plan, &*told.price_version, &*told.charge), expected);
    }
}
