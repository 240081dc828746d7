//! `/forecasts`: what is expected, as a page for people.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use pages::Language;
use query::metric::{Grain, Metric};
use reports::{
    metric_forecast::{ForecastCard, ForecastsPage, PastAccuracy, forecast_word, forecasts_page},
    number::print_float,
};
use rest::{principal::Gate, problem::Problem};
use serde_json::Value;

use super::{
    kept::{self, Kept},
    past::accuracy,
    work::MAIN,
};
use crate::{
    Lake,
    queries::staff_only,
    reporting::{Asked, opened, page_of},
};

/// Buckets ahead whose accuracy is said.
const AHEAD: [usize; 4] = [1, 7, 14, 30];

pub(super) async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    staff_only(&principal, "the forecasts that are kept")?;
    let mut cards = Vec::new();
    for (name, grain) in MAIN {
        let Some(metric) = lake.catalog.metric(name) else { continue };
        let all = kept::list(&lake.state.store, name, grain, kept::READ).await?;
        let Some(last) = all.first() else { continue };
        let past = accuracy(&lake, &principal, name, grain, &all).await?;
        let words = InWords { lake: &lake, metric, grain, last, language: reader.language };
        cards.push(words.card(&past));
    }
    page_of(forecasts_page(&reader, &ForecastsPage { cards }))
}

/// A forecast as it is put in words.
struct InWords<'a> {
    lake: &'a Lake,
    metric: &'a Metric,
    grain: Grain,
    last: &'a Kept,
    language: Language,
}

impl InWords<'_> {
    fn card(&self, past: &[PastAccuracy]) -> ForecastCard {
        let bucket = forecast_word(self.grain.name(), &[], self.language);
        let title = match self.language {
            Language::En => &self.metric.title.en,
            Language::ZhCn => &self.metric.title.zh_cn,
        };
        let places = [("metric", title.as_str()), ("bucket", &*bucket)];
        let said = &self.last.forecast["explanation"]["said"][self.language.tag()];
        let notes = said.as_array().into_iter().flatten().filter_map(Value::as_str);
        ForecastCard {
            title: forecast_word("title", &places, self.language),
            lines: self.lines(),
            past: self.past(past),
            notes: notes.map(str::to_owned).collect(),
        }
    }

    fn number(&self, value: &Value) -> String {
        let currency = self.last.forecast["currency"].as_str();
        print_float(value.as_f64(), self.metric.unit, currency, self.language)
    }

    fn percent(&self, share: Option<f64>) -> String {
        print_float(share, query::metric::Unit::Ratio, None, self.language)
    }

    /// A rate with its sign.
    fn rate(&self, value: &Value) -> String {
        let rate = value.as_f64();
        let sign = if rate.is_some_and(|rate| rate < 0.0) { "−" } else { "+" };
        format!("{sign}{}", self.percent(rate.map(f64::abs)))
    }

    fn time(&self, at: DateTime<Utc>) -> String {
        let form = match self.grain {
            Grain::Hour => "%Y-%m-%d %H:%M",
            Grain::Month => "%Y-%m",
            _ => "%Y-%m-%d",
        };
        self.lake.metrics.zone.local(at).format(form).to_string()
    }

    fn word(&self, name: &str, places: &[(&str, String)]) -> String {
        let places: Vec<(&str, &str)> =
            places.iter().map(|(place, value)| (*place, value.as_str())).collect();
        forecast_word(name, &places, self.language)
    }

    fn lines(&self) -> Vec<String> {
        let forecast = &self.last.forecast;
        let mut lines = Vec::new();
        let month = &forecast["month_end"];
        if month.is_object() {
            let at = self.time(self.last.from);
            let number = |name: &str| self.number(&month[name]);
            let places = [
                ("so_far", number("so_far")),
                ("at", at),
                ("value", number("value")),
                ("lower", number("lower")),
                ("upper", number("upper")),
            ];
            lines.push(self.word("month_end", &places));
        }
        let peak = &forecast["peak"];
        if peak.is_object() {
            let number = |name: &str| self.number(&peak[name]);
            let places = [
                ("upper", number("upper")),
                ("days", peak["days"].to_string()),
                ("value", number("value")),
                ("observed", number("observed")),
            ];
            lines.push(self.word("peak", &places));
        }
        let scenarios = &forecast["scenarios"];
        if let Some(end) = scenarios["points"].as_array().and_then(|points| points.last()) {
            let places = [
                ("median", self.number(&end["median"])),
                ("worst", self.number(&end["worst"])),
                ("best", self.number(&end["best"])),
                ("months", scenarios["months"].to_string()),
                ("median_rate", self.rate(&scenarios["median_rate"])),
                ("worst_rate", self.rate(&scenarios["worst_rate"])),
                ("best_rate", self.rate(&scenarios["best_rate"])),
            ];
            lines.push(self.word("scenarios", &places));
        }
        let points = forecast["points"].as_array().map(Vec::as_slice).unwrap_or_default();
        // The first one, a week or a day later, and the last one.
        let step = if self.grain == Grain::Hour { 24 } else { 7 };
        let mut shown = vec![0, step - 1, points.len().saturating_sub(1)];
        shown.dedup();
        shown.retain(|index| *index < points.len());
        lines.extend(shown.into_iter().map(|index| self.point(&points[index])));
        lines
    }

    fn point(&self, point: &Value) -> String {
        let at = point["at"].as_str().and_then(|at| at.parse().ok());
        let widest = point["intervals"].as_array().and_then(|intervals| intervals.last());
        let end = |name: &str| self.number(widest.map_or(&Value::Null, |widest| &widest[name]));
        let places = [
            ("at", at.map(|at| self.time(at)).unwrap_or_default()),
            ("value", self.number(&point["value"])),
            ("lower", end("lower")),
            ("upper", end("upper")),
        ];
        self.word("point", &places)
    }

    fn past(&self, past: &[PastAccuracy]) -> Vec<String> {
        let buckets = forecast_word(&format!("{}s", self.grain.name()), &[], self.language);
        let said = |one: &PastAccuracy| {
            let places = [
                ("ahead", one.ahead.to_string()),
                ("buckets", buckets.clone()),
                ("error", self.percent(one.relative_error)),
                ("coverage", self.percent(Some(one.coverage))),
                ("count", one.count.to_string()),
            ];
            self.word("past", &places)
        };
        let known = past.iter().filter(|one| AHEAD.contains(&one.ahead));
        let said: Vec<String> = known.map(said).collect();
        if said.is_empty() { vec![self.word("no_past", &[])] } else { said }
    }
}
