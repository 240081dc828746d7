//! What opened, and what people did about it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reports::alert::{Evaluation, Standing, Verdict};
use rest::problem::{Code, Problem};
use rust_decimal::Decimal;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use serde::Serialize;
use serde_json::json;
use state::{
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, Write, time_of},
};

use super::row::{evaluation, incident as row, standing};

/// The group and the currency of a series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub(super) struct SeriesKey {
    pub(super) group: Option<String>,
    pub(super) currency: Option<String>,
}

impl SeriesKey {
    pub(super) fn text(&self) -> String {
        json!([self.group, self.currency]).to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let (group, currency) = serde_json::from_str(text).ok()?;
        Some(Self { group, currency })
    }

    /// In words: `gpt-4o, USD`.
    pub(super) fn name(&self) -> String {
        [self.group.as_deref(), self.currency.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// An alert that opened for a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Incident {
    pub(super) incident_id: String,
    pub(super) alert_id: String,
    pub(super) series: SeriesKey,
    /// The interval that was met last, with its value.
    pub(super) interval_from: DateTime<Utc>,
    pub(super) value: Option<Decimal>,
    pub(super) limit: Option<Decimal>,
    pub(super) opened_at: DateTime<Utc>,
    pub(super) told_at: Option<DateTime<Utc>>,
    pub(super) acknowledged: Option<(DateTime<Utc>, String)>,
    pub(super) snoozed_until: Option<DateTime<Utc>>,
    pub(super) resolved_at: Option<DateTime<Utc>>,
    pub(super) resolved_by: Option<String>,
}

impl Incident {
    pub(super) fn opened(
        alert_id: &str,
        series: &SeriesKey,
        found: &Evaluation,
        now: DateTime<Utc>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            incident_id: format!("incident_{}", base62(&random_bytes::<16>()?, 22)),
            alert_id: alert_id.to_owned(),
            series: series.clone(),
            interval_from: found.at,
            value: found.value,
            limit: found.limit,
            opened_at: now,
            told_at: None,
            acknowledged: None,
            snoozed_until: None,
            resolved_at: None,
            resolved_by: None,
        })
    }

    /// Writes it down as it is now.
    pub(super) async fn save(&self, write: &Write) -> Result<(), StoreError> {
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        let row = row::ActiveModel {
            incident_id: Set(self.incident_id.clone()),
            alert_id: Set(self.alert_id.clone()),
            series: Set(self.series.text()),
            interval_from: Set(self.interval_from.timestamp_micros()),
            value: Set(self.value.map(|value| value.to_string())),
            limit_value: Set(self.limit.map(|limit| limit.to_string())),
            opened_at: Set(self.opened_at.timestamp_micros()),
            told_at: Set(micros(self.told_at)),
            acknowledged_at: Set(micros(self.acknowledged.as_ref().map(|(at, _)| *at))),
            acknowledged_by: Set(self.acknowledged.as_ref().map(|(_, by)| by.clone())),
            snoozed_until: Set(micros(self.snoozed_until)),
            resolved_at: Set(micros(self.resolved_at)),
            resolved_by: Set(self.resolved_by.clone()),
        };
        let update = [
            row::Column::IntervalFrom,
            row::Column::Value,
            row::Column::LimitValue,
            row::Column::ToldAt,
            row::Column::AcknowledgedAt,
            row::Column::AcknowledgedBy,
            row::Column::SnoozedUntil,
            row::Column::ResolvedAt,
            row::Column::ResolvedBy,
        ];
        row::Entity::insert(row)
            .on_conflict(
                OnConflict::column(row::Column::IncidentId).update_columns(update).to_owned(),
            )
            .exec_without_returning(write.db())
            .await
            .doing("writing an incident")?;
        Ok(())
    }
}

/// What somebody does about an incident.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Somebody is at it: nobody is told again.
    Acknowledge,
    /// Nobody is told until then.
    Snooze(DateTime<Utc>),
    /// It is over. It opens anew when the condition is met as often as it must.
    Resolve,
}

/// Does what somebody asks with an incident that is open.
pub(super) async fn act(
    write: &Write,
    incident: Incident,
    act: &Act,
    who: &str,
    now: DateTime<Utc>,
) -> Result<Incident, Problem> {
    if incident.resolved_at.is_some() {
        return Err(Problem::conflict(Code::IncidentResolved, "the incident is resolved"));
    }
    let mut incident = incident;
    match act {
        Act::Acknowledge => incident.acknowledged = Some((now, who.to_owned())),
        Act::Snooze(until) => incident.snoozed_until = Some(*until),
        Act::Resolve => {
            incident.resolved_at = Some(now);
            incident.resolved_by = Some(who.to_owned());
            let standing = (Standing::default(), None);
            let of_series = BTreeMap::from([(incident.series.clone(), standing)]);
            save_standings(write, &incident.alert_id, &of_series).await?;
        }
    }
    incident.save(write).await?;
    Ok(incident)
}

