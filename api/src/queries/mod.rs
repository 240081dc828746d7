//! `/v1/query`: SQL in, rows out. The query runs in a worker process.

mod answer;
mod ask;

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use pipeline::Lakehouse;
use query::{Author, Engine, Function, QueryError, Reach, Reason, Request, Terms, functions};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub(crate) use ask::{Asker, literal};

use crate::{
    clock::Clock,
    config,
    principal::{Ability, Authorized, Principal, RunSql},
    problem::{Problem, json_config},
};

const BODY_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/v1/query")
            .app_data(json_config(BODY_BYTES_MAX))
            .route(web::get().to(get_query))
            .route(web::post().to(post_query)),
    );
    config.service(web::resource("/v1/functions").route(web::get().to(get_functions)));
}

/// A query.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryBody {
    pub(crate) sql: String,
    /// `json` (the default), `ndjson`, `csv` or `arrow`; else the `Accept` header says.
    #[serde(default)]
    pub(crate) format: Option<Format>,
    /// At most the server's own limit.
    #[serde(default)]
    pub(crate) timeout_ms: Option<u64>,
    /// More rows are an error, unless `truncate` is set. JSON answers have 10,000 unless this says otherwise.
    #[serde(default)]
    pub(crate) max_rows: Option<u64>,
    #[serde(default)]
    pub(crate) truncate: bool,
    /// An earlier answer's `as_of`: the same question then gives the same rows.
    #[serde(default)]
    pub(crate) as_of: Option<String>,
}

/// The same in a URL.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryParameters {
    pub(crate) q: String,
    pub(crate) format: Option<Format>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) max_rows: Option<u64>,
    #[serde(default)]
    pub(crate) truncate: bool,
    pub(crate) as_of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
}

/// Runs SQL.
#[utoipa::path(
    post,
    path = "/v1/query",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, description = "The rows, in the form asked for.", content(
            (Object = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (String = "application/vnd.apache.arrow.stream"))),
        (status = 400, description = "Not SQL, or not possible; `position` says where.", body = Problem),
        (status = 401, body = Problem),
        (status = 403, description = "Not a query, or not permitted.", body = Problem),
        (status = 413, description = "More rows than asked for.", body = Problem),
        (status = 422, description = "Failed while running.", body = Problem),
        (status = 429, description = "Too many queries of yours wait; see `Retry-After`.", body = Problem),
        (status = 503, description = "Every worker is busy; see `Retry-After`.", body = Problem),
        (status = 504, description = "Not done in time.", body = Problem),
    ),
)]
pub(crate) async fn post_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    engine: web::Data<Engine>,
    lakehouse: web::Data<Lakehouse>,
    limits: web::Data<config::Query>,
    clock: web::Data<Clock>,
    body: web::Json<QueryBody>,
) -> Result<HttpResponse, Problem> {
    let body = body.into_inner();
    let format = body.format.or_else(|| accepted(&request)).unwrap_or(Format::Json);
    let cut = match &body.as_of {
        Some(token) => lakehouse
            .cut()
            .back_to(token)
            .map_err(|error| Problem::bad_request("invalid_as_of", error.to_string()))?,
        None => lakehouse.cut(),
    };
    let deadline_ms = limits.deadline_seconds * 1_000;
    let asked = Request {
        author: Author::Stranger,
        sql: body.sql,
        reach: reach(&principal),
        now: clock.now().timestamp_micros(),
        deadline_ms: body.timeout_ms.unwrap_or(deadline_ms).clamp(1, deadline_ms),
        max_rows: match (body.max_rows, format) {
            (Some(rows), _) => Some(rows),
            (None, Format::Json) => Some(limits.json_rows_max),
            (None, _) => None,
        },
        truncate: body.truncate,
        terms: Terms::default(),
        cut,
    };
    let as_of = asked.cut.token();
    metrics::counter!("query_requests_total").increment(1);
    let pieces = engine.stream(asked).await.map_err(problem)?;
    answer::respond(format, pieces, as_of).await
}

/// Runs SQL given in the URL.
#[utoipa::path(
    get,
    path = "/v1/query",
    tag = "query",
    params(QueryParameters),
    responses((status = 200, description = "The rows."), (status = 400, body = Problem)),
)]
pub(crate) async fn get_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    engine: web::Data<Engine>,
    lakehouse: web::Data<Lakehouse>,
    limits: web::Data<config::Query>,
    clock: web::Data<Clock>,
    asked: Result<web::Query<QueryParameters>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let asked = asked
        .map_err(|error| Problem::bad_request("invalid_parameters", error.to_string()))?
        .into_inner();
    let body = web::Json(QueryBody {
        sql: asked.q,
        format: asked.format,
        timeout_ms: asked.timeout_ms,
        max_rows: asked.max_rows,
        truncate: asked.truncate,
        as_of: asked.as_of,
    });
    post_query(principal, request, engine, lakehouse, limits, clock, body).await
}

/// The functions that statements may use.
#[utoipa::path(
    get,
    path = "/v1/functions",
    tag = "query",
    responses(
        (status = 200, description = "`functions`: name, class, aliases, syntax, description, example and \
            limit of each.", body = Object),
        (status = 401, body = Problem),
        (status = 403, body = Problem),
    ),
)]
pub(crate) async fn get_functions(_: Authorized<RunSql>) -> HttpResponse {
    static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(functions);
    HttpResponse::Ok().json(serde_json::json!({"functions": &*FUNCTIONS}))
}

/// Whose rows a principal's queries see.
pub(crate) fn reach(principal: &Principal) -> Reach {
    match principal.reach.organization_id() {
        Some(id) => Reach::Organization(id.to_owned()),
        None if principal.may(Ability::Administer) => Reach::Admin,
        None => Reach::Staff,
    }
}

/// A failed query as the client sees it.
pub(crate) fn problem(error: QueryError) -> Problem {
    use actix_web::http::StatusCode;
    let (status, code) = match error.reason {
        Reason::Syntax => (StatusCode::BAD_REQUEST, "syntax_error"),
        Reason::Invalid => (StatusCode::BAD_REQUEST, "invalid_query"),
        Reason::TooComplex => (StatusCode::BAD_REQUEST, "too_complex"),
        Reason::Parameters => (StatusCode::BAD_REQUEST, "invalid_parameters"),
        Reason::NotAllowed => (StatusCode::FORBIDDEN, "not_allowed"),
        Reason::Failed => (StatusCode::UNPROCESSABLE_ENTITY, "query_failed"),
        Reason::Memory => (StatusCode::UNPROCESSABLE_ENTITY, "out_of_memory"),
        Reason::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "result_too_large"),
        Reason::Deadline => (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded"),
        Reason::Busy => return Problem::unavailable(1).explained(error.message),
        Reason::TooMany => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Problem::new(status, "too_many_queries")
                .retried_after(1)
                .explained(error.message);
        }
        Reason::Lost => (StatusCode::UNPROCESSABLE_ENTITY, "query_lost"),
        Reason::Unavailable => return Problem::unavailable(1),
    };
    let problem = Problem::new(status, code).explained(error.message);
    match error.position {
        Some((line, column)) => {
            problem.with("position", serde_json::json!({"line": line, "column": column}))
        }
        None => problem,
    }
}

fn accepted(request: &HttpRequest) -> Option<Format> {
    let accept = request.headers().get(header::ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|part| match part.split(';').next()?.trim() {
        "application/json" => Some(Format::Json),
        "application/x-ndjson" => Some(Format::Ndjson),
        "text/csv" => Some(Format::Csv),
        "application/vnd.apache.arrow.stream" => Some(Format::Arrow),
        _ => None,
    })
}
