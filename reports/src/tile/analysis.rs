//! What the same visitors, users or organizations do over time: retention, funnels, lifecycle and paths.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::metric::Grain;
use rust_decimal::{Decimal, prelude::FromPrimitive};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    TileContext,
    grid::{Bar, GridCell, GridRow, GridTable, View},
};
use crate::{
    Error, Language, Selection, Text,
    address::WORDS,
    number::{self, Precision},
    words,
};

/// A question of `/v1/analyses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisTile {
    pub analysis: AnalysisName,
    pub title: Text,
    pub note: Text,
    /// The body of the question, as `POST /v1/analyses/…` takes it, without its window.
    #[schema(value_type = BTreeMap<String, Value>)]
    pub question: Value,
    /// What events are called, by their texts in the question.
    #[serde(default)]
    pub names: BTreeMap<String, Text>,
    #[serde(default)]
    pub wide: bool,
}

/// The name of an analysis in its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnalysisName {
    Funnel,
    Retention,
    Lifecycle,
    Paths,
}

/// A question of an analysis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalysisRequest {
    pub analysis: AnalysisName,
    /// As it is sent to `/v1/analyses/…`.
    pub body: Value,
}

/// A question with its answer, as `/v1/analyses/…` gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisResult {
    pub request: AnalysisRequest,
    pub answer: Value,
}

impl AnalysisTile {
    /// The question over the window. Nothing of what the page is filtered by is in it.
    pub fn request(&self, selection: &Selection) -> AnalysisRequest {
        let window = &selection.window;
        let mut body = self.question.clone();
        if let Value::Object(members) = &mut body {
            members.insert("from".into(), json!(window.from()));
            members.insert("to".into(), json!(window.to()));
            members.insert("tz".into(), json!(window.zone().to_string()));
        }
        AnalysisRequest { analysis: self.analysis, body }
    }

    pub(super) fn fault(&self) -> Option<String> {
        if !self.question.is_object() {
            return Some("`question` is a mapping".into());
        }
        let windows = ["from", "to", "tz", "range", "today", "as_of"];
        if let Some(name) = windows.iter().find(|name| self.question.get(name).is_some()) {
            return Some(format!("`question` has no `{name}`: the page has the window"));
        }
        let lacks = self.names.values().any(Text::lacks_words);
        lacks.then(|| "names need words in every language".to_owned())
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let request = self.request(scene.selection);
        let found = scene.analyses.iter().find(|result| result.request == request);
        let unanswered = || Error::Unanswered {
            metric: format!("{:?}", self.analysis).to_lowercase(),
            from: scene.selection.window.from(),
            to: scene.selection.window.to(),
        };
        let answer = &found.ok_or_else(unanswered)?.answer;
        let shown = Shown { tile: self, answer, scene };
        let (heads, rows) = match self.analysis {
            AnalysisName::Funnel => shown.funnel(),
            AnalysisName::Retention => shown.retention(),
            AnalysisName::Lifecycle => shown.lifecycle(),
            AnalysisName::Paths => shown.paths(),
        };
        let mut unfiltered: Vec<&str> = scene.selection.dimensions_of_filters().collect();
        unfiltered.sort_unstable();
        let note = self.note.of(scene.language);
        Ok(View {
            title: self.title.of(scene.language).to_owned(),
            note: match unfiltered.is_empty() {
                true => note.to_owned(),
                false => words::not_filtered(note, &unfiltered, scene.language),
            },
            links: Vec::new(),
            wide: self.wide,
            heads,
            tables: match rows.is_empty() {
                true => Vec::new(),
                false => vec![GridTable { currency: None, rows }],
            },
            dense: self.analysis == AnalysisName::Retention,
        })
    }
}

struct Shown<'a> {
    tile: &'a AnalysisTile,
    answer: &'a Value,
    scene: &'a TileContext<'a>,
}

type Grid = (Vec<String>, Vec<GridRow>);

