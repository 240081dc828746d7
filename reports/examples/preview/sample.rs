//! Made-up answers: a growing business with weekends, by formulas instead of chance.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use query::metric::{Grain, MetricAnswer, MetricRequest, MetricRow, Number, Unit};
use reports::{Band, Dashboard, Forecasts, MetricResult, Selection};
use rust_decimal::Decimal;

pub(crate) const MODELS: [&str; 12] = [
    "claude-sonnet-4.5",
    "gpt-5-mini",
    "qwen3-max",
    "deepseek-v3.2",
    "gemini-2.5-flash",
    "llama-4-maverick",
    "claude-haiku-4.5",
    "mistral-large-3",
    "gpt-5",
    "qwen3-coder-480b-a35b-instruct",
    "kimi-k2",
    "text-embedding-4-large",
];

const ERROR_CODES: [&str; 4] =
    ["rate_limited", "upstream_timeout", "invalid_request", "overloaded"];

/// Answers to everything the dashboard asks. `models` are the values of every dimension but
/// `error_code`; money comes in each of the currencies.
pub(crate) fn answers(
    dashboard: &Dashboard,
    selection: &Selection,
    models: &[&str],
    currencies: &[&str],
) -> Vec<MetricResult> {
    dashboard
        .requests(selection)
        .into_iter()
        .map(|request| MetricResult { answer: answer(&request, models, currencies), request })
        .collect()
}

/// Two weeks ahead, wider every day.
pub(crate) fn forecasts(
    dashboard: &Dashboard,
    selection: &Selection,
    currencies: &[&str],
) -> Forecasts {
    let mut forecasts = Forecasts::default();
    for outlook in dashboard.forecast_requests(selection) {
        let metric = &outlook.history.metric;
        let kept: Vec<Option<&str>> = match unit(metric) {
            Unit::Money => currencies.iter().copied().map(Some).collect(),
            _ => vec![None],
        };
        for (index, currency) in kept.into_iter().enumerate() {
            let bands = (0..i64::from(outlook.horizon_days)).map(|day| {
                let at = selection.window.to() + TimeDelta::days(day);
                let value = value(metric, at, 1.0 / (1.0 + 1.7 * index as f64));
                let spread = 0.04 + 0.012 * day as f64;
                Band { at, value, lower: value * (1.0 - spread), upper: value * (1.0 + spread) }
            });
            forecasts.insert(metric, currency, bands.collect());
        }
    }
    forecasts
}

fn answer(request: &MetricRequest, models: &[&str], currencies: &[&str]) -> MetricAnswer {
    let unit = unit(&request.metric);
    let groups: Vec<Option<&str>> = match request.by.first().map(String::as_str) {
        None => vec![None],
        Some("error_code") => {
            std::iter::once(None).chain(ERROR_CODES.into_iter().map(Some)).collect()
        }
        Some(_) => models.iter().copied().map(Some).collect(),
    };
    let moneys: Vec<Option<&str>> = match unit {
        Unit::Money => currencies.iter().copied().map(Some).collect(),
        _ => vec![None],
    };
    let mut rows = vec![];
    for at in buckets(request) {
        for (rank, group) in groups.iter().enumerate() {
            for (index, currency) in moneys.iter().enumerate() {
                let part =
                    0.45 * 0.55_f64.powi(rank.try_into().unwrap_or(9)) / (1.0 + 1.7 * index as f64);
                let days = match request.grain {
                    None => (request.to - request.from).num_days().max(1),
                    Some(_) => 1,
                };
                let middle = at.unwrap_or(request.from + (request.to - request.from) / 2);
                // A total is taken at the middle of the window, which may be a weekend.
                let part_of_week = match (request.grain, middle.weekday().number_from_monday()) {
                    (None, 6 | 7) => 0.91 / 0.68,
                    (None, _) => 0.91,
                    _ => 1.0,
                };
                let part = if request.by.is_empty() { part / 0.45 } else { part };
                let whole = match request.metric.as_str() {
                    "requests" | "tokens" | "usage_revenue" => days as f64 * part,
                    "mrr" | "active_organizations" => part,
                    _ => 1.0 + 0.21 * rank as f64,
                };
                rows.push(MetricRow {
                    at,
                    group: if request.by.is_empty() {
                        vec![]
                    } else {
                        vec![group.map(str::to_owned)]
                    },
                    other: false,
                    suppressed: false,
                    currency: currency.map(str::to_owned),
                    value: decimal(unit, value(&request.metric, middle, whole * part_of_week))
                        .and_then(Number::from_decimal),
                });
            }
        }
    }
    MetricAnswer {
        metric: request.metric.clone(),
        unit,
        grain: request.grain,
        by: request.by.clone(),
        rows,
        sql: "SELECT …".to_owned(),
        read: Default::default(),
    }
}

fn buckets(request: &MetricRequest) -> Vec<Option<DateTime<Utc>>> {
    let step = match request.grain {
        None => return vec![None],
        Some(Grain::Minute) => TimeDelta::minutes(1),
        Some(Grain::Hour) => TimeDelta::hours(1),
        Some(Grain::Week) => TimeDelta::days(7),
        Some(Grain::Day | Grain::Month | Grain::Quarter | Grain::Year) => TimeDelta::days(1),
    };
    std::iter::successors(Some(request.from), |at| Some(*at + step))
        .take_while(|at| *at < request.to)
        .map(Some)
        .collect()
}

fn unit(metric: &str) -> Unit {
    match metric {
        "usage_revenue" | "mrr" => Unit::Money,
        "error_rate" | "registration_conversion" => Unit::Ratio,
        "p95_latency" => Unit::Milliseconds,
        _ => Unit::Count,
    }
}

fn value(metric: &str, at: DateTime<Utc>, whole: f64) -> f64 {
    let day = at.timestamp() as f64 / 86_400.0;
    let weekend = if at.weekday().number_from_monday() > 5 { 0.68 } else { 1.0 };
    let growth = ((day - 20_700.0) * 0.0035).exp();
    let wobble = 1.0 + 0.05 * (day * 1.7).sin() + 0.03 * (day * 0.61).cos();
    whole
        * match metric {
            "requests" => 41_300.0 * growth * weekend * wobble,
            "tokens" => 61_200_000.0 * growth * weekend * wobble,
            "usage_revenue" => 1_830.0 * growth * weekend * wobble,
            "mrr" => 48_200.0 * growth,
            "active_organizations" => 212.0 * growth,
            "error_rate" => 0.0123 * wobble * if weekend < 1.0 { 1.35 } else { 1.0 },
            "p95_latency" => 842.0 / growth * wobble,
            _ => 0.046 * growth,
        }
}

fn decimal(unit: Unit, value: f64) -> Option<Decimal> {
    let places = match unit {
        Unit::Count | Unit::Milliseconds | Unit::Number => 0,
        Unit::Ratio => 6,
        Unit::Money => 4,
    };
    Decimal::try_from(value).ok().map(|value| value.trunc_with_scale(places))
}
