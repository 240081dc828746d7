//! An anomaly as it is kept.

use chrono::{DateTime, Utc};
use reports::anomaly::{FoundAnomaly, SeriesName};
use rest::principal::Principal;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use state::{
    ids::base62,
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use utoipa::ToSchema;

use super::row::{anomaly as row, look};

/// An anomaly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Anomaly {
    pub(super) id: String,
    pub(super) found: FoundAnomaly,
    /// The one that stands for those of the same cause.
    pub(super) same_as: Option<String>,
    /// None as long as nobody looked for it.
    pub(super) cause: Option<KeptCause>,
    pub(super) verdict: Option<Verdict>,
    pub(super) note: Option<String>,
    pub(super) judged_by: Option<String>,
    pub(super) found_at: DateTime<Utc>,
}

/// What is behind an anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum KeptCause {
    /// The parts of every dimension changed alike.
    Everywhere,
    /// Some values of a dimension.
    In {
        /// Its name.
        dimension: String,
        /// The values; none of what has none.
        values: Vec<Option<String>>,
        /// Their share of the change.
        share: f64,
    },
    /// The metric has no parts that add up; of these values of a dimension it is unusual, too.
    Shows {
        /// Its name.
        dimension: String,
        /// The values.
        values: Vec<Option<String>>,
    },
    /// The metric has no parts that add up, or none stands out.
    Unknown,
}

/// What somebody says of an anomaly.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(super) enum Verdict {
    Confirmed,
    Dismissed,
}

/// Which anomalies.
#[derive(Debug, Default)]
pub(super) struct AnomalyFilter {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    pub(super) metric: Option<String>,
    /// Also those that were dismissed.
    pub(super) with_dismissed: bool,
    /// Of one organization.
    pub(super) organization: Option<String>,
}

/// More are not listed.
pub(super) const LISTED_MAX: u64 = 500;

/// The dimension whose series belong to one organization.
pub(super) const ORGANIZATION: &str = "organization_id";

pub(super) fn id_of(found: &FoundAnomaly) -> String {
    let digest: [u8; 32] = Sha256::digest(found.identity()).into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    format!("anomaly_{}", base62(&first, 22))
}

impl Anomaly {
    /// Without what staff say among themselves, and without a word of others, for members of an organization.
    pub(super) fn seen_by(mut self, who: &Principal) -> Self {
        if who.reach.organization_id().is_some() {
            (self.same_as, self.note, self.judged_by) = (None, None, None);
        }
        self
    }
}

impl AnomalyFilter {
    /// What somebody may see: staff everything, a member what is of the organization.
    pub(super) fn seen_by(mut self, who: &Principal) -> Self {
        self.organization = who.reach.organization_id().map(str::to_owned);
        self
    }

    fn condition(&self) -> Condition {
        let mut condition = Condition::all();
        if let Some(from) = self.from {
            condition = condition.add(row::Column::ToAt.gt(from.timestamp_micros()));
        }
        if let Some(to) = self.to {
            condition = condition.add(row::Column::FromAt.lt(to.timestamp_micros()));
        }
        if let Some(metric) = &self.metric {
            condition = condition.add(row::Column::Metric.eq(metric.as_str()));
        }
        if !self.with_dismissed {
            let dismissed: &str = Verdict::Dismissed.into();
            let open = Condition::any()
                .add(row::Column::Verdict.is_null())
                .add(row::Column::Verdict.ne(dismissed));
            condition = condition.add(open);
        }
        if let Some(organization) = &self.organization {
            condition = condition
                .add(row::Column::Dimension.eq(ORGANIZATION))
                .add(row::Column::Value.eq(organization.as_str()));
        }
        condition
    }
}

/// Anomalies, the newest first.
pub(super) async fn list(
    store: &Store,
    filter: &AnomalyFilter,
) -> Result<Vec<Anomaly>, StoreError> {
    let rows = row::Entity::find()
        .filter(filter.condition())
        .order_by_desc(row::Column::FromAt)
        .order_by_asc(row::Column::AnomalyId)
        .limit(LISTED_MAX)
        .all(store.db())
        .await
        .doing("listing anomalies")?;
    rows.into_iter().map(Anomaly::try_from).collect()
}

/// One that somebody may see.
pub(super) async fn visible(
    store: &Store,
    who: &Principal,
    id: &str,
) -> Result<Option<Anomaly>, StoreError> {
    let filter = AnomalyFilter { with_dismissed: true, ..AnomalyFilter::default() }.seen_by(who);
    let row = row::Entity::find_by_id(id)
        .filter(filter.condition())
        .one(store.db())
        .await
        .doing("looking for an anomaly")?;
    let found = row.map(Anomaly::try_from).transpose()?;
    Ok(found.map(|one| one.seen_by(who)))
}

/// Those that people said something of.
pub(super) async fn judged(store: &Store) -> Result<Vec<Anomaly>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Verdict.is_not_null())
        .order_by_desc(row::Column::FromAt)
        .limit(LISTED_MAX)
        .all(store.db())
        .await
        .doing("listing verdicts")?;
    rows.into_iter().map(Anomaly::try_from).collect()
}

