//! Subscriptions in the database.

use accounts::plans::Currency;
use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, Select,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use state::store::{StoreContext, StoreError, Write, time_of};

use super::row;
use crate::{Subscription, usage::UsageCut};

const TABLE: &str = "subscriptions";

/// A subscription with what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    /// What counts on which day.
    pub subscription: Subscription,
    /// What was said of it last.
    pub(crate) announced: Option<Announced>,
    /// When its end was said.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// The last of its billing days that is done.
    pub(crate) billed_through: Option<NaiveDate>,
    /// Nothing of it can be billed any more.
    pub(crate) is_closed: bool,
    /// The log and the event up to which it was rated last.
    pub(crate) cut: Option<(i64, i64)>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What the events of a subscription said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Announced {
    pub(crate) plan: String,
    pub(crate) seats: u32,
    pub(crate) months: u32,
    /// What recurs in each billing period.
    pub(crate) amount: Decimal,
    pub(crate) is_trial: bool,
}

impl StoredSubscription {
    /// Whether it was rated with events that a cut does not have.
    pub(crate) fn is_ahead_of(&self, cut: &UsageCut) -> bool {
        self.cut.is_some_and(|(log, lsn)| log == cut.log && lsn > cut.lsn)
    }

    /// The day that it is for the subscription.
    pub(crate) fn today(&self, now: DateTime<Utc>) -> NaiveDate {
        now.with_timezone(&self.subscription.zone).date_naive()
    }
}

/// The subscription of an organization that has not ended, or else the last one.
pub(crate) async fn newest(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<Option<StoredSubscription>, StoreError> {
    let of = row::Column::OrganizationId.eq(organization_id);
    let found = row::Entity::find()
        .filter(of)
        .order_by_desc(row::Column::CreatedAt)
        .order_by_desc(row::Column::SubscriptionId)
        .one(db)
        .await
        .doing("reading a subscription")?;
    found.map(StoredSubscription::try_from).transpose()
}

/// Whether an organization ever had a trial.
pub(crate) async fn had_trial(
    db: &impl ConnectionTrait,
    organization_id: &str,
) -> Result<bool, StoreError> {
    let of = row::Column::OrganizationId.eq(organization_id);
    let found = all(db, row::Entity::find().filter(of)).await?;
    let is_trial =
        |one: &StoredSubscription| one.subscription.phases.iter().any(|phase| phase.is_trial);
    Ok(found.iter().any(is_trial))
}

/// All of which something can be billed, by their ids.
pub(crate) async fn open(db: &impl ConnectionTrait) -> Result<Vec<StoredSubscription>, StoreError> {
    all(db, row::Entity::find().filter(row::Column::IsClosed.eq(false))).await
}

/// Those with these ids.
pub(crate) async fn of_ids(
    db: &impl ConnectionTrait,
    ids: &[String],
) -> Result<Vec<StoredSubscription>, StoreError> {
    let ids = ids.iter().map(String::as_str);
    all(db, row::Entity::find().filter(row::Column::SubscriptionId.is_in(ids))).await
}

async fn all(
    db: &impl ConnectionTrait,
    select: Select<row::Entity>,
) -> Result<Vec<StoredSubscription>, StoreError> {
    let rows = select.order_by_asc(row::Column::SubscriptionId).all(db).await;
    let rows = rows.doing("reading subscriptions")?;
    rows.into_iter().map(StoredSubscription::try_from).collect()
}

/// Writes a subscription.
pub(crate) async fn put(write: &Write, stored: &StoredSubscription) -> Result<(), StoreError> {
    let unwritable =
        |_| StoreError::Damaged { table: TABLE, what: "a subscription does not encode" };
    let of = &stored.subscription;
    let announced = stored.announced.as_ref().map(serde_json::to_string).transpose();
    let row = row::ActiveModel {
        subscription_id: Set(of.subscription_id.clone()),
        organization_id: Set(of.organization_id.clone()),
        currency: Set(of.currency.as_str().to_owned()),
        zone: Set(of.zone.name().to_owned()),
        phases: Set(serde_json::to_string(&of.phases).map_err(unwritable)?),
        ends_on: Set(of.ends_on.map(|day| day.to_string())),
        end_reason: Set(of.end_reason.clone()),
        announced: Set(announced.map_err(unwritable)?),
        ended_at: Set(stored.ended_at.map(|at| at.timestamp_micros())),
        billed_through: Set(stored.billed_through.map(|day| day.to_string())),
        is_closed: Set(stored.is_closed),
        cut_log: Set(stored.cut.map(|(log, _)| log)),
        cut_lsn: Set(stored.cut.map(|(_, lsn)| lsn)),
        created_at: Set(stored.created_at.timestamp_micros()),
    };
    use row::Column::{
        Announced, BilledThrough, CutLog, CutLsn, EndReason, EndedAt, EndsOn, IsClosed, Phases,
    };
    let replace = OnConflict::column(row::Column::SubscriptionId)
        .update_columns([
            Phases,
            EndsOn,
            EndReason,
            Announced,
            EndedAt,
            BilledThrough,
            IsClosed,
            CutLog,
            CutLsn,
        ])
        .to_owned();
    let written = row::Entity::insert(row).on_conflict(replace);
    written.exec_without_returning(write.db()).await.doing("storing a subscription").map(drop)
}

impl TryFrom<row::Model> for StoredSubscription {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged =
            || StoreError::Damaged { table: TABLE, what: "a subscription that is not readable" };
        let day = |text: String| text.parse::<NaiveDate>().map_err(|_| damaged());
        let announced = row.announced.as_deref().map(serde_json::from_str).transpose();
        Ok(Self {
            subscription: Subscription {
                currency: Currency::parse(&row.currency).ok_or_else(damaged)?,
                zone: row.zone.parse().map_err(|_| damaged())?,
                phases: serde_json::from_str(&row.phases).map_err(|_| damaged())?,
                ends_on: row.ends_on.map(day).transpose()?,
                end_reason: row.end_reason,
                subscription_id: row.subscription_id,
                organization_id: row.organization_id,
            },
            announced: announced.map_err(|_| damaged())?,
            ended_at: row.ended_at.map(|at| time_of(TABLE, at)).transpose()?,
            billed_through: row.billed_through.map(day).transpose()?,
            is_closed: row.is_closed,
            cut: row.cut_log.zip(row.cut_lsn),
            created_at: time_of(TABLE, row.created_at)?,
        })
    }
}
