//! What is asked of metrics, in an address and in a body.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::{
    AnswerFormat, QueryError, Reason, Zone,
    metric::{Filter, Grain, MetricQuery, Order, WindowRequest},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};

use crate::queries::Csv;

/// What is asked of one metric.
#[derive(Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct MetricParameters {
    /// RFC 3339, or a date: its midnight in `tz`. Left out: 30 days before `to`.
    pub from: Option<String>,
    /// Not included itself. Left out: the midnight that began today.
    pub to: Option<String>,
    /// A named range instead of `from` and `to`: `today`, `yesterday`, `last_N_hours`, `last_N_days`, `last_N_weeks`,
    /// `last_N_months`, `week_to_date`, `month_to_date`, `quarter_to_date`, `year_to_date`, `previous_week`,
    /// `previous_month`, `previous_quarter`, `previous_year`.
    pub range: Option<String>,
    /// `true`: the window ends with today, as far as it is.
    #[serde(default)]
    pub today: bool,
    /// `minute`, `hour`, `day`, `week` (from Monday), `month`, `quarter` or `year`. Left out: one value for the whole
    /// window.
    pub grain: Option<String>,
    /// The time zone of dates, ranges and buckets, such as `Europe/Berlin`. Left out: the setting `metrics.zone`.
    pub tz: Option<String>,
    /// Dimensions to split by, separated by commas; at most 3.
    pub by: Option<String>,
    /// `model=gpt-4o`, `model!=gpt-4o`, `region=eu,us`, `model~gpt` (contains) or `error_code=` (no value), joined by `;`;
    /// or the JSON form of `POST /v1/metrics/query`.
    pub filter: Option<String>,
    /// `previous_period` or `previous_year`: each value beside the one of that window.
    pub compare: Option<String>,
    /// How many groups are shown separately, 1 to 100: those with the largest values over the whole window. All others are
    /// one row.
    pub limit: Option<usize>,
    /// What the rows of a bucket are ordered by: the metric, a dimension, or `at`; with `-` before it, the largest first.
    pub order: Option<String>,
    /// What stands in buckets without events: `zero`, `null`, or `none`: they are left out.
    pub fill: Option<String>,
    /// Options of the metric, such as `window=12M`, joined by `;`. `GET /v1/metrics` lists them.
    pub options: Option<String>,
    /// `json` (the default), `csv`, `arrow` or `parquet`; else the `Accept` header says.
    #[param(value_type = Option<String>)]
    pub format: Option<AnswerFormat>,
    /// `spreadsheet`: CSV for a spreadsheet, with a `'` before what it would run as a formula.
    pub csv: Option<Csv>,
    /// An earlier answer's `as_of`.
    pub as_of: Option<String>,
}

/// What is asked of several metrics at one cut.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricQueryBody {
    /// The names of 1 to 20 metrics.
    pub metrics: Vec<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub range: Option<String>,
    #[serde(default)]
    pub today: bool,
    pub grain: Option<String>,
    pub tz: Option<String>,
    #[serde(default)]
    pub by: Vec<String>,
    /// `{"dimension": "model", "operator": "=", "value": "gpt-4o"}`. Operators: `=`, `!=`, `in` and `not in` (with
    /// `values`), `contains`, `is null`, `is not null`. `{"and": […]}` and `{"or": […]}` join filters.
    #[serde(default, deserialize_with = "filter")]
    pub filter: Option<Filter>,
    pub compare: Option<String>,
    /// Groups are ranked by the first metric.
    pub limit: Option<usize>,
    pub order: Option<String>,
    pub fill: Option<String>,
    /// Options of the metrics that have them, such as `{"window": "12M"}`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[schema(value_type = Option<String>)]
    pub format: Option<AnswerFormat>,
    pub csv: Option<Csv>,
    pub as_of: Option<String>,
}

/// A filter, with a sentence of ours where it is none.
fn filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Filter>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    let read = |value| read_filter(value).map_err(|error| de::Error::custom(error.message));
    value.map(read).transpose()
}

fn read_filter(value: serde_json::Value) -> Result<Filter, QueryError> {
    serde_json::from_value(value).map_err(|_| {
        refused(
            "a filter is {\"dimension\", \"operator\", \"value\"} or {\"and\": […]} or {\"or\": […]}; operators: =, !=, in, \
             not in (with \"values\"), contains, is null, is not null; values are texts",
        )
    })
}

pub(super) fn refused(message: impl Into<String>) -> QueryError {
    QueryError::new(Reason::Parameters, message)
}

