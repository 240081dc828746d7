//! A dashboard in a few sentences: what changed most, what explains it, and what is expected. Rules write them, from the
//! same answers as the tiles.

use std::cmp::Reverse;

use query::metric::{MetricAnswer, Unit};
use rust_decimal::Decimal;

use crate::{
    Dashboard, Language, Tile,
    answer::{currencies, total},
    comparison::{Direction, compare},
    number::{Precision, print},
    tile::{KpiTile, TileContext, group},
    words,
};

/// Changes that are told.
const CHANGES: usize = 2;
/// A smaller change, of the value before, is not worth a sentence.
const SMALLEST: Decimal = Decimal::from_parts(1, 0, 0, false, 2);

/// A key figure that changed.
struct Changed<'a> {
    tile: &'a KpiTile,
    unit: Unit,
    currency: Option<String>,
    now: Decimal,
    before: Decimal,
    /// The change, of the value before.
    size: Decimal,
}

/// The sentences, the most important first.
pub(crate) fn sentences(dashboard: &Dashboard, scene: &TileContext<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut changes: Vec<Changed<'_>> =
        dashboard.tiles.iter().filter_map(|tile| changed(tile, scene)).collect();
    changes.sort_by_key(|change| Reverse(change.size));
    for (index, change) in changes.iter().take(CHANGES).enumerate() {
        sentences.extend(change.in_words(scene.language));
        if index == 0 {
            sentences.extend(explained(dashboard, change, scene));
        }
    }
    if scene.selection.compared().is_none() && scene.selection.compare.is_some() {
        sentences.push(words::nothing_before(scene.language).to_owned());
    }
    sentences.extend(goals(dashboard, scene));
    sentences.extend(expected(dashboard, scene));
    sentences
}

/// A key figure with its change, if there is one to tell. Of several currencies the one with the largest value.
fn changed<'a>(tile: &'a Tile, scene: &TileContext<'_>) -> Option<Changed<'a>> {
    let Tile::Kpi(tile) = tile else { return None };
    let (selection, compared) = (scene.selection, scene.selection.compared()?);
    let of = |window| scene.answers.get(&selection.totals(&tile.metric, window, &[])).ok();
    let (now, before) = (of(&selection.window)?, of(&compared)?);
    let largest = currencies(&now.rows)
        .into_iter()
        .filter_map(|currency| Some((total(now, currency)?, currency)))
        .max_by_key(|(value, _)| *value);
    let (value, currency) = largest?;
    let earlier = total(before, currency).filter(|earlier| *earlier > Decimal::ZERO)?;
    let size = value.checked_sub(earlier)?.abs().checked_div(earlier)?;
    (size >= SMALLEST).then(|| Changed {
        tile,
        unit: now.unit,
        currency: currency.map(str::to_owned),
        now: value,
        before: earlier,
        size,
    })
}

impl Changed<'_> {
    fn in_words(&self, language: Language) -> Option<String> {
        let change = compare(self.now, self.before, &[], self.unit, self.tile.better, language)?;
        let shown =
            |value| print(value, self.unit, self.currency.as_deref(), Precision::Short, language);
        let (now, before) = (shown(self.now), shown(self.before));
        let is_up = match change.direction {
            Direction::Up => true,
            Direction::Down => false,
            Direction::Flat => return None,
        };
        let title = self.tile.title.of(language);
        Some(words::changed(title, is_up, &change.amount, &before, &now, language))
    }
}

/// The group that explains most of a change, where the dashboard splits the metric into groups that add up.
fn explained(
    dashboard: &Dashboard,
    change: &Changed<'_>,
    scene: &TileContext<'_>,
) -> Option<String> {
    let (selection, compared) = (scene.selection, scene.selection.compared()?);
    let ranking = dashboard.tiles.iter().find_map(|tile| match tile {
        Tile::Ranking(tile)
            if tile.metric == change.tile.metric && tile.additive && !tile.only_given =>
        {
            Some(tile)
        }
        _ => None,
    })?;
    let of = |window| {
        let request = selection.totals(&ranking.metric, window, &[&ranking.by]);
        scene.answers.get(&request).ok()
    };
    let (now, before) = (of(&selection.window)?, of(&compared)?);
    let whole = change.now.checked_sub(change.before)?;
    let (name, was, is) = largest_part(now, before, change, whole)?;
    let share = is.checked_sub(was)?.checked_div(whole)?;
    let shown = |value| {
        print(value, change.unit, change.currency.as_deref(), Precision::Short, scene.language)
    };
    let share = crate::number::ratio(share.min(Decimal::ONE), Precision::Short, scene.language);
    Some(words::explained(&name, &share, &shown(was), &shown(is), scene.language))
}

