//! Several metrics side by side, one row per value of a dimension.

use pages::words::Words;
use query::metric::{MetricAnswer, MetricRequest, Number};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{TileContext, TileLink, group, limit_fault};
use crate::{
    Error, Selection, Text,
    number::{ABSENT, Precision, print},
};

/// A table, ordered by its first column, the largest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TableTile {
    /// The dimension whose values are the rows.
    pub by: String,
    pub title: Text,
    pub note: Text,
    /// The heading of the first column.
    pub item: Text,
    pub columns: Vec<Column>,
    #[serde(default = "default_limit")]
    pub limit: usize,
}

/// A metric of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub metric: String,
    pub title: Text,
}

const MOST_COLUMNS: usize = 8;

fn default_limit() -> usize {
    12
}

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    note: String,
    item: String,
    links: Vec<TileLink>,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// The same page of this value only.
    href: Option<String>,
    /// One per column; in it one value, or one per currency.
    cells: Vec<Vec<String>>,
}

impl TableTile {
    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let totals =
            |column: &Column| selection.totals(&column.metric, &selection.window, &[&self.by]);
        self.columns.iter().map(totals).collect()
    }

    pub(super) fn fault(&self) -> Option<String> {
        if !(1..=MOST_COLUMNS).contains(&self.columns.len()) {
            return Some(format!("a table has 1 to {MOST_COLUMNS} columns"));
        }
        if self.item.lacks_words() || self.columns.iter().any(|column| column.title.lacks_words()) {
            return Some("headings need words in every language".to_owned());
        }
        limit_fault(self.limit)
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let language = scene.language;
        let answers = self
            .requests(scene.selection)
            .iter()
            .map(|request| scene.answers.get(request))
            .collect::<Result<Vec<&MetricAnswer>, Error>>()?;
        let rows = answers
            .first()
            .map(|first| self.order(first))
            .unwrap_or_default()
            .into_iter()
            .map(|item| Row {
                href: scene.drill(&self.by, item),
                name: item.map_or_else(|| Words::of(language).none.to_owned(), str::to_owned),
                cells: answers.iter().map(|answer| cell(answer, item, scene)).collect(),
            })
            .collect();
        Ok(View {
            title: self.title.of(language).to_owned(),
            note: scene.note(&self.note, &self.requests(scene.selection)),
            item: self.item.of(language).to_owned(),
            links: self
                .requests(scene.selection)
                .first()
                .map(|request| scene.links(request))
                .unwrap_or_default(),
            columns: self
                .columns
                .iter()
                .map(|column| column.title.of(language).to_owned())
                .collect(),
            rows,
        })
    }

    /// The values of the dimension by the first column. Of amounts in several currencies the
    /// largest single one counts: they are not added.
    fn order<'a>(&self, first: &'a MetricAnswer) -> Vec<Option<&'a str>> {
        let mut items: Vec<(Option<&str>, Decimal)> = vec![];
        for row in &first.rows {
            let Some(value) = row.value.map(Number::to_decimal) else { continue };
            let name = group(row);
            match items.iter_mut().find(|(other, _)| *other == name) {
                Some((_, largest)) => *largest = value.max(*largest),
                None => items.push((name, value)),
            }
        }
        items.sort_by(|(a_name, a), (b_name, b)| b.cmp(a).then_with(|| a_name.cmp(b_name)));
        items.truncate(self.limit);
        items.into_iter().map(|(name, _)| name).collect()
    }
}

fn cell(answer: &MetricAnswer, item: Option<&str>, scene: &TileContext<'_>) -> Vec<String> {
    let mut values: Vec<String> = answer
        .rows
        .iter()
        .filter(|row| group(row) == item)
        .filter_map(|row| {
            let currency = row.currency.as_deref();
            Some(print(
                row.value?.to_decimal(),
                answer.unit,
                currency,
                Precision::Column,
                scene.language,
            ))
        })
        .collect();
    if values.is_empty() {
        values.push(ABSENT.to_owned());
    }
    values
}
