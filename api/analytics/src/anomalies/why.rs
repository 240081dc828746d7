//! Why a metric changed: which values of which dimension.

use chrono::{DateTime, Utc};
use forecast::attribution::{Cause, Part, RatioEffect, RatioPart, explain, ratio_effects};
use query::{
    QueryError, Zone,
    metric::{Audience, Filter, Group, Groups, Metric, MetricAnswer, MetricRequest, Number, Unit},
};
use reports::{Language, anomaly::anomaly_word, number::print_float};
use serde_json::{Value, json};

use super::{
    anomaly::KeptCause,
    why_route::{WhyView, WhyWindow},
};
use crate::{Lake, alerts::reading::Reader};

/// What is asked: the change of a metric from one window to another.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) metric: &'a Metric,
    pub(super) filter: Option<Filter>,
    pub(super) window: (DateTime<Utc>, DateTime<Utc>),
    pub(super) before: (DateTime<Utc>, DateTime<Utc>),
    pub(super) zone: Zone,
    pub(super) currency: Option<String>,
    pub(super) dimensions: Vec<String>,
}

/// A dimension and its values, before and after.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) dimension: String,
    pub(super) parts: Vec<Part>,
}

/// The largest values of a dimension, in each window; all others are one.
const PARTS: usize = 40;
/// Parts of a dimension in an answer.
const SHOWN: usize = 10;
/// What the others are called.
const OTHERS: &str = "*";

/// Dimensions that say the same as another one, or only when.
const NOT_ASKED: [&str; 6] = [
    "organization_name",
    "organization_country",
    "project_id",
    "day_of_week",
    "hour_of_day",
    "status_code",
];

/// A ratio is explained by what is above and below its line.
const RATIOS: [(&str, &str, &str); 3] = [
    ("error_rate", "errors", "requests"),
    ("margin_rate", "margin", "usage_revenue"),
    ("cache_hit_rate", "cached_input_tokens", "input_tokens"),
];

/// What changes MRR, each with its sign.
const MOVEMENTS: [(&str, f64); 5] = [
    ("mrr_new", 1.0),
    ("mrr_expansion", 1.0),
    ("mrr_contraction", -1.0),
    ("mrr_churn", -1.0),
    ("mrr_reactivation", 1.0),
];

/// The dimensions that somebody may split a metric by, without one that is fixed.
pub(super) fn dimensions(
    lake: &Lake,
    metric: &Metric,
    audience: Audience,
    fixed: Option<&str>,
) -> Vec<String> {
    let known = lake.catalog.dimensions(metric, audience);
    let is_asked = |name: &str| !NOT_ASKED.contains(&name) && Some(name) != fixed;
    known.filter(|known| is_asked(&known.name)).map(|known| known.name.clone()).collect()
}

/// The values of each dimension in both windows. Those of one dimension add up to the whole, where the metric's do.
pub(super) async fn parts(
    lake: &Lake,
    reader: &Reader,
    question: &Question<'_>,
) -> Result<Vec<Split>, QueryError> {
    let cut = lake.lakehouse.cut();
    let context = reader.context(lake, &cut);
    let request = |(from, to): (DateTime<Utc>, DateTime<Utc>), by: &str, groups: Groups| {
        let request = MetricRequest::new(&question.metric.name, from, to).split_by(&[by]);
        let (zone, filter) = (question.zone, question.filter.clone());
        MetricRequest { zone, filter, groups, ..request }
    };
    let both = |by: &str, groups: Groups| {
        [question.before, question.window].map(|window| request(window, by, groups.clone()))
    };
    let asked: Vec<MetricRequest> =
        question.dimensions.iter().flat_map(|by| both(by, Groups::Largest(PARTS))).collect();
    let answers = lake.engine.metrics(&asked, context).await?;
    let mut splits = Vec::new();
    for (by, pair) in question.dimensions.iter().zip(answers.chunks(2)) {
        let named: std::collections::BTreeSet<Group> = pair
            .iter()
            .flat_map(|answer| &answer.rows)
            .filter(|row| !row.other)
            .map(|row| row.group.clone())
            .collect();
        if named.is_empty() {
            continue;
        }
        // Where nothing was left out, they are all there.
        if let [before, after] = pair
            && named.len() < PARTS
        {
            splits.push(Split { dimension: by.clone(), parts: matched(question, before, after) });
            continue;
        }
        let asked = both(by, Groups::These(named.into_iter().collect()));
        let answers = lake.engine.metrics(&asked, context).await?;
        let [before, after] = answers.as_slice() else { continue };
        splits.push(Split { dimension: by.clone(), parts: matched(question, before, after) });
    }
    Ok(splits)
}