/// The group whose change has the sign of the whole, and is the largest.
fn largest_part(
    now: &MetricAnswer,
    before: &MetricAnswer,
    change: &Changed<'_>,
    whole: Decimal,
) -> Option<(String, Decimal, Decimal)> {
    let value_in = |answer: &MetricAnswer, name: Option<&str>| {
        let same = |row: &&query::metric::MetricRow| {
            group(row) == name && row.currency.as_deref() == change.currency.as_deref()
        };
        let found = answer.rows.iter().find(same).and_then(|row| row.value);
        found.map(|value| value.to_decimal()).unwrap_or_default()
    };
    now.rows
        .iter()
        .chain(&before.rows)
        .filter_map(|row| {
            let name = group(row)?;
            let (was, is) = (value_in(before, Some(name)), value_in(now, Some(name)));
            let part = is.checked_sub(was)?;
            let same_sign = !part.is_zero() && part.is_sign_positive() == whole.is_sign_positive();
            same_sign.then(|| (name.to_owned(), was, is, part.abs()))
        })
        .max_by(|a, b| a.3.cmp(&b.3).then_with(|| b.0.cmp(&a.0)))
        .map(|(name, was, is, _)| (name, was, is))
}

/// Which goals are met.
fn goals(dashboard: &Dashboard, scene: &TileContext<'_>) -> Option<String> {
    let (selection, language) = (scene.selection, scene.language);
    let (mut met, mut missed) = (Vec::new(), Vec::new());
    for tile in &dashboard.tiles {
        let Tile::Kpi(tile) = tile else { continue };
        let Some(goal) = selection.goal(&tile.metric) else { continue };
        let request = selection.totals(&tile.metric, &selection.window, &[]);
        let Ok(answer) = scene.answers.get(&request) else { continue };
        let Some(value) = total(answer, None) else { continue };
        let title = tile.title.of(language);
        if tile.meets(value, goal) {
            met.push(title.to_owned());
        } else {
            let shown = |value| print(value, answer.unit, None, Precision::Short, language);
            missed.push(words::of_goal(title, &shown(value), &shown(goal), language));
        }
    }
    words::goals(&met, &missed, language)
}

