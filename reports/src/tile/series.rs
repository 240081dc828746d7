//! A metric over time, and what is expected of it.

mod caption;

use caption::Print;
use chrono::{DateTime, TimeDelta, Utc};
use query::metric::{Grain, MetricAnswer, MetricRequest, Number, Unit};
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ChartFormat, Charts, Draw, TileContext, TileLink};
use crate::annotation::{Annotation, Mark, marks};
use crate::answer::currencies;
use crate::axis::Axis;
use crate::chart::{self, Drawing, Plot, Size};
use crate::number::{Precision, print};
use crate::{Band, Error, Language, Selection, Text, Window, words};

/// A line over the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeriesTile {
    pub metric: String,
    pub title: Text,
    pub note: Text,
    #[serde(default)]
    pub draw: Draw,
    /// Across the whole page.
    #[serde(default)]
    pub wide: bool,
    #[serde(default)]
    pub forecast: Option<ForecastOptions>,
}

/// How far ahead to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForecastOptions {
    pub horizon_days: u32,
}

const MOST_HORIZON_DAYS: u32 = 60;

// Amounts of more currencies than a reader can compare stay in the data table of the metric.
const MOST_PANELS: usize = 3;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    note: String,
    legend: String,
    pub(super) links: Vec<TileLink>,
    wide: bool,
    /// One chart, or one per currency; none if there is nothing to draw.
    panels: Vec<ChartPanel>,
    hourly: bool,
}

#[derive(Debug, Serialize)]
struct ChartPanel {
    currency: Option<String>,
    summary: String,
    pictures: Vec<ChartImage>,
    rows: Vec<Row>,
    outlook: Vec<ForecastRow>,
}

#[derive(Debug, Serialize)]
struct ChartImage {
    class: &'static str,
    width: u16,
    height: u16,
    #[serde(flatten)]
    drawing: Drawing,
    marks: Vec<Mark>,
    anomalies: Vec<Mark>,
    #[serde(skip)]
    file: Option<Vec<u8>>,
    /// Of a PNG: what the mail calls it.
    name: String,
}

#[derive(Debug, Serialize)]
struct Row {
    at: String,
    /// The same page of this bucket.
    href: Option<String>,
    value: String,
    /// The window, or the time until now, has only a part of the bucket.
    partial: bool,
}

#[derive(Debug, Serialize)]
struct ForecastRow {
    at: String,
    value: String,
    lower: String,
    upper: String,
}

/// A bucket of the window.
struct Point {
    at: DateTime<Utc>,
    value: Option<Decimal>,
    /// The window, or the time until now, has only a part of it.
    is_partial: bool,
}

impl View {
    pub(super) fn has_charts(&self) -> bool {
        !self.panels.is_empty()
    }

    /// Names the files of the pictures, from a number on, and gives them.
    pub(crate) fn take_files(&mut self, first: usize) -> Vec<(String, Vec<u8>)> {
        let images = self.panels.iter_mut().flat_map(|panel| &mut panel.pictures);
        let named = images.zip(first..).filter_map(|(image, number)| {
            image.name = format!("chart-{number}.png");
            Some((image.name.clone(), image.file.take()?))
        });
        named.collect()
    }
}

impl SeriesTile {
    /// The history to make the forecast from, if the tile shows one: its points are days.
    pub(crate) fn history(&self, selection: &Selection) -> Option<MetricRequest> {
        let is_shown = self.forecast.is_some() && selection.grain() == Grain::Day;
        is_shown.then(|| selection.history(&self.metric))
    }

    /// Days from the end of that history to the end of the forecast.
    pub(crate) fn horizon_days(&self, window: &Window) -> u32 {
        let horizon = self.forecast.as_ref().map_or(0, |options| options.horizon_days);
        let between = (window.to() - window.settled()).num_days();
        horizon.saturating_add(u32::try_from(between).unwrap_or_default())
    }

