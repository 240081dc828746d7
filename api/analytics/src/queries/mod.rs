//! SQL in, rows out: `/v1/query` at once, `/v1/queries` in the background. Queries run in worker processes.

mod answer;
mod background;
mod body;
mod contract;
mod departed;
pub(crate) mod history;
mod history_row;
mod m0002_queries;
mod m0024_shared_roles;
mod running;
mod saved;
mod saved_row;
mod settings;

use serde::Serialize;
use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use pipeline::Cut;
use query::{
    Estimate, Function, QueryError, QueryMode, Reason, Request, RowAccess, functions, schema,
};
use rest::{
    body::Body,
    feature::Feature,
    principal::{Ability, Authorized, Principal, PrincipalKind, RunSql, refuse_cross_site},
    problem::{Code, Denied, Problem, parameters},
};
use state::migration::Migration;

pub use background::Background;
pub(crate) use body::AnswerOptions;
pub use body::{Csv, QueryBody, QueryParameters};
use contract::AnswerColumn;
pub(crate) use contract::QueryAnswer;
pub use history::give_up_unfinished;
pub use running::Runner;
pub use saved::{PARAMETER, SavedQuery, saved_for, saved_json, visible};
pub use settings::Settings;

use crate::Lake;
use std::collections::BTreeMap;
use utoipa::ToSchema;

const BODY_BYTES_MAX: usize = 256 * 1024;

/// SQL at once and in the background, and saved queries.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("queries")
    .with_routes(|config, _| {
        config
            .service(post_query)
            .service(get_query)
            .service(explain_query)
            .service(validate_query)
            .service(background::start_query)
            .service(background::list_queries)
            .service(background::get_query_state)
            .service(background::stop_query)
            .service(background::get_result)
            .service(saved::list_saved)
            .service(saved::save_query)
            .service(saved::get_saved)
            .service(saved::remove_saved)
            .service(saved::run_saved)
            .service(get_schema)
            .service(get_functions);
    })
    .with_migrations(&[
        Migration { name: "m0002_queries", up: |m| Box::pin(m0002_queries::up(m)) },
        Migration { name: "m0024_shared_roles", up: |m| Box::pin(m0024_shared_roles::up(m)) },
    ])
    .with_tasks(|lake| {
        let keep = lake.clone();
        lake.state.tasks.keep("history", move || {
            let lake = keep.clone();
            async move { background::keep(&lake).await }
        });
        background::register_tidy(lake);
        let watch = lake.clone();
        lake.state.tasks.keep("departed", move || {
            let lake = watch.clone();
            async move { departed::run(&lake).await }
        });
    });

/// Runs SQL. The answer is streamed; the query stops when the client goes away.
///
/// Headers of an answer: `X-Query-Id`, `X-As-Of`; up to 8 MiB also `X-Rows` and `X-Truncated`. Staff also gets
/// `X-Table-Versions`, `X-Cache` (`hit` when it was there already), `X-Rows-Scanned`, `X-Bytes-Scanned` and
/// `X-Files-Scanned`.
#[utoipa::path(
    operation_id = "run_query",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, description = "The rows, in the form asked for.", content(
            (QueryAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet"))),
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
#[post("/v1/query")]
pub(crate) async fn post_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let body = body.json(&principal).await?;
    run(&principal, &request, &lake, body).await
}

/// Runs the SQL of a body, with the rights of the principal.
pub(crate) async fn run(
    principal: &Principal,
    request: &HttpRequest,
    lake: &Lake,
    body: QueryBody,
) -> Result<HttpResponse, Problem> {
    let written = body.written(request);
    let body = body.limited(written.form, &lake.limits);
    let asked = lake.question(principal, body, lake.deadline_ms(), QueryMode::Rows).await?;
    rows(principal, lake, asked, written).await
}

/// Runs a query whose client waits for the rows.
async fn rows(
    principal: &Principal,
    lake: &Lake,
    asked: Request,
    written: AnswerOptions,
) -> Result<HttpResponse, Problem> {
    // Which versions there are, and whether an answer is still true, is everybody's doing.
    let is_staff = principal.reach.organization_id().is_none();
    let versions = is_staff.then(|| table_versions(&asked.cut));
    let running = lake.runner.start(principal, asked).await?;
    answer::respond(written, running, versions.as_deref()).await
}

/// Runs SQL given in the URL.
#[utoipa::path(
    operation_id = "run_query_by_url",
    tag = "query",
    params(QueryParameters),
    responses((status = 200, description = "The rows, in the form asked for.", content(
            (QueryAnswer = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
            (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet"))), (status = 400, body = Problem)),
)]
#[get("/v1/query")]
pub(crate) async fn get_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    lake: web::Data<Lake>,
    asked: Result<web::Query<QueryParameters>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    // A link on another site must not make a browser run what stands in it.
    if matches!(principal.kind, PrincipalKind::User(_)) {
        refuse_cross_site(&request)?;
    }
    let asked = parameters(asked)?;
    run(&principal, &request, &lake, asked.into_body()?).await
}

/// A query that was planned and not run.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PlannedQuery {
    columns: Vec<AnswerColumn>,
    /// The type that each parameter takes; null where any will do.
    parameters: BTreeMap<String, Option<String>>,
    /// One operator a line; for an organization the logical plan. Only of `explain`.
    plan: Option<String>,
    /// What it reads at most. Only of `explain`, for staff.
    scan: Option<Estimate>,
}

#[derive(Debug, Serialize, ToSchema)]
struct FunctionList<'a> {
    functions: &'a [Function],
}

#[derive(Debug, Serialize, ToSchema)]
struct TableList {
    tables: Vec<schema::TableDescription>,
}

/// Says how a query would run and what it would read, without running it.
#[utoipa::path(
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, body = PlannedQuery),
        (status = 400, body = Problem), Denied,
    ),
)]
#[post("/v1/query/explain")]
pub(crate) async fn explain_query(
    principal: Authorized<RunSql>,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    planned(&principal, &lake, body.json(&principal).await?, QueryMode::Explain).await
}

