//! Reports, schedules and runs as clients see them.

use chrono::{DateTime, Utc};
use delivery::{Channel, Delivery, DeliveryState};
use reports::{Recurrence, RecurrenceText};
use rest::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    report::{NewReport, Report},
    run::{Run, RunState},
    schedule::{self, Missed, Schedule},
};
use crate::Lake;

/// A report as it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportView {
    pub id: String,
    #[serde(flatten)]
    pub report: NewReport,
    pub owner_id: String,
    /// Its schedules rest.
    pub paused: bool,
    /// Why, if it was not asked for.
    pub paused_reason: Option<String>,
    pub schedules: Vec<ScheduleView>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// A schedule of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScheduleView {
    pub id: String,
    pub report_id: String,
    /// `every`, `on` and `at`, or `cron`.
    #[serde(flatten)]
    #[schema(value_type = RecurrenceText)]
    pub recurrence: Recurrence,
    pub missed: Missed,
    pub paused: bool,
    /// The next five times; none while it rests.
    #[schema(value_type = Vec<String>)]
    pub next: Vec<DateTime<Utc>>,
}

/// A run of a report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunView {
    pub id: String,
    pub report_id: String,
    /// Absent: somebody asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<String>,
    /// `queued`, `delivering`, `sent`, `skipped` or `failed`.
    pub status: &'static str,
    /// Why it was skipped, or failed.
    pub reason: Option<String>,
    /// The period: `from` is included, `to` is not.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub to: DateTime<Utc>,
    /// When it was due.
    #[schema(value_type = String, format = DateTime)]
    pub fired_at: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<DateTime<Utc>>,
    /// The cut that its numbers were read at.
    pub as_of: Option<String>,
    /// The names of its files, for `/v1/reports/{id}/runs/{run}/files/{name}`.
    pub files: Vec<String>,
    /// To whom it went, and how far that is.
    pub deliveries: Vec<DeliveryView>,
}

/// A delivery of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    pub id: String,
    /// `mail`, `webhook`, `slack` or `folder`.
    #[schema(value_type = String)]
    pub channel: Channel,
    /// Empty for a webhook: its address is a secret.
    pub address: String,
    /// `queued`, `sending`, `sent` or `failed`.
    #[schema(value_type = String)]
    pub state: DeliveryState,
    /// It may have arrived twice.
    pub uncertain: bool,
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub tried_at: Option<DateTime<Utc>>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<DateTime<Utc>>,
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        let is_secret = matches!(delivery.channel, Channel::Webhook | Channel::Slack);
        Self {
            id: delivery.delivery_id.clone(),
            channel: delivery.channel,
            address: if is_secret { String::new() } else { delivery.address.clone() },
            state: delivery.state,
            uncertain: delivery.uncertain,
            attempts: delivery.attempts,
            error: delivery.error.clone(),
            tried_at: delivery.tried_at,
            next_at: delivery.next_at,
        }
    }
}

impl ReportView {
    pub(super) fn new(report: Report, schedules: &[Schedule], lake: &Lake) -> Self {
        let zone = report.new.zone(lake);
        let own = schedules.iter().filter(|schedule| schedule.report_id == report.report_id);
        let view = |schedule: &Schedule| ScheduleView {
            id: schedule.schedule_id.clone(),
            report_id: schedule.report_id.clone(),
            recurrence: schedule.recurrence.clone(),
            missed: schedule.missed,
            paused: schedule.paused,
            next: if report.paused { Vec::new() } else { schedule.upcoming(zone) },
        };
        Self {
            schedules: own.map(view).collect(),
            id: report.report_id,
            report: report.new,
            owner_id: report.owner_id,
            paused: report.paused,
            paused_reason: report.paused_reason,
            created_at: report.created_at,
            updated_at: report.updated_at,
        }
    }
}

/// Reports with their schedules.
pub(super) async fn views(lake: &Lake, reports: Vec<Report>) -> Result<Vec<ReportView>, Problem> {
    let ids: Vec<String> = reports.iter().map(|report| report.report_id.clone()).collect();
    let schedules = schedule::of_reports(&lake.state.store, &ids).await?;
    Ok(reports.into_iter().map(|report| ReportView::new(report, &schedules, lake)).collect())
}

pub(super) async fn view(lake: &Lake, report: Report) -> Result<ReportView, Problem> {
    views(lake, vec![report]).await?.pop().ok_or_else(Problem::internal)
}

/// Runs with their deliveries.
pub(super) async fn run_views(lake: &Lake, runs: Vec<Run>) -> Result<Vec<RunView>, Problem> {
    let ids: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    let deliveries = delivery::of_references(&lake.state.store, &ids).await?;
    Ok(runs.into_iter().map(|run| run_view(run, &deliveries)).collect())
}

pub(super) fn run_view(run: Run, deliveries: &[Delivery]) -> RunView {
    let own: Vec<&Delivery> =
        deliveries.iter().filter(|delivery| delivery.reference == run.run_id).collect();
    let any = |state| own.iter().any(|delivery| delivery.state == state);
    let status = match run.state {
        RunState::Queued => "queued",
        RunState::Skipped => "skipped",
        RunState::Failed => "failed",
        RunState::Done if any(DeliveryState::Queued) || any(DeliveryState::Sending) => "delivering",
        RunState::Done if any(DeliveryState::Failed) => "failed",
        RunState::Done => "sent",
    };
    RunView {
        status,
        deliveries: own.into_iter().map(DeliveryView::from).collect(),
        files: run.files.into_iter().map(|file| file.name).collect(),
        id: run.run_id,
        report_id: run.report_id,
        schedule_id: run.schedule_id,
        reason: run.reason,
        from: run.from,
        to: run.to,
        fired_at: run.fired_at,
        finished_at: run.finished_at,
        as_of: run.as_of,
    }
}
