//! The catalog of metrics in a browser: the list of all, and the page of one with its definition, its course and its SQL.

use pages::{
    link::{Link, languages},
    saved_query::Reader,
    words::Words,
};
use query::metric::{Goal, GoalPeriod, Metric, MetricOption, Unit};
use serde::Serialize;

use crate::{
    Dashboard, Error, Language, Text, Tile,
    number::{Precision, print},
    tile::{KpiTile, SeriesTile},
};

const TEMPLATES: &[pages::Template] =
    &[("metrics.html", include_str!("../templates/metrics.html"))];

/// The days of the course of a metric.
pub const CATALOG_DAYS: u32 = 30;

/// What is said of a metric, besides its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// The name in addresses and commands.
    pub name: String,
    /// What it counts, in the reader's language.
    pub description: String,
    /// Labels and what they say: formula, unit, goal, dimensions.
    pub facts: Vec<(&'static str, String)>,
}

/// A metric in the list, without what all of its source can be split by.
#[derive(Serialize)]
struct Listed<'a> {
    title: &'a str,
    #[serde(flatten)]
    definition: Definition,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    title: &'static str,
    lead: &'static str,
    languages: Vec<Link>,
    user: Option<&'a str>,
    organization: &'a str,
    asks_sql: bool,
    metrics: Vec<Listed<'a>>,
}

impl Definition {
    /// The definition of a metric; `dimensions` are those that the reader may split it by.
    pub fn new(
        metric: &Metric,
        dimensions: &[&str],
        options: &[&MetricOption],
        language: Language,
    ) -> Self {
        let mut facts = vec![
            (label(language, "Formula", "公式"), metric.formula.clone()),
            (label(language, "Unit", "单位"), unit(metric.unit, language).to_owned()),
        ];
        if let Some(goal) = &metric.goal {
            facts.push((label(language, "Goal", "目标"), shown_goal(goal, metric.unit, language)));
        }
        if let Some(reason) = &metric.null_reason {
            let text = if language == Language::En { &reason.en } else { &reason.zh_cn };
            facts.push((label(language, "No value", "无值"), text.clone()));
        }
        if metric.matures_days > 0 {
            let text = match language {
                Language::En => format!("{} days after the interval", metric.matures_days),
                Language::ZhCn => format!("区间结束后 {} 天", metric.matures_days),
            };
            facts.push((label(language, "Complete", "完整"), text));
        }
        for option in options {
            let values: Vec<_> = option.values.iter().map(|value| value.name.as_str()).collect();
            let (text, values) = (in_language(&option.description, language), values.join(", "));
            let said = format!("{}: {values}. {text}", option.name);
            facts.push((label(language, "Option", "选项"), said));
        }
        if !dimensions.is_empty() {
            facts.push((label(language, "Split by", "可按"), dimensions.join(", ")));
        }
        Self {
            name: metric.name.clone(),
            description: in_language(&metric.description, language).to_owned(),
            facts,
        }
    }
}

/// The page of one metric: its value, and its course.
pub fn metric_dashboard(metric: &Metric) -> Dashboard {
    let text = |text: &query::metric::Text| Text { en: text.en.clone(), zh_cn: text.zh_cn.clone() };
    // What it means stands in the definition below.
    let (title, note) = (text(&metric.title), Text { en: String::new(), zh_cn: String::new() });
    let better = metric.direction.into();
    let value =
        KpiTile { metric: metric.name.clone(), title: title.clone(), note: note.clone(), better };
    let course = SeriesTile {
        metric: metric.name.clone(),
        title: title.clone(),
        note,
        draw: Default::default(),
        wide: true,
        forecast: None,
    };
    let tiles = vec![Tile::Kpi(value), Tile::Series(course)];
    Dashboard { name: metric.name.clone(), title, tiles }
}

/// The list of metrics.
///
/// # Errors
/// When the template cannot be filled in.
pub fn catalog_page(reader: &Reader, metrics: &[&Metric]) -> Result<String, Error> {
    let (language, words) = (reader.language, Words::of(reader.language));
    let listed = metrics.iter().map(|metric| Listed {
        title: in_language(&metric.title, language),
        definition: Definition::new(metric, &[], &[], language),
    });
    let values = Values {
        lang: language.tag(),
        words,
        title: label(language, "Metrics", "指标"),
        lead: label(
            language,
            "Every metric with its definition. Dashboards, reports and the API show the same numbers.",
            "每个指标及其定义。仪表板、报告和 API 使用同样的数字。",
        ),
        languages: languages(language, ""),
        user: reader.user.as_deref(),
        organization: reader.organization.as_deref().unwrap_or(words.all_organizations),
        asks_sql: reader.asks_sql,
        metrics: listed.collect(),
    };
    Ok(pages::fill(TEMPLATES, "metrics.html", &values)?)
}

fn label(language: Language, english: &'static str, chinese: &'static str) -> &'static str {
    match language {
        Language::En => english,
        Language::ZhCn => chinese,
    }
}

fn in_language(text: &query::metric::Text, language: Language) -> &str {
    match language {
        Language::En => &text.en,
        Language::ZhCn => &text.zh_cn,
    }
}

fn unit(unit: Unit, language: Language) -> &'static str {
    match unit {
        Unit::Count => label(language, "count", "数量"),
        Unit::Ratio => label(language, "percentage", "百分比"),
        Unit::Milliseconds => label(language, "milliseconds", "毫秒"),
        Unit::Money => label(language, "money, by currency", "金额，按币种"),
        Unit::Number => label(language, "number", "数值"),
    }
}

fn shown_goal(goal: &Goal, unit: Unit, language: Language) -> String {
    let value = rust_decimal::Decimal::try_from(goal.value).unwrap_or_default();
    let value = print(value, unit, None, Precision::Short, language);
    match (goal.per, language) {
        (GoalPeriod::Window, _) => value,
        (GoalPeriod::Month, Language::En) => format!("{value} a month"),
        (GoalPeriod::Month, Language::ZhCn) => format!("每月 {value}"),
    }
}
