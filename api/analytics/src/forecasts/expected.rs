//! What the last forecasts say of the end of the month, of the peak and of MRR, as a table of dashboards and reports.

use pages::Text;
use query::metric::Metric;
use reports::{SystemName, SystemTable, SystemValue};
use serde_json::Value;
use state::store::StoreError;

use super::{kept, work::MAIN};
use crate::Lake;

/// The part of a forecast, its word, and the names of its three values.
const PARTS: [(&str, &str, [&str; 3]); 3] = [
    ("month_end", "expected_month", ["value", "lower", "upper"]),
    ("peak", "expected_peak", ["value", "", "upper"]),
    ("scenarios", "expected_year", ["median", "worst", "best"]),
];

pub(crate) async fn table(lake: &Lake) -> Result<SystemTable, StoreError> {
    let mut rows = Vec::new();
    for (name, grain) in MAIN {
        let Some(metric) = lake.catalog.metric(name) else { continue };
        let last = kept::list(&lake.state.store, name, grain, 1).await?;
        for kept in last {
            rows.extend(rows_of(metric, &kept.forecast));
        }
    }
    Ok(SystemTable { heads: vec!["what", "expected", "low", "high"], rows })
}

fn rows_of(metric: &Metric, forecast: &Value) -> Vec<(SystemName, Vec<SystemValue>)> {
    let currency = forecast["currency"].as_str();
    let row = |(part, word, names): (&str, &'static str, [&str; 3])| {
        let found = match part {
            // Of the points ahead, the last.
            "scenarios" => forecast[part]["points"].as_array()?.last()?,
            _ => Some(&forecast[part]).filter(|part| part.is_object())?,
        };
        let amount = |name: &str| SystemValue::Amount {
            value: found[name].as_f64(),
            unit: metric.unit,
            currency: currency.map(str::to_owned),
        };
        let title = Text { en: metric.title.en.clone(), zh_cn: metric.title.zh_cn.clone() };
        let name = SystemName::OfMetric(word, title);
        Some((name, names.map(amount).to_vec()))
    };
    PARTS.into_iter().filter_map(row).collect()
}
