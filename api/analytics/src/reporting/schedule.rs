//! When a report is made by itself.

use chrono::{DateTime, Utc};
use query::Zone;
use reports::Recurrence;
use rest::problem::{Code, Problem};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    ids::{base62, random_bytes},
    jobs::{self, NewJob},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::{
    report::Report,
    row::schedule as row,
    run::{self, NewRun},
};
use crate::Lake;

/// What is made of the times that came while nobody was there to do it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    Serialize,
    Deserialize,
    ToSchema,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Missed {
    /// The last of them is made up for.
    #[default]
    Last,
    /// Each of them is.
    Each,
}

/// A schedule of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) schedule_id: String,
    pub(super) report_id: String,
    pub(super) recurrence: Recurrence,
    pub(super) missed: Missed,
    pub(super) paused: bool,
    pub(super) next_at: Option<DateTime<Utc>>,
}

/// The kind of the jobs that a schedule's time enqueues.
pub(super) const JOB: &str = "report_schedule";

const SCHEDULES_MAX: usize = 5;
/// Times that came while nobody was there: so many are looked at, the newest.
const MISSED_MAX: usize = 400;

/// A recurrence that has a next time, and not too many.
pub(super) fn check(recurrence: &Recurrence, lake: &Lake, zone: Zone) -> Result<(), Problem> {
    match recurrence.fault(lake.state.clock.now(), zone) {
        Some(reason) => Err(Problem::bad_request(Code::InvalidField, reason)),
        None => Ok(()),
    }
}

pub(super) async fn of_reports(
    store: &Store,
    report_ids: &[String],
) -> Result<Vec<Schedule>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::ReportId.is_in(report_ids))
        .order_by_asc(row::Column::CreatedAt)
        .order_by_asc(row::Column::ScheduleId)
        .all(store.db())
        .await
        .doing("listing schedules")?;
    rows.into_iter().map(Schedule::try_from).collect()
}

pub(super) async fn find(store: &Store, id: &str) -> Result<Option<Schedule>, StoreError> {
    let row = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for a schedule")?;
    row.map(Schedule::try_from).transpose()
}