/// Puts what was found from a time on in the place of what was found before. What people judged stays.
pub(super) async fn replace(
    write: &Write,
    metrics: &[&str],
    since: DateTime<Utc>,
    found: &[FoundAnomaly],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let ids: Vec<String> = found.iter().map(id_of).collect();
    row::Entity::delete_many()
        .filter(row::Column::Metric.is_in(metrics.iter().copied()))
        .filter(row::Column::ToAt.gt(since.timestamp_micros()))
        .filter(row::Column::Verdict.is_null())
        .filter(row::Column::AnomalyId.is_not_in(ids.iter().map(String::as_str)))
        .exec(write.db())
        .await
        .doing("removing anomalies that are none any more")?;
    for (one, id) in found.iter().zip(&ids) {
        let row = row::ActiveModel {
            anomaly_id: Set(id.clone()),
            metric: Set(one.key.metric.clone()),
            dimension: Set(one.key.dimension.clone()),
            value: Set(one.key.value.clone()),
            currency: Set(one.key.currency.clone()),
            from_at: Set(one.from.timestamp_micros()),
            to_at: Set(one.to.timestamp_micros()),
            is_high: Set(one.is_high),
            observed: Set(one.observed),
            expected: Set(one.expected),
            lower: Set(one.lower),
            upper: Set(one.upper),
            p_value: Set(one.p_value),
            same_as: Set(one.same_as.and_then(|place| ids.get(place).cloned())),
            found_at: Set(now.timestamp_micros()),
            ..row::ActiveModel::default()
        };
        let changed = [
            row::Column::ToAt,
            row::Column::IsHigh,
            row::Column::Observed,
            row::Column::Expected,
            row::Column::Lower,
            row::Column::Upper,
            row::Column::PValue,
            row::Column::SameAs,
        ];
        let conflict =
            OnConflict::column(row::Column::AnomalyId).update_columns(changed).to_owned();
        row::Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(write.db())
            .await
            .doing("adding an anomaly")?;
    }
    Ok(())
}

/// Notes when a grain was looked at.
pub(super) async fn note_look(
    write: &Write,
    grain: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = look::ActiveModel {
        grain: Set(grain.to_owned()),
        looked_at: Set(now.timestamp_micros()),
        until_at: Set(until.timestamp_micros()),
    };
    let conflict = OnConflict::column(look::Column::Grain)
        .update_columns([look::Column::LookedAt, look::Column::UntilAt])
        .to_owned();
    look::Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(write.db())
        .await
        .doing("noting a look")?;
    Ok(())
}

/// When the hours were looked at, and until when.
pub(super) async fn last_look(
    store: &Store,
    grain: &str,
) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, StoreError> {
    let found = look::Entity::find_by_id(grain).one(store.db()).await.doing("reading a look")?;
    let Some(found) = found else { return Ok(None) };
    let time = |micros| time_of("anomaly_looks", micros);
    Ok(Some((time(found.looked_at)?, time(found.until_at)?)))
}

pub(super) async fn set_cause(
    write: &Write,
    id: &str,
    cause: &KeptCause,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(cause).unwrap_or_default();
    let row = row::ActiveModel {
        anomaly_id: Set(id.to_owned()),
        cause: Set(Some(text)),
        ..row::ActiveModel::default()
    };
    row::Entity::update_many()
        .set(row)
        .filter(row::Column::AnomalyId.eq(id))
        .exec(write.db())
        .await
        .doing("noting a cause")?;
    Ok(())
}

/// What somebody says of an anomaly counts for all of its cause.
pub(super) async fn judge(
    write: &Write,
    anomaly: &Anomaly,
    verdict: Option<Verdict>,
    note: Option<String>,
    who: &Principal,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let head = anomaly.same_as.as_deref().unwrap_or(&anomaly.id);
    let text: Option<&str> = verdict.map(Into::into);
    let row = row::ActiveModel {
        verdict: Set(text.map(str::to_owned)),
        note: Set(note),
        judged_by: Set(Some(who.id.clone())),
        judged_at: Set(Some(now.timestamp_micros())),
        ..row::ActiveModel::default()
    };
    row::Entity::update_many()
        .set(row)
        .filter(
            Condition::any().add(row::Column::AnomalyId.eq(head)).add(row::Column::SameAs.eq(head)),
        )
        .exec(write.db())
        .await
        .doing("noting a verdict")?;
    Ok(())
}

impl TryFrom<row::Model> for Anomaly {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let time = |micros| time_of("anomalies", micros);
        Ok(Self {
            found: FoundAnomaly {
                from: time(row.from_at)?,
                to: time(row.to_at)?,
                key: SeriesName {
                    metric: row.metric,
                    dimension: row.dimension,
                    value: row.value,
                    currency: row.currency,
                },
                is_high: row.is_high,
                observed: row.observed,
                expected: row.expected,
                lower: row.lower,
                upper: row.upper,
                p_value: row.p_value,
                same_as: None,
            },
            cause: row.cause.and_then(|text| serde_json::from_str(&text).ok()),
            verdict: row.verdict.and_then(|name| name.parse().ok()),
            found_at: time(row.found_at)?,
            id: row.anomaly_id,
            same_as: row.same_as,
            note: row.note,
            judged_by: row.judged_by,
        })
    }
}
