//! Why a metric changed: which values of which dimension.

use chrono::{DateTime, Utc};
use forecast::attribution::{Cause, Part, RatioEffect, RatioPart, explain, ratio_effects};
use pipeline::Cut;
use query::{
    QueryError, Zone,
    metric::{
        Audience, Compare, Filter, Group, Groups, Metric, MetricAnswer, MetricRequest, Number,
        Unit, Window as MetricWindow,
    },
};
use reports::{
    Language, Selection, Window, anomaly::anomaly_word, is_usual_change, number::print_float,
    why::dimension_title,
};
use serde_json::json;

use super::{
    anomaly::KeptCause,
    why_route::{WhyDimension, WhyPart, WhyView, WhyWindow},
};
use crate::{Lake, alerts::reading::Reader, dashboards::covered};

/// What is asked: the change of a metric from one window to another.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) metric: &'a Metric,
    pub(super) filter: Option<Filter>,
    pub(super) window: (DateTime<Utc>, DateTime<Utc>),
    pub(super) before: (DateTime<Utc>, DateTime<Utc>),
    /// Windows before `before`, the last first: their changes say what is usual.
    pub(super) earlier: Vec<Window>,
    /// Everything is read at it.
    pub(super) cut: Cut,
    pub(super) zone: Zone,
    pub(super) currency: Option<String>,
    pub(super) dimensions: Vec<String>,
}

