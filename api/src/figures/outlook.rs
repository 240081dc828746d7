//! `GET /v1/forecasts/{metric}`.

use actix_web::{HttpResponse, web};
use chrono::{DateTime, NaiveTime, Utc};
use query::metric::Grain;
use reports::outlook::{self, Ahead, OutlookError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::grain;
use crate::{
    principal::{Authorized, ReadMetrics},
    problem::{Code, Problem, parameters},
    queries::Asker,
};

/// What is asked of a forecast.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForecastParameters {
    /// `hour`, `day` (the default) or `week`.
    pub(crate) grain: Option<String>,
    /// Buckets ahead, 1 to 168; 14 without it.
    pub(crate) horizon: Option<usize>,
}

/// A metric's forecast.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForecastView {
    pub(crate) metric: String,
    #[schema(value_type = String)]
    pub(crate) grain: Grain,
    /// The models that were blended, with their weights, and how the blend did on the past.
    pub(crate) model: String,
    #[schema(value_type = Object)]
    pub(crate) backtest: serde_json::Value,
    #[schema(value_type = Vec<Object>)]
    pub(crate) points: Vec<outlook::Point>,
    #[schema(value_type = Option<String>)]
    pub(crate) currency: Option<String>,
    /// The history ends here.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: DateTime<Utc>,
    pub(crate) as_of: String,
}

/// Forecasts a metric from its own past, with 80 % and 95 % prediction intervals.
#[utoipa::path(get, path = "/v1/forecasts/{metric}", tag = "forecasts",
    params(("metric" = String, Path), ForecastParameters),
    responses((status = 200, body = ForecastView), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, description = "The past is too short to learn from.", body = Problem)))]
pub(crate) async fn get_forecast(
    principal: Authorized<ReadMetrics>,
    metric: web::Path<String>,
    asked: Result<web::Query<ForecastParameters>, actix_web::Error>,
    asker: web::Data<Asker>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    asker.known(&metric)?;
    let grain = asked.grain.as_deref().map_or(Ok(Grain::Day), grain)?;
    let horizon = asked.horizon.unwrap_or(14);
    if !(1..=168).contains(&horizon) || !matches!(grain, Grain::Hour | Grain::Day | Grain::Week) {
        let detail = "`horizon` is 1 to 168, and `grain` is hour, day or week";
        return Err(Problem::invalid_parameters(detail));
    }
    let today = asker.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let request = outlook::history(&metric, grain, grain.start(today));
    let (mut answers, as_of) = asker.read(&principal, std::slice::from_ref(&request), None).await?;
    let answer = answers.pop().ok_or_else(Problem::internal)?;
    let ahead: Ahead = tokio::task::spawn_blocking(move || outlook::look_ahead(&answer, horizon))
        .await
        .map_err(|_| Problem::internal())?
        .map_err(refused)?;
    let view = ForecastView::new(metric.into_inner(), grain, ahead, request.to, as_of);
    Ok(HttpResponse::Ok().json(view))
}

impl ForecastView {
    pub(crate) fn new(
        metric: String,
        grain: Grain,
        ahead: Ahead,
        from: DateTime<Utc>,
        as_of: String,
    ) -> Self {
        let backtest = serde_json::json!({
            "mase": ahead.mase,
            "smape": ahead.smape,
            "origins": ahead.origins,
        });
        let Ahead { model, points, currency, .. } = ahead;
        Self { metric, grain, model, backtest, points, currency, from, as_of }
    }
}

fn refused(error: OutlookError) -> Problem {
    use actix_web::http::StatusCode;
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::NotForecastable)
        .explained(error.to_string())
}
