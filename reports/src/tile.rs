//! The kinds of tiles. Each has a room: its definition, the questions it asks, and its view, the
//! values its template is filled with.

mod analysis;
mod grid;
mod heatmap;
mod kpi;

mod ranking;
mod saved_query;
mod series;
mod stacked;
mod system;
mod table;
mod text;
mod waterfall;

use chrono::{DateTime, Utc};
use query::metric::{Audience, Catalog, Grain, MetricRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::Answers;
use crate::{
    Address, Annotation, AnomalyMark, Error, Forecasts, Language, Selection, Text,
    address::{WORDS, encoded},
    dashboard::ORGANIZATION,
    page, words,
};

pub use analysis::{AnalysisName, AnalysisRequest, AnalysisResult, AnalysisTile};
pub use heatmap::HeatmapTile;
pub use kpi::KpiTile;
pub use ranking::RankingTile;
pub(crate) use ranking::group;
pub use saved_query::{QueryDraw, QueryResult, QueryResults, QueryTile, query_chart, query_values};
pub use series::{ForecastOptions, SeriesTile};
pub use stacked::StackedTile;
pub use system::{SystemName, SystemTable, SystemTables, SystemTile, SystemTopic, SystemValue};
pub use table::{Column, TableTile};
pub use text::TextTile;
pub use waterfall::WaterfallTile;

/// How values over time are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    Line,
    #[default]
    Area,
    Bar,
}

/// A tile of a dashboard. In YAML its `kind` is the name of one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Tile {
    Kpi(KpiTile),
    Series(SeriesTile),
    Ranking(RankingTile),
    Table(TableTile),
    /// A metric over time, split by a dimension.
    Stacked(StackedTile),
    /// A metric by weekday and hour.
    Heatmap(HeatmapTile),
    /// A stock and its movements.
    Waterfall(WaterfallTile),
    /// Retention, a funnel, the lifecycle or paths.
    Analysis(AnalysisTile),
    /// The rows of a saved query.
    Query(QueryTile),
    Text(TextTile),
    /// How the server does.
    System(SystemTile),
}

/// Everything a view is made from.
pub(crate) struct TileContext<'a> {
    pub(crate) selection: &'a Selection,
    pub(crate) answers: Answers<'a>,
    pub(crate) analyses: &'a [AnalysisResult],
    pub(crate) system: &'a SystemTables,
    pub(crate) queries: &'a QueryResults,
    pub(crate) annotations: &'a [Annotation],
    pub(crate) anomalies: &'a [AnomalyMark],
    pub(crate) forecasts: &'a Forecasts,
    pub(crate) language: Language,
    pub(crate) charts: Charts,
    /// None in a file.
    pub(crate) links: Option<TileLinks<'a>>,
    /// The address of the server, for the links that a report has, too: empty on its own pages, none where it is not known.
    pub(crate) server: Option<&'a str>,
}

/// How charts are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charts {
    /// In several sizes, in the colors of the page.
    Page,
    /// As a file for a mail or a document, on white.
    File(ChartFormat),
}

/// The format of a chart that is a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum ChartFormat {
    Png,
    Svg,
}

/// What the links of tiles need.
#[derive(Clone, Copy)]
pub(crate) struct TileLinks<'a> {
    pub(crate) address: &'a Address,
    pub(crate) asks_sql: bool,
}

/// A link of a tile.
#[derive(Debug, Serialize)]
pub(crate) struct TileLink {
    text: &'static str,
    href: String,
}

