//! `/v1/metrics` and `/v1/forecasts`: named business figures, and where they are going.

mod forecast;

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc};
use query::{
    MetricContext, QueryError, Reason,
    metric::{Grain, Metric, MetricAnswer, MetricRequest, Number, Unit},
};
use rest::{
    feature::Feature,
    principal::{Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use self::forecast::ForecastView;

use crate::{
    Lake, persons,
    queries::{problem, reach},
};

/// Metrics and their forecasts.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("metrics").with_routes(|config, _| {
    config.service(list_metrics).service(get_metric).service(self::forecast::get_forecast);
});

/// Every metric there is.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricList {
    #[schema(value_type = Vec<Object>)]
    pub metrics: Vec<Metric>,
}

/// What is asked of a metric.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct MetricParameters {
    /// RFC 3339, or a date (its midnight in UTC). Left out: 30 days before `to`.
    pub from: Option<String>,
    /// Not included itself. Left out: the midnight that began today.
    pub to: Option<String>,
    /// `minute`, `hour`, `day`, `week` (from Monday) or `month`. Left out: one value for the whole window.
    pub grain: Option<String>,
    /// Dimensions to split by, separated by commas.
    pub by: Option<String>,
    /// An earlier answer's `as_of`.
    pub as_of: Option<String>,
}

/// A metric's values.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricView {
    pub metric: String,
    pub title: String,
    /// `count`, `ratio`, `milliseconds` or `money`.
    #[schema(value_type = String)]
    pub unit: Unit,
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub to: DateTime<Utc>,
    #[schema(value_type = Option<String>)]
    pub grain: Option<Grain>,
    pub by: Vec<String>,
    pub rows: Vec<RowView>,
    /// The SQL that was run.
    pub sql: String,
    /// The cut it was read at: asking again at this cut gives the same answer.
    pub as_of: String,
}

/// One value of a metric.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowView {
    /// The start of the bucket; null without a grain.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<DateTime<Utc>>,
    /// One value per dimension of `by`; null where the event has none.
    pub group: Vec<Option<String>>,
    /// ISO 4217, for money only: amounts of different currencies are never added.
    pub currency: Option<String>,
    /// A number; for money a decimal string. Null where there is nothing to divide.
    #[schema(value_type = Object)]
    pub value: serde_json::Value,
    /// The bucket is not over yet; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

impl MetricView {
    pub fn new(
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        answer: MetricAnswer,
        as_of: String,
        now: DateTime<Utc>,
    ) -> Self {
        let unit = answer.unit;
        let end = |at: Option<DateTime<Utc>>| match (at, answer.grain) {
            (Some(at), Some(grain)) => grain.end(at).min(to),
            _ => to,
        };
        let rows = answer.rows.into_iter().map(|row| RowView {
            incomplete: end(row.at) > now,
            at: row.at,
            group: row.group,
            currency: row.currency,
            value: row.value.map_or(serde_json::Value::Null, |value| number(value, unit)),
        });
        Self {
            metric: answer.metric,
            title: answer.title,
            unit,
            from,
            to,
            grain: answer.grain,
            by: answer.by,
            rows: rows.collect(),
            sql: answer.sql,
            as_of,
        }
    }
}

/// Money is text, since a JSON number is a float to most readers; counts and shares are numbers.
fn number(value: Number, unit: Unit) -> serde_json::Value {
    match unit {
        Unit::Money => value.to_string().into(),
        Unit::Count => value.to_i64().map_or_else(|| value.to_string().into(), Into::into),
        Unit::Ratio | Unit::Milliseconds => value.to_f64().into(),
    }
}

/// Lists the metrics with their definitions.
#[utoipa::path(
    tag = "metrics",
    responses((status = 200, body = MetricList), Denied))]
#[get("/v1/metrics")]
pub(crate) async fn list_metrics(
    _: Authorized<ReadMetrics>,
    lake: web::Data<Lake>,
) -> HttpResponse {
    HttpResponse::Ok().json(MetricList { metrics: lake.catalog.metrics().to_vec() })
}

/// Reads a metric over a half-open window.
#[utoipa::path(
    tag = "metrics",
    params(("name" = String, Path), MetricParameters),
    responses((status = 200, body = MetricView), (status = 400, body = Problem),
        Denied,
        (status = 404, description = "There is no such metric.", body = Problem)))]
