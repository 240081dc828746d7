//! A metric over time, split by a dimension.

use std::collections::BTreeMap;

use query::metric::{MetricAnswer, MetricRequest, Number};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ChartFormat, Charts, Draw, TileContext, TileLink, limit_fault};
use crate::{
    Error, Language, Selection, Text,
    annotation::{Annotation, Mark, marks},
    answer::currencies,
    axis::Axis,
    chart::{self, Drawing, Size, StackedPlot},
    number::{Precision, print_or_absent},
    words,
};

/// Lines, areas or bars, one for each of the largest values of a dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StackedTile {
    pub metric: String,
    /// The dimension whose values are told apart.
    pub by: String,
    pub title: Text,
    pub note: Text,
    #[serde(default = "default_limit")]
    pub limit: usize,
    /// Whether the values of the groups add up: then they stand on each other, and those beyond the limit are one.
    #[serde(default)]
    pub additive: bool,
    #[serde(default)]
    pub draw: Draw,
    #[serde(default)]
    pub wide: bool,
}

fn default_limit() -> usize {
    5
}

/// More colors are not told apart.
const MOST_GROUPS: usize = 6;
/// As of one metric: what more currencies are worth stands in the data.
const MOST_PANELS: usize = 3;

#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) legend: String,
    pub(super) links: Vec<TileLink>,
    pub(super) wide: bool,
    pub(super) panels: Vec<Panel>,
    pub(super) hourly: bool,
    /// The head of the first column of the data, if it is no time.
    pub(super) head: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Panel {
    pub(super) currency: Option<String>,
    pub(super) summary: String,
    /// The number of the color of each group, and its name.
    pub(super) names: Vec<(usize, String)>,
    pub(super) pictures: Vec<Picture>,
    pub(super) rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(super) struct Picture {
    class: &'static str,
    width: u16,
    height: u16,
    #[serde(flatten)]
    drawing: Drawing,
    marks: Vec<Mark>,
    #[serde(skip)]
    file: Option<Vec<u8>>,
    name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) at: String,
    /// The same page of this bucket.
    pub(super) href: Option<String>,
    pub(super) values: Vec<String>,
    pub(super) partial: bool,
}

/// A group and its values, one for each bucket.
struct Line {
    name: String,
    /// Of the palette, from 0.
    color: usize,
    values: Vec<Option<Decimal>>,
}

/// A group, its values, and how much they are together.
type Summed<'a> = (Option<&'a str>, Vec<Option<Decimal>>, Decimal);

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

impl Picture {
    pub(super) fn new(
        size: Size,
        drawing: Drawing,
        marks: Vec<Mark>,
        file: Option<Vec<u8>>,
    ) -> Self {
        let (width, height) = size.pixels();
        Self { class: size.class(), width, height, drawing, marks, file, name: String::new() }
    }
}

