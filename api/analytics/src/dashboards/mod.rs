//! The pages that people see: dashboards and the way to sign in. The same questions and the same rendering make
//! the report file of `aihub report render`.

mod catalog;
mod saved;
mod workbench;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use pipeline::Cut;
use query::{
    Engine, MetricContext, QueryError, RowAccess, Zone,
    metric::{Catalog, Compare, Grain, MetricRow, WindowRequest, audience},
};
use reports::{
    Address, Dashboard, DashboardMail, Forecasts, MailFrame, MetricResult, Page, Selection, Window,
    metric_forecast,
};
use rest::{
    feature::Feature,
    page::{html_page, language, see_other, user_name, visitor},
    principal::{Ability, Gate, Principal, ViewDashboard},
    problem::{Problem, parameters},
};
use serde_json::{Value, json};

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
#[derive(Debug, Default, Clone)]
pub(crate) struct DashboardParameters {
    pub(crate) days: Option<u32>,
    pub(crate) range: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) tz: Option<String>,
    /// `previous_period`, `previous_year` or `none`.
    pub(crate) compare: Option<String>,
    pub(crate) grain: Option<String>,
    /// Conditions such as `model=gpt-4o`.
    pub(crate) filters: Vec<String>,
    pub(crate) lang: Option<String>,
    /// All of it but the language, for links.
    kept: Vec<(String, String)>,
}

/// A field of the form for a dimension begins so: `f.model=gpt-4o` is `filter=model=gpt-4o`.
const FIELD: &str = "f.";

impl DashboardParameters {
    pub(crate) fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let mut of_form = false;
        for (name, text) in pairs {
            let text = text.trim().to_owned();
            // A field of the form that was left empty says nothing.
            if text.is_empty() {
                continue;
            }
            let (name, text) = match name.strip_prefix(FIELD) {
                Some(dimension) => ("filter".to_owned(), format!("{dimension}={text}")),
                None => (name, text),
            };
            match name.as_str() {
                "lang" | "form" => {}
                _ => asked.kept.push((name.clone(), text.clone())),
            }
            let refuse = || Problem::invalid_parameters(format!("`{name}={text}` is not possible"));
            let place = match name.as_str() {
                "filter" => {
                    asked.filters.push(text);
                    continue;
                }
                "days" => {
                    asked.days = Some(text.parse().map_err(|_| refuse())?);
                    continue;
                }
                "form" => {
                    of_form = true;
                    continue;
                }
                "range" => &mut asked.range,
                "from" => &mut asked.from,
                "to" => &mut asked.to,
                "tz" => &mut asked.tz,
                "compare" => &mut asked.compare,
                "grain" => &mut asked.grain,
                "lang" => &mut asked.lang,
                _ => return Err(refuse()),
            };
            *place = Some(text);
        }
        // In the form, dates say more than the range that is chosen beside them.
        if of_form && (asked.from.is_some() || asked.to.is_some()) {
            asked.range = None;
            asked.kept.retain(|(name, _)| name != "range");
        }
        Ok(asked)
    }

    fn names_a_period(&self) -> bool {
        self.days.is_some() || self.range.is_some() || self.from.is_some() || self.to.is_some()
    }

    /// What the address chooses.
    pub(crate) fn selection(
        &self,
        now: DateTime<Utc>,
        lake: &Lake,
        principal: &Principal,
    ) -> Result<Selection, Problem> {
        let invalid = |error: String| Problem::invalid_parameters(error);
        let zone = match &self.tz {
            Some(name) => name.parse::<Zone>().map_err(|error| invalid(error.to_string()))?,
            None => lake.metrics.zone,
        };
        let window = match self.days {
            Some(_) if self.range.is_some() || self.from.is_some() || self.to.is_some() => {
                return Err(invalid(
                    "`days` stands for a period: send the one or the other".into(),
                ));
            }
            Some(days) => Window::last_days_in(now, days, zone),
            None => {
                let (range, from) = (self.range.as_deref(), self.from.as_deref());
                let to = self.to.as_deref();
                Window::resolve(&WindowRequest { range, from, to, zone, today: false }, now)
            }
        };
        let window = window.map_err(|error| invalid(error.to_string()))?;
        let compare = match self.compare.as_deref() {
            None => Some(Compare::PreviousPeriod),
            Some("none") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                invalid(format!(
                    "`compare`: `{text}` is not previous_period, previous_year or none"
                ))
            })?),
        };
        let selection = Selection::new(window).compared_with(compare);
        let of_filter = |error: reports::Error| invalid(error.to_string());
        let selection = selection
            .with_filters(&self.filters, &lake.catalog, audience(&reach(principal)))
            .map_err(of_filter)?;
        match &self.grain {
            Some(text) => {
                let grain: Grain =
                    text.parse().map_err(|_| invalid(format!("`grain`: `{text}` is none")))?;
                selection.with_grain(grain).map_err(of_filter)
            }
            None => Ok(selection),
        }
    }
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
    let request = WindowRequest { zone: lake.metrics.zone, ..WindowRequest::default() };
    let (Ok(window), Ok(dashboard)) = (Window::resolve(&request, now), definition("business"))
    else {
        return;
    };
    let requests = dashboard.requests(&Selection::new(window));
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
    asked: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<ViewDashboard>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let asked = DashboardParameters::read(parameters(asked)?)?;
    let definition = definition(&name)?;
    let (cut, now) = (lake.lakehouse.cut(), lake.state.clock.now());
    let page =
        page(&request, &lake, &principal, &asked, now, lake.cut_cipher.token(&cut, &principal)?)?;
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
        gives_way: false,
    };
    let html = reading.render(definition, page).await.map_err(problem_of)?;
    Ok(html_page(html))
}

