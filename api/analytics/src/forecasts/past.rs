//! `GET /v1/forecasts/{metric}/past`: what was forecast, beside what came.

use crate::metrics::ForecastView;
use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use query::metric::{Grain, MetricRequest};
use reports::metric_forecast::{PastAccuracy, Point, past_accuracy};
use rest::{
    principal::{Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::kept::{self, Kept};
use crate::{
    Lake,
    metrics::grain,
    queries::{problem, staff_only},
};

/// Which forecasts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PastParameters {
    /// `day` (the default), `hour` or `month`: what the program forecasts by itself.
    grain: Option<String>,
    /// How many forecasts are listed, the newest first: 0 to 100, 10 without it. The newest 100 are compared.
    limit: Option<usize>,
}

/// How good the forecasts of a metric were.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PastView {
    metric: String,
    #[schema(value_type = String)]
    grain: Grain,
    /// How many are compared.
    count: usize,
    /// By how many buckets they looked ahead: `ahead`, `count`, `mean_error`, `relative_error`, `coverage`.
    accuracy: Vec<PastAccuracy>,
    forecasts: Vec<PastForecast>,
}

/// A forecast that was made.
#[derive(Debug, Serialize, ToSchema)]
struct PastForecast {
    #[schema(value_type = String, format = DateTime)]
    from: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    made_at: DateTime<Utc>,
    as_of: String,
    /// The answer of `GET /v1/forecasts/{metric}` at that time.
    #[schema(value_type = ForecastView)]
    forecast: Value,
}

const LISTED: usize = 10;
const LISTED_MAX: usize = 100;

/// How good the forecasts that are kept were.
pub(super) async fn accuracy(
    lake: &Lake,
    principal: &Principal,
    metric: &str,
    grain: Grain,
    all: &[Kept],
) -> Result<Vec<PastAccuracy>, Problem> {
    let until = grain.start(lake.state.clock.now() - lake.metrics.lateness, lake.metrics.zone);
    let Some(first) = all.iter().map(|kept| kept.from).min().filter(|first| *first < until) else {
        return Ok(Vec::new());
    };
    let mut request = MetricRequest::new(metric, first, until).with_grain(grain);
    request.zone = lake.metrics.zone;
    let (answers, _) = Box::pin(lake.read(principal, std::slice::from_ref(&request))).await?;
    let mut came = BTreeMap::<Option<String>, BTreeMap<DateTime<Utc>, f64>>::new();
    for row in answers.into_iter().flat_map(|answer| answer.rows) {
        if let (Some(at), Some(value)) = (row.at, row.value) {
            came.entry(row.currency).or_default().insert(at, value.to_f64());
        }
    }
    // Those of another currency are of another business.
    let currency = all.first().and_then(|kept| kept.forecast["currency"].as_str());
    let same = all.iter().filter(|kept| kept.forecast["currency"].as_str() == currency);
    let points = |kept: &Kept| Vec::<Point>::deserialize(&kept.forecast["points"]).ok();
    let forecasts: Vec<Vec<Point>> = same.filter_map(points).collect();
    let nothing = BTreeMap::new();
    Ok(past_accuracy(&forecasts, came.get(&currency.map(str::to_owned)).unwrap_or(&nothing)))
}

/// The forecasts that the program made by itself, once a day, and how good they were.
#[utoipa::path(
    operation_id = "list_past_forecasts",
    tag = "forecasts",
    params(("metric" = String, Path), PastParameters),
    responses((status = 200, body = PastView), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem)))]
#[get("/v1/forecasts/{metric}/past")]
pub(super) async fn get_past(
    principal: Authorized<ReadMetrics>,
    metric: web::Path<String>,
    asked: Result<web::Query<PastParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    staff_only(&principal, "the forecasts that are kept")?;
    let PastParameters { grain: asked, limit } = parameters(asked)?;
    let metric = lake.known(&principal, &metric)?.name.clone();
    let grain = asked.as_deref().map_or(Ok(Grain::Day), grain).map_err(problem)?;
    let limit = limit.unwrap_or(LISTED);
    if limit > LISTED_MAX {
        return Err(Problem::invalid_parameters(format!("`limit` is 0 to {LISTED_MAX}")));
    }
    let all = kept::list(&lake.state.store, &metric, grain, kept::READ).await?;
    let accuracy = accuracy(&lake, &principal, &metric, grain, &all).await?;
    let count = all.len();
    let forecast = |kept: Kept| PastForecast {
        from: kept.from,
        made_at: kept.made_at,
        as_of: kept.as_of,
        forecast: kept.forecast,
    };
    let forecasts = all.into_iter().take(limit).map(forecast).collect();
    Ok(HttpResponse::Ok().json(PastView { metric, grain, count, accuracy, forecasts }))
}
