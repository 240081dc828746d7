//! `/v1/reports`: reports and their runs.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, put, web};
use delivery::DeliveryState;
use rest::{
    body::Body,
    principal::{Authorized, Principal, ViewDashboard},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX, drawn,
    report::{self, NewReport, Report},
    run::{self, NewRun, Run},
    schedule,
    view::{ReportView, RunView, run_view, run_views, view, views},
    work,
};
use crate::Lake;

const RUNS_DEFAULT: u64 = 50;
const RUNS_MAX: u64 = 500;

/// How a report is run by hand.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RunBody {
    /// It is sent by mail to whoever asks, and to nobody else.
    pub test: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunsParameters {
    limit: Option<u64>,
}

/// The reports that one may see: one's own; for administrators all of staff.
#[utoipa::path(tag = "reports", responses((status = 200, body = ReportList), Denied))]
#[get("/v1/reports")]
pub(super) async fn list_reports(
    principal: Authorized<ViewDashboard>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let reports = views(&lake, report::list(&lake.state.store, &principal).await?).await?;
    Ok(HttpResponse::Ok().json(ReportList { reports }))
}

#[derive(Debug, Serialize, ToSchema)]
struct ReportList {
    reports: Vec<ReportView>,
}

/// Adds a report. It is sent by its schedules, and when somebody runs it.
#[utoipa::path(
    tag = "reports",
    request_body = NewReport,
    responses(
        (status = 201, body = ReportView), (status = 400, body = Problem), Denied,
        (status = 404, description = "There is no such dashboard.", body = Problem),
        (status = 409, description = "There are too many reports.", body = Problem),
    ),
)]
#[post("/v1/reports")]
pub(super) async fn create_report(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewReport = body.json(&principal).await?;
    new.check(&lake, &principal).await?;
    let report = report::create(&lake, &principal, &principal.origin(&request), new).await?;
    let place = format!("/v1/reports/{}", report.report_id);
    let view = view(&lake, report).await?;
    Ok(HttpResponse::Created().insert_header((header::LOCATION, place)).json(view))
}

/// A report.
#[utoipa::path(tag = "reports", params(("id" = String, Path)), responses((status = 200, body = ReportView), Denied, (status = 404, body = Problem)))]
#[get("/v1/reports/{id}")]
pub(super) async fn get_report(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let report = report::visible(&lake.state.store, &principal, &id).await?;
    Ok(HttpResponse::Ok().json(view(&lake, report).await?))
}

