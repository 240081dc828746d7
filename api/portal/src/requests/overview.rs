//! `/developers`: how the own requests do, what is left of the quotas, the last errors, and how to begin.

use accounts::{Directory, usage_sections, visit};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::TimeDelta;
use pages::screen::{Screen, Section};
use rest::{
    principal::{Gate, Permission, ReadMetrics},
    problem::{Problem, parameters},
};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{RequestFilter, RequestSummary, StatusFilter, page};
use crate::{Portal, own::own_organization, words::Say};

/// Errors that are shown.
const ERRORS: u64 = 10;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/developers", web::get().to(show));
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    lang: Option<String>,
}

async fn show(
    request: HttpRequest,
    asked: Result<web::Query<PageParameters>, actix_web::Error>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let said = (asked.lang.as_deref(), None);
    let visit = match visit(&request, &gate, &directory, said, ReadMetrics::check).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let say = Say::of(&visit);
    let id = own_organization(&visit.principal)?;
    let to = portal.state.clock.now() + TimeDelta::minutes(1);
    let (day, week) = (to - TimeDelta::days(1), to - TimeDelta::days(7));
    let of_day = portal.requests.summary(id, day, to).await?;
    let of_week = portal.requests.summary(id, week, to).await?;
    let errors = RequestFilter {
        from: week,
        to,
        request_id: None,
        api_key_id: None,
        model: None,
        status: Some(StatusFilter::Errors),
        page: (0, ERRORS),
    };
    let errors = portal.requests.requests(id, &errors).await?;
    let begins = of_week.requests == 0;
    let to = |path: &str, name: &str| (say.to(path), say.word(name));
    let start = Section {
        title: say.word("start"),
        note: Some(say.word("start_note")),
        links: vec![
            to("/docs/quick-start", "quick_start"),
            to("/keys", "keys"),
            to("/docs/reference", "reference"),
            to("/developers/tester", "tester"),
        ],
        ..Section::default()
    };
    let mut sections =
        vec![summary(&say, "last_day", &of_day), summary(&say, "last_week", &of_week)];
    let (used, _) = usage_sections(&directory, &visit, id).await?;
    sections.extend(used);
    let errors = Section {
        title: say.word("last_errors"),
        table: Some(page::table(&say, &visit, errors)),
        empty: Some(say.word("no_errors")),
        links: vec![to("/developers/requests?status=error", "all_errors")],
        ..Section::default()
    };
    sections.push(errors);
    // Who has sent nothing yet begins with how to.
    sections.insert(if begins { 0 } else { sections.len() }, start);
    visit.shown(Screen {
        here: "developers",
        title: say.word("developers"),
        lead: Some(say.word("developers_lead")),
        tabs: say.tabs("/developers"),
        sections,
        is_grid: true,
        ..Screen::default()
    })
}

fn summary(say: &Say, title: &str, of: &RequestSummary) -> Section {
    let share = match of.requests {
        0 => "–".to_owned(),
        all => {
            // Hundredths of a percent, by whole numbers.
            let share = i128::from(of.errors) * 10_000 / i128::from(all);
            format!("{} ({}.{:02} %)", of.errors, share / 100, share % 100)
        }
    };
    let latency = |ms: Option<i64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
    let cost: Vec<_> = of
        .cost
        .iter()
        .map(|(currency, amount)| format!("{} {currency}", page::short(amount)))
        .collect();
    let cost = if cost.is_empty() { "–".to_owned() } else { cost.join(", ") };
    Section {
        title: say.word(title),
        facts: vec![
            (say.word("calls"), of.requests.to_string()),
            (say.word("errors"), share),
            (say.word("median"), latency(of.latency_p50_ms)),
            (say.word("p95"), latency(of.latency_p95_ms)),
            (say.word("cost"), cost),
        ],
        ..Section::default()
    }
}