/// The values of both answers beside each other.
fn matched(question: &Question<'_>, before: &MetricAnswer, after: &MetricAnswer) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (answer, is_after) in [(before, false), (after, true)] {
        for row in answer.rows.iter().filter(|row| row.currency == question.currency) {
            let name = match row.other {
                true => Some(OTHERS.to_owned()),
                false => row.group.first().cloned().flatten(),
            };
            let value = row.value.map_or(0.0, Number::to_f64);
            let place = parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
                parts.push(Part { name, before: 0.0, after: 0.0 });
                parts.len() - 1
            });
            match is_after {
                true => parts[place].after += value,
                false => parts[place].before += value,
            }
        }
    }
    parts
}

/// What explains the change, as it is kept.
pub(super) fn cause(splits: &[Split]) -> KeptCause {
    let parts: Vec<Vec<Part>> = splits.iter().map(|split| split.parts.clone()).collect();
    match explain(&parts) {
        None => KeptCause::Unknown,
        Some(Cause::Everywhere) => KeptCause::Everywhere,
        Some(Cause::In { dimension, parts, share }) => KeptCause::In {
            dimension: splits[dimension].dimension.clone(),
            values: parts
                .iter()
                .map(|place| splits[dimension].parts[*place].name.clone())
                .collect(),
            share,
        },
    }
}

/// The values of both windows. Of an amount without a currency, those of the largest.
pub(super) async fn totals(
    lake: &Lake,
    reader: &Reader,
    question: &mut Question<'_>,
) -> Result<[Option<f64>; 2], QueryError> {
    let cut = lake.lakehouse.cut();
    let asked = [question.before, question.window].map(|(from, to)| {
        let request = MetricRequest::new(&question.metric.name, from, to);
        MetricRequest { zone: question.zone, filter: question.filter.clone(), ..request }
    });
    let answers = lake.engine.metrics(&asked, reader.context(lake, &cut)).await?;
    if question.currency.is_none() {
        let largest = answers.iter().flat_map(|answer| &answer.rows).max_by_key(|row| row.value);
        question.currency = largest.and_then(|row| row.currency.clone());
    }
    let value = |answer: &MetricAnswer| {
        let row = answer.rows.iter().find(|row| row.currency == question.currency)?;
        row.value.map(Number::to_f64)
    };
    let value_of = |place: usize| answers.get(place).and_then(value);
    Ok([value_of(0), value_of(1)])
}

