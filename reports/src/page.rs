//! The page of a dashboard: the tiles in order, what is shown, and where it comes from.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use pages::{
    link::{Link, languages},
    words::{Words, days},
};
use query::{Zone, metric::MetricRequest};
use serde::Serialize;

use crate::{
    Address, Annotation, AnomalyMark, Dashboard, DashboardAnswers, Definition, Error, Language,
    MetricResult, Selection, Tile, Window,
    address::{FilterForm, WORDS, encoded},
    annotation::Listed,
    answer::Answers,
    summary,
    tile::{ChartFormat, Charts, TileContext, TileFailure, TileLink, TileLinks, View},
    window::OFFERED_DAYS,
    words,
};

const TEMPLATES: &[pages::Template] = &[
    ("dashboard.html", include_str!("../templates/dashboard.html")),
    ("kpi.html", include_str!("../templates/kpi.html")),
    ("series.html", include_str!("../templates/series.html")),
    ("ranking.html", include_str!("../templates/ranking.html")),
    ("table.html", include_str!("../templates/table.html")),
    ("stacked.html", include_str!("../templates/stacked.html")),
    ("grid.html", include_str!("../templates/grid.html")),
    ("text.html", include_str!("../templates/text.html")),
    ("failed.html", include_str!("../templates/failed.html")),
];

/// Everything about a page that is neither definition nor answer.
#[derive(Debug, Clone)]
pub struct Page {
    pub language: Language,
    /// What is shown; the answers must be to [`Dashboard::requests`] of it.
    pub selection: Selection,
    pub generated_at: DateTime<Utc>,
    /// The cut that all answers were read at.
    pub as_of: String,
    /// The organization whose numbers these are; none for all of them.
    pub organization: Option<String>,
    /// Who is signed in, shown beside the button to sign out.
    pub user: Option<String>,
    /// Whether the reader may ask in SQL too.
    pub asks_sql: bool,
    /// Of the page of one metric: what it is.
    pub definition: Option<Definition>,
    /// One file for itself: without the links and the form that need a server.
    pub standalone: bool,
    /// The address of the server, for what a report links to: empty on the server's own pages, none where nobody may go on.
    pub server: Option<String>,
    /// The tiles that have no answer, by their places.
    pub failures: BTreeMap<usize, TileFailure>,
    /// What was said of points of time.
    pub annotations: Vec<Annotation>,
    /// What was unusual in the window, of metrics that are not filtered.
    pub anomalies: Vec<AnomalyMark>,
    /// Names and titles of the dashboards that the reader sees.
    pub tabs: Vec<(String, String)>,
    /// Whether the reader may change the dashboard.
    pub may_change: bool,
    /// What the address of the page says.
    pub address: Address,
}

/// The script of a live dashboard: it adds what a page can be read without.
pub const DASHBOARD_SCRIPT: &str = include_str!("../templates/dashboard.js");

impl Page {
    /// What the links of tiles need; none for a file.
    pub(crate) fn links(&self) -> Option<TileLinks<'_>> {
        let asks_sql = self.asks_sql;
        (!self.standalone).then_some(TileLinks { address: &self.address, asks_sql })
    }
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    title: &'a str,
    organization: &'a str,
    user: Option<&'a str>,
    asks_sql: bool,
    standalone: bool,
    period: String,
    /// Whether the period ends in the future.
    unfinished: bool,
    /// Until when the numbers of every tile count.
    fresh: String,
    /// What the page has to be looked at again for.
    refresh: &'static str,
    period_length: Option<String>,
    previous_period: Option<String>,
    periods: Vec<Link>,
    languages: Vec<Link>,
    /// The page in a few sentences.
    summary: Vec<String>,
    sections: Vec<Section>,
    annotations: Vec<Listed>,
    annotate: Annotate,
    /// What can be done with the dashboard itself: names of words and addresses.
    name: &'a str,
    edit: Option<&'static str>,
    copy: &'static str,
    form: Option<FilterForm>,
    /// The other dashboards, over the same period.
    dashboards: Vec<Link>,
    definition: Option<&'a Definition>,
    /// The SQL of the course of the metric that is defined.
    sql: Option<&'a str>,
    as_of: &'a str,
    generated_at: String,
    /// The clock of all times.
    times: String,
    addresses: Vec<String>,
}

