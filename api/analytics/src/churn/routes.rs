//! `GET /v1/churn`.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::found::{self, Found};
use crate::{Lake, queries::staff_only};

/// Which customers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ChurnParameters {
    /// How many, 1 to 10,000; 100 without it.
    limit: Option<usize>,
    /// Those with at least this probability, from 0 to 1.
    min_probability: Option<f64>,
}

/// Who is likely to leave.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChurnView {
    #[serde(flatten)]
    found: Found,
    /// Null as long as nobody was assessed.
    #[schema(value_type = Option<String>, format = DateTime)]
    made_at: Option<DateTime<Utc>>,
    as_of: Option<String>,
    /// How many customers were assessed.
    customers: usize,
}

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// Who is likely to leave within 30 days, why, and what that would cost: the most revenue at risk first. Found once a day.
#[utoipa::path(
    tag = "anomalies",
    params(ChurnParameters),
    responses((status = 200, body = ChurnView), (status = 400, body = Problem), Denied))]
#[get("/v1/churn")]
pub(super) async fn get_churn(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<ChurnParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    staff_only(&principal, "who is likely to leave")?;
    let ChurnParameters { limit, min_probability } = parameters(asked)?;
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid_parameters(format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let least = min_probability.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&least) {
        return Err(Problem::invalid_parameters("`min_probability` is from 0 to 1"));
    }
    let kept = found::last(&lake.state.store).await?;
    let (made_at, as_of) = kept.as_ref().map(|kept| (kept.made_at, kept.as_of.clone())).unzip();
    let mut found = kept.map(|kept| kept.found).unwrap_or_default();
    let customers = found.risks.len();
    found.risks.retain(|risk| risk.probability >= least);
    found.risks.truncate(limit);
    Ok(HttpResponse::Ok().json(ChurnView { found, made_at, as_of, customers }))
}
