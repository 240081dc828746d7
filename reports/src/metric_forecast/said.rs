//! What a forecast says of itself, in sentences.

use std::sync::LazyLock;

use pages::Vocabulary;
use query::{
    Zone,
    metric::{Grain, Unit},
};

use super::MetricForecast;
use crate::{Language, number::print_float};

pub(super) static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../../words/forecast.yaml")).unwrap_or_default()
});

/// A word of forecasts, with its places filled in.
pub fn forecast_word(name: &str, places: &[(&str, &str)], language: Language) -> String {
    WORDS.filled(name, places, language)
}

/// Outliers that are named, the last.
const NAMED: usize = 5;

/// The trend, the season, what was left out, and how good such forecasts were.
pub fn said(
    forecast: &MetricForecast,
    unit: Unit,
    grain: Grain,
    zone: Zone,
    language: Language,
) -> Vec<String> {
    let percent = |share: f64| print_float(Some(share), Unit::Ratio, None, language);
    let currency = forecast.currency.as_deref();
    let mut sentences = Vec::new();
    if let Some(explanation) = forecast.explanation {
        let sign = if explanation.slope < 0.0 { "−" } else { "+" };
        let signed = |text: String| format!("{sign}{text}");
        let slope = print_float(Some(explanation.slope.abs()), unit, currency, language);
        let part = percent((explanation.slope / explanation.mean).abs());
        let places = [
            ("count", forecast.learned.to_string()),
            ("buckets", WORDS.text(&format!("{}s", grain.name()), language).to_owned()),
            ("bucket", WORDS.text(grain.name(), language).to_owned()),
            ("slope", signed(slope)),
            ("percent", signed(part)),
        ];
        if explanation.mean != 0.0 {
            sentences.push(WORDS.filled(
                "trend",
                &places.each_ref().map(|(k, v)| (*k, &**v)),
                language,
            ));
        }
        let shares = [explanation.trend_share, explanation.season_share, explanation.rest_share];
        let [trend, season, rest] = shares.map(percent);
        let places = [("trend", &*trend), ("season", &*season), ("rest", &*rest)];
        sentences.push(WORDS.filled("shares", &places, language));
    }
    if !forecast.outliers.is_empty() {
        let form = if grain == Grain::Hour { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d" };
        let last = forecast.outliers.iter().rev().take(NAMED).rev();
        let dates: Vec<String> = last.map(|at| zone.local(*at).format(form).to_string()).collect();
        sentences.push(WORDS.filled("outliers", &[("dates", &dates.join(", "))], language));
    }
    let accuracy = &forecast.backtest;
    if let (Some(ours), Some(naive)) = (accuracy.mase, accuracy.naive_mase) {
        let origins = accuracy.origins.to_string();
        let less = percent(1.0 - ours / naive);
        let name = if ours < naive { "better" } else { "worse" };
        let places = [("origins", &*origins), ("percent", &*less)];
        sentences.push(WORDS.filled(name, &places, language));
    }
    if let Some(coverage) = accuracy.coverage {
        sentences.push(WORDS.filled("coverage", &[("percent", &percent(coverage))], language));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric_forecast::{LEVELS, forecast_metric, tests::answer};

    #[test]
    fn a_forecast_explains_itself_in_both_languages() {
        let week = [100, 110, 120, 115, 105, 40, 30];
        let mut history =
            answer((0..140).map(|day| 300 + 2 * day + week[day as usize % 7] + day * 7 % 5));
        history.rows[100].value = Some(9_000.into());
        let forecast = forecast_metric(&history, &LEVELS, Zone::UTC).unwrap();
        let of = |language| said(&forecast, Unit::Count, Grain::Day, Zone::UTC, language);
        insta::assert_snapshot!(of(Language::En).join("\n"));
        insta::assert_snapshot!(of(Language::ZhCn).join("\n"));
    }
}
