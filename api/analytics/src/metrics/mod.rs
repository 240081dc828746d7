//! `/v1/metrics` and `/v1/forecasts`: metrics, and where they are going.

mod forecast;
mod question;
mod rows;
mod summary;
mod view;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::TimeDelta;
use query::{
    AnswerFormat, MetricContext, QueryError, Zone,
    metric::{Metric, MetricAnswer, MetricRequest, MetricTable, audience},
};
use rest::{
    body::Body,
    feature::Feature,
    principal::{Ability, Authorized, Principal, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use self::question::parse_filter;
pub use self::{
    forecast::{ForecastParameters, ForecastView},
    question::{MetricParameters, MetricQueryBody, grain},
    view::{MetricDefinition, MetricTableView, MetricView},
};

use crate::{
    Lake, persons,
    queries::{AnswerOptions, problem, reach},
};

/// Metrics and their forecasts.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("metrics").with_routes(|config, _| {
    config
        .service(list_metrics)
        .service(summary::get_summary)
        .service(get_metric)
        .service(rows::get_rows)
        .service(query_metrics)
        .service(self::forecast::get_forecast);
});

/// How metrics are read where a question does not say, and how their rollups are kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A bucket is incomplete for so long after its end.
    pub lateness: TimeDelta,
    /// Values that say something of fewer persons are not shown to those who may not run SQL.
    pub min_persons: u32,
    /// The zone of dates and buckets.
    pub zone: Zone,
    /// Rollups are brought up to date so often; nothing: there are none.
    pub rollup_every: Option<Duration>,
    /// Or when so many rows came.
    pub rollup_rows: u64,
}

/// Every metric there is.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricList {
    pub metrics: Vec<MetricDefinition>,
}

const BODY_BYTES_MAX: usize = 256 << 10;

/// Lists the metrics with their definitions.
#[utoipa::path(tag = "metrics", responses((status = 200, body = MetricList), Denied))]
#[get("/v1/metrics")]
pub(crate) async fn list_metrics(
    principal: Authorized<ReadMetrics>,
    lake: web::Data<Lake>,
) -> HttpResponse {
    let audience = audience(&reach(&principal));
    let metrics = lake.catalog.metrics(audience);
    let metrics = metrics.map(|metric| MetricDefinition::new(metric, &lake.catalog, audience));
    HttpResponse::Ok().json(MetricList { metrics: metrics.collect() })
}

/// Reads a metric over a half-open window.
#[utoipa::path(
    tag = "metrics",
    params(("name" = String, Path), MetricParameters),
    responses((status = 200, body = MetricView), (status = 400, body = Problem), Denied,
        (status = 404, description = "There is no such metric.", body = Problem)))]
#[get("/v1/metrics/{name}")]
pub(crate) async fn get_metric(
    principal: Authorized<ReadMetrics>,
    name: web::Path<String>,
    asked: Result<web::Query<MetricParameters>, actix_web::Error>,
    request: HttpRequest,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    lake.known(&principal, &name)?;
    let body = asked.into_body(vec![name.into_inner()]).map_err(problem)?;
    let (table, as_of) = lake.table(&principal, &body).await?;
    let written = AnswerOptions::of(&request, body.format, body.csv);
    if written.form != AnswerFormat::Json {
        return encoded(&table, written, &as_of);
    }
    let view = MetricView::new(table, as_of).ok_or_else(Problem::internal)?;
    Ok(HttpResponse::Ok().json(view))
}

/// Reads several metrics over one window, at one cut.
#[utoipa::path(
    tag = "metrics",
    request_body = MetricQueryBody,
    responses((status = 200, body = MetricTableView), (status = 400, body = Problem), Denied))]
#[post("/v1/metrics/query")]
pub(crate) async fn query_metrics(
    principal: Authorized<ReadMetrics>,
    body: Body<BODY_BYTES_MAX>,
    request: HttpRequest,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let body: MetricQueryBody = body.json(&principal).await?;
    let (table, as_of) = lake.table(&principal, &body).await?;
    let written = AnswerOptions::of(&request, body.format, body.csv);
    if written.form != AnswerFormat::Json {
        return encoded(&table, written, &as_of);
    }
    Ok(HttpResponse::Ok().json(MetricTableView::new(table, as_of)))
}

/// The answer in another format than JSON.
fn encoded(
    table: &MetricTable,
    written: AnswerOptions,
    as_of: &str,
) -> Result<HttpResponse, Problem> {
    let body = table.encode(written.form, written.spreadsheet).map_err(problem)?;
    let mut response = HttpResponse::Ok();
    response.content_type(written.form.media_type()).insert_header(("X-As-Of", as_of));
    Ok(response.body(body))
}

impl Lake {
    /// A metric that the principal may ask for.
    ///
    /// # Errors
    /// When there is none of that name: 404.
    pub fn known(&self, principal: &Principal, name: &str) -> Result<&Metric, Problem> {
        self.catalog.get(name, audience(&reach(principal))).map_err(|error| {
            let problem = Problem::not_found(error.to_string());
            match error.hint() {
                Some(hint) => problem.with("hint", hint),
                None => problem,
            }
        })
    }

    /// Values of fewer persons are not shown to staff who do not see rows. An organization sees its own people.
    pub(crate) fn min_persons(&self, principal: &Principal) -> Option<u32> {
        let is_staff = principal.reach.organization_id().is_none();
        let min = Some(self.metrics.min_persons).filter(|min| *min > 1);
        min.filter(|_| is_staff && !principal.may(Ability::RunSql))
    }

    /// The answer to a question about metrics, and the cut that it was read at.
    ///
    /// # Errors
    /// When the question is none, or its statements fail.
    pub async fn table(
        &self,
        principal: &Principal,
        body: &MetricQueryBody,
    ) -> Result<(MetricTable, String), Problem> {
        let query = body.resolve(self.metrics.zone, self.state.clock.now()).map_err(problem)?;
        let ask = async |context: MetricContext<'_>, _: &str| {
            self.engine.metric_table(&query, self.metrics.lateness, context).await
        };
        self.at_cut(principal, body.as_of.as_deref(), ask).await
    }

    /// The answers to plain questions, and the cut that they were read at.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn read(
        &self,
        principal: &Principal,
        requests: &[MetricRequest],
    ) -> Result<(Vec<MetricAnswer>, String), Problem> {
        let ask = async |context: MetricContext<'_>, _: &str| {
            self.engine.metrics(requests, context).await
        };
        self.at_cut(principal, None, ask).await
    }

    /// Asks at a cut, within the principal's reach. The question is told the token of the cut.
    pub(crate) async fn at_cut<T>(
        &self,
        principal: &Principal,
        as_of: Option<&str>,
        ask: impl AsyncFnOnce(MetricContext<'_>, &str) -> Result<T, QueryError>,
    ) -> Result<(T, String), Problem> {
        let mut cut = self.lakehouse.cut();
        if let Some(token) = as_of {
            cut = self.cut_cipher.back_to(token, cut, principal)?;
        }
        let as_of = self.cut_cipher.token(&cut, principal)?;
        let context = MetricContext {
            catalog: &self.catalog,
            reach: &reach(principal),
            cut: &cut,
            persons: persons::are_shown_to(&self.state.store, principal).await?,
            min_persons: self.min_persons(principal),
            now: self.state.clock.now().timestamp_micros(),
            deadline_ms: self.deadline_ms(),
            gives_way: false,
        };
        Ok((ask(context, &as_of).await.map_err(problem)?, as_of))
    }
}
