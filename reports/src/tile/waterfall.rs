//! How an amount came from its value at the start of the period to that at its end.

use query::metric::{MetricAnswer, MetricRequest};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    TileContext,
    grid::{Bar, GridCell, GridRow, GridTable, View},
    table::Column,
};
use crate::{
    Error, Selection, Text, Window,
    address::WORDS,
    answer::{currencies, total},
    number::{Precision, print},
};

/// A stock and its movements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaterfallTile {
    /// The stock, such as `mrr`: its value at the end of a period.
    pub metric: String,
    pub title: Text,
    pub note: Text,
    /// What is added to it.
    pub up: Vec<Column>,
    /// What is taken from it, as positive amounts.
    pub down: Vec<Column>,
}

const MOST_MOVEMENTS: usize = 8;

impl WaterfallTile {
    fn movements(&self) -> impl Iterator<Item = (&Column, Decimal)> {
        let up = self.up.iter().map(|column| (column, Decimal::ONE));
        up.chain(self.down.iter().map(|column| (column, -Decimal::ONE)))
    }

    /// The stock at the start is that at the end of the day before.
    fn start(&self, selection: &Selection) -> Option<MetricRequest> {
        let window = day_before(&selection.window)?;
        Some(selection.totals(&self.metric, &window, &[]))
    }

    fn end(&self, selection: &Selection) -> MetricRequest {
        selection.totals(&self.metric, &selection.window, &[])
    }

    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let movement = |column: &Column| selection.totals(&column.metric, &selection.window, &[]);
        let movements = self.movements().map(|(column, _)| movement(column));
        self.start(selection).into_iter().chain(movements).chain([self.end(selection)]).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let movements = self.movements().map(|(column, _)| column.metric.as_str());
        movements.chain([self.metric.as_str()])
    }

    pub(super) fn fault(&self) -> Option<String> {
        if !(1..=MOST_MOVEMENTS).contains(&self.movements().count()) {
            return Some(format!("a waterfall has 1 to {MOST_MOVEMENTS} movements"));
        }
        let lacks = self.movements().any(|(column, _)| column.title.lacks_words());
        lacks.then(|| "movements need words in every language".to_owned())
    }

    /// Those of the start, the movements and the end: one that is gone was lost.
    fn currencies<'a>(
        &self,
        end: &'a MetricAnswer,
        start: Option<&'a MetricAnswer>,
        moved: &[(&Column, Decimal, &'a MetricAnswer)],
    ) -> Vec<Option<&'a str>> {
        let moved = moved.iter().map(|(_, _, answer)| *answer);
        let answers = start.into_iter().chain(moved).chain([end]);
        let has_value = |answer: &'a MetricAnswer, currency| {
            total(answer, currency).is_some_and(|value| !value.is_zero())
        };
        let mut all: Vec<Option<&str>> = answers
            .flat_map(|answer| {
                let found = currencies(&answer.rows).into_iter();
                found.filter(move |currency| has_value(answer, *currency))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let (selection, language) = (scene.selection, scene.language);
        let start = self.start(selection);
        let start = start.as_ref().map(|request| scene.answers.get(request)).transpose()?;
        let end = scene.answers.get(&self.end(selection))?;
        let mut moved: Vec<(&Column, Decimal, &MetricAnswer)> = Vec::new();
        for (column, sign) in self.movements() {
            let request = selection.totals(&column.metric, &selection.window, &[]);
            moved.push((column, sign, scene.answers.get(&request)?));
        }
        let mut tables = Vec::new();
        for currency in self.currencies(end, start, &moved) {
            let last = total(end, currency).unwrap_or_default();
            let first = start.and_then(|start| total(start, currency)).unwrap_or_default();
            let mut steps = vec![(WORDS.text("at_start", language), Decimal::ZERO, first, "total")];
            let mut at = first;
            for (column, sign, answer) in &moved {
                let amount = total(answer, currency).unwrap_or_default() * sign;
                let next = at.checked_add(amount).unwrap_or(at);
                let class = if amount.is_sign_negative() { "down" } else { "up" };
                steps.push((column.title.of(language), at, next, class));
                at = next;
            }
            // What the movements do not explain is said, not hidden.
            if at != last {
                steps.push((WORDS.text("other_movements", language), at, last, "rest"));
            }
            steps.push((WORDS.text("at_end", language), Decimal::ZERO, last, "total"));
            let bounds = steps.iter().flat_map(|(_, from, to, _)| [*from, *to]);
            let (low, high) = bounds.fold((Decimal::ZERO, Decimal::ZERO), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            let share = |value: Decimal| {
                (value - low).checked_div(high - low).and_then(|share| share.to_f64())
            };
            let row = |(name, from, to, class): (&str, Decimal, Decimal, &'static str)| {
                let is_total = class == "total";
                let amount = if is_total { to } else { to - from };
                let text = |precision| print(amount, end.unit, currency, precision, language);
                let sign = if is_total || amount.is_sign_negative() { "" } else { "+" };
                GridRow {
                    name: name.to_owned(),
                    bar: share(from).zip(share(to)).map(|(from, to)| Bar::new(from, to, class)),
                    cells: vec![GridCell::shaded(
                        format!("{sign}{}", text(Precision::Short)),
                        text(Precision::Exact),
                        None,
                    )],
                    total: is_total,
                }
            };
            let rows = steps.into_iter().map(row).collect();
            tables.push(GridTable { currency: currency.map(str::to_owned), rows });
        }
        if let [table] = tables.as_mut_slice() {
            table.currency = None;
        }
        Ok(View {
            title: self.title.of(language).to_owned(),
            note: scene.note(&self.note, &self.requests(selection)),
            links: scene.links(&selection.course(&self.metric)),
            wide: tables.len() > 1,
            heads: vec![
                WORDS.text("movement", language).to_owned(),
                WORDS.text("amount", language).to_owned(),
            ],
            tables,
            dense: false,
        })
    }
}

/// The day that ends where a window begins.
fn day_before(window: &Window) -> Option<Window> {
    let from = window.zone().days_before(window.from(), 1);
    let range = query::metric::Window::new(from, window.from(), window.zone());
    Window::of(range, window.from()).ok()
}
