//! `/admin/audit`: what was done, as administrators see it.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Days, NaiveDate, SecondsFormat, Utc};
use pages::screen::{Field, Form, Row, Screen, Section, Table};
use rest::{
    principal::{Administer, Gate},
    problem::Problem,
};
use state::audit::{AuditFilter, Record, list};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, opened, staff::tabs};
use crate::Directory;

/// Acts of a page.
const ACTS: u64 = 100;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/admin/audit", web::get().to(show));
}

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let (visit, asked) = match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (from, to) = (day(asked.from.as_deref(), "from")?, day(asked.to.as_deref(), "to")?);
    let filter = AuditFilter {
        actor: given(&asked.actor),
        action: given(&asked.action),
        target: given(&asked.target),
        before: asked.cursor,
        from: from.map(start_of),
        // The day itself is in it.
        to: to.and_then(|day| day.checked_add_days(Days::new(1))).map(start_of),
    };
    let found = list(&directory.state.store, &filter, ACTS).await?;
    let last = found.last().map(|record| record.seq);
    let is_full = found.len() as u64 == ACTS;
    let rows: Vec<Row> = found.into_iter().map(record_row).collect();
    let head = ["at", "actor", "action", "target", "detail", "place"];
    let head = head.map(|name| visit.word(name)).to_vec();
    let days = [("from", from), ("to", to)];
    let mut links = Vec::new();
    if let Some(last) = last.filter(|_| is_full) {
        let mut of_page =
            vec![("lang", visit.reader.language.tag().to_owned()), ("cursor", last.to_string())];
        of_page.extend(days.iter().filter_map(|(name, day)| Some((*name, (*day)?.to_string()))));
        links.push((filtered("/admin/audit", &filter, &of_page), visit.word("older")));
    }
    let times = [("from", filter.from), ("to", filter.to)];
    let times = times
        .iter()
        .filter_map(|(name, at)| Some((*name, (*at)?.to_rfc3339_opts(SecondsFormat::Secs, true))));
    let times: Vec<_> = times.collect();
    links.push((filtered("/v1/admin/audit/export", &filter, &times), visit.word("export")));
    let texts = [("actor", &filter.actor), ("action", &filter.action), ("target", &filter.target)];
    let mut fields = texts
        .map(|(name, text)| {
            let text = text.as_deref().unwrap_or_default();
            Field::new(name, &visit.word(name), "search").with(text).optional()
        })
        .to_vec();
    fields.extend(days.map(|(name, day)| {
        let day = day.map(|day| day.to_string()).unwrap_or_default();
        Field::new(name, &visit.word(&format!("{name}_day")), "date").with(&day).optional()
    }));
    let form = Form {
        path: "/admin/audit".into(),
        fields,
        button: visit.word("search"),
        is_query: true,
        ..Form::default()
    };
    let search = Section { title: visit.word("search"), forms: vec![form], ..Section::default() };
    let section = Section {
        title: visit.word("audit"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("none_found")),
        links,
        ..Section::default()
    };
    visit.shown(Screen {
        title: visit.word("audit"),
        tabs: tabs(&visit, "audit"),
        sections: vec![search, section],
        ..Screen::default()
    })
}

/// A day of a form, where it is filled in.
fn day(text: Option<&str>, name: &str) -> Result<Option<NaiveDate>, Problem> {
    let text = text.filter(|text| !text.is_empty());
    let wrong = |_| Problem::invalid_parameters(format!("`{name}` is a day, such as 2026-01-31"));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

fn start_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

/// An act as a row.
pub(super) fn record_row(record: Record) -> Row {
    let at = DateTime::from_timestamp_micros(record.at);
    let cells = vec![
        at.map_or_else(|| record.at.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
        record.origin.actor,
        record.action,
        record.target,
        record.detail,
        record.ip.unwrap_or_default(),
    ];
    Row { cells, ..Row::default() }
}

/// An address of acts with the same filters.
fn filtered(path: &str, filter: &AuditFilter, more: &[(&str, String)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(more);
    let texts = [("actor", &filter.actor), ("action", &filter.action), ("target", &filter.target)];
    for (name, text) in texts {
        if let Some(text) = text {
            query.append_pair(name, text);
        }
    }
    match query.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
