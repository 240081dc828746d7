//! The rows of a saved query: as a table, or as a chart.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use pages::saved_query::{CellClass, Rows};
use query::metric::Unit;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ChartFormat, Charts, Draw, TileContext, TileFailure, TileLink, View, grid, stacked};
use crate::{
    Error, Language, Selection, Text,
    address::{WORDS, encoded},
    axis::Axis,
    chart::{self, Drawing, Size, StackedPlot},
    words,
};

/// What a saved query answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryTile {
    /// The name of the saved query. Its parameters `from` and `to` get the period of the page; a parameter that is named as a
    /// dimension gets the value of the page's filter.
    pub query: String,
    pub title: Text,
    pub note: Text,
    #[serde(default)]
    pub draw: QueryDraw,
    #[serde(default)]
    pub wide: bool,
}

/// How rows are shown. A chart has the first column that is no number along its axis, and a line for each number.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::EnumString, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum QueryDraw {
    #[default]
    Table,
    Line,
    Area,
    Bar,
}

/// The answer to a saved query.
#[derive(Debug, Clone)]
pub struct QueryResult {
    pub rows: Rows,
    /// The filters of the page that the query has no parameter for, and `period`, if it has none for that.
    pub ignored: Vec<String>,
    /// What an address says of the values of the parameters, with an `&` before each.
    pub parameters: String,
}

/// The answers to saved queries, by name.
pub type QueryResults = BTreeMap<String, Result<QueryResult, TileFailure>>;

/// Rows of a table; the rest is behind a link.
const TABLE_ROWS: usize = 50;
/// Points of a chart.
const CHART_ROWS: usize = 800;
/// Lines of a chart: more colors are not told apart.
const LINES: usize = 6;
/// Letters of a name in an address.
const NAME_MAX: usize = 64;

