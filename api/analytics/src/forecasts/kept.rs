//! Forecasts as they are kept.

use chrono::{DateTime, TimeDelta, Utc};
use query::metric::Grain;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use serde_json::Value;
use state::store::{Store, StoreContext, StoreError, Write, time_of};

use super::row;

/// A forecast that was made.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) from: DateTime<Utc>,
    pub(super) made_at: DateTime<Utc>,
    pub(super) as_of: String,
    /// As `GET /v1/forecasts/{metric}` gave it.
    pub(super) forecast: Value,
}

/// Forecasts of one metric that are compared with what came: a page reads those of every metric.
pub(super) const READ: u64 = 100;
/// Older ones are removed.
const KEPT: TimeDelta = TimeDelta::days(400);

/// The forecasts of a metric, the newest first.
pub(super) async fn list(
    store: &Store,
    metric: &str,
    grain: Grain,
    limit: u64,
) -> Result<Vec<Kept>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Metric.eq(metric))
        .filter(row::Column::Grain.eq(grain.name()))
        .order_by_desc(row::Column::FromAt)
        .limit(limit)
        .all(store.db())
        .await
        .doing("reading forecasts")?;
    let kept = |row: row::Model| {
        Ok(Kept {
            from: time_of("forecasts", row.from_at)?,
            made_at: time_of("forecasts", row.made_at)?,
            as_of: row.as_of,
            forecast: serde_json::from_str(&row.forecast).unwrap_or_default(),
        })
    };
    rows.into_iter().map(kept).collect()
}

/// Keeps a forecast; the first one of its time stays.
pub(super) async fn keep(
    write: &Write,
    metric: &str,
    grain: Grain,
    kept: &Kept,
) -> Result<(), StoreError> {
    let row = row::ActiveModel {
        metric: Set(metric.to_owned()),
        grain: Set(grain.name().to_owned()),
        from_at: Set(kept.from.timestamp_micros()),
        made_at: Set(kept.made_at.timestamp_micros()),
        as_of: Set(kept.as_of.clone()),
        forecast: Set(kept.forecast.to_string()),
    };
    let key = [row::Column::Metric, row::Column::Grain, row::Column::FromAt];
    row::Entity::insert(row)
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .exec_without_returning(write.db())
        .await
        .doing("keeping a forecast")?;
    Ok(())
}

/// Removes what nobody compares any more.
pub(super) async fn trim(write: &Write, now: DateTime<Utc>) -> Result<(), StoreError> {
    row::Entity::delete_many()
        .filter(row::Column::FromAt.lt((now - KEPT).timestamp_micros()))
        .exec(write.db())
        .await
        .doing("removing old forecasts")?;
    Ok(())
}