impl TileContext<'_> {
    /// What is behind a tile: the definition of its metric, the SQL, the values.
    fn links(&self, request: &MetricRequest) -> Vec<TileLink> {
        let Some(links) = self.links else { return Vec::new() };
        let (tag, metric) = (self.language.tag(), &request.metric);
        let word = |name: &'static str| WORDS.text(name, self.language);
        let filters: String = self
            .selection
            .filters_of(metric)
            .map(|filter| format!("&filter={}", encoded(filter)))
            .collect();
        let mut all = vec![
            TileLink {
                text: word("definition"),
                href: format!("/metrics-catalog/{metric}?lang={tag}"),
            },
            TileLink {
                text: word("csv"),
                href: format!("{}{filters}&format=csv", page::address(request)),
            },
        ];
        if links.asks_sql {
            let of_rows = MetricRequest { grain: None, by: Vec::new(), ..request.clone() };
            let address = page::address(&of_rows).replacen('?', "/rows?", 1);
            all.push(TileLink {
                text: word("rows"),
                href: format!("{address}{filters}&format=csv"),
            });
        }
        let sql = self.answers.get(request).ok().map(|answer| &answer.sql);
        if let Some(sql) = sql.filter(|sql| links.asks_sql && !sql.is_empty()) {
            all.push(TileLink { text: word("sql"), href: format!("/sql?q={}", encoded(sql)) });
        }
        all
    }

    /// The same page of one bucket, in smaller ones.
    pub(super) fn closer(&self, at: DateTime<Utc>) -> Option<String> {
        let (grain, zone) = (self.selection.grain(), self.selection.window.zone());
        let smaller = match grain {
            Grain::Minute | Grain::Hour => return None,
            Grain::Day => Grain::Hour,
            Grain::Week | Grain::Month | Grain::Quarter | Grain::Year => Grain::Day,
        };
        let address = self.links?.address.of_span(at, grain.end(at, zone), smaller);
        Some(address.href(self.language))
    }

    /// The same page of one value of a dimension.
    fn drill(&self, dimension: &str, value: Option<&str>) -> Option<String> {
        let address = self.links?.address.of_value(dimension, value?)?;
        let page = match dimension {
            "organization_id" => format!("/dashboards/{ORGANIZATION}"),
            _ => String::new(),
        };
        Some(format!("{page}{}", address.href(self.language)))
    }

    /// A tile's note. It says so where values of few persons are missing, and where a filter is not one of the metric's.
    fn note(&self, note: &Text, requests: &[MetricRequest]) -> String {
        let mut answers = requests.iter().filter_map(|request| self.answers.get(request).ok());
        let mut note = note.of(self.language).to_owned();
        if answers.any(|answer| answer.rows.iter().any(|row| row.suppressed)) {
            note = words::with_few_persons(&note, self.language);
        }
        let mut unfiltered: Vec<&str> = requests
            .iter()
            .flat_map(|request| self.selection.not_filtered(&request.metric))
            .collect();
        unfiltered.sort_unstable();
        unfiltered.dedup();
        match unfiltered.is_empty() {
            true => note,
            false => words::not_filtered(&note, &unfiltered, self.language),
        }
    }
}

/// Why a tile has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileFailure {
    /// Its questions take longer than a page waits.
    TooSlow,
    /// Its answers, or what they are computed from, are too large.
    TooLarge,
    /// Its questions cannot be answered.
    NotComputed,
    /// It says something of persons, whom the reader does not see.
    Hidden,
    /// Its saved query is not there, or not shared with the reader.
    NotShared,
    /// A parameter of its saved query has no value.
    Unasked,
}

/// A tile that has no answer.
#[derive(Debug, Serialize)]
pub(crate) struct FailedView {
    title: String,
    reason: &'static str,
}

/// The values of a tile's template.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum View {
    Failed(FailedView),
    Kpi(kpi::View),
    Series(series::View),
    Ranking(ranking::View),
    Table(table::View),
    Stacked(stacked::View),
    Grid(grid::View),
    Text(text::View),
}

impl View {
    /// The files of the charts, by the names that a mail calls them, from a number on.
    pub(crate) fn take_files(&mut self, first: usize) -> Vec<(String, Vec<u8>)> {
        match self {
            Self::Series(series) => series.take_files(first),
            Self::Stacked(stacked) => stacked.take_files(first),
            _ => Vec::new(),
        }
    }

    /// Adds the links to the files of the charts.
    pub(crate) fn add_links(&mut self, links: impl IntoIterator<Item = TileLink>) {
        match self {
            Self::Series(series) if series.has_charts() => series.links.extend(links),
            Self::Stacked(stacked) if stacked.has_charts() => stacked.links.extend(links),
            _ => {}
        }
    }
}

impl TileLink {
    pub(crate) fn new(text: &'static str, href: String) -> Self {
        Self { text, href }
    }
}