impl QueryTile {
    pub(super) fn fault(&self) -> Option<String> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let is_name = !self.query.is_empty() && self.query.len() <= NAME_MAX;
        (!is_name || !self.query.bytes().all(plain))
            .then(|| format!("{:?} is not the name of a saved query", self.query))
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let Some(Ok(result)) = scene.queries.get(&self.query) else {
            let failure = match scene.queries.get(&self.query) {
                Some(Err(failure)) => *failure,
                _ => TileFailure::NotComputed,
            };
            return Ok(super::Tile::Query(self.clone()).failed(failure, scene.language));
        };
        let rows = &result.rows;
        let shown = match self.draw {
            QueryDraw::Table => None,
            QueryDraw::Line => chart_of(rows, Draw::Line),
            QueryDraw::Area => chart_of(rows, Draw::Area),
            QueryDraw::Bar => chart_of(rows, Draw::Bar),
        };
        let most = if shown.is_some() { CHART_ROWS } else { TABLE_ROWS };
        let note = self.said(scene, rows, &result.ignored, most);
        let links = self.links(scene, &result.parameters);
        match shown {
            Some(chart) => self.chart(scene, rows, &chart, note, links),
            None => Ok(View::Grid(self.table(scene, rows, note, links))),
        }
    }

    /// The note, and what is missing of the answer.
    fn said(
        &self,
        scene: &TileContext<'_>,
        rows: &Rows,
        ignored: &[String],
        most: usize,
    ) -> String {
        let language = scene.language;
        let mut note = self.note.of(language).to_owned();
        let word = |name: &'static str| WORDS.text(name, language);
        let mut ignored: Vec<&str> = ignored.iter().map(String::as_str).collect();
        for name in &mut ignored {
            if *name == PERIOD {
                *name = word("page_period");
            }
        }
        if !ignored.is_empty() {
            note = words::not_filtered(&note, &ignored, language);
        }
        if rows.truncated || rows.rows.len() > most {
            note = words::first_rows(&note, rows.rows.len().min(most), language);
        }
        note
    }

    fn links(&self, scene: &TileContext<'_>, parameters: &str) -> Vec<TileLink> {
        if scene.links.is_none() {
            return Vec::new();
        }
        let page = format!("/queries/{}?lang={}{parameters}", self.query, scene.language.tag());
        let csv = format!(
            "/v1/saved-queries/{}/rows?format=csv&csv=spreadsheet{parameters}",
            encoded(&self.query)
        );
        let word = |name: &'static str| WORDS.text(name, scene.language);
        vec![TileLink::new(word("query"), page), TileLink::new(word("csv"), csv)]
    }

    fn table(
        &self,
        scene: &TileContext<'_>,
        rows: &Rows,
        note: String,
        links: Vec<TileLink>,
    ) -> grid::View {
        let text = |cell: &Option<String>| cell.as_deref().unwrap_or("∅").to_owned();
        let row = |cells: &Vec<Option<String>>| {
            let named = rows.columns.iter().zip(cells).skip(1);
            grid::GridRow {
                name: cells.first().map(text).unwrap_or_default(),
                cells: named
                    .map(|(column, cell)| match column.class {
                        CellClass::Number => {
                            let exact = text(cell);
                            let shown = grid::GridCell::text(short(&exact));
                            let is_rounded = shown.text != exact;
                            if is_rounded { grid::GridCell { exact, ..shown } } else { shown }
                        }
                        CellClass::Time | CellClass::Text => {
                            grid::GridCell { is_text: true, ..grid::GridCell::text(text(cell)) }
                        }
                    })
                    .collect(),
                ..grid::GridRow::default()
            }
        };
        let shown: Vec<_> = rows.rows.iter().take(TABLE_ROWS).map(row).collect();
        grid::View {
            title: self.title.of(scene.language).to_owned(),
            note,
            links,
            wide: self.wide,
            heads: rows.columns.iter().map(|column| column.name.clone()).collect(),
            tables: match shown.is_empty() {
                true => Vec::new(),
                false => vec![grid::GridTable { currency: None, rows: shown }],
            },
            dense: false,
        }
    }

    fn chart(
        &self,
        scene: &TileContext<'_>,
        rows: &Rows,
        chart: &Chart,
        note: String,
        links: Vec<TileLink>,
    ) -> Result<View, Error> {
        let language = scene.language;
        let sizes: &[Size] = match self.wide {
            true => &[Size::Large, Size::Medium, Size::Small],
            false => &[Size::Medium, Size::Small],
        };
        let names: Vec<String> =
            chart.numbers.iter().map(|place| rows.columns[*place].name.clone()).collect();
        let picture = |size: Size, drawing: Drawing, file: Option<Vec<u8>>| {
            stacked::Picture::new(size, drawing, Vec::new(), file)
        };
        let pictures = match scene.charts {
            Charts::File(format) => {
                let plot = chart.plot(match format {
                    // The font of a PNG has no Chinese characters: its axes are English.
                    ChartFormat::Png => Language::En,
                    ChartFormat::Svg => language,
                });
                let file = chart::draw_stacked_file(&self.query, &plot, Size::Medium, format)?;
                vec![picture(Size::Medium, Drawing::default(), Some(file))]
            }
            Charts::Page => {
                let plot = chart.plot(language);
                let drawn = sizes.iter().map(|size| {
                    Ok(picture(*size, chart::draw_stacked(&self.query, &plot, *size)?, None))
                });
                drawn.collect::<Result<_, Error>>()?
            }
        };
        let text = |cells: &[Option<String>], place: usize| {
            cells.get(place).and_then(Clone::clone).unwrap_or_else(|| "∅".to_owned())
        };
        let data = rows.rows.iter().zip(&chart.labels).map(|(cells, label)| stacked::Row {
            at: label.clone(),
            href: None,
            values: chart.numbers.iter().map(|place| text(cells, *place)).collect(),
            partial: false,
        });
        let separator = if language == Language::En { ", " } else { "，" };
        let title = self.title.of(language);
        Ok(View::Stacked(stacked::View {
            title: title.to_owned(),
            note,
            legend: String::new(),
            links,
            wide: self.wide,
            panels: match chart.labels.is_empty() {
                true => Vec::new(),
                false => vec![stacked::Panel {
                    currency: None,
                    summary: words::of_title(title, &names.join(separator), language),
                    names: names.into_iter().enumerate().map(|(n, name)| (n + 1, name)).collect(),
                    pictures,
                    rows: data.collect(),
                }],
            },
            hourly: false,
            head: Some(chart.head.clone()),
        }))
    }
}

