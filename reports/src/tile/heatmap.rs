//! A metric by the days of the week and the hours of the day.

use query::metric::{MetricRequest, Number};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    TileContext,
    grid::{GridCell, GridRow, GridTable, View},
};
use crate::{
    Error, Language, Selection, Text,
    address::WORDS,
    answer::currencies,
    number::{Precision, print},
};

/// When things happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeatmapTile {
    pub metric: String,
    pub title: Text,
    pub note: Text,
}

/// The dimensions of the catalog: Monday is 1, and the hours are from 0.
const BY: [&str; 2] = ["day_of_week", "hour_of_day"];
const DAYS: usize = 7;
const HOURS: usize = 24;

impl HeatmapTile {
    fn request(&self, selection: &Selection) -> MetricRequest {
        selection.totals(&self.metric, &selection.window, &BY)
    }

    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        vec![self.request(selection)]
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let request = self.request(scene.selection);
        let answer = scene.answers.get(&request)?;
        let language = scene.language;
        let mut tables = Vec::new();
        for currency in currencies(&answer.rows) {
            let mut cells = vec![vec![None::<Decimal>; HOURS]; DAYS];
            for row in answer.rows.iter().filter(|row| row.currency.as_deref() == currency) {
                let place = |index: usize| row.group.get(index)?.as_deref()?.parse::<usize>().ok();
                let (Some(day), Some(hour)) = (place(0), place(1)) else { continue };
                let found = day.checked_sub(1).and_then(|day| cells.get_mut(day)?.get_mut(hour));
                if let Some(cell) = found {
                    *cell = row.value.map(Number::to_decimal);
                }
            }
            let most = cells.iter().flatten().flatten().max().copied().unwrap_or_default();
            if most <= Decimal::ZERO {
                continue;
            }
            let cell = |value: &Option<Decimal>| match value {
                None => GridCell::default(),
                Some(value) => GridCell::shaded(
                    print(*value, answer.unit, currency, Precision::Column, language),
                    print(*value, answer.unit, currency, Precision::Exact, language),
                    value.checked_div(most).and_then(|share| share.to_f64()),
                ),
            };
            let rows = cells.iter().enumerate().map(|(day, cells)| GridRow {
                name: day_name(day, language).to_owned(),
                cells: cells.iter().map(cell).collect(),
                ..GridRow::default()
            });
            tables.push(GridTable { currency: currency.map(str::to_owned), rows: rows.collect() });
        }
        if let [table] = tables.as_mut_slice() {
            table.currency = None;
        }
        let mut heads = vec![WORDS.text("weekday", language).to_owned()];
        heads.extend((0..HOURS).map(|hour| format!("{hour:02}")));
        Ok(View {
            title: self.title.of(language).to_owned(),
            note: scene.note(&self.note, std::slice::from_ref(&request)),
            links: scene.links(&request),
            wide: true,
            heads,
            tables,
            dense: true,
        })
    }
}

fn day_name(day: usize, language: Language) -> &'static str {
    const ENGLISH: [&str; DAYS] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const CHINESE: [&str; DAYS] = ["周一", "周二", "周三", "周四", "周五", "周六", "周日"];
    match language {
        Language::En => ENGLISH[day],
        Language::ZhCn => CHINESE[day],
    }
}