impl Shown<'_> {
    fn word(&self, name: &'static str) -> String {
        WORDS.text(name, self.scene.language).to_owned()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.answer[name].as_array().map_or(&[], Vec::as_slice)
    }

    /// Null: of too few persons to be shown.
    fn count(&self, value: &Value) -> String {
        value.as_u64().map_or_else(
            || number::ABSENT.to_owned(),
            |count| number::grouped(Decimal::from(count), 0),
        )
    }

    fn share(&self, value: &Value) -> String {
        let share = value.as_f64().and_then(Decimal::from_f64);
        share.map_or_else(
            || number::ABSENT.to_owned(),
            |share| number::ratio(share, Precision::Short, self.scene.language),
        )
    }

    fn event(&self, text: &str) -> String {
        let named = self.tile.names.get(text);
        named.map_or(text, |name| name.of(self.scene.language)).to_owned()
    }

    /// The start of a period.
    fn period(&self, value: &Value) -> String {
        let at = value.as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
        let grain = self.answer["period"].as_str().and_then(|grain| grain.parse::<Grain>().ok());
        match (at, grain) {
            (Some(at), Some(grain)) => self.scene.selection.window.bucket(at, grain),
            _ => String::new(),
        }
    }

    fn funnel(&self) -> Grid {
        let heads =
            ["step", "count", "of_first", "of_before", "median"].map(|name| self.word(name));
        let row = |step: &Value| GridRow {
            name: self.event(step["event"].as_str().unwrap_or_default()),
            bar: step["conversion"].as_f64().map(|share| Bar::new(0.0, share, "up")),
            cells: vec![
                GridCell::text(self.count(&step["count"])),
                GridCell::text(self.share(&step["conversion"])),
                GridCell::text(self.share(&step["step_conversion"])),
                GridCell::text(match step["median_seconds"].as_f64() {
                    Some(seconds) => duration(seconds, self.scene.language),
                    None => String::new(),
                }),
            ],
            total: false,
        };
        (heads.to_vec(), self.list("steps").iter().map(row).collect())
    }

    fn retention(&self) -> Grid {
        let cohorts = self.list("cohorts");
        let cells_of = |cohort: &Value| cohort["cells"].as_array().cloned().unwrap_or_default();
        let most = cohorts.iter().map(|cohort| cells_of(cohort).len()).max().unwrap_or_default();
        let mut heads = vec![self.word("cohort"), self.word("size")];
        heads.extend((0..most).map(|k| k.to_string()));
        let cell = |cell: &Value| {
            let mark = if cell["incomplete"] == true { "*" } else { "" };
            GridCell::shaded(
                format!("{}{mark}", self.share(&cell["share"])),
                self.count(&cell["count"]),
                cell["share"].as_f64(),
            )
        };
        let row = |cohort: &Value| GridRow {
            name: self.period(&cohort["at"]),
            cells: std::iter::once(GridCell::text(self.count(&cohort["size"])))
                .chain(cells_of(cohort).iter().map(cell))
                .collect(),
            ..GridRow::default()
        };
        // A cohort of nobody says nothing.
        let has_size = |cohort: &&Value| cohort["size"] != 0;
        let mut rows: Vec<GridRow> = cohorts.iter().filter(has_size).map(row).collect();
        if !rows.is_empty() {
            let mean = self.list("mean").iter().take(most);
            rows.push(GridRow {
                name: self.word("mean"),
                cells: std::iter::once(GridCell::default()).chain(mean.map(cell)).collect(),
                total: true,
                ..GridRow::default()
            });
        }
        (heads, rows)
    }

    fn lifecycle(&self) -> Grid {
        const COUNTS: [&str; 4] = ["new", "returning", "resurrecting", "dormant"];
        let mut heads = vec![self.word("period_from")];
        heads.extend(COUNTS.map(|name| self.word(name)));
        let rows = self.list("rows");
        let most =
            rows.iter().flat_map(|row| COUNTS.map(|name| row[name].as_u64())).flatten().max();
        let cell = |value: &Value| {
            let count = self.count(value);
            #[expect(clippy::cast_precision_loss, reason = "it is only a shade")]
            let share = value.as_u64().zip(most).map(|(count, most)| count as f64 / most as f64);
            GridCell::shaded(count.clone(), count, share)
        };
        let row = |row: &Value| {
            let mark = if row["incomplete"] == true { "*" } else { "" };
            GridRow {
                name: format!("{}{mark}", self.period(&row["at"])),
                cells: COUNTS.map(|name| cell(&row[name])).to_vec(),
                ..GridRow::default()
            }
        };
        (heads, rows.iter().map(row).collect())
    }

    fn paths(&self) -> Grid {
        let heads = ["next_step", "count", "share"].map(|name| self.word(name));
        let row = |step: &Value| {
            let event = match (step["other"] == true, step["event"].as_str()) {
                (true, _) => self.word("others"),
                (false, None) => self.word("nothing_next"),
                (false, Some(event)) => self.event(event),
            };
            GridRow {
                name: match step["value"].as_str() {
                    Some(value) => format!("{event}: {value}"),
                    None => event,
                },
                bar: step["share"].as_f64().map(|share| Bar::new(0.0, share, "up")),
                cells: vec![
                    GridCell::text(self.count(&step["count"])),
                    GridCell::text(self.share(&step["share"])),
                ],
                total: false,
            }
        };
        (heads.to_vec(), self.list("next").iter().map(row).collect())
    }
}

/// A time in its two largest units: `2 d 3 h`.
fn duration(seconds: f64, language: Language) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not below zero, and beyond any age it is the largest number"
    )]
    let seconds = seconds.max(0.0).round() as u64;
    let (day, hour, minute, second) = match language {
        Language::En => (" d", " h", " min", " s"),
        Language::ZhCn => (" 天", " 小时", " 分", " 秒"),
    };
    let parts = [
        (seconds / 86_400, day),
        (seconds / 3_600 % 24, hour),
        (seconds / 60 % 60, minute),
        (seconds % 60, second),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).filter(|(count, _)| *count > 0 || first == 3);
    shown.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let said = |seconds| duration(seconds, Language::En);
        assert_eq!(said(0.2), "0 s");
        assert_eq!(said(59.6), "1 min");
        assert_eq!(said(3_661.0), "1 h 1 min");
        assert_eq!(said(183_600.0), "2 d 3 h");
        assert_eq!(said(f64::NAN), "0 s");
        assert_eq!(duration(183_600.0, Language::ZhCn), "2 天 3 小时");
    }
}