/// Changes a report. Its owner stays.
#[utoipa::path(
    operation_id = "update_report",
    tag = "reports",
    params(("id" = String, Path)),
    request_body = NewReport,
    responses((status = 200, body = ReportView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[put("/v1/reports/{id}")]
pub(super) async fn change_report(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let before = report::visible(&lake.state.store, &principal, &id).await?;
    let new: NewReport = body.json(&principal).await?;
    // It is made with the rights of its owner.
    let owner = lake.authenticator.by_id(&before.owner_id).await?;
    new.check(&lake, owner.as_ref().unwrap_or(&principal)).await?;
    let report = report::change(&lake, before, &principal.origin(&request), new).await?;
    schedule::restart_of(&lake, &report).await?;
    Ok(HttpResponse::Ok().json(view(&lake, report).await?))
}

/// Removes a report and its schedules. What is on its way is sent.
#[utoipa::path(tag = "reports", params(("id" = String, Path)), responses((status = 204), Denied, (status = 404, body = Problem)))]
#[delete("/v1/reports/{id}")]
pub(super) async fn remove_report(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = report::visible(&lake.state.store, &principal, &id).await?;
    report::remove(&lake, &found, &principal.origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Lets the schedules of a report rest.
#[utoipa::path(tag = "reports", params(("id" = String, Path)), responses((status = 200, body = ReportView), Denied, (status = 404, body = Problem)))]
#[post("/v1/reports/{id}/pause")]
pub(super) async fn pause_report(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = report::visible(&lake.state.store, &principal, &id).await?;
    let report = report::pause(&lake, found, &principal.origin(&request), true).await?;
    Ok(HttpResponse::Ok().json(view(&lake, report).await?))
}

/// Lets the schedules of a report go on from now. What came in between is not made up for.
#[utoipa::path(tag = "reports", params(("id" = String, Path)), responses((status = 200, body = ReportView), Denied, (status = 404, body = Problem)))]
#[post("/v1/reports/{id}/resume")]
pub(super) async fn resume_report(
    principal: Authorized<ViewDashboard>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let found = report::visible(&lake.state.store, &principal, &id).await?;
    let report = report::pause(&lake, found, &principal.origin(&request), false).await?;
    schedule::restart_of(&lake, &report).await?;
    Ok(HttpResponse::Ok().json(view(&lake, report).await?))
}

/// Makes a report now, of the period that is over now, and sends it. The answer comes at once; the run says how far it is.
#[utoipa::path(
    tag = "reports",
    params(("id" = String, Path)),
    request_body = RunBody,
    responses((status = 202, body = RunView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[post("/v1/reports/{id}/run")]
pub(super) async fn run_report(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: RunBody = body.json(&principal).await?;
    let report = report::visible(&lake.state.store, &principal, &id).await?;
    let run = run_now(&lake, &principal, &report, body.test).await?;
    let place = format!("/v1/reports/{}/runs/{}", report.report_id, run.run_id);
    let view = run_view(run, &[]);
    Ok(HttpResponse::Accepted().insert_header((header::LOCATION, place)).json(view))
}

pub(super) async fn run_now(
    lake: &Lake,
    principal: &Principal,
    report: &Report,
    test: bool,
) -> Result<Run, Problem> {
    let only_to = match test {
        true => Some(work::mail_address(principal).map(str::to_owned).ok_or_else(|| {
            Problem::bad_request(Code::InvalidField, "`test`: a program has no mail address")
        })?),
        false => None,
    };
    let now = lake.state.clock.now();
    let window = report.new.period.window(now, report.new.zone(lake));
    let (from, to) = (window.from, window.to);
    let new = NewRun { schedule_id: None, only_to, fired_at: now, from, to, run_at: now };
    let write = lake.state.store.write().await?;
    let id = run::begin(&write, report, &new, now).await?.ok_or_else(Problem::internal)?;
    write.commit().await?;
    lake.state.jobs.wake();
    run::find(&lake.state.store, &id).await?.ok_or_else(Problem::internal)
}

/// The runs of a report, the newest first.
#[utoipa::path(
    operation_id = "list_report_runs",
    tag = "reports",
    params(("id" = String, Path), ("limit" = Option<u64>, Query)),
    responses((status = 200, body = RunList), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/reports/{id}/runs")]
pub(super) async fn list_runs(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    asked: Result<web::Query<RunsParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let limit = parameters(asked)?.limit.unwrap_or(RUNS_DEFAULT).clamp(1, RUNS_MAX);
    let report = report::visible(&lake.state.store, &principal, &id).await?;
    let runs = run::of_report(&lake.state.store, &report.report_id, limit).await?;
    Ok(HttpResponse::Ok().json(RunList { runs: run_views(&lake, runs).await? }))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReportRunList)]
struct RunList {
    runs: Vec<RunView>,
}

/// A run of a report that somebody may see.
pub(super) async fn visible_run(
    lake: &Lake,
    principal: &Principal,
    id: &str,
    run_id: &str,
) -> Result<Run, Problem> {
    let report = report::visible(&lake.state.store, principal, id).await?;
    let found = run::find(&lake.state.store, run_id).await?;
    found
        .filter(|run| run.report_id == report.report_id)
        .ok_or_else(|| Problem::not_found(format!("there is no run `{run_id}` of this report")))
}

/// A run of a report.
#[utoipa::path(
    operation_id = "get_report_run",
    tag = "reports",
    params(("id" = String, Path), ("run" = String, Path)),
    responses((status = 200, body = RunView), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/reports/{id}/runs/{run}")]
pub(super) async fn get_run(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&lake, &principal, &path.0, &path.1).await?;
    let view = run_views(&lake, vec![run]).await?.pop();
    Ok(HttpResponse::Ok().json(view))
}

#[derive(Debug, Serialize, ToSchema)]
struct SentView {
    /// How many are sent once more.
    deliveries: usize,
}

/// Sends a run once more to all for whom it failed.
#[utoipa::path(
    operation_id = "resend_report_run",
    tag = "reports",
    params(("id" = String, Path), ("run" = String, Path)),
    responses((status = 202, body = SentView), Denied, (status = 404, body = Problem)),
)]
#[post("/v1/reports/{id}/runs/{run}/send")]
pub(super) async fn send_run_again(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let run = visible_run(&lake, &principal, &path.0, &path.1).await?;
    let sent = send_again(&lake, &run).await?;
    Ok(HttpResponse::Accepted().json(SentView { deliveries: sent }))
}

pub(super) async fn send_again(lake: &Lake, run: &Run) -> Result<usize, Problem> {
    let (store, now) = (&lake.state.store, lake.state.clock.now());
    let references = [run.run_id.clone()];
    let deliveries = delivery::of_references(store, &references).await?;
    let failed = deliveries.iter().filter(|delivery| delivery.state == DeliveryState::Failed);
    let write = store.write().await?;
    let mut sent = 0;
    for delivery in failed {
        sent += usize::from(delivery::resend(&write, &delivery.delivery_id, now).await?);
    }
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(sent)
}

/// A file of a run, as it was sent.
#[utoipa::path(
    operation_id = "get_report_run_file",
    tag = "reports",
    params(("id" = String, Path), ("run" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "The file: HTML or CSV.", content((String = "text/html"), (String = "text/csv"))), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/reports/{id}/runs/{run}/files/{name}")]
pub(super) async fn get_run_file(
    principal: Authorized<ViewDashboard>,
    path: web::Path<(String, String, String)>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (id, run, name) = path.into_inner();
    let run = visible_run(&lake, &principal, &id, &run).await?;
    let absent = || Problem::not_found(format!("there is no file `{name}` of this run"));
    let file = run.files.iter().find(|file| file.name == name).ok_or_else(absent)?;
    let found = lake.reporting.files.get(&run.run_id, &file.name).await.map_err(|error| {
        tracing::error!(%error, "a file of a report cannot be read");
        Problem::unavailable(5)
    })?;
    Ok(file_answer(&name, found.ok_or_else(absent)?))
}

fn file_answer(name: &str, bytes: Vec<u8>) -> HttpResponse {
    match name.ends_with(".html") {
        true => rest::page::html_page(String::from_utf8_lossy(&bytes).into_owned()),
        false => HttpResponse::Ok()
            .content_type("text/csv; charset=utf-8")
            .insert_header(("Content-Disposition", "attachment"))
            .body(bytes),
    }
}

/// The report as it would be made now: the page, or with `format=mail` the mail.
#[utoipa::path(
    tag = "reports",
    params(("id" = String, Path), ("format" = Option<String>, Query, description = "`html` (the default), `mail` or `csv`.")),
    responses((status = 200, description = "The page, the HTML of the mail, or the values.", content((String = "text/html"), (String = "text/csv"))), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/reports/{id}/preview")]
pub(super) async fn preview_report(
    principal: Authorized<ViewDashboard>,
    id: web::Path<String>,
    asked: Result<web::Query<PreviewParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let report = report::visible(&lake.state.store, &principal, &id).await?;
    drawn::preview(&lake, &report, asked.format.as_deref().unwrap_or("html")).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewParameters {
    format: Option<String>,
}