/// A number with as many decimals as a reader compares.
fn short(number: &str) -> String {
    match number.parse::<Decimal>() {
        Ok(exact) if exact.scale() > DECIMALS => {
            let strategy = RoundingStrategy::MidpointAwayFromZero;
            exact.round_dp_with_strategy(DECIMALS, strategy).normalize().to_string()
        }
        _ => number.to_owned(),
    }
}

const DECIMALS: u32 = 4;

/// The name that says that the period of the page does not count.
pub(super) const PERIOD: &str = "period";

/// What is drawn of rows.
struct Chart {
    /// The name of the column along the axis.
    head: String,
    labels: Vec<String>,
    /// The places of the columns that are drawn.
    numbers: Vec<usize>,
    lines: Vec<Vec<Option<f64>>>,
    draw: Draw,
}

impl Chart {
    fn plot(&self, language: Language) -> StackedPlot {
        let heights = self.lines.iter().flatten().flatten().copied();
        StackedPlot {
            labels: self.labels.clone(),
            axis: Axis::around(heights, Unit::Number, None, language),
            colors: (0..self.lines.len()).collect(),
            lines: self.lines.clone(),
            draw: self.draw,
            stacked: false,
        }
    }
}

/// What there is to draw; none if no column is a number.
fn chart_of(rows: &Rows, draw: Draw) -> Option<Chart> {
    let is_number = |place: &usize| rows.columns[*place].class == CellClass::Number;
    let places = 0..rows.columns.len();
    let along = places.clone().find(|place| !is_number(place)).unwrap_or(0);
    let numbers: Vec<usize> =
        places.filter(|place| is_number(place) && *place != along).take(LINES).collect();
    if numbers.is_empty() {
        return None;
    }
    let shown = || rows.rows.iter().take(CHART_ROWS);
    let number = |cells: &Vec<Option<String>>, place: usize| {
        let number: f64 = cells.get(place)?.as_deref()?.parse().ok()?;
        number.is_finite().then_some(number)
    };
    Some(Chart {
        head: rows.columns[along].name.clone(),
        labels: shown().map(|cells| label(cells.get(along))).collect(),
        lines: numbers
            .iter()
            .map(|place| shown().map(|cells| number(cells, *place)).collect())
            .collect(),
        numbers,
        draw,
    })
}

/// A day without its midnight, everything else as it is.
fn label(cell: Option<&Option<String>>) -> String {
    let text = cell.and_then(Option::as_deref).unwrap_or("∅");
    let day = text.strip_suffix(" 00:00:00").unwrap_or(text);
    day.chars().take(LABEL_MAX).collect()
}

const LABEL_MAX: usize = 40;

/// Rows as a chart for a page that is open, without a frame; none if no column is a number.
pub fn query_chart(
    rows: &Rows,
    draw: QueryDraw,
    language: Language,
) -> Result<Option<String>, Error> {
    let draw = match draw {
        QueryDraw::Table => return Ok(None),
        QueryDraw::Line => Draw::Line,
        QueryDraw::Area => Draw::Area,
        QueryDraw::Bar => Draw::Bar,
    };
    let Some(chart) = chart_of(rows, draw).filter(|chart| !chart.labels.is_empty()) else {
        return Ok(None);
    };
    let (width, height) = Size::Large.pixels();
    let drawing = chart::draw_stacked("query", &chart.plot(language), Size::Large)?;
    Ok(Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">{}</svg>",
        drawing.svg
    )))
}