/// A dashboard that cannot be shown, for a client.
pub(crate) fn problem_of(error: DashboardError) -> Problem {
    match error {
        DashboardError::Query(error) => problem(error),
        DashboardError::Report(error) => Problem::invalid_parameters(error.to_string()),
        DashboardError::Stopped => Problem::internal(),
    }
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
    /// As in [`MetricContext`].
    pub gives_way: bool,
}

/// A dashboard with the answers to all of its questions.
pub struct Answered {
    dashboard: Dashboard,
    page: Page,
    answers: Vec<MetricResult>,
    forecasts: Forecasts,
}

impl Answered {
    /// The page.
    pub fn html(&self) -> Result<String, reports::Error> {
        reports::render(&self.dashboard, &self.answers, &self.forecasts, &self.page)
    }

    /// The same numbers as a mail.
    pub fn mail(&self, frame: &MailFrame) -> Result<DashboardMail, reports::Error> {
        reports::mail(&self.dashboard, &self.answers, &self.forecasts, &self.page, frame)
    }

    /// The answers to all questions.
    pub fn answers(&self) -> &[MetricResult] {
        &self.answers
    }

    /// The values of the whole period that the tiles show, for programs.
    pub fn values(&self) -> Vec<Value> {
        let row = |result: &MetricResult, row: &MetricRow| {
            json!({
                "metric": result.request.metric,
                "by": result.request.by,
                "group": row.group,
                "currency": row.currency,
                "value": row.value.map(|value| value.to_decimal().normalize()),
            })
        };
        let of_result = |result: &MetricResult| {
            result.answer.rows.iter().map(|found| row(result, found)).collect()
        };
        self.totals().flat_map::<Vec<Value>, _>(of_result).collect()
    }

    /// Whether the period has no value but zero.
    pub fn is_empty(&self) -> bool {
        let mut values = self.totals().flat_map(|result| &result.answer.rows);
        values.all(|row| row.value.is_none_or(|value| value.to_decimal().is_zero()))
    }

    /// The answers of one value for the whole period that is shown.
    fn totals(&self) -> impl Iterator<Item = &MetricResult> {
        let window = &self.page.selection.window;
        self.answers.iter().filter(|MetricResult { request, .. }| {
            request.grain.is_none() && (request.from, request.to) == (window.from(), window.to())
        })
    }
}

impl DashboardContext<'_> {
    /// Asks every question of a dashboard at one cut, and renders the answers.
    pub async fn render(&self, dashboard: Dashboard, page: Page) -> Result<String, DashboardError> {
        self.draw(dashboard, page, |answered| answered.html()).await
    }

    /// Asks every question of a dashboard at one cut, and makes something of the answers.
    pub async fn draw<T: Send + 'static>(
        &self,
        dashboard: Dashboard,
        page: Page,
        make: impl FnOnce(&Answered) -> Result<T, reports::Error> + Send + 'static,
    ) -> Result<T, DashboardError> {
        let answers = self.answers(&dashboard, &page).await?;
        // Forecasting and drawing are work for a core, not for the thread that serves connections.
        let drawing = tokio::task::spawn_blocking(move || {
            let (mut forecasts, zone) = (Forecasts::default(), page.selection.window.zone());
            for ahead in dashboard.forecast_requests(&page.selection) {
                let history = answers.iter().find(|answered| answered.request == ahead.history);
                if let Some(MetricResult { answer, .. }) = history {
                    let horizon = ahead.horizon_days as usize;
                    metric_forecast::add_bands(&mut forecasts, answer, horizon, zone);
                }
            }
            make(&Answered { dashboard, page, answers, forecasts })
        });
        Ok(drawing.await.map_err(|_| DashboardError::Stopped)??)
    }

    async fn answers(
        &self,
        dashboard: &Dashboard,
        page: &Page,
    ) -> Result<Vec<MetricResult>, DashboardError> {
        let requests = dashboard.requests(&page.selection);
        let asking = MetricContext {
            catalog: self.catalog,
            reach: &self.reach,
            cut: &self.cut,
            persons: self.persons,
            min_persons: self.min_persons,
            now: self.now.timestamp_micros(),
            deadline_ms: self.deadline_ms,
            gives_way: self.gives_way,
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
        Ok(answers)
    }
}

pub(crate) use saved::who_reads;

pub(crate) fn definition(name: &str) -> Result<Dashboard, Problem> {
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
    lake: &Lake,
    principal: &Principal,
    asked: &DashboardParameters,
    now: DateTime<Utc>,
    as_of: String,
) -> Result<Page, Problem> {
    Ok(Page {
        language: language(request, asked.lang.as_deref()),
        selection: asked.selection(now, lake, principal)?,
        generated_at: now,
        as_of,
        organization: principal.reach.organization_id().map(str::to_owned),
        user: user_name(principal),
        asks_sql: principal.may(Ability::RunSql),
        runs_saved: principal.may(Ability::ReadMetrics),
        definition: None,
        standalone: false,
        address: Address::new(asked.kept.clone()),
    })
}
