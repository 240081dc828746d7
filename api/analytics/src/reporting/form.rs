//! `/reports/new` and `/reports/{id}/edit`: the form of a report.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use delivery::Channel;
use pages::{
    Language,
    report_pages::{FORM_FIELDS, ReportForm, report_form},
    saved_query::Reader,
};
use query::Zone;
use reports::{
    Recurrence,
    schedule::{OFFERED_PERIODS, RecurrenceText, UnknownPeriod},
};
use rest::{
    body::Body,
    principal::{Gate, Principal},
    problem::Problem,
};

use super::{
    BODY_BYTES_MAX,
    pages::{Asked, Fields, dashboard_title, on_to, opened, page_of, posted, value},
    report::{self, Comparison, Format, NewReport, Recipient, Report},
    schedule::{self, Missed},
    work::mail_address,
};
use crate::{
    Lake,
    dashboards::{titles, who_reads},
};

pub(super) async fn new_form(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, asked, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let filters: Vec<&str> =
        asked.iter().filter(|(name, _)| name == "filter").map(|(_, text)| text.as_str()).collect();
    let dashboard = value(&asked, "dashboard").unwrap_or("business");
    let dashboards = titles(&lake, &principal, reader.language).await?;
    let values = BTreeMap::from([
        ("title", dashboard_title(&dashboards, dashboard)),
        ("dashboard", dashboard.to_owned()),
        ("period", "last_7_days".to_owned()),
        ("tz", value(&asked, "tz").map_or_else(|| lake.metrics.zone.to_string(), str::to_owned)),
        ("language", reader.language.tag().to_owned()),
        ("recipients", mail_address(&principal).unwrap_or_default().to_owned()),
        ("filters", filters.join("\n")),
        ("every", "week".to_owned()),
        ("on", "monday".to_owned()),
    ]);
    page_of(report_form(&reader, &form(dashboards, values, None, None, 0)))
}

fn form(
    dashboards: Vec<(String, String)>,
    values: BTreeMap<&'static str, String>,
    id: Option<&str>,
    failure: Option<String>,
    others: usize,
) -> ReportForm {
    let mut periods: Vec<String> = OFFERED_PERIODS.iter().map(|name| (*name).to_owned()).collect();
    if let Some(own) = values.get("period").filter(|own| !periods.contains(own)) {
        periods.push(own.clone());
    }
    ReportForm {
        id: id.map(str::to_owned),
        failure,
        others,
        dashboards,
        periods,
        with_schedule: id.is_none(),
        values,
    }
}