/// The incidents of alerts, the newest first; only those that are open, if asked.
pub(super) async fn of_alerts(
    store: &Store,
    alert_ids: &[String],
    only_open: bool,
    limit: u64,
) -> Result<Vec<Incident>, StoreError> {
    let mut found = row::Entity::find().filter(row::Column::AlertId.is_in(alert_ids));
    if only_open {
        found = found.filter(row::Column::ResolvedAt.is_null());
    }
    let rows = found
        .order_by_desc(row::Column::OpenedAt)
        .order_by_asc(row::Column::IncidentId)
        .limit(limit)
        .all(store.db())
        .await
        .doing("listing incidents")?;
    rows.into_iter().map(Incident::try_from).collect()
}

/// An incident of an alert.
pub(super) async fn find(
    store: &Store,
    alert_id: &str,
    id: &str,
) -> Result<Option<Incident>, StoreError> {
    let row = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for an incident")?;
    let row = row.filter(|row| row.alert_id == alert_id);
    row.map(Incident::try_from).transpose()
}

/// How the series of an alert stand, each with the incident that is open.
pub(super) type Standings = BTreeMap<SeriesKey, (Standing, Option<String>)>;

pub(super) async fn standings(store: &Store, alert_id: &str) -> Result<Standings, StoreError> {
    let rows = standing::Entity::find()
        .filter(standing::Column::AlertId.eq(alert_id))
        .all(store.db())
        .await
        .doing("reading how an alert stands")?;
    let read = |row: standing::Model| {
        let key = SeriesKey::parse(&row.series).ok_or(StoreError::Damaged {
            table: "alert_standings",
            what: "a series is not readable",
        })?;
        let count = |count: i64| u32::try_from(count).unwrap_or_default();
        let standing = Standing {
            met: count(row.met),
            not_met: count(row.not_met),
            is_open: row.incident_id.is_some(),
        };
        Ok((key, (standing, row.incident_id)))
    };
    rows.into_iter().map(read).collect()
}

pub(super) async fn save_standings(
    write: &Write,
    alert_id: &str,
    standings: &Standings,
) -> Result<(), StoreError> {
    for (key, (standing, incident_id)) in standings {
        let row = standing::ActiveModel {
            alert_id: Set(alert_id.to_owned()),
            series: Set(key.text()),
            met: Set(standing.met.into()),
            not_met: Set(standing.not_met.into()),
            incident_id: Set(incident_id.clone()),
        };
        let update =
            [standing::Column::Met, standing::Column::NotMet, standing::Column::IncidentId];
        let same = [standing::Column::AlertId, standing::Column::Series];
        standing::Entity::insert(row)
            .on_conflict(OnConflict::columns(same).update_columns(update).to_owned())
            .exec_without_returning(write.db())
            .await
            .doing("noting how an alert stands")?;
    }
    Ok(())
}

/// Forgets how series stand that are not there any more.
pub(super) async fn forget_standings(
    write: &Write,
    alert_id: &str,
    gone: &[SeriesKey],
) -> Result<(), StoreError> {
    let gone: Vec<String> = gone.iter().map(SeriesKey::text).collect();
    for piece in gone.chunks(500) {
        standing::Entity::delete_many()
            .filter(standing::Column::AlertId.eq(alert_id))
            .filter(standing::Column::Series.is_in(piece))
            .exec(write.db())
            .await
            .doing("forgetting how an alert stands")?;
    }
    Ok(())
}

/// What was found of an interval, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    /// None: of all series that are not listed.
    pub(super) series: Option<SeriesKey>,
    pub(super) found: Evaluation,
    /// The series that this stands for.
    pub(super) watched: usize,
}

pub(super) async fn save_findings(
    write: &Write,
    alert_id: &str,
    findings: &[Finding],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for Finding { series, found, watched } in findings {
        let row = evaluation::ActiveModel {
            alert_id: Set(alert_id.to_owned()),
            interval_from: Set(found.at.timestamp_micros()),
            series: Set(series.as_ref().map(SeriesKey::text).unwrap_or_default()),
            value: Set(found.value.map(|value| value.to_string())),
            limit_value: Set(found.limit.map(|limit| limit.to_string())),
            verdict: Set(<&str>::from(found.verdict).to_owned()),
            watched: Set(i64::try_from(*watched).unwrap_or(i64::MAX)),
            evaluated_at: Set(now.timestamp_micros()),
        };
        let same = [
            evaluation::Column::AlertId,
            evaluation::Column::IntervalFrom,
            evaluation::Column::Series,
        ];
        evaluation::Entity::insert(row)
            .on_conflict(OnConflict::columns(same).do_nothing().to_owned())
            .exec_without_returning(write.db())
            .await
            .doing("noting what an alert found")?;
    }
    Ok(())
}