impl Tile {
    pub fn title(&self) -> &Text {
        match self {
            Self::Kpi(tile) => &tile.title,
            Self::Series(tile) => &tile.title,
            Self::Ranking(tile) => &tile.title,
            Self::Table(tile) => &tile.title,
            Self::Stacked(tile) => &tile.title,
            Self::Heatmap(tile) => &tile.title,
            Self::Waterfall(tile) => &tile.title,
            Self::Analysis(tile) => &tile.title,
            Self::Query(tile) => &tile.title,
            Self::Text(tile) => &tile.title,
            Self::System(tile) => &tile.title,
        }
    }

    /// What the tile means, in a sentence for the reader.
    pub fn note(&self) -> &Text {
        match self {
            Self::Kpi(tile) => &tile.note,
            Self::Series(tile) => &tile.note,
            Self::Ranking(tile) => &tile.note,
            Self::Table(tile) => &tile.note,
            Self::Stacked(tile) => &tile.note,
            Self::Heatmap(tile) => &tile.note,
            Self::Waterfall(tile) => &tile.note,
            Self::Analysis(tile) => &tile.note,
            Self::Query(tile) => &tile.note,
            Self::Text(tile) => &tile.note,
            Self::System(tile) => &tile.note,
        }
    }

    /// The questions whose answers the tile shows.
    pub(crate) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        match self {
            Self::Kpi(tile) => tile.requests(selection),
            Self::Series(tile) => vec![selection.course(&tile.metric)],
            Self::Ranking(tile) => tile.requests(selection),
            Self::Table(tile) => tile.requests(selection),
            Self::Stacked(tile) => tile.requests(selection),
            Self::Heatmap(tile) => tile.requests(selection),
            Self::Waterfall(tile) => tile.requests(selection),
            Self::Analysis(_) | Self::Query(_) | Self::Text(_) | Self::System(_) => Vec::new(),
        }
    }

    /// The questions that are asked for the tile: those whose answers it shows, and the history of its forecast.
    pub fn all_requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let history = match self {
            Self::Series(tile) => tile.history(selection),
            _ => None,
        };
        self.requests(selection).into_iter().chain(history).collect()
    }

    /// The analysis that the tile shows.
    pub fn analysis(&self, selection: &Selection) -> Option<AnalysisRequest> {
        match self {
            Self::Analysis(tile) => Some(tile.request(selection)),
            _ => None,
        }
    }

    /// The view of a tile that has no answer.
    pub(crate) fn failed(&self, failure: TileFailure, language: Language) -> View {
        let name = match failure {
            TileFailure::TooSlow => "too_slow",
            TileFailure::TooLarge => "too_large",
            TileFailure::NotComputed => "not_computed",
            TileFailure::Hidden => "hidden",
            TileFailure::NotShared => "not_shared",
            TileFailure::Unasked => "unasked",
        };
        let title = self.title().of(language).to_owned();
        View::Failed(FailedView { title, reason: WORDS.text(name, language) })
    }

    /// The names of the metrics that the tile shows.
    pub(crate) fn metrics(&self) -> Vec<&str> {
        match self {
            Self::Kpi(tile) => vec![&tile.metric],
            Self::Series(tile) => vec![&tile.metric],
            Self::Ranking(tile) => vec![&tile.metric],
            Self::Table(tile) => tile.columns.iter().map(|column| column.metric.as_str()).collect(),
            Self::Stacked(tile) => vec![&tile.metric],
            Self::Heatmap(tile) => vec![&tile.metric],
            Self::Waterfall(tile) => tile.names().collect(),
            Self::Analysis(_) | Self::Query(_) | Self::Text(_) | Self::System(_) => Vec::new(),
        }
    }

    /// The names of the dimensions that the tile is split by.
    fn dimensions(&self) -> Option<&str> {
        match self {
            Self::Ranking(tile) => Some(&tile.by),
            Self::Table(tile) => Some(&tile.by),
            Self::Stacked(tile) => Some(&tile.by),
            _ => None,
        }
    }

    /// Reads a tile.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        serde_yaml_ng::from_str(yaml).map_err(Error::Unreadable)
    }

    /// The tile as it is read.
    pub fn yaml(&self) -> String {
        serde_yaml_ng::to_string(self).unwrap_or_default()
    }

    /// The name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kpi(_) => "kpi",
            Self::Series(_) => "series",
            Self::Ranking(_) => "ranking",
            Self::Table(_) => "table",
            Self::Stacked(_) => "stacked",
            Self::Heatmap(_) => "heatmap",
            Self::Waterfall(_) => "waterfall",
            Self::Analysis(_) => "analysis",
            Self::Query(_) => "query",
            Self::Text(_) => "text",
            Self::System(_) => "system",
        }
    }

    /// A name that somebody does not know, if there is one.
    pub(crate) fn unknown(&self, catalog: &Catalog, audience: Audience) -> Option<String> {
        for name in self.metrics() {
            let metric = match catalog.get(name, audience) {
                Ok(metric) => metric,
                Err(error) => return Some(error.to_string()),
            };
            let heat = matches!(self, Self::Heatmap(_)).then_some("hour_of_day");
            for by in self.dimensions().into_iter().chain(heat) {
                if !catalog.dimensions(metric, audience).any(|known| known.name == by) {
                    return Some(format!("`{name}` is not split by `{by}`"));
                }
            }
        }
        match self {
            Self::System(_) if audience != Audience::Staff => {
                Some("only staff see how the server does".to_owned())
            }
            _ => None,
        }
    }

    /// Whether somebody may see the tile.
    pub(crate) fn is_for(&self, catalog: &Catalog, audience: Audience) -> bool {
        let is_for_staff = matches!(self, Self::System(_));
        let may_see = |name: &str| catalog.get(name, audience).is_ok();
        (audience == Audience::Staff || !is_for_staff) && self.metrics().into_iter().all(may_see)
    }

    /// Why the definition cannot be right, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.title().lacks_words() || self.note().lacks_words() {
            return Some("title and note need words in every language".to_owned());
        }
        let is_long = |text: &Text, most: usize| {
            [&text.en, &text.zh_cn].iter().any(|text| text.chars().count() > most)
        };
        if is_long(self.title(), TITLE_MAX) || is_long(self.note(), NOTE_MAX) {
            return Some(format!("a title has at most {TITLE_MAX} letters, a note {NOTE_MAX}"));
        }
        let names = self.metrics().into_iter().chain(self.dimensions());
        let mut names = names;
        if let Some(name) = names.find(|name| !is_name(name)) {
            return Some(format!("{name:?} is not a name of a metric or dimension"));
        }
        match self {
            Self::Kpi(_) | Self::Heatmap(_) | Self::Text(_) | Self::System(_) => None,
            Self::Series(tile) => tile.fault(),
            Self::Ranking(tile) => limit_fault(tile.limit),
            Self::Table(tile) => tile.fault(),
            Self::Stacked(tile) => tile.fault(),
            Self::Waterfall(tile) => tile.fault(),
            Self::Analysis(tile) => tile.fault(),
            Self::Query(tile) => tile.fault(),
        }
    }

    pub(crate) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        Ok(match self {
            Self::Kpi(tile) => View::Kpi(tile.view(scene)?),
            Self::Series(tile) => View::Series(tile.view(scene)?),
            Self::Ranking(tile) => View::Ranking(tile.view(scene)?),
            Self::Table(tile) => View::Table(tile.view(scene)?),
            Self::Stacked(tile) => View::Stacked(tile.view(scene)?),
            Self::Heatmap(tile) => View::Grid(tile.view(scene)?),
            Self::Waterfall(tile) => View::Grid(tile.view(scene)?),
            Self::Analysis(tile) => View::Grid(tile.view(scene)?),
            Self::Query(tile) => tile.view(scene)?,
            Self::Text(tile) => View::Text(tile.view(scene)),
            Self::System(tile) => View::Grid(tile.view(scene)),
        })
    }
}

/// Letters of a title, and of a note.
const TITLE_MAX: usize = 120;
const NOTE_MAX: usize = 2_000;

/// The most rows a ranking or table may show: beyond it is an export, not a page.
const MOST_ROWS: usize = 50;

fn limit_fault(limit: usize) -> Option<String> {
    (!(1..=MOST_ROWS).contains(&limit))
        .then(|| format!("limit {limit} is not between 1 and {MOST_ROWS}"))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 64
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[cfg(test)]
mod tests;