/// Says whether a query is right: its columns and its parameters, without running it.
#[utoipa::path(
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, body = PlannedQuery),
        (status = 400, body = Problem), Denied,
    ),
)]
#[post("/v1/query/validate")]
pub(crate) async fn validate_query(
    principal: Authorized<RunSql>,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    planned(&principal, &lake, body.json(&principal).await?, QueryMode::Validate).await
}

async fn planned(
    principal: &Principal,
    lake: &Lake,
    body: QueryBody,
    task: QueryMode,
) -> Result<HttpResponse, Problem> {
    let asked = lake.question(principal, body, lake.deadline_ms(), task).await?;
    let as_of = lake.cut_cipher.token(&asked.cut, principal)?;
    let planned = lake.engine.planned(asked).await.map_err(problem)?;
    Ok(HttpResponse::Ok().insert_header(("X-As-Of", as_of)).json(planned))
}

/// `usage_ledger=12, billing_events=3`
fn table_versions(cut: &Cut) -> String {
    let versions = cut.tables.iter().map(|(table, mark)| format!("{table}={}", mark.version));
    versions.collect::<Vec<_>>().join(", ")
}

/// The functions that statements may use.
#[utoipa::path(
    tag = "query",
    responses(
        (status = 200, body = FunctionList<'_>),
        Denied,
    ),
)]
#[get("/v1/functions")]
pub(crate) async fn get_functions(_: Authorized<RunSql>) -> HttpResponse {
    static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(functions);
    HttpResponse::Ok().json(FunctionList { functions: &FUNCTIONS })
}

/// The tables that one may ask about: columns, types, and a sentence for each.
#[utoipa::path(
    tag = "query",
    responses(
        (status = 200, body = TableList),
        Denied,
    ),
)]
#[get("/v1/schema")]
pub(crate) async fn get_schema(principal: Authorized<RunSql>) -> Result<HttpResponse, Problem> {
    let tables = schema::tables(&reach(&principal)).map_err(problem)?;
    Ok(HttpResponse::Ok().json(TableList { tables }))
}

/// Refuses an organization what is of everybody.
pub(crate) fn staff_only(principal: &Principal, what: &str) -> Result<(), Problem> {
    match principal.reach.organization_id() {
        None => Ok(()),
        Some(_) => Err(Problem::forbidden(Code::Forbidden, format!("only staff see {what}"))),
    }
}

/// Whose rows a principal's queries see.
pub fn reach(principal: &Principal) -> RowAccess {
    match principal.reach.organization_id() {
        Some(id) => RowAccess::Organization(id.to_owned()),
        None if principal.may(Ability::Administer) => RowAccess::Admin,
        None => RowAccess::Staff,
    }
}

/// A failed query as the client sees it.
pub fn problem(error: QueryError) -> Problem {
    use actix_web::http::StatusCode;
    let status = match error.reason {
        Reason::Syntax | Reason::Invalid | Reason::TooComplex | Reason::Parameters => {
            StatusCode::BAD_REQUEST
        }
        Reason::NotAllowed | Reason::Persons => StatusCode::FORBIDDEN,
        Reason::Canceled | Reason::Failed | Reason::OutOfRange | Reason::Memory | Reason::Lost => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Reason::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Reason::Busy => return Problem::unavailable(1).explained(error.message),
        Reason::Unavailable => return Problem::unavailable(1),
    };
    let code = code(error.reason);
    let mut problem = Problem::new(status, code).explained(error.message);
    if error.reason == Reason::TooMany {
        problem = problem.retried_after(1);
    }
    if let Some((line, column)) = error.position {
        problem = problem.with("position", serde_json::json!({"line": line, "column": column}));
    }
    if let Some(hint) = error.hint {
        problem = problem.with("hint", hint);
    }
    problem
}

/// The code of a query that failed.
pub(crate) fn code(reason: Reason) -> Code {
    match reason {
        Reason::Syntax => Code::SyntaxError,
        Reason::Invalid => Code::InvalidQuery,
        Reason::TooComplex => Code::TooComplex,
        Reason::Parameters => Code::InvalidParameters,
        Reason::NotAllowed => Code::NotAllowed,
        Reason::Persons => Code::PersonsHidden,
        Reason::Failed => Code::QueryFailed,
        Reason::OutOfRange => Code::NumberOutOfRange,
        Reason::Memory => Code::OutOfMemory,
        Reason::TooLarge => Code::ResultTooLarge,
        Reason::Deadline => Code::DeadlineExceeded,
        Reason::Canceled => Code::QueryCanceled,
        Reason::TooMany => Code::TooManyQueries,
        Reason::Lost => Code::QueryLost,
        Reason::Busy | Reason::Unavailable => Code::Unavailable,
    }
}