#[get("/v1/metrics/{name}")]
pub(crate) async fn get_metric(
    principal: Authorized<ReadMetrics>,
    name: web::Path<String>,
    asked: Result<web::Query<MetricParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    lake.known(&name)?;
    let (from, to) = window(asked.from.as_deref(), asked.to.as_deref(), lake.state.clock.now())
        .map_err(problem)?;
    let request = MetricRequest {
        metric: name.into_inner(),
        from,
        to,
        grain: asked.grain.as_deref().map(grain).transpose().map_err(problem)?,
        by: asked.by.as_deref().map(dimensions).unwrap_or_default(),
    };
    let (mut answers, as_of) =
        lake.read(&principal, std::slice::from_ref(&request), asked.as_of.as_deref()).await?;
    let answer = answers.pop().ok_or_else(Problem::internal)?;
    Ok(HttpResponse::Ok().json(MetricView::new(from, to, answer, as_of, lake.state.clock.now())))
}

impl Lake {
    pub fn known(&self, name: &str) -> Result<&Metric, Problem> {
        self.catalog.get(name).map_err(|error| Problem::not_found(error.message))
    }

    /// The answers, and the cut that they were read at.
    pub async fn read(
        &self,
        principal: &Principal,
        requests: &[MetricRequest],
        as_of: Option<&str>,
    ) -> Result<(Vec<MetricAnswer>, String), Problem> {
        let mut cut = self.lakehouse.cut();
        if let Some(token) = as_of {
            cut = self.cut_cipher.back_to(token, cut, principal)?;
        }
        let as_of = self.cut_cipher.token(&cut, principal)?;
        let now = self.state.clock.now().timestamp_micros();
        let deadline_ms = self.limits.deadline_seconds * 1_000;
        let reach = reach(principal);
        let (catalog, reach, cut) = (&self.catalog, &reach, &cut);
        let persons = persons::are_shown_to(&self.state.store, principal).await?;
        let asking =
            MetricContext { catalog, reach, cut, persons, now, deadline_ms, gives_way: false };
        Ok((self.engine.metrics(requests, asking).await.map_err(problem)?, as_of))
    }
}

/// A width of a bucket, by its name.
pub fn grain(text: &str) -> Result<Grain, QueryError> {
    Ok(match text {
        "minute" => Grain::Minute,
        "hour" => Grain::Hour,
        "day" => Grain::Day,
        "week" => Grain::Week,
        "month" => Grain::Month,
        _ => {
            let detail = "`grain` is one of minute, hour, day, week, month";
            return Err(QueryError::new(Reason::Parameters, detail));
        }
    })
}

fn dimensions(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The window asked for; the last 30 complete days without one.
pub fn window(
    from: Option<&str>,
    to: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), QueryError> {
    let today = now.date_naive().and_time(NaiveTime::MIN).and_utc();
    let from = from.map(|text| instant("from", text)).transpose()?;
    // Who begins today wants to see it, as far as it is.
    let end = if from.is_some_and(|from| from >= today) { today + Days::new(1) } else { today };
    let to = to.map_or(Ok(end), |text| instant("to", text))?;
    Ok((from.unwrap_or(to - Days::new(30)), to))
}

/// The time that a parameter gives; `name` is for the refusal.
pub fn instant(name: &str, text: &str) -> Result<DateTime<Utc>, QueryError> {
    let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
    let at = DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()).or_else(date);
    // The years that an event may be of; a window may begin before the first.
    at.filter(|at| (1969..=2261).contains(&at.year())).ok_or_else(|| {
        let detail =
            format!("`{name}` is neither an RFC 3339 time nor a date of the years 1970 to 2261");
        QueryError::new(Reason::Parameters, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_default_to_complete_days() {
        let now = "2026-11-23T15:00:00Z".parse().unwrap();
        let (from, to) = window(None, None, now).unwrap();
        assert_eq!(to.to_rfc3339(), "2026-11-23T00:00:00+00:00");
        assert_eq!((to - from).num_days(), 30);
        let (from, to) = window(Some("2026-11-23T01:00:00Z"), None, now).unwrap();
        assert_eq!(to.to_rfc3339(), "2026-11-24T00:00:00+00:00");
        assert_eq!((to - from).num_hours(), 23);
        let (from, _) = window(Some("2026-01-01"), Some("2026-02-01T00:00:00+01:00"), now).unwrap();
        assert_eq!(from.to_rfc3339(), "2026-01-01T00:00:00+00:00");
        for odd in ["yesterday", "-262143-01-15", "+262142-12-31", "0000-01-01"] {
            assert!(window(Some(odd), None, now).is_err(), "{odd}");
            assert!(window(None, Some(odd), now).is_err(), "{odd}");
        }
    }
}
