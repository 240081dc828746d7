//! The pages that people see: dashboards and the way to sign in. The same questions and the same rendering make
//! the report file of `aihub report render`.

mod error_page;
mod saved;
mod sign_in;
mod workbench;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use chrono::{DateTime, Utc};
use pipeline::Cut;
use query::{Asking, Engine, QueryError, Reach, metric::Catalog};
use reports::{Answered, Dashboard, Forecasts, Language, Page, Window, outlook};
use serde::Deserialize;

pub(crate) use error_page::shown;

use crate::{
    figures::instant,
    persons,
    principal::{Ability, Gate, Kind, Principal},
    problem::{Code, Problem, parameters},
    queries::{Asker, problem, reach},
    server::State,
};

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(home))
        .route("/dashboards/{name}", web::get().to(dashboard))
        .configure(saved::configure)
        .configure(sign_in::configure)
        .configure(workbench::configure);
}

/// What a dashboard's address may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    days: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    lang: Option<String>,
}

/// The questions of a dashboard, asked at one cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DashboardError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Report(#[from] reports::Error),
    #[error("a forecast was cut off")]
    Stopped,
}

/// Asks the questions of the page that most people open first, so that its answers are at hand.
pub(crate) async fn prepare(state: &State) {
    let now = state.clock.now();
    let (Ok(window), Ok(dashboard)) = (Window::resolve(now, None, None), definition("business"))
    else {
        return;
    };
    let requests = dashboard.requests(&window);
    let asking = Asking {
        catalog: &state.catalog,
        reach: &Reach::Staff,
        // What came since takes memory, and is hardly ever of a day that is over.
        cut: &state.lakehouse.cut().of_tables(),
        persons: false,
        now: now.timestamp_micros(),
        deadline_ms: state.config.query.deadline_seconds * 1_000,
        gives_way: true,
    };
    if let Err(error) = state.engine.metrics(&requests, asking).await {
        tracing::warn!(%error, "the first page is not prepared");
    }
}

async fn home() -> HttpResponse {
    see_other("/dashboards/business")
}

async fn dashboard(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Result<web::Query<Asked>, actix_web::Error>,
    gate: web::Data<Gate>,
    asker: web::Data<Asker>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    if !principal.may(Ability::ViewDashboard) {
        return Err(Problem::forbidden(
            Code::Forbidden,
            "this needs the permission `view_dashboard`",
        ));
    }
    let asked = parameters(asked)?;
    let definition = definition(&name)?;
    let now = asker.clock.now();
    let cut = asker.lakehouse.cut();
    let page = page(&request, &principal, &asked, now, asker.seal.token(&cut, &principal)?)?;
    let reading = Reading {
        engine: &asker.engine,
        catalog: &asker.catalog,
        reach: reach(&principal),
        cut,
        persons: persons::are_shown_to(&asker.store, &principal).await?,
        now,
        deadline_ms: asker.limits.deadline_seconds * 1_000,
    };
    let html = reading.render(definition, page).await.map_err(|error| match error {
        DashboardError::Query(error) => problem(error),
        DashboardError::Report(error) => Problem::invalid_parameters(error.to_string()),
        DashboardError::Stopped => Problem::internal(),
    })?;
    Ok(html_page(html))
}

/// Who opens a page. Somebody without a session is a person with a browser: they are shown the way in.
async fn visitor(
    request: &HttpRequest,
    gate: &Gate,
) -> Result<Result<Principal, HttpResponse>, Problem> {
    match gate.admit(request).await {
        Ok(principal) => Ok(Ok(principal)),
        Err(problem)
            if problem.status == 401 && request.headers().get(header::AUTHORIZATION).is_none() =>
        {
            let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
            Ok(Err(see_other(&sign_in::address(next))))
        }
        Err(problem) => Err(problem),
    }
}