/// Adds a schedule, and the job of its first time.
pub(super) async fn create(
    lake: &Lake,
    report: &Report,
    recurrence: Recurrence,
    missed: Missed,
) -> Result<Schedule, Problem> {
    let (store, now) = (&lake.state.store, lake.state.clock.now());
    if of_reports(store, std::slice::from_ref(&report.report_id)).await?.len() >= SCHEDULES_MAX {
        let detail = format!("a report has at most {SCHEDULES_MAX} schedules");
        return Err(Problem::conflict(Code::TooManyReports, detail));
    }
    let zone = report.new.zone(lake);
    let schedule = Schedule {
        schedule_id: format!("schedule_{}", base62(&random_bytes::<16>()?, 22)),
        report_id: report.report_id.clone(),
        next_at: recurrence.next(now, zone),
        recurrence,
        missed,
        paused: false,
    };
    let write = store.write().await?;
    let row = row::ActiveModel {
        schedule_id: Set(schedule.schedule_id.clone()),
        report_id: Set(schedule.report_id.clone()),
        recurrence: Set(json!(schedule.recurrence).to_string()),
        missed: Set(<&str>::from(schedule.missed).to_owned()),
        paused: Set(false),
        next_at: Set(schedule.next_at.map(|at| at.timestamp_micros())),
        created_at: Set(now.timestamp_micros()),
    };
    row::Entity::insert(row).exec_without_returning(write.db()).await.doing("adding a schedule")?;
    schedule.enqueue(&write, now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(schedule)
}

/// Changes a schedule, or lets it rest. Its next time is counted from now.
pub(super) async fn change(
    lake: &Lake,
    report: &Report,
    schedule: Schedule,
) -> Result<Schedule, Problem> {
    let now = lake.state.clock.now();
    let next_at = schedule.recurrence.next(now, report.new.zone(lake));
    let schedule = Schedule { next_at: next_at.filter(|_| !schedule.paused), ..schedule };
    let write = lake.state.store.write().await?;
    row::Entity::update_many()
        .col_expr(row::Column::Recurrence, Expr::value(json!(schedule.recurrence).to_string()))
        .col_expr(row::Column::Missed, Expr::value(<&str>::from(schedule.missed)))
        .col_expr(row::Column::Paused, Expr::value(schedule.paused))
        .filter(row::Column::ScheduleId.eq(schedule.schedule_id.as_str()))
        .exec(write.db())
        .await
        .doing("changing a schedule")?;
    schedule.set_next(&write, now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(schedule)
}

/// Counts the next times of a report's schedules anew: its zone may be another, or it goes on after a rest.
pub(super) async fn restart_of(lake: &Lake, report: &Report) -> Result<(), Problem> {
    for schedule in of_reports(&lake.state.store, std::slice::from_ref(&report.report_id)).await? {
        change(lake, report, schedule).await?;
    }
    Ok(())
}

pub(super) async fn remove(store: &Store, id: &str) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::delete_by_id(id).exec(write.db()).await.doing("removing a schedule")?;
    write.commit().await
}

pub(super) async fn remove_of(write: &Write, report_id: &str) -> Result<(), StoreError> {
    row::Entity::delete_many()
        .filter(row::Column::ReportId.eq(report_id))
        .exec(write.db())
        .await
        .doing("removing the schedules of a report")?;
    Ok(())
}

impl Schedule {
    /// A time has come: begins the runs of all times that came, and waits for the next. `at` is the time that the job is
    /// for; a schedule that was changed since has another.
    pub(super) async fn fire(
        lake: &Lake,
        id: &str,
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let (store, now) = (&lake.state.store, lake.state.clock.now());
        let Some(schedule) = find(store, id).await?.filter(|found| found.next_at == Some(at))
        else {
            return Ok(0);
        };
        let Some(report) = super::report::find(store, &schedule.report_id).await? else {
            return Ok(0);
        };
        let zone = report.new.zone(lake);
        let times = schedule.due(at, now, zone);
        let next_at = schedule.recurrence.next(times.last().copied().unwrap_or(at), zone);
        let write = store.write().await?;
        let mut begun = 0;
        if !report.paused && !schedule.paused {
            for fired_at in times {
                let window = report.new.period.window(fired_at, zone);
                let new = NewRun {
                    schedule_id: Some(id.to_owned()),
                    only_to: None,
                    fired_at,
                    from: window.from,
                    to: window.to,
                    // Events of the period may be late.
                    run_at: fired_at.max(window.to + lake.metrics.lateness),
                };
                begun += usize::from(run::begin(&write, &report, &new, now).await?.is_some());
            }
        }
        Self { next_at, ..schedule }.set_next(&write, now).await?;
        write.commit().await?;
        lake.state.jobs.wake();
        Ok(begun)
    }

    /// The times from `at` to now that are made up for.
    fn due(&self, at: DateTime<Utc>, now: DateTime<Utc>, zone: Zone) -> Vec<DateTime<Utc>> {
        let times = std::iter::successors(Some(at), |at| self.recurrence.next(*at, zone));
        let mut times: Vec<_> = times.take_while(|at| *at <= now).collect();
        let kept = match self.missed {
            Missed::Last => 1,
            Missed::Each => MISSED_MAX,
        };
        times.split_off(times.len().saturating_sub(kept))
    }

    async fn set_next(&self, write: &Write, now: DateTime<Utc>) -> Result<(), StoreError> {
        let next = self.next_at.map(|at| at.timestamp_micros());
        row::Entity::update_many()
            .col_expr(row::Column::NextAt, Expr::value(next))
            .filter(row::Column::ScheduleId.eq(self.schedule_id.as_str()))
            .exec(write.db())
            .await
            .doing("noting the next time of a schedule")?;
        self.enqueue(write, now).await
    }

    /// The job of the next time. One that is there already was of the same time before a change.
    async fn enqueue(&self, write: &Write, now: DateTime<Utc>) -> Result<(), StoreError> {
        let Some(at) = self.next_at else { return Ok(()) };
        let job = NewJob {
            kind: JOB,
            // What was changed twice may come to a time again whose job is done.
            dedup_key: format!(
                "{}:{}:{}",
                self.schedule_id,
                at.timestamp(),
                now.timestamp_micros()
            ),
            payload: json!({"schedule_id": self.schedule_id, "at": at}),
            run_at: at,
        };
        jobs::enqueue(write, &job, now).await?;
        Ok(())
    }

    /// The next times, as long as it does not rest.
    pub(super) fn upcoming(&self, zone: Zone) -> Vec<DateTime<Utc>> {
        match (self.paused, self.next_at) {
            (false, Some(next)) => {
                std::iter::successors(Some(next), |at| self.recurrence.next(*at, zone))
                    .take(UPCOMING)
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

/// So many next times are shown.
pub(super) const UPCOMING: usize = 5;

impl TryFrom<row::Model> for Schedule {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "report_schedules", what };
        Ok(Self {
            recurrence: serde_json::from_str(&row.recurrence)
                .map_err(|_| damaged("a recurrence is not readable"))?,
            missed: row.missed.parse().map_err(|_| damaged("an unknown word"))?,
            next_at: row.next_at.map(|at| time_of("report_schedules", at)).transpose()?,
            schedule_id: row.schedule_id,
            report_id: row.report_id,
            paused: row.paused,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_times_are_made_up_for_as_asked() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let schedule = |missed| Schedule {
            schedule_id: "schedule_1".into(),
            report_id: "report_1".into(),
            recurrence: serde_json::from_str(r#"{"every":"day","at":"08:00"}"#).unwrap(),
            missed,
            paused: false,
            next_at: None,
        };
        let (first, now) = (at("2026-11-20T08:00:00Z"), at("2026-11-22T09:00:00Z"));
        let due = |missed| schedule(missed).due(first, now, Zone::UTC);
        assert_eq!(due(Missed::Last), [at("2026-11-22T08:00:00Z")]);
        assert_eq!(due(Missed::Each).len(), 3);
        assert_eq!(schedule(Missed::Each).due(first, first, Zone::UTC), [first]);
    }
}
