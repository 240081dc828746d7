//! `GET /v1/metrics/{name}/rows`: the rows that a value comes from.

use crate::queries::QueryAnswer;
use actix_web::{HttpRequest, HttpResponse, get, web};
use query::{
    AnswerFormat,
    metric::{Groups, MetricRequest, viewer},
};
use rest::{
    principal::{Authorized, RunSql},
    problem::{Denied, Problem, parameters},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::MetricParameters;
use crate::{
    Lake, persons,
    queries::{self, QueryBody, problem, reach},
};

/// The cell of a metric's answer: the window of its bucket, and its group as a filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RowParameters {
    /// RFC 3339, or a date: its midnight in `tz`.
    from: Option<String>,
    to: Option<String>,
    range: Option<String>,
    #[serde(default)]
    today: bool,
    tz: Option<String>,
    filter: Option<String>,
    /// The options of the cell, as for its value.
    options: Option<String>,
    /// Only rows of this currency (ISO 4217).
    currency: Option<String>,
    /// At most so many rows, 1 to 10,000; 100 without it.
    limit: Option<usize>,
    #[param(value_type = Option<String>)]
    format: Option<AnswerFormat>,
    as_of: Option<String>,
}

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// Gives the rows that a value of a metric comes from, the newest first, with the columns that the caller may see. Of a
/// metric that is computed by organization (such as retention) they are the balances of each.
#[utoipa::path(
    operation_id = "get_metric_rows",
    tag = "metrics",
    params(("name" = String, Path), RowParameters),
    responses((status = 200, description = "The rows, as `POST /v1/query` gives them.", body = QueryAnswer),
        (status = 400, body = Problem), Denied,
        (status = 404, description = "There is no such metric.", body = Problem)))]
#[get("/v1/metrics/{name}/rows")]
pub(crate) async fn get_rows(
    principal: Authorized<RunSql>,
    name: web::Path<String>,
    asked: Result<web::Query<RowParameters>, actix_web::Error>,
    request: HttpRequest,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    lake.known(&principal, &name)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid_parameters(format!("`limit` is from 1 to {LIMIT_MAX}")));
    }
    let (format, as_of, currency) = (asked.format, asked.as_of.clone(), asked.currency.clone());
    let question = asked.question().into_body(vec![name.into_inner()]).map_err(problem)?;
    let query = question.resolve(lake.metrics.zone, lake.state.clock.now()).map_err(problem)?;
    let request_of_rows = MetricRequest {
        zone: query.window.zone,
        filter: query.filter,
        options: query.options,
        groups: Groups::All,
        ..MetricRequest::new(&query.metrics[0], query.window.from, query.window.to)
    };
    let persons = persons::are_shown_to(&lake.state.store, &principal).await?;
    let viewer = viewer(&reach(&principal), persons);
    let sql = lake.catalog.rows(&request_of_rows, currency.as_deref(), viewer, limit);
    let sql = sql.map_err(|error| problem(error.into()))?;
    let body = QueryBody { sql, format, as_of, ..QueryBody::default() };
    queries::run(&principal, &request, &lake, body).await
}

impl RowParameters {
    fn question(self) -> MetricParameters {
        MetricParameters {
            from: self.from,
            to: self.to,
            range: self.range,
            today: self.today,
            tz: self.tz,
            filter: self.filter,
            options: self.options,
            ..MetricParameters::default()
        }
    }
}