/// The form that adds an annotation.
#[derive(Serialize)]
struct Annotate {
    title: &'static str,
    day: &'static str,
    sentence: &'static str,
    add: &'static str,
    remove: &'static str,
    /// Where it leads back to.
    back: String,
    tz: String,
}

impl Annotate {
    fn new(dashboard: &Dashboard, page: &Page) -> Self {
        let word = |name| WORDS.text(name, page.language);
        Self {
            title: word("annotations"),
            day: word("date"),
            sentence: word("sentence"),
            add: word("add"),
            remove: word("remove"),
            back: format!("/dashboards/{}{}", dashboard.name, page.address.href(page.language)),
            tz: page.selection.window.zone().to_string(),
        }
    }
}

/// Tiles that stand together: figures in one grid, everything else in another.
#[derive(Serialize)]
struct Section {
    figures: bool,
    tiles: Vec<View>,
}

/// Renders a dashboard.
pub fn render(
    dashboard: &Dashboard,
    answers: &DashboardAnswers,
    page: &Page,
) -> Result<String, Error> {
    let fixed = Words::of(page.language);
    let scene = TileContext {
        selection: &page.selection,
        answers: Answers(&answers.metrics),
        analyses: &answers.analyses,
        system: &answers.system,
        queries: &answers.queries,
        annotations: &page.annotations,
        anomalies: &page.anomalies,
        forecasts: &answers.forecasts,
        language: page.language,
        charts: Charts::Page,
        links: page.links(),
        server: page.server.as_deref(),
    };
    let values = Values {
        lang: page.language.tag(),
        words: fixed,
        title: dashboard.title.of(page.language),
        organization: page.organization.as_deref().unwrap_or(fixed.all_organizations),
        user: page.user.as_deref(),
        asks_sql: page.asks_sql,
        standalone: page.standalone,
        period: page.selection.window.label(page.language),
        unfinished: page.selection.window.to() > page.generated_at,
        fresh: words::fresh(
            &page.selection.window.seen_until(page.language),
            page.selection.window.to() > page.generated_at,
            page.language,
        ),
        refresh: WORDS.text("refresh", page.language),
        period_length: page.selection.window.whole_days().map(|count| days(count, page.language)),
        previous_period: page.selection.compared().map(|window| window.label(page.language)),
        periods: period_links(page),
        languages: language_links(page),
        summary: match page.definition {
            None => summary::sentences(dashboard, &scene),
            Some(_) => Vec::new(),
        },
        sections: sections(dashboard, &scene, page)?,
        annotations: page
            .annotations
            .iter()
            .map(|annotation| Listed::new(annotation, &page.selection.window))
            .collect(),
        annotate: Annotate::new(dashboard, page),
        name: &dashboard.name,
        edit: page.may_change.then(|| WORDS.text("edit", page.language)),
        copy: WORDS.text("copy", page.language),
        dashboards: dashboard_links(dashboard, page),
        form: (!page.standalone && page.definition.is_none()).then(|| {
            FilterForm::new(&page.address, &page.selection, &dashboard.name, page.language)
        }),
        definition: page.definition.as_ref(),
        sql: page.definition.as_ref().and_then(|definition| {
            let is_course = |result: &&MetricResult| {
                result.request.metric == definition.name && result.request.grain.is_some()
            };
            Some(answers.metrics.iter().find(is_course)?.answer.sql.as_str())
        }),
        as_of: &page.as_of,
        generated_at: page.generated_at.to_rfc3339_opts(SecondsFormat::Secs, true),
        times: words::times_of(&page.selection.window.zone().to_string(), page.language),
        addresses: addresses(dashboard, &page.selection),
    };
    Ok(pages::fill(TEMPLATES, "dashboard.html", &values)?)
}