    pub(super) fn fault(&self) -> Option<String> {
        let horizon = self.forecast.as_ref()?.horizon_days;
        if self.draw == Draw::Bar {
            return Some("a forecast is drawn with `line` or `area`".to_owned());
        }
        (!(1..=MOST_HORIZON_DAYS).contains(&horizon))
            .then(|| format!("horizon_days {horizon} is not between 1 and {MOST_HORIZON_DAYS}"))
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let request = scene.selection.course(&self.metric);
        let answer = scene.answers.get(&request)?;
        let mut drawn: Vec<(Option<&str>, Vec<Point>)> = currencies(&answer.rows)
            .into_iter()
            .map(|currency| (currency, points(answer, currency, scene.selection)))
            .collect();
        drawn.retain(|(_, points)| points.iter().any(|point| point.value.is_some()));
        drawn.truncate(MOST_PANELS);
        // Several panels stand side by side.
        let sizes: &[Size] = match (self.wide, drawn.len()) {
            (true, 1) => &[Size::Large, Size::Medium, Size::Small],
            _ => &[Size::Medium, Size::Small],
        };
        let mut panels = drawn
            .iter()
            .map(|(currency, points)| self.panel(scene, answer.unit, *currency, points, sizes))
            .collect::<Result<Vec<ChartPanel>, Error>>()?;
        let grain = scene.selection.grain();
        let forecast_days = panels.iter().map(|panel| panel.outlook.len()).max();
        // The currency is only said where there is a choice.
        if let [panel] = panels.as_mut_slice() {
            panel.currency = None;
        }
        Ok(View {
            title: self.title.of(scene.language).to_owned(),
            links: scene.links(&request),
            note: scene.note(&self.note, &[request]),
            legend: words::legend(
                grain,
                forecast_days.unwrap_or_default(),
                drawn.iter().any(|(_, points)| points.iter().any(|point| point.is_partial)),
                scene.language,
            ) + &self.goal_said(scene, answer.unit),
            wide: self.wide || panels.len() > 1,
            panels,
            hourly: grain == Grain::Hour,
        })
    }

    fn panel(
        &self,
        scene: &TileContext<'_>,
        unit: Unit,
        currency: Option<&str>,
        points: &[Point],
        sizes: &[Size],
    ) -> Result<ChartPanel, Error> {
        let (language, grain, window) =
            (scene.language, scene.selection.grain(), &scene.selection.window);
        let print = Print { unit, currency, language, window, grain };
        let bands = self.bands(scene, currency);
        let pictures = self.pictures(scene, points, bands, print, sizes)?;
        let rows = points.iter().map(|point| Row {
            at: window.bucket(point.at, grain),
            href: scene.closer(point.at),
            value: print.value(point.value, Precision::Exact),
            partial: point.is_partial,
        });
        let outlook = bands.iter().map(|band| ForecastRow {
            at: window.bucket(band.at, grain),
            value: print.float(band.value),
            lower: print.float(band.lower),
            upper: print.float(band.upper),
        });
        Ok(ChartPanel {
            currency: currency.map(str::to_owned),
            summary: caption::write(self.title.of(language), points, bands, print),
            pictures,
            rows: rows.collect(),
            outlook: outlook.collect(),
        })
    }

    /// What the line of the goal is.
    fn goal_said(&self, scene: &TileContext<'_>, unit: Unit) -> String {
        let goal = scene.selection.goal_of_points(&self.metric).and_then(Decimal::from_f64);
        goal.map_or_else(String::new, |goal| {
            let goal = print(goal, unit, None, Precision::Short, scene.language);
            words::goal_line(&goal, scene.language)
        })
    }

    /// The end of the forecast in a sentence, of the currency with the largest last value.
    pub(crate) fn outlook(&self, scene: &TileContext<'_>) -> Option<String> {
        let (language, grain) = (scene.language, scene.selection.grain());
        let answer = scene.answers.get(&scene.selection.course(&self.metric)).ok()?;
        let currency = currencies(&answer.rows)
            .into_iter()
            .find(|currency| !self.bands(scene, *currency).is_empty())?;
        let band = self.bands(scene, currency).last()?;
        let window = &scene.selection.window;
        let print = Print { unit: answer.unit, currency, language, window, grain };
        let said = words::outlook(
            &print.tick(band.at),
            &print.float(band.value),
            &print.float(band.lower),
            &print.float(band.upper),
            language,
        );
        Some(words::of_title(self.title.of(language), &said, language))
    }