/// The values that the parameters of a query get from a page, and what of the page has no parameter.
pub fn query_values<'a>(
    selection: &Selection,
    parameters: impl Iterator<Item = (&'a str, bool)>,
) -> (Vec<(String, String)>, Vec<String>) {
    let mut values = Vec::new();
    let mut ignored: Vec<String> = selection.dimensions_of_filters().map(str::to_owned).collect();
    ignored.push(PERIOD.to_owned());
    let window = &selection.window;
    let instant = |at: DateTime<Utc>, is_date: bool| match is_date {
        true => window.zone().local(at).format("%Y-%m-%d").to_string(),
        false => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
    };
    for (name, is_date) in parameters {
        let value = match name {
            "from" => Some(instant(window.from(), is_date)),
            "to" => Some(instant(window.to(), is_date)),
            _ => selection.filtered_to(name).map(str::to_owned),
        };
        let Some(value) = value else { continue };
        let what = if matches!(name, "from" | "to") { PERIOD } else { name };
        ignored.retain(|one| one != what);
        values.push((name.to_owned(), value));
    }
    (values, ignored)
}

#[cfg(test)]
mod tests {
    use pages::saved_query::Column;

    use super::*;
    use crate::Window;

    fn rows(columns: &[(&str, CellClass)], rows: &[&[Option<&str>]]) -> Rows {
        let text = |cell: &Option<&str>| cell.map(str::to_owned);
        Rows {
            columns: columns
                .iter()
                .map(|(name, class)| Column { name: (*name).to_owned(), class: *class })
                .collect(),
            rows: rows.iter().map(|row| row.iter().map(text).collect()).collect(),
            truncated: false,
            as_of: String::new(),
        }
    }

    #[test]
    fn numbers_are_drawn_along_the_first_column_that_is_none() {
        let found = rows(
            &[("n", CellClass::Number), ("day", CellClass::Time), ("m", CellClass::Number)],
            &[
                &[Some("1.5"), Some("2026-11-01 00:00:00"), None],
                &[Some("NaN"), Some("2026-11-02 01:00:00"), Some("-3")],
            ],
        );
        let chart = chart_of(&found, Draw::Line).unwrap();
        assert_eq!(chart.head, "day");
        assert_eq!(chart.labels, ["2026-11-01", "2026-11-02 01:00:00"]);
        assert_eq!(chart.lines, [vec![Some(1.5), None], vec![None, Some(-3.0)]]);
        // A single number needs something along the axis, and texts are not drawn.
        let texts = rows(&[("a", CellClass::Text)], &[&[Some("x")]]);
        assert!(chart_of(&texts, Draw::Bar).is_none());
        let number = rows(&[("a", CellClass::Number)], &[&[Some("1")]]);
        assert!(chart_of(&number, Draw::Bar).is_none());
        assert!(query_chart(&texts, QueryDraw::Bar, Language::En).unwrap().is_none());
    }

    #[test]
    fn a_chart_has_no_markup_of_rows() {
        let hostile = "<script>alert(1)</script>";
        let found = rows(
            &[(hostile, CellClass::Text), ("n", CellClass::Number)],
            &[&[Some(hostile), Some("1")], &[Some("b"), Some("2")]],
        );
        for draw in [QueryDraw::Line, QueryDraw::Area, QueryDraw::Bar] {
            let svg = query_chart(&found, draw, Language::ZhCn).unwrap().unwrap();
            assert!(!svg.contains("<script"), "{svg}");
        }
    }

    #[test]
    fn parameters_get_the_period_and_the_filters_of_the_page() {
        let now: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
        let catalog = query::metric::Catalog::built_in().unwrap();
        let selection = Selection::new(Window::last_days(now, 7).unwrap())
            .with_filters(
                &["model=m1".into(), "region=eu,us".into()],
                &catalog,
                query::metric::Audience::Staff,
            )
            .unwrap();
        let declared = [("from", true), ("to", false), ("model", false), ("limit", false)];
        let (values, ignored) = query_values(&selection, declared.into_iter());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            values,
            [pair("from", "2026-11-16"), pair("to", "2026-11-23T00:00:00Z"), pair("model", "m1")]
        );
        assert_eq!(ignored, ["region"]);
        let (values, ignored) = query_values(&selection, std::iter::empty());
        assert_eq!((values.len(), ignored.len()), (0, 3));
    }
}