impl StackedTile {
    fn request(&self, selection: &Selection) -> MetricRequest {
        selection.totals(&self.metric, &selection.window, &[&self.by]).with_grain(selection.grain())
    }

    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        vec![self.request(selection)]
    }

    pub(super) fn fault(&self) -> Option<String> {
        if self.limit > MOST_GROUPS {
            return Some(format!("limit {} is more than {MOST_GROUPS}", self.limit));
        }
        limit_fault(self.limit)
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let request = self.request(scene.selection);
        let answer = scene.answers.get(&request)?;
        let buckets = scene.selection.buckets();
        let currencies = currencies(&answer.rows);
        let drawn: Vec<(Option<&str>, Vec<Line>)> = currencies
            .into_iter()
            .map(|currency| (currency, self.lines(answer, currency, &buckets, scene.language)))
            .filter(|(_, lines)| !lines.is_empty())
            .take(MOST_PANELS)
            .collect();
        let sizes: &[Size] = match (self.wide, drawn.len()) {
            (true, 1) => &[Size::Large, Size::Medium, Size::Small],
            _ => &[Size::Medium, Size::Small],
        };
        let mut panels = drawn
            .iter()
            .map(|(currency, lines)| self.panel(scene, answer, *currency, lines, sizes))
            .collect::<Result<Vec<Panel>, Error>>()?;
        if let [panel] = panels.as_mut_slice() {
            panel.currency = None;
        }
        let grain = scene.selection.grain();
        let is_partial = buckets.iter().any(|(_, is_partial)| *is_partial);
        Ok(View {
            title: self.title.of(scene.language).to_owned(),
            note: scene.note(&self.note, std::slice::from_ref(&request)),
            legend: words::legend(grain, 0, is_partial, scene.language),
            links: scene.links(&request),
            wide: self.wide || panels.len() > 1,
            panels,
            hourly: grain == query::metric::Grain::Hour,
            head: None,
        })
    }

    /// The largest groups by the sum of their values, and the others if they add up.
    fn lines(
        &self,
        answer: &MetricAnswer,
        currency: Option<&str>,
        buckets: &[(chrono::DateTime<chrono::Utc>, bool)],
        language: Language,
    ) -> Vec<Line> {
        let mut lines: Vec<Summed<'_>> = Vec::new();
        let mut places = BTreeMap::new();
        for row in answer.rows.iter().filter(|row| row.currency.as_deref() == currency) {
            let (Some(at), Some(value)) = (row.at, row.value.map(Number::to_decimal)) else {
                continue;
            };
            let Ok(place) = buckets.binary_search_by_key(&at, |(at, _)| *at) else { continue };
            let name = super::group(row);
            let found = *places.entry(name).or_insert_with(|| {
                let empty = if self.additive { Some(Decimal::ZERO) } else { None };
                lines.push((name, vec![empty; buckets.len()], Decimal::ZERO));
                lines.len() - 1
            });
            let (_, values, sum) = &mut lines[found];
            values[place] = Some(value);
            *sum = sum.checked_add(value.abs()).unwrap_or(*sum);
        }
        lines.retain(|(_, _, sum)| !sum.is_zero());
        lines.sort_by(|(a_name, _, a), (b_name, _, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        let fixed = pages::words::Words::of(language);
        let rest = lines.split_off(self.limit.min(lines.len()));
        let mut shown: Vec<Line> = lines
            .into_iter()
            .enumerate()
            .map(|(color, (name, values, _))| {
                let name = name.unwrap_or(fixed.none).to_owned();
                Line { name, color, values }
            })
            .collect();
        if self.additive && !rest.is_empty() {
            let sum_at = |place: usize| {
                rest.iter()
                    .filter_map(|(_, values, _)| values[place])
                    .fold(Decimal::ZERO, |sum, value| sum.checked_add(value).unwrap_or(sum))
            };
            let name = format!("{} ({})", fixed.others, rest.len());
            let values = (0..buckets.len()).map(|place| Some(sum_at(place))).collect();
            shown.push(Line { name, color: chart::OTHERS, values });
        }
        shown
    }

    fn panel(
        &self,
        scene: &TileContext<'_>,
        answer: &MetricAnswer,
        currency: Option<&str>,
        lines: &[Line],
        sizes: &[Size],
    ) -> Result<Panel, Error> {
        let (language, grain, window) =
            (scene.language, scene.selection.grain(), &scene.selection.window);
        let buckets = scene.selection.buckets();
        let print =
            |value, precision| print_or_absent(value, answer.unit, currency, precision, language);
        let rows = buckets.iter().enumerate().map(|(place, (at, is_partial))| Row {
            at: window.bucket(*at, grain),
            href: scene.closer(*at),
            values: lines.iter().map(|line| print(line.values[place], Precision::Exact)).collect(),
            partial: *is_partial,
        });
        let said = lines.iter().map(|line| {
            let sum = line
                .values
                .iter()
                .flatten()
                .fold(Decimal::ZERO, |sum, value| sum.checked_add(*value).unwrap_or(sum));
            match self.additive {
                true => format!("{} {}", line.name, print(Some(sum), Precision::Short)),
                false => line.name.clone(),
            }
        });
        let separator = if language == Language::En { ", " } else { "，" };
        let said = said.collect::<Vec<_>>().join(separator);
        Ok(Panel {
            currency: currency.map(str::to_owned),
            summary: words::of_title(self.title.of(language), &said, language),
            names: lines.iter().map(|line| (line.color + 1, line.name.clone())).collect(),
            pictures: self.pictures(scene, answer, currency, lines, sizes)?,
            rows: rows.collect(),
        })
    }

    fn pictures(
        &self,
        scene: &TileContext<'_>,
        answer: &MetricAnswer,
        currency: Option<&str>,
        lines: &[Line],
        sizes: &[Size],
    ) -> Result<Vec<Picture>, Error> {
        let (window, grain) = (&scene.selection.window, scene.selection.grain());
        let buckets = scene.selection.buckets();
        let language = match scene.charts {
            // The font of a PNG has no Chinese characters: its axes are English.
            Charts::File(ChartFormat::Png) => Language::En,
            _ => scene.language,
        };
        let values: Vec<Vec<Option<f64>>> = lines
            .iter()
            .map(|line| line.values.iter().map(|value| value.and_then(|v| v.to_f64())).collect())
            .collect();
        let heights = (0..buckets.len()).flat_map(|place| {
            let at = values.iter().filter_map(move |line| line[place]);
            match self.additive {
                true => vec![at.sum::<f64>()],
                false => at.collect(),
            }
        });
        let plot = StackedPlot {
            labels: buckets.iter().map(|(at, _)| window.tick(*at, grain, language)).collect(),
            axis: Axis::around(heights, answer.unit, currency, language),
            colors: lines.iter().map(|line| line.color).collect(),
            lines: values,
            draw: self.draw,
            stacked: self.additive,
        };
        let picture = |size: Size, drawing: Drawing, file: Option<Vec<u8>>| {
            let points = scene.annotations.iter().map(Annotation::point);
            let marks = marks(points, scene.selection, buckets.len(), drawing.extent);
            Picture::new(size, drawing, marks, file)
        };
        if let Charts::File(format) = scene.charts {
            let file = chart::draw_stacked_file(&self.metric, &plot, Size::Medium, format)?;
            return Ok(vec![picture(Size::Medium, Drawing::default(), Some(file))]);
        }
        let drawn = sizes
            .iter()
            .map(|size| Ok(picture(*size, chart::draw_stacked(&self.metric, &plot, *size)?, None)));
        drawn.collect()
    }
}
