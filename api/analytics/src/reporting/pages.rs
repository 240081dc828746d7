//! `/reports`: reports as pages, for people.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use delivery::Channel;
use pages::{
    Language,
    report_pages::{
        DeliveryRow, ListedReport, ReportPage, RunRow, Status, report_page, report_word,
        reports_page,
    },
    saved_query::Reader,
};
use query::{Zone, metric::Window as MetricWindow};
use reports::{Recurrence, Window, schedule::RecurrenceText};
use rest::{
    body::Body,
    page::{html_page, see_other, visitor},
    principal::{Gate, Principal, ViewDashboard},
    problem::{Problem, parameters},
};

use super::{
    BODY_BYTES_MAX,
    report::{self, Recipient},
    routes::{run_now, send_again, visible_run},
    run, schedule,
    view::{ReportView, RunView, run_views, views},
    work::mail_address,
};
use crate::{
    Lake,
    dashboards::{titles, who_reads},
};

pub(crate) type Asked = Result<web::Query<Vec<(String, String)>>, actix_web::Error>;
pub(crate) type Fields = Vec<(String, String)>;

/// So many runs are on the page of a report.
const RUNS: u64 = 50;

/// Who opens a page, and the pairs of its address; or the way in.
pub(crate) async fn opened(
    request: &HttpRequest,
    asked: Asked,
    gate: &Gate,
) -> Result<Result<(Principal, Fields, Reader), HttpResponse>, Problem> {
    let principal = match visitor::<ViewDashboard>(request, gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(Err(way_in)),
    };
    let asked = parameters(asked)?;
    let reader = who_reads(request, &principal, value(&asked, "lang"));
    Ok(Ok((principal, asked, reader)))
}

/// The value of a field that is filled in.
pub(crate) fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(known, _)| known == name)?;
    Some(found.1.trim()).filter(|text| !text.is_empty())
}

/// Who sends a form, and what stands in it; or the way in.
pub(crate) async fn posted<const BYTES_MAX: usize>(
    request: &HttpRequest,
    gate: &Gate,
    body: Body<BYTES_MAX>,
) -> Result<Result<(Principal, Fields), HttpResponse>, Problem> {
    let principal = match visitor::<ViewDashboard>(request, gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(Err(way_in)),
    };
    let fields = body.form(&principal).await?;
    Ok(Ok((principal, fields)))
}

/// Leads on to a page, in the language of the form.
pub(crate) fn on_to(path: &str, fields: &Fields) -> HttpResponse {
    match value(fields, "lang").and_then(Language::from_tag) {
        Some(language) => see_other(&format!("{path}?lang={}", language.tag())),
        None => see_other(path),
    }
}

/// A page, for the browser.
pub(crate) fn page_of<E: std::error::Error + 'static>(
    html: Result<String, E>,
) -> Result<HttpResponse, Problem> {
    html.map(html_page).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a page cannot be written");
        Problem::internal()
    })
}

pub(super) async fn list(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let reports = report::list(&lake.state.store, &principal).await?;
    let dashboards = titles(&lake, &principal, reader.language).await?;
    let mut listed = Vec::new();
    for view in views(&lake, reports).await? {
        let last = run::of_report(&lake.state.store, &view.id, 1).await?;
        let last = run_views(&lake, last).await?.pop();
        listed.push(in_list(&lake, &dashboards, view, last, reader.language));
    }
    page_of(reports_page(&reader, &listed))
}

fn in_list(
    lake: &Lake,
    dashboards: &[(String, String)],
    view: ReportView,
    last: Option<RunView>,
    language: Language,
) -> ListedReport {
    let zone = view.report.tz.unwrap_or(lake.metrics.zone);
    let next = view.schedules.iter().filter_map(|schedule| schedule.next.first()).min();
    ListedReport {
        what: format!(
            "{} · {}",
            dashboard_title(dashboards, &view.report.dashboard),
            report_word(view.report.period.as_str(), language)
        ),
        schedules: view
            .schedules
            .iter()
            .map(|schedule| in_words(&schedule.recurrence, language))
            .collect(),
        next: next.map(|at| local(*at, zone)),
        last: last.map(|run| (local(run.fired_at, zone), status(run.status, language))),
        paused: view.paused,
        id: view.id,
        title: view.report.title,
    }
}

pub(super) fn dashboard_title(dashboards: &[(String, String)], name: &str) -> String {
    let found = dashboards.iter().find(|(known, _)| known == name);
    found.map_or(name, |(_, title)| title).to_owned()
}

fn status(name: &'static str, language: Language) -> Status {
    Status { name, word: report_word(name, language).to_owned() }
}

/// A time on the clock of the report.
fn local(at: DateTime<Utc>, zone: Zone) -> String {
    format!("{} {zone}", zone.local(at).format("%Y-%m-%d %H:%M"))
}

/// A recurrence, such as `Every week, Monday, 08:00`.
fn in_words(recurrence: &Recurrence, language: Language) -> String {
    let RecurrenceText { every, on, at, cron } = recurrence.clone().into();
    if let Some(cron) = cron {
        return cron;
    }
    let word = |text: String| report_word(&text, language).to_owned();
    let parts = [every.map(word), on.map(word), at];
    let separator = if language == Language::En { ", " } else { "，" };
    parts.into_iter().flatten().collect::<Vec<_>>().join(separator)
}

