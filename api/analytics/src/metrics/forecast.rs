//! `GET /v1/forecasts/{metric}`.

use actix_web::{HttpResponse, get, http::StatusCode, web};
use chrono::{DateTime, NaiveTime, Utc};
use query::{Zone, metric::Grain};
use reports::metric_forecast::{self, ForecastError, MetricForecast};
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::grain;
use crate::{Lake, queries::problem};

/// What is asked of a forecast.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ForecastParameters {
    /// `hour`, `day` (the default) or `week`.
    pub grain: Option<String>,
    /// Buckets ahead, 1 to 168; 14 without it.
    pub horizon: Option<usize>,
}

/// A metric's forecast.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForecastView {
    pub metric: String,
    #[schema(value_type = String)]
    pub grain: Grain,
    /// The models that were blended, with their weights, and how the blend did on the past.
    pub model: String,
    #[schema(value_type = Object)]
    pub backtest: serde_json::Value,
    #[schema(value_type = Vec<Object>)]
    pub points: Vec<metric_forecast::Point>,
    #[schema(value_type = Option<String>)]
    pub currency: Option<String>,
    /// The history ends here.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    pub as_of: String,
}

/// Forecasts a metric from its own past, with 80 % and 95 % prediction intervals.
#[utoipa::path(
    tag = "forecasts",
    params(("metric" = String, Path), ForecastParameters),
    responses((status = 200, body = ForecastView), (status = 400, body = Problem),
        Denied, (status = 404, body = Problem),
        (status = 422, description = "The past is too short to learn from.", body = Problem)))]
#[get("/v1/forecasts/{metric}")]
pub(crate) async fn get_forecast(
    principal: Authorized<ReadMetrics>,
    metric: web::Path<String>,
    asked: Result<web::Query<ForecastParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    lake.known(&principal, &metric)?;
    let grain = asked.grain.as_deref().map_or(Ok(Grain::Day), grain).map_err(problem)?;
    let horizon = asked.horizon.unwrap_or(14);
    if !(1..=168).contains(&horizon) || !matches!(grain, Grain::Hour | Grain::Day | Grain::Week) {
        let detail = "`horizon` is 1 to 168, and `grain` is hour, day or week";
        return Err(Problem::invalid_parameters(detail));
    }
    let today = lake.state.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let request = metric_forecast::history(&metric, grain, grain.start(today, Zone::UTC));
    let (mut answers, as_of) = lake.read(&principal, std::slice::from_ref(&request)).await?;
    let answer = answers.pop().ok_or_else(Problem::internal)?;
    if answer.rows.iter().any(|row| row.suppressed) {
        let detail = format!("`{metric}` has days of few persons, which you are not shown");
        return Err(not_forecastable(detail));
    }
    let ahead: MetricForecast = tokio::task::spawn_blocking(move || {
        metric_forecast::forecast_metric(&answer, horizon, Zone::UTC)
    })
    .await
    .map_err(|_| Problem::internal())?
    .map_err(|error: ForecastError| not_forecastable(error.to_string()))?;
    let view = ForecastView::new(metric.into_inner(), grain, ahead, request.to, as_of);
    Ok(HttpResponse::Ok().json(view))
}

impl ForecastView {
    pub fn new(
        metric: String,
        grain: Grain,
        ahead: MetricForecast,
        from: DateTime<Utc>,
        as_of: String,
    ) -> Self {
        let backtest = serde_json::json!({
            "mase": ahead.mase,
            "smape": ahead.smape,
            "origins": ahead.origins,
        });
        let MetricForecast { model, points, currency, .. } = ahead;
        Self { metric, grain, model, backtest, points, currency, from, as_of }
    }
}

fn not_forecastable(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::NotForecastable).explained(detail)
}