    /// The chart in each size; for a mail it is one, in PNG.
    fn pictures(
        &self,
        scene: &TileContext<'_>,
        points: &[Point],
        bands: &[Band],
        print: Print<'_>,
        sizes: &[Size],
    ) -> Result<Vec<ChartImage>, Error> {
        let image = |size: Size| {
            let (width, height) = size.pixels();
            ChartImage {
                class: size.class(),
                width,
                height,
                drawing: Drawing::default(),
                marks: Vec::new(),
                anomalies: Vec::new(),
                file: None,
                name: String::new(),
            }
        };
        if let Charts::File(format) = scene.charts {
            // The font of a PNG has no Chinese characters: its axes are English.
            let language = match format {
                ChartFormat::Png => Language::En,
                ChartFormat::Svg => print.language,
            };
            let plot = self.plot(scene, points, bands, Print { language, ..print });
            let (metric, size) = (&self.metric, Size::Medium);
            let file = match self.draw {
                Draw::Bar => chart::draw_stacked_file(metric, &plot.bars(), size, format)?,
                Draw::Line | Draw::Area => chart::draw_file(metric, &plot, size, format)?,
            };
            return Ok(vec![ChartImage { file: Some(file), ..image(Size::Medium) }]);
        }
        let plot = self.plot(scene, points, bands, print);
        let drawn = sizes.iter().map(|size| {
            let drawing = match self.draw {
                Draw::Bar => chart::draw_stacked(&self.metric, &plot.bars(), *size)?,
                Draw::Line | Draw::Area => chart::draw(&self.metric, &plot, *size)?,
            };
            let labels = plot.labels.len();
            let points = scene.annotations.iter().map(Annotation::point);
            let unusual = self.unusual(scene, print.currency);
            Ok(ChartImage {
                marks: marks(points, scene.selection, labels, drawing.extent),
                anomalies: marks(unusual, scene.selection, labels, drawing.extent),
                drawing,
                ..image(*size)
            })
        });
        drawn.collect()
    }

    /// What was unusual of the metric.
    fn unusual(
        &self,
        scene: &TileContext<'_>,
        currency: Option<&str>,
    ) -> Vec<(DateTime<Utc>, String)> {
        if scene.selection.filters_of(&self.metric).next().is_some() {
            return Vec::new();
        }
        let of_it = scene
            .anomalies
            .iter()
            .filter(|mark| mark.metric == self.metric && mark.currency.as_deref() == currency);
        of_it.map(|mark| (mark.at, mark.text.clone())).collect()
    }

    /// The bands that follow the window, as far as the tile looks ahead.
    fn bands<'a>(&self, scene: &TileContext<'a>, currency: Option<&str>) -> &'a [Band] {
        let Some(options) = &self.forecast else {
            return &[];
        };
        if scene.selection.grain() != Grain::Day {
            return &[];
        }
        let from = scene.selection.window.to();
        let Some(to) = from.checked_add_signed(TimeDelta::days(i64::from(options.horizon_days)))
        else {
            return &[];
        };
        let bands = scene.forecasts.get(&self.metric, currency);
        let first = bands.partition_point(|band| band.at < from);
        let end = bands.partition_point(|band| band.at < to);
        &bands[first..end]
    }

    fn plot(
        &self,
        scene: &TileContext<'_>,
        points: &[Point],
        bands: &[Band],
        print: Print<'_>,
    ) -> Plot {
        let goal = scene.selection.goal_of_points(&self.metric);
        let values: Vec<Option<f64>> =
            points.iter().map(|point| point.value.and_then(|value| value.to_f64())).collect();
        let bounds = bands.iter().flat_map(|band| [band.value, band.lower, band.upper]);
        Plot {
            labels: points
                .iter()
                .map(|point| point.at)
                .chain(bands.iter().map(|band| band.at))
                .map(|at| print.tick(at))
                .collect(),
            partial_first: points.first().is_some_and(|point| point.is_partial),
            partial_last: points.last().is_some_and(|point| point.is_partial),
            axis: Axis::around(
                values.iter().copied().flatten().chain(bounds).chain(goal),
                print.unit,
                print.currency,
                print.language,
            ),
            values,
            expected: bands.iter().map(|band| (band.value, band.lower, band.upper)).collect(),
            draw: self.draw,
            goal,
        }
    }
}

fn points(answer: &MetricAnswer, currency: Option<&str>, selection: &Selection) -> Vec<Point> {
    answer
        .rows
        .iter()
        .filter(|row| row.currency.as_deref() == currency)
        .filter_map(|row| {
            let at = row.at?;
            Some(Point {
                at,
                value: row.value.map(Number::to_decimal),
                is_partial: selection.is_partial(at),
            })
        })
        .collect()
}
