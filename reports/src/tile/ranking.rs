//! The largest of a metric by a dimension, as bars.

use pages::words::Words;
use query::metric::{MetricAnswer, MetricRequest, MetricRow};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{TileContext, TileLink};
use crate::{
    Error, Selection, Text,
    answer::currencies,
    comparison::{Change, DesiredDirection, compare},
    number::{Precision, print, ratio},
};

/// The top of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RankingTile {
    pub metric: String,
    /// The dimension whose values are ranked.
    pub by: String,
    pub title: Text,
    pub note: Text,
    /// What a value of the dimension is called, the heading of the first column.
    pub item: Text,
    #[serde(default = "default_limit")]
    pub limit: usize,
    /// Whether the values of the groups add up to the whole: then each shows its share, and those
    /// beyond the limit are summed in a last row. Not so for ratios, percentiles, distinct counts.
    #[serde(default)]
    pub additive: bool,
    /// Leaves out what has no value of the dimension, such as requests without an error code.
    #[serde(default)]
    pub only_given: bool,
    #[serde(default)]
    pub better: DesiredDirection,
}

fn default_limit() -> usize {
    10
}

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    note: String,
    item: String,
    links: Vec<TileLink>,
    additive: bool,
    bad: bool,
    /// One list, or one per currency; none if there is nothing to rank.
    lists: Vec<List>,
}

#[derive(Debug, Serialize)]
struct List {
    currency: Option<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// The same page of this value only.
    href: Option<String>,
    value: String,
    exact: String,
    /// The length of the bar in percent of the longest.
    bar: String,
    share: Option<String>,
    change: Option<Change>,
    rest: bool,
}

impl RankingTile {
    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let windows = [Some(selection.window), selection.compared()].into_iter().flatten();
        windows.map(|window| selection.totals(&self.metric, &window, &[&self.by])).collect()
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let selection = scene.selection;
        let of = |window| scene.answers.get(&selection.totals(&self.metric, window, &[&self.by]));
        let now = of(&selection.window)?;
        let before = scene.selection.compared().as_ref().map(of).transpose()?;
        let mut lists = vec![];
        for currency in currencies(&now.rows) {
            let rows = self.rows(scene, now, before, currency);
            if !rows.is_empty() {
                lists.push(List { currency: currency.map(str::to_owned), rows });
            }
        }
        if let [list] = lists.as_mut_slice() {
            list.currency = None;
        }
        Ok(View {
            title: self.title.of(scene.language).to_owned(),
            note: scene.note(&self.note, &self.requests(selection)),
            item: self.item.of(scene.language).to_owned(),
            links: scene.links(&selection.totals(&self.metric, &selection.window, &[&self.by])),
            additive: self.additive,
            bad: self.better == DesiredDirection::Lower,
            lists,
        })
    }

    fn rows(
        &self,
        scene: &TileContext<'_>,
        now: &MetricAnswer,
        before: Option<&MetricAnswer>,
        currency: Option<&str>,
    ) -> Vec<Row> {
        let language = scene.language;
        let ranked = self.ranked(now, currency);
        let earlier = before.map(|before| self.ranked(before, currency)).unwrap_or_default();
        let whole: Decimal = ranked
            .iter()
            .fold(Decimal::ZERO, |sum, (_, value)| sum.checked_add(*value).unwrap_or(sum));
        let longest = ranked.first().map_or(Decimal::ZERO, |(_, value)| *value);
        let row = |name: String, value: Decimal, rest: bool| Row {
            name,
            href: None,
            value: print(value, now.unit, currency, Precision::Column, language),
            exact: print(value, now.unit, currency, Precision::Exact, language),
            bar: percent(value, longest),
            share: value
                .checked_div(whole)
                .filter(|_| self.additive)
                .map(|share| ratio(share, Precision::Short, language)),
            change: None,
            rest,
        };
        let mut rows: Vec<Row> = ranked
            .iter()
            .take(self.limit)
            .map(|(group, value)| {
                let name = group.map_or_else(|| Words::of(language).none.to_owned(), str::to_owned);
                let before = earlier.iter().find(|(other, _)| other == group);
                Row {
                    href: scene.drill(&self.by, *group),
                    change: before.and_then(|(_, before)| {
                        // Nobody asks what changes are usual for each group.
                        compare(*value, *before, &[], now.unit, self.better, language)
                    }),
                    ..row(name, *value, false)
                }
            })
            .collect();
        if self.additive && ranked.len() > self.limit {
            let rest = ranked[self.limit..]
                .iter()
                .fold(Decimal::ZERO, |sum, (_, value)| sum.checked_add(*value).unwrap_or(sum));
            let count = ranked.len() - self.limit;
            let name = format!("{} ({count})", Words::of(language).others);
            rows.push(row(name, rest, true));
        }
        rows
    }

    /// The groups with a value above zero, the largest first, equal ones by name.
    fn ranked<'a>(
        &self,
        answer: &'a MetricAnswer,
        currency: Option<&str>,
    ) -> Vec<(Option<&'a str>, Decimal)> {
        let mut ranked: Vec<(Option<&str>, Decimal)> = answer
            .rows
            .iter()
            .filter(|row| row.currency.as_deref() == currency)
            .filter_map(|row| Some((group(row), row.value?.to_decimal())))
            .filter(|(group, value)| {
                *value > Decimal::ZERO && !(self.only_given && group.is_none())
            })
            .collect();
        ranked.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        ranked
    }
}

pub(crate) fn group(row: &MetricRow) -> Option<&str> {
    row.group.first().and_then(Option::as_deref)
}

/// The length of a bar. One that is there is seen: no shorter than half a percent.
fn percent(value: Decimal, of: Decimal) -> String {
    let share = value.checked_div(of).and_then(|share| share.to_f64()).unwrap_or_default();
    format!("{:.1}", (share * 100.0).clamp(0.5, 100.0))
}