impl MetricParameters {
    /// The same question about the metrics named.
    ///
    /// # Errors
    /// When `filter` is no filter.
    pub fn into_body(self, metrics: Vec<String>) -> Result<MetricQueryBody, QueryError> {
        let names = |text: &str| -> Vec<String> {
            text.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Ok(MetricQueryBody {
            metrics,
            from: self.from,
            to: self.to,
            range: self.range,
            today: self.today,
            grain: self.grain,
            tz: self.tz,
            by: self.by.as_deref().map(names).unwrap_or_default(),
            filter: self
                .filter
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(parse_filter)
                .transpose()?,
            compare: self.compare,
            limit: self.limit,
            order: self.order,
            fill: self.fill,
            options: self.options.as_deref().map(parse_options).transpose()?.unwrap_or_default(),
            format: self.format,
            csv: self.csv,
            as_of: self.as_of,
        })
    }
}

/// Options such as `window=12M`, joined by `;`.
pub(super) fn parse_options(text: &str) -> Result<BTreeMap<String, String>, QueryError> {
    let options = text.split(';').map(str::trim).filter(|option| !option.is_empty());
    let pair = |option: &str| {
        let pair = option.split_once('=');
        let pair = pair.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        pair.ok_or_else(|| refused(format!("`options` is NAME=VALUE;…, not `{option}`")))
    };
    options.map(pair).collect()
}

/// A filter in short, or as JSON.
pub(crate) fn parse_filter(text: &str) -> Result<Filter, QueryError> {
    if text.starts_with('{') {
        let value = serde_json::from_str(text).map_err(|_| refused("`filter` is not JSON"))?;
        return read_filter(value);
    }
    let mut conditions: Vec<_> = text.split(';').map(Filter::parse).collect::<Result<_, _>>()?;
    Ok(match conditions.len() {
        1 => conditions.remove(0),
        _ => Filter::all(conditions),
    })
}

impl MetricQueryBody {
    /// The question, for a request of `now`. `zone` is the one of a question that names none.
    ///
    /// # Errors
    /// When a text is none of those that it may be.
    pub fn resolve(&self, zone: Zone, now: DateTime<Utc>) -> Result<MetricQuery, QueryError> {
        let zone = self.tz.as_deref().map(str::parse).transpose()?.unwrap_or(zone);
        let (from, to, range) = (self.from.as_deref(), self.to.as_deref(), self.range.as_deref());
        let window = WindowRequest { from, to, range, today: self.today, zone }.resolve(now)?;
        Ok(MetricQuery {
            metrics: self.metrics.clone(),
            window,
            grain: self.grain.as_deref().map(grain).transpose()?,
            by: self.by.clone(),
            filter: self.filter.clone(),
            compare: one_of("compare", self.compare.as_deref(), "previous_period, previous_year")?,
            limit: self.limit,
            order: self.order.as_deref().map(Order::parse),
            fill: one_of("fill", self.fill.as_deref(), "zero, null, none")?.unwrap_or_default(),
            options: self.options.clone(),
        })
    }
}

/// A word of a closed list.
fn one_of<T: std::str::FromStr>(
    name: &str,
    text: Option<&str>,
    words: &str,
) -> Result<Option<T>, QueryError> {
    let Some(text) = text else { return Ok(None) };
    let known = words.split(", ").any(|word| word == text);
    let word = if known { text.parse().ok() } else { None };
    word.map(Some).ok_or_else(|| refused(format!("`{name}` is one of {words}")))
}

/// A width of a bucket, by its name.
///
/// # Errors
/// When there is none of that name.
pub fn grain(text: &str) -> Result<Grain, QueryError> {
    text.parse().map_err(|_| {
        let names: Vec<_> = Grain::ALL.iter().map(|grain| grain.name()).collect();
        refused(format!("`grain` is one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(body: &str) -> Result<MetricQuery, String> {
        let body: MetricQueryBody =
            serde_json::from_str(body).map_err(|error| error.to_string())?;
        let now = "2026-11-23T15:00:00Z".parse().unwrap();
        body.resolve(Zone::UTC, now).map_err(|error| error.message)
    }

    #[test]
    fn questions_are_read_or_refused_by_name() {
        let query = resolve(
            r#"{"metrics":["requests"],"range":"month_to_date","tz":"Europe/Berlin","grain":"day","compare":"previous_period",
                "filter":{"dimension":"model","operator":"=","value":"a"},"limit":3,"by":["model"],"order":"-requests","fill":"zero"}"#,
        )
        .unwrap();
        assert_eq!(query.window.from.to_rfc3339(), "2026-10-31T23:00:00+00:00");
        assert_eq!(query.order, Some(Order { key: "requests".into(), descending: true }));
        for (body, expected) in [
            (
                r#"{"metrics":["a"],"grain":"fortnight"}"#,
                "`grain` is one of minute, hour, day, week, month, quarter, year",
            ),
            (r#"{"metrics":["a"],"tz":"Mars"}"#, "`Mars` is not a time zone"),
            (r#"{"metrics":["a"],"range":"ever"}"#, "there is no range `ever`"),
            (
                r#"{"metrics":["a"],"compare":"yesterday"}"#,
                "`compare` is one of previous_period, previous_year",
            ),
            (r#"{"metrics":["a"],"fill":"auto"}"#, "`fill` is one of zero, null, none"),
            (
                r#"{"metrics":["a"],"filter":{"dimension":"m","operator":"like","value":"x"}}"#,
                "a filter is",
            ),
            (r#"{"metrics":["a"],"color":"red"}"#, "unknown field `color`"),
        ] {
            let error = resolve(body).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn an_address_says_the_same_as_a_body() {
        let asked = |filter: &str| {
            let parameters =
                MetricParameters { filter: Some(filter.into()), ..MetricParameters::default() };
            parameters.into_body(vec!["requests".into()]).map(|body| body.filter)
        };
        let both = asked("model=a;region!=eu").unwrap();
        let json = asked(
            r#"{"and":[{"dimension":"model","operator":"=","value":"a"},{"dimension":"region","operator":"!=","value":"eu"}]}"#,
        );
        assert_eq!(both, json.unwrap());
        for odd in ["{", "{}", "model", "model=a;;"] {
            assert!(asked(odd).is_err(), "{odd}");
        }
    }
}
