//! What the server has at hand: how it does itself (what comes in, the tables, the jobs, the queries), and what it expects.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::metric::Unit;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    TileContext,
    grid::{GridCell, GridRow, GridTable, View},
};
use crate::{Language, Text, address::WORDS, number};

/// A table of the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SystemTile {
    pub of: SystemTopic,
    pub title: Text,
    pub note: Text,
    #[serde(default)]
    pub wide: bool,
}

/// What a table of the server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SystemTopic {
    /// What waits for the tables.
    Intake,
    /// Files and bytes of each table.
    Tables,
    /// Jobs by their kind.
    Jobs,
    /// Queries of the last day by how they ended.
    Queries,
    /// The daily forecasts: the end of the month, the peak, MRR in a year.
    Forecasts,
}

impl SystemTopic {
    /// Whether it is in reports, too.
    pub fn is_reported(self) -> bool {
        self == Self::Forecasts
    }
}

/// A table of the server. The head of each column is a word of dashboards.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SystemTable {
    pub heads: Vec<&'static str>,
    pub rows: Vec<(SystemName, Vec<SystemValue>)>,
}

/// What a row is about.
#[derive(Debug, Clone, PartialEq)]
pub enum SystemName {
    /// A word of dashboards.
    Word(&'static str),
    /// A name as it is.
    Name(String),
    /// A word of dashboards, of a metric.
    OfMetric(&'static str, Text),
}

/// A value of such a table.
#[derive(Debug, Clone, PartialEq)]
pub enum SystemValue {
    Count(u64),
    Bytes(u64),
    Seconds(f64),
    /// On the clock of the page.
    Time(Option<DateTime<Utc>>),
    /// Of a metric.
    Amount {
        value: Option<f64>,
        unit: Unit,
        currency: Option<String>,
    },
}

/// The tables at hand: none for those who do not operate the server.
pub type SystemTables = BTreeMap<SystemTopic, SystemTable>;

impl SystemTile {
    pub(super) fn view(&self, scene: &TileContext<'_>) -> View {
        let language = scene.language;
        let table = scene.system.get(&self.of);
        let word = |name: &'static str| WORDS.text(name, language).to_owned();
        let row = |(name, values): &(SystemName, Vec<SystemValue>)| GridRow {
            name: match name {
                SystemName::Word(name) => word(name),
                SystemName::Name(name) => name.clone(),
                SystemName::OfMetric(name, metric) => {
                    WORDS.filled(name, &[("metric", metric.of(language))], language)
                }
            },
            cells: values.iter().map(|value| GridCell::text(text(value, scene))).collect(),
            ..GridRow::default()
        };
        let rows: Vec<GridRow> = table.iter().flat_map(|table| &table.rows).map(row).collect();
        let note = self.note.of(language);
        let is_hidden = table.is_none() && !self.of.is_reported();
        View {
            title: self.title.of(language).to_owned(),
            note: if is_hidden { format!("{note} {}", word("only_live")) } else { note.to_owned() },
            links: Vec::new(),
            wide: self.wide,
            heads: table.iter().flat_map(|table| &table.heads).map(|head| word(head)).collect(),
            tables: match rows.is_empty() {
                true => Vec::new(),
                false => vec![GridTable { currency: None, rows }],
            },
            dense: false,
        }
    }
}

fn text(value: &SystemValue, scene: &TileContext<'_>) -> String {
    match value {
        SystemValue::Count(count) => number::grouped(Decimal::from(*count), 0),
        SystemValue::Bytes(bytes) => bytes_said(*bytes),
        SystemValue::Seconds(seconds) => match scene.language {
            Language::En => format!("{seconds:.1} s"),
            Language::ZhCn => format!("{seconds:.1} 秒"),
        },
        SystemValue::Amount { value, unit, currency } => {
            number::print_float(*value, *unit, currency.as_deref(), scene.language)
        }
        SystemValue::Time(None) => number::ABSENT.to_owned(),
        SystemValue::Time(Some(at)) => {
            let local = scene.selection.window.zone().local(*at);
            local.format("%Y-%m-%d %H:%M:%S").to_string()
        }
    }
}

/// Bytes by powers of 1,024: `12.3 MiB`.
fn bytes_said(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
    let mut amount = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is one of the next unit.
    while amount >= 1_023.95 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes_said(bytes), expected);
        }
    }
}