pub(super) async fn one(
    request: HttpRequest,
    id: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let found = report::visible(&lake.state.store, &principal, &id).await?;
    let zone = found.new.zone(&lake);
    let runs = run::of_report(&lake.state.store, &found.report_id, RUNS).await?;
    let runs = run_views(&lake, runs).await?;
    let view = views(&lake, vec![found]).await?.pop().ok_or_else(Problem::internal)?;
    let owner = lake.authenticator.by_id(&view.owner_id).await?;
    let owner = owner.map_or_else(|| view.owner_id.clone(), |owner| owner.name);
    let language = reader.language;
    let dashboards = titles(&lake, &principal, language).await?;
    let mut next: Vec<_> = view.schedules.iter().flat_map(|one| one.next.clone()).collect();
    next.sort_unstable();
    next.truncate(schedule::UPCOMING);
    let page = ReportPage {
        facts: facts(&view, &dashboards, &owner, zone, language),
        next: next.into_iter().map(|at| local(at, zone)).collect(),
        is_person: mail_address(&principal).is_some(),
        lacks_mail: !lake.courier.sends_mail()
            && view.report.recipients.iter().any(|to| to.channel == Channel::Mail),
        runs: runs.into_iter().map(|run| run_row(run, zone, language)).collect(),
        paused: view.paused,
        paused_reason: view.paused_reason,
        id: view.id,
        title: view.report.title,
    };
    page_of(report_page(&reader, &page))
}

fn facts(
    view: &ReportView,
    dashboards: &[(String, String)],
    owner: &str,
    zone: Zone,
    language: Language,
) -> Vec<(String, String)> {
    let word = |name: &str| report_word(name, language).to_owned();
    let report = &view.report;
    let mut facts = vec![
        (word("dashboard"), dashboard_title(dashboards, &report.dashboard)),
        (word("period"), word(report.period.as_str())),
        (word("zone"), zone.to_string()),
        (word("language"), report.language.name().to_owned()),
    ];
    if !report.filters.is_empty() {
        facts.push((word("filtered_by"), report.filters.join(", ")));
    }
    let schedules = view.schedules.iter();
    facts.extend(schedules.map(|one| (word("schedule"), in_words(&one.recurrence, language))));
    let recipients = report.recipients.iter().map(recipient);
    facts.extend(recipients.map(|to| (word("recipients_label"), to)));
    facts.push((word("owner"), owner.to_owned()));
    facts
}

/// A recipient in words. The address of a webhook is a secret.
fn recipient(to: &Recipient) -> String {
    let channel: &'static str = to.channel.into();
    let shown = match to.channel {
        Channel::Mail => to.address.clone(),
        Channel::Webhook | Channel::Slack => channel.to_owned(),
        Channel::Folder => format!("{channel}: {}", to.address),
    };
    match &to.organization_id {
        Some(organization) => format!("{shown} ({organization})"),
        None => shown,
    }
}

fn run_row(run: RunView, zone: Zone, language: Language) -> RunRow {
    let range = MetricWindow::new(run.from, run.to, zone);
    let period = Window::of(range, run.fired_at).map(|window| window.label(language));
    let address = |name: &str| {
        format!("/v1/reports/{}/runs/{}/files/{}", run.report_id, run.id, in_path(name))
    };
    let delivery = |delivery: &super::view::DeliveryView| DeliveryRow {
        to: if delivery.address.is_empty() {
            <&str>::from(delivery.channel).to_owned()
        } else {
            delivery.address.clone()
        },
        status: status(delivery.state.into(), language),
        uncertain: delivery.uncertain,
        error: delivery.error.clone(),
    };
    RunRow {
        period: period.unwrap_or_default(),
        made: run.finished_at.map(|at| local(at, zone)).unwrap_or_default(),
        status: status(run.status, language),
        files: run.files.iter().map(|name| (name.clone(), address(name))).collect(),
        deliveries: run.deliveries.iter().map(delivery).collect(),
        can_be_sent_again: run.status == "failed" && !run.deliveries.is_empty(),
        reason: run.reason,
        id: run.id,
    }
}

fn in_path(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A button of the page of a report.
pub(super) async fn act(
    request: HttpRequest,
    id: web::Path<String>,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let found = report::visible(&lake.state.store, &principal, &id).await?;
    let origin = principal.origin(&request);
    let place = format!("/reports/{}", found.report_id);
    match value(&fields, "act").unwrap_or_default() {
        "run" => drop(run_now(&lake, &principal, &found, false).await?),
        "test" => drop(run_now(&lake, &principal, &found, true).await?),
        "pause" => drop(report::pause(&lake, found, &origin, true).await?),
        "resume" => {
            let resumed = report::pause(&lake, found, &origin, false).await?;
            schedule::restart_of(&lake, &resumed).await?;
        }
        "send_again" => {
            let run = value(&fields, "run").unwrap_or_default();
            send_again(&lake, &visible_run(&lake, &principal, &id, run).await?).await?;
        }
        "remove" => {
            report::remove(&lake, &found, &origin).await?;
            return Ok(on_to("/reports", &fields));
        }
        other => return Err(Problem::invalid_parameters(format!("`act={other}` is not possible"))),
    }
    Ok(on_to(&place, &fields))
}