/// The values of both windows, and whether a change of this size is usual. None where nobody can say.
#[derive(Debug, Clone, Copy)]
struct Totals {
    before: Option<f64>,
    after: Option<f64>,
    usual: Option<bool>,
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
pub(super) const OTHERS: &str = "*";
/// What MRR is split by.
pub(super) const MOVEMENT: &str = "movement";

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
    let context = reader.context(lake, &question.cut);
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

/// Explains the change of a window, which is compared with another one in this way.
pub(super) async fn answer(
    lake: &Lake,
    reader: &Reader,
    mut question: Question<'_>,
    (window, compare): (MetricWindow, Option<Compare>),
    audience: Audience,
) -> Result<WhyView, QueryError> {
    question.earlier = Box::pin(earlier(lake, reader, window, compare, &question.cut)).await?;
    let totals = Box::pin(totals(lake, reader, &mut question)).await?;
    Box::pin(explained(lake, reader, &question, totals, audience)).await
}

/// The windows before the one that a window is compared with, as far back as there is data. None where they are too few.
async fn earlier(
    lake: &Lake,
    reader: &Reader,
    window: MetricWindow,
    compare: Option<Compare>,
    cut: &Cut,
) -> Result<Vec<Window>, QueryError> {
    // Of a window that is too long for a dashboard, there are hardly ever so many.
    let (Some(compare), Ok(window)) = (compare, Window::of(window, lake.state.clock.now())) else {
        return Ok(Vec::new());
    };
    let selection = Selection::new(window).compared_with(Some(compare));
    let selection = covered(&lake.engine, selection, reader.context(lake, cut)).await?;
    Ok(selection.history_of_changes())
}

/// The values of the windows. Of an amount without a currency, those of the largest.
async fn totals(
    lake: &Lake,
    reader: &Reader,
    question: &mut Question<'_>,
) -> Result<Totals, QueryError> {
    let windows = [question.window, question.before].into_iter();
    let windows = windows.chain(question.earlier.iter().map(|window| (window.from(), window.to())));
    let request = |(from, to)| {
        let request = MetricRequest::new(&question.metric.name, from, to);
        MetricRequest { zone: question.zone, filter: question.filter.clone(), ..request }
    };
    let asked: Vec<MetricRequest> = windows.map(request).collect();
    let answers = lake.engine.metrics(&asked, reader.context(lake, &question.cut)).await?;
    if question.currency.is_none() {
        let shown = answers.iter().take(2);
        let largest = shown.flat_map(|answer| &answer.rows).max_by_key(|row| row.value);
        question.currency = largest.and_then(|row| row.currency.clone());
    }
    let value = |answer: &MetricAnswer| {
        let row = answer.rows.iter().find(|row| row.currency == question.currency)?;
        row.value
    };
    let values: Vec<Option<Number>> = answers.iter().map(value).collect();
    let value_of = |place: usize| values.get(place).copied().flatten().map(Number::to_f64);
    let exact: Vec<_> = values.iter().map(|value| value.map(Number::to_decimal)).collect();
    Ok(Totals {
        after: value_of(0),
        before: value_of(1),
        usual: is_usual_change(&exact, question.metric.unit),
    })
}

async fn explained(
    lake: &Lake,
    reader: &Reader,
    question: &Question<'_>,
    totals: Totals,
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
    let said = |language| said(question, totals, &cause, language);
    let Totals { before, after, usual } = totals;
    let window = |(from, to), value| WhyWindow { from, to, value };
    Ok(WhyView {
        metric: name.to_owned(),
        currency: question.currency.clone(),
        before: window(question.before, before),
        after: window(question.window, after),
        change: after.unwrap_or_default() - before.unwrap_or_default(),
        usual,
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
            earlier: Vec::new(),
            cut: self.cut.clone(),
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
    let mut parts = Vec::new();
    if from < to {
        let asked = MOVEMENTS.map(|(name, _)| {
            let request = MetricRequest::new(name, from, to);
            MetricRequest { zone: question.zone, filter: question.filter.clone(), ..request }
        });
        let answers = lake.engine.metrics(&asked, reader.context(lake, &question.cut)).await?;
        for ((name, sign), answer) in MOVEMENTS.iter().zip(&answers) {
            let row = answer.rows.iter().find(|row| row.currency == question.currency);
            let amount = row.and_then(|row| row.value).map_or(0.0, Number::to_f64);
            parts.push(Part { name: Some((*name).to_owned()), before: 0.0, after: sign * amount });
        }
    }
    Ok(Split { dimension: MOVEMENT.to_owned(), parts })
}

/// A dimension with its largest changes.
fn in_view(split: &Split) -> WhyDimension {
    let (mut rest, mut parts): (Vec<&Part>, Vec<&Part>) =
        split.parts.iter().partition(|part| part.name.as_deref() == Some(OTHERS));
    parts.sort_by(|a, b| (b.after - b.before).abs().total_cmp(&(a.after - a.before).abs()));
    rest.extend(parts.split_off(SHOWN.min(parts.len())));
    let view = |name: Option<String>, before: f64, after: f64| WhyPart {
        value: name,
        before: Some(before),
        after: Some(after),
        change: after - before,
        mix: None,
        rate: None,
    };
    let mut shown: Vec<WhyPart> =
        parts.iter().map(|part| view(part.name.clone(), part.before, part.after)).collect();
    if !rest.is_empty() {
        let sum = |of: fn(&Part) -> f64| rest.iter().map(|part| of(part)).sum::<f64>();
        shown.push(view(Some(OTHERS.into()), sum(|part| part.before), sum(|part| part.after)));
    }
    WhyDimension { dimension: split.dimension.clone(), parts: shown }
}

/// A dimension of a ratio.
fn by_effect(above: &Split, below: &Split) -> WhyDimension {
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
    let with_effects =
        names.iter().zip(&parts).zip(effects).map(|((name, part), effect)| (name, part, effect));
    type Shown<'a> = Vec<(&'a Option<String>, &'a RatioPart, RatioEffect)>;
    let (mut rest, mut shown): (Shown<'_>, Shown<'_>) =
        with_effects.partition(|(name, ..)| name.as_deref() == Some(OTHERS));
    let size = |effect: &RatioEffect| (effect.mix + effect.rate).abs();
    shown.sort_by(|a, b| size(&b.2).total_cmp(&size(&a.2)));
    rest.extend(shown.split_off(SHOWN.min(shown.len())));
    let ratio = |(above, below): (f64, f64)| (below != 0.0).then(|| above / below);
    let view = |name: Option<String>, before, after, mix: f64, rate: f64| WhyPart {
        value: name,
        before,
        after,
        change: mix + rate,
        mix: Some(mix),
        rate: Some(rate),
    };
    let mut all: Vec<WhyPart> = shown
        .iter()
        .map(|(name, part, effect)| {
            let (before, after) = (ratio(part.before), ratio(part.after));
            view((*name).clone(), before, after, effect.mix, effect.rate)
        })
        .collect();
    if !rest.is_empty() {
        let (mix, rate) = rest
            .iter()
            .fold((0.0, 0.0), |(mix, rate), (_, _, effect)| (mix + effect.mix, rate + effect.rate));
        all.push(view(Some(OTHERS.into()), None, None, mix, rate));
    }
    WhyDimension { dimension: below.dimension.clone(), parts: all }
}

/// The change and its cause in words.
fn said(question: &Question<'_>, totals: Totals, cause: &KeptCause, language: Language) -> String {
    let title = match language {
        Language::En => &question.metric.title.en,
        Language::ZhCn => &question.metric.title.zh_cn,
    };
    let print = |value: Option<f64>| {
        let currency = question.currency.as_deref();
        print_float(value, question.metric.unit, currency, language)
    };
    let (before, after) = (print(totals.before), print(totals.after));
    let moved = anomaly_word(
        "moved",
        &[("metric", title), ("before", &before), ("after", &after)],
        language,
    );
    let size = match totals.usual {
        Some(true) => anomaly_word("usual_change", &[], language),
        Some(false) => anomaly_word("unusual_change", &[], language),
        None => String::new(),
    };
    let sentences = [moved, size, cause.said(language)];
    let said: Vec<String> = sentences.into_iter().filter(|said| !said.is_empty()).collect();
    said.join(if language == Language::En { " " } else { "" })
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
                let dimension = dimension_title(dimension, language);
                anomaly_word("shows", &[("dimension", &dimension), ("values", &values)], language)
            }
            Self::In { dimension, values, share } => {
                // Where others moved the other way, it is more than the whole.
                let word = if *share > 1.05 { "cause_and_more" } else { "cause" };
                let share = print_float(Some(share.min(1.0)), Unit::Ratio, None, language);
                let none = anomaly_word("no_value", &[], language);
                let others = anomaly_word("other_values", &[], language);
                let named: Vec<String> = values
                    .iter()
                    .map(|value| match value.as_deref() {
                        None => none.clone(),
                        Some(OTHERS) => others.clone(),
                        Some(value) if dimension == MOVEMENT => anomaly_word(value, &[], language),
                        Some(value) => value.to_owned(),
                    })
                    .collect();
                let separator = if language == Language::En { ", " } else { "、" };
                let values = named.join(separator);
                let dimension = dimension_title(dimension, language);
                let places =
                    [("share", share.as_str()), ("dimension", &dimension), ("values", &values)];
                anomaly_word(word, &places, language)
            }
        }
    }
}