/// What is expected of the first metric that is forecast.
fn expected(dashboard: &Dashboard, scene: &TileContext<'_>) -> Option<String> {
    dashboard.tiles.iter().find_map(|tile| match tile {
        Tile::Series(tile) => tile.outlook(scene),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use query::metric::{MetricRequest, MetricRow};

    use super::*;
    use crate::{Band, Forecasts, MetricResult, Selection, Window, answer::Answers, tile::Charts};

    const DASHBOARD: &str = "name: x\ntitle: {en: a, zh-CN: b}\ntiles:\n\
        - {kind: kpi, metric: requests, title: {en: Requests, zh-CN: 请求数}, note: {en: n, zh-CN: n}}\n\
        - {kind: kpi, metric: tokens, title: {en: Tokens, zh-CN: 令牌数}, note: {en: n, zh-CN: n}}\n\
        - {kind: ranking, metric: requests, by: model, additive: true, item: {en: m, zh-CN: m}, \
           title: {en: r, zh-CN: r}, note: {en: n, zh-CN: n}}\n\
        - {kind: series, metric: requests, forecast: {horizon_days: 7}, \
           title: {en: Requests over time, zh-CN: 走势}, note: {en: n, zh-CN: n}}\n";

    fn row(at: Option<DateTime<Utc>>, group: &[&str], value: i64) -> MetricRow {
        MetricRow {
            at,
            group: group.iter().map(|name| Some((*name).to_owned())).collect(),
            other: false,
            currency: None,
            value: Some(value.into()),
            suppressed: false,
        }
    }

    /// Requests rose from 100 to 120, tokens hardly; model a more than that, model b fell.
    fn answer(selection: &Selection, request: &MetricRequest) -> MetricResult {
        let is_now = request.from == selection.window.from();
        let rows = match (request.metric.as_str(), request.grain, request.by.is_empty()) {
            (_, Some(_), _) => vec![row(Some(request.from), &[], 4)],
            ("requests", None, true) => vec![row(None, &[], if is_now { 120 } else { 100 })],
            ("requests", None, false) => {
                let (a, b) = if is_now { (65, 55) } else { (40, 60) };
                vec![row(None, &["a"], a), row(None, &["b"], b)]
            }
            _ => vec![row(None, &[], if is_now { 1_001 } else { 1_000 })],
        };
        let answer = MetricAnswer {
            metric: request.metric.clone(),
            unit: Unit::Count,
            grain: request.grain,
            by: request.by.clone(),
            rows,
            sql: String::new(),
            read: Default::default(),
        };
        MetricResult { request: request.clone(), answer }
    }

    fn told(language: Language, with_before: bool) -> Vec<String> {
        let now: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
        let selection = Selection::new(Window::last_days(now, 7).unwrap());
        let coverage = selection.coverage().unwrap();
        let mut covered = answer(&selection, &coverage).answer;
        if !with_before {
            covered.rows.clear();
        }
        let selection = selection.with_coverage(&covered);
        let dashboard = Dashboard::parse(DASHBOARD).unwrap();
        let answers: Vec<_> = dashboard
            .requests(&selection)
            .iter()
            .map(|request| answer(&selection, request))
            .collect();
        let mut forecasts = Forecasts::default();
        let band = Band { at: selection.window.to(), value: 20.0, lower: 15.0, upper: 25.0 };
        forecasts.insert("requests", None, vec![band]);
        let scene = TileContext {
            selection: &selection,
            answers: Answers(&answers),
            analyses: &[],
            system: &Default::default(),
            queries: &Default::default(),
            annotations: &[],
            anomalies: &[],
            forecasts: &forecasts,
            language,
            charts: Charts::Page,
            links: None,
            server: None,
        };
        let sentences = sentences(&dashboard, &scene);
        sentences.into_iter().map(|text| text.replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn the_largest_change_is_told_with_its_largest_part_and_the_forecast() {
        let expected = [
            "Requests rose by 20.0 %, from 100 to 120.",
            "a explains 100.0 % of it, from 40 to 65.",
            "Requests over time: Forecast for Nov 23: 20, likely 15 to 25.",
        ];
        assert_eq!(told(Language::En, true), expected);
        assert_eq!(told(Language::ZhCn, true)[0], "请求数上升 20.0%，从 100 到 120。");
    }

    #[test]
    fn goals_are_met_or_missed() {
        let now: DateTime<Utc> = "2026-11-23T07:05:41Z".parse().unwrap();
        let catalog = query::metric::Catalog::built_in().unwrap();
        let selection = Selection::new(Window::last_days(now, 7).unwrap())
            .compared_with(None)
            .with_filters(&[], &catalog, query::metric::Audience::Staff)
            .unwrap();
        let tile = |metric: &str, title: &str| {
            format!(
                "  - {{kind: kpi, metric: {metric}, title: {{en: {title}, zh-CN: b}}, note: {{en: n, zh-CN: n}}}}\n"
            )
        };
        let yaml = format!(
            "name: x\ntitle: {{en: a, zh-CN: b}}\ntiles:\n{}{}{}",
            tile("registration_conversion", "Registrations"),
            tile("paid_conversion", "Payments"),
            // Its goal is of a month, and the window is a week.
            tile("requests", "Requests"),
        );
        let dashboard = Dashboard::parse(&yaml).unwrap();
        let value = |metric: &str| match metric {
            "registration_conversion" => "0.151".parse().unwrap(),
            "paid_conversion" => "0.049".parse().unwrap(),
            _ => Decimal::ONE,
        };
        let answers: Vec<MetricResult> = dashboard
            .requests(&selection)
            .iter()
            .map(|request| {
                let mut result = answer(&selection, request);
                result.answer.unit = Unit::Ratio;
                for row in &mut result.answer.rows {
                    row.value = query::metric::Number::from_decimal(value(&request.metric));
                }
                result
            })
            .collect();
        let scene = TileContext {
            selection: &selection,
            answers: Answers(&answers),
            analyses: &[],
            system: &Default::default(),
            queries: &Default::default(),
            annotations: &[],
            anomalies: &[],
            forecasts: &Forecasts::default(),
            language: Language::En,
            charts: Charts::Page,
            links: None,
            server: None,
        };
        let said = sentences(&dashboard, &scene).join(" ").replace('\u{a0}', " ");
        assert_eq!(said, "Goals met: Registrations; missed: Payments (4.9 %, goal 5.0 %).");
    }

    #[test]
    fn without_a_period_before_no_change_is_told() {
        let expected = [
            "The data does not cover the period before, so nothing is compared.",
            "Requests over time: Forecast for Nov 23: 20, likely 15 to 25.",
        ];
        assert_eq!(told(Language::En, false), expected);
    }
}
