//! The pages that people see: dashboards and the way to sign in. The same questions and the same rendering make
//! the report file of `aihub report render`.

mod catalog;
mod saved;
mod workbench;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use pipeline::Cut;
use query::{Engine, MetricContext, QueryError, RowAccess, metric::Catalog};
use reports::{Dashboard, Forecasts, MetricResult, Page, Window, metric_forecast};
use rest::{
    feature::Feature,
    page::{html_page, language, see_other, user_name, visitor},
    principal::{Ability, Gate, Principal, ViewDashboard},
    problem::{Problem, parameters},
};
use serde::Deserialize;

use crate::{
    Lake, persons,
    queries::{problem, reach},
};

/// The pages of dashboards, of saved queries, and of the workbench.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("dashboards")
    .with_routes(|config, _| {
        config
            .route("/", web::get().to(home))
            .route("/dashboards/{name}", web::get().to(dashboard))
            .route("/metrics-catalog", web::get().to(catalog::list))
            .route("/metrics-catalog/{name}", web::get().to(catalog::page))
            .route("/queries", web::get().to(saved::list))
            .route("/queries/{name}", web::get().to(saved::page))
            .route("/sql", web::get().to(workbench::page))
            .route("/sql/workbench.js", web::get().to(workbench::script));
    })
    .with_tasks(|lake| {
        let kept = lake.clone();
        lake.state.tasks.keep("first_page", move || {
            let lake = kept.clone();
            async move { keep_prepared(&lake).await }
        });
    });

/// How often the first page's answers are looked after.
const PREPARE_EVERY: Duration = Duration::from_secs(60);

/// What a dashboard's address may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DashboardParameters {
    days: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    lang: Option<String>,
}

/// The questions of a dashboard, asked at one cut.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Report(#[from] reports::Error),
    #[error("a forecast was cut off")]
    Stopped,
}

/// Starts the workers, and asks the two dozen questions of the first page. Their answers stay true until the day ends,
/// or a row of an earlier day comes.
async fn keep_prepared(lake: &Lake) {
    lake.engine.warm().await;
    loop {
        prepare(lake).await;
        tokio::time::sleep(PREPARE_EVERY).await;
    }
}

/// Asks the questions of the page that most people open first, so that its answers are at hand.
async fn prepare(lake: &Lake) {
    let now = lake.state.clock.now();
    let (Ok(window), Ok(dashboard)) = (Window::parse(now, None, None), definition("business"))
    else {
        return;
    };
    let requests = dashboard.requests(&window);
    let asking = MetricContext {
        catalog: &lake.catalog,
        reach: &RowAccess::Staff,
        // What came since takes memory, and is hardly ever of a day that is over.
        cut: &lake.lakehouse.cut().of_tables(),
        persons: false,
        min_persons: None,
        now: now.timestamp_micros(),
        deadline_ms: lake.limits.deadline_seconds * 1_000,
        gives_way: true,
    };
    if let Err(error) = lake.engine.metrics(&requests, asking).await {
        tracing::warn!(%error, "the first page is not prepared");
    }
}

async fn home() -> HttpResponse {
    see_other("/dashboards/business")
}

async fn dashboard(
    request: HttpRequest,
    name: web::Path<String>,
    asked: Result<web::Query<DashboardParameters>, actix_web::Error>,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<ViewDashboard>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let asked = parameters(asked)?;
    let definition = definition(&name)?;
    let (cut, now) = (lake.lakehouse.cut(), lake.state.clock.now());
    let page = page(&request, &principal, &asked, now, lake.cut_cipher.token(&cut, &principal)?)?;
    shown(&lake, &principal, cut, definition, page).await
}

/// Renders a dashboard for somebody, at a cut.
async fn shown(
    lake: &Lake,
    principal: &Principal,
    cut: Cut,
    definition: Dashboard,
    page: Page,
) -> Result<HttpResponse, Problem> {
    let now = page.generated_at;
    let reading = DashboardContext {
        engine: &lake.engine,
        catalog: &lake.catalog,
        reach: reach(principal),
        cut,
        persons: persons::are_shown_to(&lake.state.store, principal).await?,
        min_persons: lake.min_persons(principal),
        now,
        deadline_ms: lake.limits.deadline_seconds * 1_000,
    };
    let html = reading.render(definition, page).await.map_err(|error| match error {
        DashboardError::Query(error) => problem(error),
        DashboardError::Report(error) => Problem::invalid_parameters(error.to_string()),
        DashboardError::Stopped => Problem::internal(),
    })?;
    Ok(html_page(html))
}

/// What a dashboard is read with.
pub struct DashboardContext<'a> {
    pub engine: &'a Engine,
    pub catalog: &'a Catalog,
    pub reach: RowAccess,
    pub cut: Cut,
    pub persons: bool,
    /// As in [`MetricContext`].
    pub min_persons: Option<u32>,
    pub now: DateTime<Utc>,
    pub deadline_ms: u64,
}

impl DashboardContext<'_> {
    /// Asks every question of a dashboard at one cut, and renders the answers.
    pub async fn render(&self, dashboard: Dashboard, page: Page) -> Result<String, DashboardError> {
        let requests = dashboard.requests(&page.window);
        let asking = MetricContext {
            catalog: self.catalog,
            reach: &self.reach,
            cut: &self.cut,
            persons: self.persons,
            min_persons: self.min_persons,
            now: self.now.timestamp_micros(),
            deadline_ms: self.deadline_ms,
            gives_way: false,
        };
        // A tile that is not shown is no reason to show none.
        let (mut answers, mut asked) = (Vec::new(), Vec::new());
        for request in requests {
            match asking.without_hours(&request) {
                Some(answer) => answers.push(MetricResult { request, answer }),
                None => asked.push(request),
            }
        }
        let found = self.engine.metrics(&asked, asking).await?;
        let found = asked.into_iter().zip(found);
        answers.extend(found.map(|(request, answer)| MetricResult { request, answer }));
        // Forecasting and drawing are work for a core, not for the thread that serves connections.
        let rendering = tokio::task::spawn_blocking(move || {
            let mut forecasts = Forecasts::default();
            for ahead in dashboard.forecast_requests(&page.window) {
                let history = answers.iter().find(|answered| answered.request == ahead.history);
                if let Some(MetricResult { answer, .. }) = history {
                    metric_forecast::add_bands(&mut forecasts, answer, ahead.horizon_days as usize);
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
    asked: &DashboardParameters,
    now: DateTime<Utc>,
    as_of: String,
) -> Result<Page, Problem> {
    let window = match asked.days {
        Some(days) => Window::last_days(now, days),
        None => Window::parse(now, asked.from.as_deref(), asked.to.as_deref()),
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
        definition: None,
        standalone: false,
    })
}
