//! `/v1/schedules`.

use actix_web::{HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, Utc};
use reports::{Recurrence, RecurrenceText};
use rest::{
    body::Body,
    principal::{Authorized, Principal, ViewDashboard},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX,
    report::{self, Report},
    schedule::{self, Missed, Schedule},
    view::{ReportView, ScheduleView, views},
};
use crate::Lake;

/// A schedule to add, or to change.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewSchedule {
    pub report_id: String,
    /// `day`, `weekday`, `week` or `month`, with `at` and, of a week or a month, `on`; or `cron` instead of all three.
    #[serde(flatten)]
    #[schema(value_type = RecurrenceText)]
    pub recurrence: Recurrence,
    /// What is made up for of the times that came while the server was down: `last` or `each`.
    #[serde(default)]
    pub missed: Missed,
    #[serde(default)]
    pub paused: bool,
}

/// All schedules of the reports that one may see.
#[utoipa::path(tag = "reports", responses((status = 200, body = ScheduleList), Denied))]
#[get("/v1/schedules")]
pub(super) async fn list_schedules(
    principal: Authorized<ViewDashboard>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let reports = views(&lake, report::list(&lake.state.store, &principal).await?).await?;
    let schedules: Vec<_> = reports.into_iter().flat_map(|report| report.schedules).collect();
    Ok(HttpResponse::Ok().json(ScheduleList { schedules }))
}

#[derive(Debug, Serialize, ToSchema)]
struct ScheduleList {
    schedules: Vec<ScheduleView>,
}

/// Adds a schedule to a report.
#[utoipa::path(
    tag = "reports",
    request_body = NewSchedule,
    responses((status = 201, body = ScheduleView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem)),
)]
#[post("/v1/schedules")]
pub(super) async fn create_schedule(
    principal: Authorized<ViewDashboard>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewSchedule = body.json(&principal).await?;
    let report = report::visible(&lake.state.store, &principal, &new.report_id).await?;
    schedule::check(&new.recurrence, &lake, report.new.zone(&lake))?;
    let made = schedule::create(&lake, &report, new.recurrence, new.missed).await?;
    let made = match new.paused {
        true => schedule::change(&lake, &report, Schedule { paused: true, ..made }).await?,
        false => made,
    };
    let view = ReportView::new(report, &[made], &lake).schedules.pop();
    Ok(HttpResponse::Created().json(view))
}

/// Changes a schedule. Its next time is counted from now.
#[utoipa::path(
    operation_id = "update_schedule",
    tag = "reports",
    params(("id" = String, Path)),
    request_body = NewSchedule,
    responses((status = 200, body = ScheduleView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[put("/v1/schedules/{id}")]
pub(super) async fn change_schedule(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewSchedule = body.json(&principal).await?;
    let (report, before) = visible_schedule(&lake, &principal, &id).await?;
    if new.report_id != report.report_id {
        let detail = "`report_id`: a schedule stays with its report";
        return Err(Problem::bad_request(Code::InvalidField, detail));
    }
    schedule::check(&new.recurrence, &lake, report.new.zone(&lake))?;
    let NewSchedule { recurrence, missed, paused, .. } = new;
    let changed = Schedule { recurrence, missed, paused, ..before };
    let changed = schedule::change(&lake, &report, changed).await?;
    let view = ReportView::new(report, &[changed], &lake).schedules.pop();
    Ok(HttpResponse::Ok().json(view))
}

/// Removes a schedule.
#[utoipa::path(tag = "reports", params(("id" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/schedules/{id}")]
pub(super) async fn remove_schedule(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (_, schedule) = visible_schedule(&lake, &principal, &id).await?;
    schedule::remove(&lake.state.store, &schedule.schedule_id).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn visible_schedule(
    lake: &Lake,
    principal: &Principal,
    id: &str,
) -> Result<(Report, Schedule), Problem> {
    let absent = || Problem::not_found(format!("there is no schedule `{id}`"));
    let schedule = schedule::find(&lake.state.store, id).await?.ok_or_else(absent)?;
    let report = report::find(&lake.state.store, &schedule.report_id).await?;
    let report = report.filter(|report| report.may_see(principal)).ok_or_else(absent)?;
    Ok((report, schedule))
}

/// A recurrence in a zone, to be looked at before it is kept.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RecurrenceBody {
    #[serde(flatten)]
    #[schema(value_type = RecurrenceText)]
    pub recurrence: Recurrence,
    /// Left out: the setting `metrics.zone`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tz: Option<query::Zone>,
}

#[derive(Debug, Serialize, ToSchema)]
struct NextTimes {
    /// Five times.
    next: Vec<DateTime<Utc>>,
}

/// The next five times of a recurrence, without keeping it.
#[utoipa::path(
    operation_id = "list_next_times",
    tag = "reports",
    request_body = RecurrenceBody,
    responses((status = 200, body = NextTimes), (status = 400, body = Problem), Denied),
)]
#[post("/v1/schedules/next")]
pub(super) async fn next_times(
    principal: Authorized<ViewDashboard>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: RecurrenceBody = body.json(&principal).await?;
    let zone = body.tz.unwrap_or(lake.metrics.zone);
    schedule::check(&body.recurrence, &lake, zone)?;
    let next = body.recurrence.upcoming(lake.state.clock.now(), zone, schedule::UPCOMING);
    Ok(HttpResponse::Ok().json(NextTimes { next }))
}