/// What a dashboard is read with.
pub(crate) struct Reading<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) catalog: &'a Catalog,
    pub(crate) reach: Reach,
    pub(crate) cut: Cut,
    pub(crate) persons: bool,
    pub(crate) now: DateTime<Utc>,
    pub(crate) deadline_ms: u64,
}

impl Reading<'_> {
    /// Asks every question of a dashboard at one cut, and renders the answers.
    pub(crate) async fn render(
        &self,
        dashboard: Dashboard,
        page: Page,
    ) -> Result<String, DashboardError> {
        let requests = dashboard.requests(&page.window);
        let asking = Asking {
            catalog: self.catalog,
            reach: &self.reach,
            cut: &self.cut,
            persons: self.persons,
            now: self.now.timestamp_micros(),
            deadline_ms: self.deadline_ms,
            gives_way: false,
        };
        let answers = self.engine.metrics(&requests, asking).await?;
        let answers: Vec<Answered> = requests
            .into_iter()
            .zip(answers)
            .map(|(request, answer)| Answered { request, answer })
            .collect();
        // Forecasting and drawing are work for a core, not for the thread that serves connections.
        let rendering = tokio::task::spawn_blocking(move || {
            let mut forecasts = Forecasts::default();
            for ahead in dashboard.outlooks(&page.window) {
                let history = answers.iter().find(|answered| answered.request == ahead.history);
                if let Some(Answered { answer, .. }) = history {
                    outlook::add_bands(&mut forecasts, answer, ahead.horizon_days as usize);
                }
            }
            reports::render(&dashboard, &answers, &forecasts, &page)
        });
        Ok(rendering.await.map_err(|_| DashboardError::Stopped)??)
    }
}

fn definition(name: &str) -> Result<Dashboard, Problem> {
    let dashboard = Dashboard::built_in(name)
        .ok_or_else(|| Problem::not_found(format!("there is no dashboard `{name}`")))?;
    dashboard.map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a built-in dashboard is not readable"
        );
        Problem::internal()
    })
}

fn page(
    request: &HttpRequest,
    principal: &Principal,
    asked: &Asked,
    now: DateTime<Utc>,
    as_of: String,
) -> Result<Page, Problem> {
    let time = |name, text: &Option<String>| text.as_deref().map(|t| instant(name, t)).transpose();
    let window = match asked.days {
        Some(days) => Window::last_days(now, days),
        None => Window::resolve(now, time("from", &asked.from)?, time("to", &asked.to)?),
    };
    let window = window.map_err(|error| Problem::invalid_parameters(error.to_string()))?;
    Ok(Page {
        language: language(request, asked.lang.as_deref()),
        window,
        generated_at: now,
        as_of,
        organization: principal.reach.organization_id().map(str::to_owned),
        user: user_name(principal),
        asks_sql: principal.may(Ability::RunSql),
        runs_saved: principal.may(Ability::ReadMetrics),
        standalone: false,
    })
}

/// How a person is named on a page; programs are not.
fn user_name(principal: &Principal) -> Option<String> {
    matches!(principal.kind, Kind::User(_)).then(|| principal.name.clone())
}

/// The language asked for in the address, else the first that the browser prefers and we speak.
pub(crate) fn language(request: &HttpRequest, asked: Option<&str>) -> Language {
    let preferred =
        request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    asked
        .and_then(Language::from_tag)
        .unwrap_or_else(|| Language::preferred(preferred.unwrap_or_default()))
}

/// A page that runs no script and asks nobody for anything.
pub(crate) fn html_page(html: String) -> HttpResponse {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    page_under(POLICY, html)
}

fn page_under(policy: &'static str, html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", policy))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .body(html)
}

pub(crate) fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location)).finish()
}

#[cfg(test)]
mod tests {
    use crate::{accounts::Role, principal::Ability};

    #[test]
    fn every_role_sees_dashboards() {
        for role in Role::ALL {
            assert!(role.abilities().contains(&Ability::ViewDashboard), "{}", role.as_str());
        }
    }
}