/// A report as the form says it. Recipients of other channels, and of organizations, are those that were there.
fn read(fields: &Fields, others: Vec<Recipient>) -> Result<NewReport, String> {
    let lines = |name: &str| {
        let text = value(fields, name).unwrap_or_default();
        let lines = text.split(['\n', ',', ';']).map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let mail = |address| Recipient { channel: Channel::Mail, address, organization_id: None };
    let mut recipients: Vec<Recipient> = lines("recipients").into_iter().map(mail).collect();
    recipients.extend(others);
    let mut formats = vec![Format::Html];
    formats.extend(value(fields, "csv").map(|_| Format::Csv));
    let tz = value(fields, "tz").map(str::parse::<Zone>).transpose();
    Ok(NewReport {
        title: value(fields, "title").unwrap_or_default().to_owned(),
        dashboard: value(fields, "dashboard").unwrap_or_default().to_owned(),
        filters: lines("filters"),
        period: value(fields, "period")
            .unwrap_or_default()
            .to_owned()
            .try_into()
            .map_err(|error: UnknownPeriod| error.to_string())?,
        compare: Comparison::default(),
        tz: tz.map_err(|error| error.to_string())?,
        language: value(fields, "language").and_then(Language::from_tag).unwrap_or_default(),
        recipients,
        formats,
        skip_when_empty: value(fields, "skip_when_empty").is_some(),
        skip_when_unchanged: value(fields, "skip_when_unchanged").is_some(),
    })
}

/// The schedule of the form; none: it is sent by hand.
fn recurrence(fields: &Fields) -> Result<Option<Recurrence>, String> {
    let text = |name: &str| value(fields, name).map(str::to_owned);
    let text = match value(fields, "every") {
        None | Some("none") => return Ok(None),
        Some("cron") => RecurrenceText {
            cron: Some(text("cron").unwrap_or_default()),
            ..RecurrenceText::default()
        },
        Some(every) => RecurrenceText {
            every: Some(every.to_owned()),
            on: text("on").filter(|_| matches!(every, "week" | "month")),
            at: text("at"),
            cron: None,
        },
    };
    Recurrence::try_from(text).map(Some).map_err(|error| error.to_string())
}

/// What was sent, to be shown again with the reason.
async fn again(
    (lake, principal): (&Lake, &Principal),
    fields: &Fields,
    id: Option<&str>,
    failure: String,
    others: usize,
    reader: &Reader,
) -> Result<HttpResponse, Problem> {
    let sent =
        FORM_FIELDS.into_iter().filter_map(|name| Some((name, value(fields, name)?.to_owned())));
    let dashboards = titles(lake, principal, reader.language).await?;
    let form = form(dashboards, sent.collect(), id, Some(failure), others);
    let mut response = page_of(report_form(reader, &form))?;
    *response.status_mut() = StatusCode::BAD_REQUEST;
    Ok(response)
}

/// What a reader can mend.
pub(crate) fn mendable(problem: Problem) -> Result<String, Problem> {
    match (problem.status, &problem.detail) {
        (400 | 403 | 404 | 409, Some(detail)) => Ok(detail.to_string()),
        _ => Err(problem),
    }
}

pub(super) async fn create(
    request: HttpRequest,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let reader = who_reads(&request, &principal, value(&fields, "lang"));
    let made = async {
        let invalid = Problem::invalid_parameters;
        let new = read(&fields, Vec::new()).map_err(invalid)?;
        let recurrence = recurrence(&fields).map_err(invalid)?;
        if let Some(recurrence) = &recurrence {
            schedule::check(recurrence, &lake, new.zone(&lake))?;
        }
        new.check(&lake, &principal).await?;
        let origin = principal.origin(&request);
        let report = report::create(&lake, &principal, &origin, new).await?;
        if let Some(recurrence) = recurrence {
            schedule::create(&lake, &report, recurrence, Missed::default()).await?;
        }
        Ok::<Report, Problem>(report)
    };
    match made.await {
        Ok(report) => Ok(on_to(&format!("/reports/{}", report.report_id), &fields)),
        Err(problem) => {
            again((&lake, &principal), &fields, None, mendable(problem)?, 0, &reader).await
        }
    }
}

/// The recipients that the form does not show.
fn others(report: &NewReport) -> Vec<Recipient> {
    let is_other = |to: &&Recipient| to.channel != Channel::Mail || to.organization_id.is_some();
    report.recipients.iter().filter(is_other).cloned().collect()
}

pub(super) async fn edit_form(
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
    let Report { new, report_id, .. } = report::visible(&lake.state.store, &principal, &id).await?;
    let others = others(&new);
    let mails = new.recipients.iter().filter(|to| !others.contains(to));
    let mails: Vec<&str> = mails.map(|to| to.address.as_str()).collect();
    let mut values = BTreeMap::from([
        ("title", new.title.clone()),
        ("dashboard", new.dashboard.clone()),
        ("period", new.period.to_string()),
        ("tz", new.zone(&lake).to_string()),
        ("language", new.language.tag().to_owned()),
        ("recipients", mails.join("\n")),
        ("filters", new.filters.join("\n")),
    ]);
    for (name, is_set) in [
        ("csv", new.formats.contains(&Format::Csv)),
        ("skip_when_empty", new.skip_when_empty),
        ("skip_when_unchanged", new.skip_when_unchanged),
    ] {
        values.extend(is_set.then(|| (name, "yes".to_owned())));
    }
    let dashboards = titles(&lake, &principal, reader.language).await?;
    let form = form(dashboards, values, Some(&report_id), None, others.len());
    page_of(report_form(&reader, &form))
}

pub(super) async fn edit(
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
    let reader = who_reads(&request, &principal, value(&fields, "lang"));
    let before = report::visible(&lake.state.store, &principal, &id).await?;
    let others = others(&before.new);
    let count = others.len();
    let changed = async {
        let new = read(&fields, others).map_err(Problem::invalid_parameters)?;
        let new = NewReport { compare: before.new.compare, ..new };
        let owner = lake.authenticator.by_id(&before.owner_id).await?;
        new.check(&lake, owner.as_ref().unwrap_or(&principal)).await?;
        let report = report::change(&lake, before, &principal.origin(&request), new).await?;
        schedule::restart_of(&lake, &report).await?;
        Ok::<Report, Problem>(report)
    };
    match changed.await {
        Ok(report) => Ok(on_to(&format!("/reports/{}", report.report_id), &fields)),
        Err(problem) => {
            let said = mendable(problem)?;
            again((&lake, &principal), &fields, Some(&id), said, count, &reader).await
        }
    }
}
