//! The pages that people see: dashboards and the way to sign in. The same questions and the same rendering make
//! the report file of `aihub report render`.

mod catalog;
mod chart;
mod parameters;
mod reading;
mod saved;
mod saved_rows;
mod system;
mod workbench;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use pipeline::Cut;
use query::{
    MetricContext, RowAccess,
    metric::{WindowRequest, audience},
};
use reports::{
    Address, Annotation, DASHBOARD_SCRIPT, Dashboard, Language, Page, Selection, Window,
};
use rest::{
    feature::Feature,
    page::{self, language, scripted_page, see_other, user_name, visitor},
    principal::{Ability, Gate, Principal, ViewDashboard},
    problem::{Problem, parameters},
};

use state::store::StoreError;

use crate::{
    Lake, annotations, anomalies, own_dashboards, persons,
    queries::{problem, reach},
};

/// The pages of dashboards, of saved queries, and of the workbench.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("dashboards")
    .with_routes(|config, _| {
        config
            .route("/", web::get().to(home))
            .route("/dashboard.js", web::get().to(script))
            .route("/dashboards/{name}", web::get().to(dashboard))
            .route("/dashboards/{name}/chart", web::get().to(chart::file))
            .route("/metrics-catalog", web::get().to(catalog::list))
            .route("/metrics-catalog/{name}", web::get().to(catalog::page))
            .route("/queries", web::get().to(saved::list))
            .route("/queries/{name}", web::get().to(saved::page))
            .route("/sql", web::get().to(workbench::page))
            .route("/sql/chart", web::post().to(workbench::chart))
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
    let (Ok(window), Some(dashboard)) =
        (Window::resolve(&request, now), lake.dashboards.get("business"))
    else {
        return;
    };
    let selection = Selection::new(window);
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
    let prepared = async {
        let selection = covered(&lake.engine, selection, asking).await?;
        lake.engine.metrics(&dashboard.requests(&selection), asking).await
    };
    if let Err(error) = prepared.await {
        tracing::warn!(%error, "the first page is not prepared");
    }
}

async fn home() -> HttpResponse {
    see_other("/home")
}

async fn script() -> HttpResponse {
    page::script(DASHBOARD_SCRIPT)
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
    let definition = definition(&name, &lake, &principal, &principal).await?;
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
    mut page: Page,
) -> Result<HttpResponse, Problem> {
    page.annotations = annotations(lake, principal, &page.selection).await?;
    page.anomalies =
        anomalies::marks(lake, principal, &page.selection.window, page.language).await?;
    for own in own_dashboards::list(&lake.state.store, principal).await? {
        page.may_change |= own.name == definition.name && own.may_change;
    }
    page.tabs = titles(lake, principal, page.language).await?;
    Ok(scripted_page(rendered(lake, principal, cut, definition, page).await?))
}

/// Names and titles of the dashboards that somebody sees.
pub(crate) async fn titles(
    lake: &Lake,
    principal: &Principal,
    language: Language,
) -> Result<Vec<(String, String)>, StoreError> {
    let own = own_dashboards::list(&lake.state.store, principal).await?;
    let own = own.into_iter().map(|own| (own.name, own.title.of(language).to_owned()));
    let known = lake.dashboards.titles();
    let known = known.map(|(name, title)| (name.to_owned(), title.of(language).to_owned()));
    Ok(known.chain(own).collect())
}

/// A dashboard with its answers, for the eyes of somebody.
pub(crate) async fn rendered(
    lake: &Lake,
    principal: &Principal,
    cut: Cut,
    definition: Dashboard,
    page: Page,
) -> Result<String, Problem> {
    let mut reading = reading(lake, principal, cut, &definition, &page).await?;
    if page.standalone {
        // Whoever opens a link does not operate the server, and waits for those who work.
        reading.system = Default::default();
        reading.gives_way = true;
    }
    Box::pin(reading.render(definition, page)).await.map_err(problem_of)
}

/// What was said of points of time of a window.
pub(crate) async fn annotations(
    lake: &Lake,
    principal: &Principal,
    selection: &Selection,
) -> Result<Vec<Annotation>, StoreError> {
    let window = &selection.window;
    let found =
        annotations::of_window(&lake.state.store, principal, window.from(), window.to()).await?;
    let shown = found.into_iter().map(|one| Annotation {
        may_remove: one.may_remove(principal),
        id: one.id,
        at: one.at,
        text: one.text,
    });
    Ok(shown.collect())
}

/// What a dashboard is read with for somebody.
async fn reading<'a>(
    lake: &'a Lake,
    principal: &Principal,
    cut: Cut,
    definition: &Dashboard,
    page: &Page,
) -> Result<DashboardContext<'a>, Problem> {
    let who = (principal, principal);
    let queries =
        saved_rows::of_dashboard(lake, who, definition, &page.selection, &cut, page.standalone)
            .await?;
    Ok(DashboardContext {
        engine: &lake.engine,
        catalog: &lake.catalog,
        reach: reach(principal),
        cut,
        persons: persons::are_shown_to(&lake.state.store, principal).await?,
        min_persons: lake.min_persons(principal),
        now: page.generated_at,
        // A tile that is too slow is asked once more, alone.
        deadline_ms: lake.limits.deadline_seconds * 1_000 / 2,
        gives_way: false,
        lateness: lake.metrics.lateness,
        system: system::tables(lake, principal, definition).await?,
        queries,
        lenient: true,
    })
}

/// A dashboard that cannot be shown, for a client.
pub(crate) fn problem_of(error: DashboardError) -> Problem {
    match error {
        DashboardError::Query(error) => problem(error),
        DashboardError::Report(error) => Problem::invalid_parameters(error.to_string()),
        DashboardError::Stopped => Problem::internal(),
        DashboardError::Unanswered(_) => Problem::invalid_parameters(error.to_string()),
    }
}

pub(crate) use parameters::DashboardParameters;
pub(crate) use reading::covered;
pub use reading::{Answered, DashboardContext, DashboardError};
pub(crate) use saved::who_reads;
pub(crate) use saved_rows::of_dashboard as saved_rows_of;
pub(crate) use system::reported_tables;

/// A dashboard with the tiles that a reader may see: one of the program, or one that its owner sees.
pub(crate) async fn definition(
    name: &str,
    lake: &Lake,
    owner: &Principal,
    reader: &Principal,
) -> Result<Dashboard, Problem> {
    let absent = || Problem::not_found(format!("there is no dashboard `{name}`"));
    let dashboard = match lake.dashboards.get(name) {
        Some(known) => known.clone(),
        None => {
            let own = own_dashboards::visible(&lake.state.store, owner, name).await?;
            own.ok_or_else(absent)?.definition
        }
    };
    dashboard.visible(&lake.catalog, audience(&reach(reader))).ok_or_else(absent)
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
        definition: None,
        standalone: false,
        server: Some(String::new()),
        failures: Default::default(),
        annotations: Vec::new(),
        anomalies: Vec::new(),
        tabs: Vec::new(),
        may_change: false,
        address: Address::new(asked.kept.clone()),
    })
}