pub(super) async fn explained(
    lake: &Lake,
    reader: &Reader,
    question: &Question<'_>,
    [before, after]: [Option<f64>; 2],
    audience: Audience,
) -> Result<WhyView, QueryError> {
    let name = question.metric.name.as_str();
    let ratio = RATIOS.iter().find(|(ratio, above, below)| {
        *ratio == name && [above, below].iter().all(|of| lake.catalog.get(of, audience).is_ok())
    });
    let (method, cause, shown) = if let Some((_, above, below)) = ratio {
        let mut effects = Vec::new();
        let (above, below) = (lake.catalog.metric(above), lake.catalog.metric(below));
        if let (Some(above), Some(below)) = (above, below) {
            let of = |metric| Question { metric, ..question.copied() };
            let (above, below) =
                (parts(lake, reader, &of(above)).await?, parts(lake, reader, &of(below)).await?);
            effects = above.iter().zip(&below).map(|(a, b)| by_effect(a, b)).collect();
        }
        ("ratio", KeptCause::Unknown, effects)
    } else if name == "mrr" {
        let split = movements(lake, reader, question).await?;
        let splits = vec![split];
        ("additive", cause(&splits), splits.iter().map(in_view).collect())
    } else {
        let splits = parts(lake, reader, question).await?;
        let adds_up = question.metric.additive_by_group();
        let found = if adds_up { cause(&splits) } else { KeptCause::Unknown };
        let method = if adds_up { "additive" } else { "groups" };
        (method, found, splits.iter().map(in_view).collect::<Vec<_>>())
    };
    let said = |language| said(question, before, after, &cause, language);
    let window = |(from, to), value| WhyWindow { from, to, value };
    Ok(WhyView {
        metric: name.to_owned(),
        currency: question.currency.clone(),
        before: window(question.before, before),
        after: window(question.window, after),
        change: after.unwrap_or_default() - before.unwrap_or_default(),
        method,
        said: json!({"en": said(Language::En), "zh-CN": said(Language::ZhCn)}),
        cause,
        dimensions: shown,
        as_of: String::new(),
    })
}

impl Question<'_> {
    fn copied(&self) -> Question<'_> {
        Question {
            metric: self.metric,
            filter: self.filter.clone(),
            window: self.window,
            before: self.before,
            zone: self.zone,
            currency: self.currency.clone(),
            dimensions: self.dimensions.clone(),
        }
    }
}

/// The movements between the ends of both windows: they add up to the change of MRR.
async fn movements(
    lake: &Lake,
    reader: &Reader,
    question: &Question<'_>,
) -> Result<Split, QueryError> {
    let (from, to) = (question.before.1, question.window.1);
    let cut = lake.lakehouse.cut();
    let mut parts = Vec::new();
    if from < to {
        let asked = MOVEMENTS.map(|(name, _)| {
            let request = MetricRequest::new(name, from, to);
            MetricRequest { zone: question.zone, filter: question.filter.clone(), ..request }
        });
        let answers = lake.engine.metrics(&asked, reader.context(lake, &cut)).await?;
        for ((name, sign), answer) in MOVEMENTS.iter().zip(&answers) {
            let row = answer.rows.iter().find(|row| row.currency == question.currency);
            let amount = row.and_then(|row| row.value).map_or(0.0, Number::to_f64);
            parts.push(Part { name: Some((*name).to_owned()), before: 0.0, after: sign * amount });
        }
    }
    Ok(Split { dimension: "movement".to_owned(), parts })
}

/// A dimension with its largest changes.
fn in_view(split: &Split) -> Value {
    let mut parts: Vec<&Part> = split.parts.iter().collect();
    parts.sort_by(|a, b| (b.after - b.before).abs().total_cmp(&(a.after - a.before).abs()));
    let rest = parts.split_off(SHOWN.min(parts.len()));
    let mut shown: Vec<Value> = parts
        .iter()
        .map(|part| {
            let (before, after) = (part.before, part.after);
            json!({"value": part.name, "before": before, "after": after, "change": after - before})
        })
        .collect();
    if !rest.is_empty() {
        let sum = |of: fn(&Part) -> f64| rest.iter().map(|part| of(part)).sum::<f64>();
        let (before, after) = (sum(|part| part.before), sum(|part| part.after));
        shown.push(
            json!({"value": "*", "before": before, "after": after, "change": after - before}),
        );
    }
    json!({"dimension": split.dimension, "parts": shown})
}