fn sections(
    dashboard: &Dashboard,
    scene: &TileContext<'_>,
    page: &Page,
) -> Result<Vec<Section>, Error> {
    let mut sections: Vec<Section> = vec![];
    for (index, tile) in dashboard.tiles.iter().enumerate() {
        let mut view = view(index, tile, scene, page)?;
        if !page.standalone && page.definition.is_none() {
            view.add_links(file_links(dashboard, index, page));
        }
        let figures = matches!(tile, Tile::Kpi(_));
        match sections.last_mut() {
            Some(section) if section.figures == figures => section.tiles.push(view),
            _ => sections.push(Section { figures, tiles: vec![view] }),
        }
    }
    Ok(sections)
}

/// The view of a tile, or why there is none.
pub(crate) fn view(
    index: usize,
    tile: &Tile,
    scene: &TileContext<'_>,
    page: &Page,
) -> Result<View, Error> {
    match page.failures.get(&index) {
        Some(failure) => Ok(tile.failed(*failure, page.language)),
        None => tile.view(scene),
    }
}

/// The chart of a tile as a file.
fn file_links(dashboard: &Dashboard, tile: usize, page: &Page) -> [TileLink; 2] {
    ["png", "svg"].map(|format| {
        let address = page.address.href(page.language);
        let href =
            format!("/dashboards/{}/chart{address}&tile={tile}&format={format}", dashboard.name);
        TileLink::new(WORDS.text(format, page.language), href)
    })
}

/// The charts of a tile as files: one, or one per currency.
pub fn chart_files(
    tile: &Tile,
    answers: &DashboardAnswers,
    page: &Page,
    format: ChartFormat,
) -> Result<Vec<Vec<u8>>, Error> {
    let scene = TileContext {
        selection: &page.selection,
        answers: Answers(&answers.metrics),
        analyses: &answers.analyses,
        system: &answers.system,
        queries: &answers.queries,
        annotations: &page.annotations,
        anomalies: &page.anomalies,
        forecasts: &answers.forecasts,
        language: page.language,
        charts: Charts::File(format),
        links: None,
        server: None,
    };
    Ok(tile.view(&scene)?.take_files(0).into_iter().map(|(_, file)| file).collect())
}

fn period_links(page: &Page) -> Vec<Link> {
    OFFERED_DAYS
        .iter()
        .map(|count| Link {
            text: days(i64::from(*count), page.language),
            href: page.address.of_days(*count).href(page.language),
            lang: page.language.tag(),
            current: offered(page) == Some(*count),
        })
        .collect()
}

/// The dashboards, each with the same choice.
fn dashboard_links(dashboard: &Dashboard, page: &Page) -> Vec<Link> {
    if page.standalone || page.definition.is_some() {
        return Vec::new();
    }
    page.tabs
        .iter()
        .map(|(name, text)| Link {
            text: text.clone(),
            href: format!("/dashboards/{name}{}", page.address.href(page.language)),
            lang: page.language.tag(),
            current: *name == dashboard.name,
        })
        .collect()
}

fn language_links(page: &Page) -> Vec<Link> {
    languages(page.language, &page.address.rest())
}

/// The offered length that gives the window of this page, if one does.
fn offered(page: &Page) -> Option<u32> {
    OFFERED_DAYS.into_iter().find(|count| {
        Window::last_days_in(page.generated_at, *count, page.selection.window.zone())
            .is_ok_and(|window| window == page.selection.window)
    })
}

/// The address of every number on the page, each once, in the order of the tiles.
fn addresses(dashboard: &Dashboard, selection: &Selection) -> Vec<String> {
    let mut addresses: Vec<String> = vec![];
    for request in dashboard.shown(selection).into_iter().filter(|asked| selection.shows(asked)) {
        let address = format!("GET {}", address(&request));
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

pub(crate) fn address(request: &MetricRequest) -> String {
    let mut address = format!(
        "/v1/metrics/{}?from={}&to={}",
        request.metric,
        instant(request.from),
        instant(request.to)
    );
    if let Some(grain) = request.grain {
        address.push_str("&grain=");
        address.push_str(grain.name());
    }
    if !request.by.is_empty() {
        address.push_str("&by=");
        address.push_str(&request.by.join(","));
    }
    if request.zone != Zone::UTC {
        address.push_str("&tz=");
        address.push_str(&encoded(&request.zone.to_string()));
    }
    address
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
