//! One figure, what became of it since the previous period, and the shape of its course.

use chrono::{DateTime, SecondsFormat, Utc};
use pages::words::Words;
use query::metric::{MetricRequest, Number};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{TileContext, TileLink};
use crate::{
    Error, Selection, Text,
    address::{WORDS, encoded},
    answer::{currencies, total},
    comparison::{Change, DesiredDirection, changes, compare},
    number::{Precision, print, print_or_absent},
    spark,
    words::{self, against},
};

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KpiTile {
    pub metric: String,
    pub title: Text,
    pub note: Text,
    /// Which way is good.
    #[serde(default)]
    pub better: DesiredDirection,
}

#[derive(Debug, Serialize)]
pub(crate) struct View {
    title: String,
    note: String,
    links: Vec<TileLink>,
    /// The note says why there is no value.
    suppressed: bool,
    /// One figure, or one per currency; none if there is nothing to show.
    figures: Vec<KpiValue>,
}

#[derive(Debug, Serialize)]
struct KpiValue {
    value: String,
    exact: String,
    change: Option<Change>,
    /// The page that explains the change.
    why: Option<TileLink>,
    /// The change in words.
    against: String,
    /// What it should be, and whether it is.
    goal: Option<KpiGoal>,
    spark: Option<String>,
}

#[derive(Debug, Serialize)]
struct KpiGoal {
    text: String,
    met: bool,
}

impl KpiTile {
    /// Whether a value is as good as a goal.
    pub(crate) fn meets(&self, value: Decimal, goal: Decimal) -> bool {
        match self.better {
            DesiredDirection::Higher => value >= goal,
            DesiredDirection::Lower => value <= goal,
        }
    }

    pub(super) fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let windows = [Some(selection.window), selection.compared()].into_iter().flatten();
        let windows = windows.chain(selection.history_of_changes());
        let totals = windows.map(|window| selection.totals(&self.metric, &window, &[]));
        totals.chain([selection.course(&self.metric)]).collect()
    }

    pub(super) fn view(&self, scene: &TileContext<'_>) -> Result<View, Error> {
        let language = scene.language;
        let selection = scene.selection;
        let total_of = |window| scene.answers.get(&selection.totals(&self.metric, window, &[]));
        let now = total_of(&selection.window)?;
        let compared = scene.selection.compared();
        let before = compared.as_ref().map(total_of).transpose()?;
        let history = selection.history_of_changes();
        let history = history.iter().map(total_of).collect::<Result<Vec<_>, Error>>()?;
        let course = scene.answers.get(&selection.course(&self.metric))?;
        let unit = now.unit;
        let mut figures = vec![];
        for currency in currencies(&now.rows) {
            let Some(value) = total(now, currency) else {
                continue;
            };
            let earlier = before.and_then(|before| total(before, currency));
            let former = before.into_iter().chain(history.iter().copied());
            let former: Vec<_> = former.map(|answer| total(answer, currency)).collect();
            let usual = changes(&former, unit);
            let change = earlier
                .and_then(|earlier| compare(value, earlier, &usual, unit, self.better, language));
            let against = match &change {
                Some(change) => {
                    let earlier =
                        print_or_absent(earlier, unit, currency, Precision::Short, language);
                    let days = selection.compared_days();
                    against(change.verdict, &earlier, days, language)
                }
                None if before.is_none() => String::new(),
                None => Words::of(language).not_compared.to_owned(),
            };
            let course: Vec<Option<f64>> = course
                .rows
                .iter()
                .filter(|row| row.currency.as_deref() == currency)
                .map(|row| row.value.map(Number::to_f64))
                .collect();
            figures.push(KpiValue {
                value: print(value, unit, currency, Precision::Short, language),
                exact: print(value, unit, currency, Precision::Exact, language),
                why: change.as_ref().and_then(|_| self.why(scene, currency)),
                change,
                against,
                goal: selection.goal(&self.metric).map(|goal| {
                    let shown = print(goal, unit, currency, Precision::Short, language);
                    let met = self.meets(value, goal);
                    KpiGoal { text: words::goal(&shown, met, language), met }
                }),
                spark: spark::path(&course),
            });
        }
        Ok(View {
            title: self.title.of(language).to_owned(),
            note: scene.note(&self.note, &self.requests(selection)),
            links: scene.links(&selection.course(&self.metric)),
            suppressed: now.rows.iter().any(|row| row.suppressed),
            figures,
        })
    }

    /// The page that explains the change.
    fn why(&self, scene: &TileContext<'_>, currency: Option<&str>) -> Option<TileLink> {
        let server = scene.server?;
        let compare = scene.selection.compare?;
        let window = &scene.selection.window;
        let time = |at: DateTime<Utc>| encoded(&at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let metric = &self.metric;
        let mut href = format!(
            "{server}/why/{metric}?lang={}&from={}&to={}&tz={}&compare={}",
            scene.language.tag(),
            time(window.from()),
            time(window.to()),
            encoded(&window.zone().to_string()),
            <&str>::from(compare),
        );
        for filter in scene.selection.filters_of(metric) {
            href += &format!("&filter={}", encoded(filter));
        }
        if let Some(currency) = currency {
            href += &format!("&currency={}", encoded(currency));
        }
        Some(TileLink { text: WORDS.text("why", scene.language), href })
    }
}