/// A dimension of a ratio.
fn by_effect(above: &Split, below: &Split) -> Value {
    let find = |split: &Split, name: &Option<String>| {
        let part = split.parts.iter().find(|part| part.name == *name);
        part.map_or((0.0, 0.0), |part| (part.before, part.after))
    };
    let mut names: Vec<Option<String>> = below.parts.iter().map(|part| part.name.clone()).collect();
    for part in &above.parts {
        if !names.contains(&part.name) {
            names.push(part.name.clone());
        }
    }
    let parts: Vec<RatioPart> = names
        .iter()
        .map(|name| {
            let (above, below) = (find(above, name), find(below, name));
            RatioPart { before: (above.0, below.0), after: (above.1, below.1) }
        })
        .collect();
    let effects = ratio_effects(&parts);
    let mut shown: Vec<(&Option<String>, &RatioPart, RatioEffect)> = names
        .iter()
        .zip(&parts)
        .zip(effects)
        .map(|((name, part), effect)| (name, part, effect))
        .collect();
    let size = |effect: &RatioEffect| (effect.mix + effect.rate).abs();
    shown.sort_by(|a, b| size(&b.2).total_cmp(&size(&a.2)));
    let rest = shown.split_off(SHOWN.min(shown.len()));
    let ratio = |(above, below): (f64, f64)| (below != 0.0).then(|| above / below);
    let mut all: Vec<Value> = shown
        .iter()
        .map(|(name, part, effect)| {
            json!({
                "value": name, "before": ratio(part.before), "after": ratio(part.after),
                "change": effect.mix + effect.rate, "mix": effect.mix, "rate": effect.rate,
            })
        })
        .collect();
    if !rest.is_empty() {
        let (mix, rate) = rest
            .iter()
            .fold((0.0, 0.0), |(mix, rate), (_, _, effect)| (mix + effect.mix, rate + effect.rate));
        all.push(json!({"value": "*", "change": mix + rate, "mix": mix, "rate": rate}));
    }
    json!({"dimension": below.dimension, "parts": all})
}

/// The change and its cause in words.
fn said(
    question: &Question<'_>,
    before: Option<f64>,
    after: Option<f64>,
    cause: &KeptCause,
    language: Language,
) -> String {
    let title = match language {
        Language::En => &question.metric.title.en,
        Language::ZhCn => &question.metric.title.zh_cn,
    };
    let print = |value: Option<f64>| {
        let currency = question.currency.as_deref();
        print_float(value, question.metric.unit, currency, language)
    };
    let (before, after) = (print(before), print(after));
    let moved = anomaly_word(
        "moved",
        &[("metric", title), ("before", &before), ("after", &after)],
        language,
    );
    format!("{moved} {}", cause.said(language)).trim_end().to_owned()
}

impl KeptCause {
    /// The cause in words.
    pub(super) fn said(&self, language: Language) -> String {
        match self {
            Self::Everywhere => anomaly_word("everywhere", &[], language),
            Self::Unknown => anomaly_word("cause_unknown", &[], language),
            Self::Shows { dimension, values } => {
                let values: Vec<&str> = values.iter().flatten().map(String::as_str).collect();
                let separator = if language == Language::En { ", " } else { "、" };
                let values = values.join(separator);
                anomaly_word("shows", &[("dimension", dimension), ("values", &values)], language)
            }
            Self::In { dimension, values, share } => {
                let share = Some(share.min(1.0));
                let share = print_float(share, Unit::Ratio, None, language);
                let none = anomaly_word("no_value", &[], language);
                let others = anomaly_word("other_values", &[], language);
                let named: Vec<&str> = values
                    .iter()
                    .map(|value| match value.as_deref() {
                        None => none.as_str(),
                        Some(OTHERS) => others.as_str(),
                        Some(value) => value,
                    })
                    .collect();
                let separator = if language == Language::En { ", " } else { "、" };
                let values = named.join(separator);
                let places =
                    [("share", share.as_str()), ("dimension", dimension), ("values", &values)];
                anomaly_word("cause", &places, language)
            }
        }
    }
}