/// What was found, the newest interval first.
pub(super) async fn findings(
    store: &Store,
    alert_id: &str,
    limit: u64,
) -> Result<Vec<Finding>, StoreError> {
    let rows = evaluation::Entity::find()
        .filter(evaluation::Column::AlertId.eq(alert_id))
        .order_by_desc(evaluation::Column::IntervalFrom)
        .order_by_asc(evaluation::Column::Series)
        .limit(limit)
        .all(store.db())
        .await
        .doing("reading what an alert found")?;
    rows.into_iter().map(Finding::try_from).collect()
}

/// Removes what was found, and resolved, before an instant.
pub(super) async fn forget(store: &Store, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let (write, before) = (store.write().await?, before.timestamp_micros());
    let found = evaluation::Entity::delete_many()
        .filter(evaluation::Column::EvaluatedAt.lt(before))
        .exec(write.db())
        .await
        .doing("forgetting what alerts found")?;
    let over = row::Entity::delete_many()
        .filter(row::Column::ResolvedAt.lt(before))
        .exec(write.db())
        .await
        .doing("forgetting incidents")?;
    write.commit().await?;
    Ok(found.rows_affected + over.rows_affected)
}

/// Notes when people were told.
pub(super) async fn set_told(
    write: &Write,
    ids: &[String],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    row::Entity::update_many()
        .col_expr(row::Column::ToldAt, Expr::value(now.timestamp_micros()))
        .filter(row::Column::IncidentId.is_in(ids))
        .exec(write.db())
        .await
        .doing("noting who was told")?;
    Ok(())
}

fn number(text: Option<&str>, table: &'static str) -> Result<Option<Decimal>, StoreError> {
    let damaged = |_| StoreError::Damaged { table, what: "a value is no number" };
    text.map(str::parse).transpose().map_err(damaged)
}

impl TryFrom<row::Model> for Incident {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        const TABLE: &str = "alert_incidents";
        let time = |at| time_of(TABLE, at);
        let acknowledged = row.acknowledged_at.map(time).transpose()?;
        Ok(Self {
            series: SeriesKey::parse(&row.series)
                .ok_or(StoreError::Damaged { table: TABLE, what: "a series is not readable" })?,
            interval_from: time(row.interval_from)?,
            value: number(row.value.as_deref(), TABLE)?,
            limit: number(row.limit_value.as_deref(), TABLE)?,
            opened_at: time(row.opened_at)?,
            told_at: row.told_at.map(time).transpose()?,
            acknowledged: acknowledged.map(|at| (at, row.acknowledged_by.unwrap_or_default())),
            snoozed_until: row.snoozed_until.map(time).transpose()?,
            resolved_at: row.resolved_at.map(time).transpose()?,
            resolved_by: row.resolved_by,
            incident_id: row.incident_id,
            alert_id: row.alert_id,
        })
    }
}

impl TryFrom<evaluation::Model> for Finding {
    type Error = StoreError;

    fn try_from(row: evaluation::Model) -> Result<Self, StoreError> {
        const TABLE: &str = "alert_evaluations";
        let damaged = |what| StoreError::Damaged { table: TABLE, what };
        Ok(Self {
            series: match row.series.as_str() {
                "" => None,
                text => Some(
                    SeriesKey::parse(text).ok_or_else(|| damaged("a series is not readable"))?,
                ),
            },
            found: Evaluation {
                at: time_of(TABLE, row.interval_from)?,
                value: number(row.value.as_deref(), TABLE)?,
                limit: number(row.limit_value.as_deref(), TABLE)?,
                verdict: row.verdict.parse().map_err(|_| damaged("an unknown verdict"))?,
            },
            watched: usize::try_from(row.watched).unwrap_or_default(),
        })
    }
}

impl Finding {
    /// What is kept of an interval: of one series all, of several those that are met, and the largest value of the others.
    pub(super) fn of_interval(found: &[(&SeriesKey, Evaluation)]) -> Vec<Self> {
        if let [(series, found)] = found {
            return vec![Self { series: Some((*series).clone()), found: *found, watched: 1 }];
        }
        let (met, others): (Vec<_>, Vec<_>) =
            found.iter().copied().partition(|(_, found)| found.verdict == Verdict::Met);
        let mut kept: Vec<Self> = met
            .into_iter()
            .map(|(series, found)| Self { series: Some(series.clone()), found, watched: 1 })
            .collect();
        let largest = others.iter().max_by_key(|(_, found)| {
            // One that is known says more than one that is not.
            (found.verdict == Verdict::NotMet, found.value)
        });
        kept.extend(largest.map(|(_, found)| Self {
            series: None,
            found: *found,
            watched: others.len(),
        }));
        kept
    }
}
