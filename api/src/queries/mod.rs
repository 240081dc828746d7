//! SQL in, rows out: `/v1/query` at once, `/v1/queries` in the background. Queries run in worker processes.

mod answer;
mod ask;
mod background;
mod body;
mod departed;
mod history;
mod history_row;
mod running;
mod saved;
mod saved_row;

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web};
use pipeline::Cut;
use query::{Function, QueryError, Reach, Reason, Request, Task, functions, schema};

pub(crate) use ask::{Asker, literal};
pub(crate) use background::Background;
pub(crate) use background::{
    __path_get_query_state, __path_get_result, __path_list_queries, __path_start_query,
    __path_stop_query, get_query_state, get_result, keep, list_queries, start_query, stop_query,
    write_ended,
};
pub(crate) use body::{QueryBody, QueryParameters};
pub(crate) use departed::{run as watch_departed, stop_departed};
pub(crate) use history::give_up_unfinished;
pub(crate) use running::Runner;
pub(crate) use saved::{
    __path_get_saved, __path_list_saved, __path_remove_saved, __path_run_saved, __path_save_query,
    PARAMETER, SavedQuery, get_saved, list_saved, remove_saved, run_saved, save_query, saved_for,
    saved_json, visible,
};

use body::Written;

use crate::{
    body::{Body, BodyLimit},
    principal::{Ability, Authorized, Kind, Principal, RunSql, refuse_cross_site},
    problem::{Code, Problem, parameters},
};

const BODY_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let body = || BodyLimit(BODY_BYTES_MAX);
    config
        .service(
            web::resource("/v1/query")
                .app_data(body())
                .route(web::get().to(get_query))
                .route(web::post().to(post_query)),
        )
        .service(
            web::resource("/v1/query/explain")
                .app_data(body())
                .route(web::post().to(explain_query)),
        )
        .service(
            web::resource("/v1/query/validate")
                .app_data(body())
                .route(web::post().to(validate_query)),
        )
        .service(
            web::resource("/v1/queries")
                .app_data(body())
                .route(web::get().to(list_queries))
                .route(web::post().to(start_query)),
        )
        .service(
            web::resource("/v1/queries/{id}")
                .route(web::get().to(get_query_state))
                .route(web::delete().to(stop_query)),
        )
        .service(web::resource("/v1/queries/{id}/result").route(web::get().to(get_result)))
        .service(
            web::resource("/v1/saved-queries")
                .app_data(body())
                .route(web::get().to(list_saved))
                .route(web::post().to(save_query)),
        )
        .service(
            web::resource("/v1/saved-queries/{name}")
                .route(web::get().to(get_saved))
                .route(web::delete().to(remove_saved)),
        )
        .service(web::resource("/v1/saved-queries/{name}/rows").route(web::get().to(run_saved)))
        .service(web::resource("/v1/schema").route(web::get().to(get_schema)))
        .service(web::resource("/v1/functions").route(web::get().to(get_functions)));
}

/// Runs SQL. The answer is streamed; the query stops when the client goes away.
///
/// Headers of an answer: `X-Query-Id`, `X-As-Of`; up to 8 MiB also `X-Rows` and `X-Truncated`. Staff also gets
/// `X-Table-Versions`, `X-Cache` (`hit` when it was there already), `X-Rows-Scanned`, `X-Bytes-Scanned` and
/// `X-Files-Scanned`.
#[utoipa::path(
    post,
    path = "/v1/query",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, description = "The rows, in the form asked for.", content(
            (Object = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
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
pub(crate) async fn post_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    asker: web::Data<Asker>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let body = body.json(&principal).await?;
    run(&principal, &request, &asker, body).await
}

async fn run(
    principal: &Principal,
    request: &HttpRequest,
    asker: &Asker,
    body: QueryBody,
) -> Result<HttpResponse, Problem> {
    let written = body.written(request);
    let body = body.limited(written.form, &asker.limits);
    let asked = asker.question(principal, body, asker.deadline_ms(), Task::Rows).await?;
    rows(principal, asker, asked, written).await
}

/// Runs a query whose client waits for the rows.
async fn rows(
    principal: &Principal,
    asker: &Asker,
    asked: Request,
    written: Written,
) -> Result<HttpResponse, Problem> {
    // Which versions there are, and whether an answer is still true, is everybody's doing.
    let is_staff = principal.reach.organization_id().is_none();
    let versions = is_staff.then(|| table_versions(&asked.cut));
    let running = asker.runner.start(principal, asked).await?;
    answer::respond(written, running, versions.as_deref()).await
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
    asker: web::Data<Asker>,
    asked: Result<web::Query<QueryParameters>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    // A link on another site must not make a browser run what stands in it.
    if matches!(principal.kind, Kind::User(_)) {
        refuse_cross_site(&request)?;
    }
    let asked = parameters(asked)?;
    run(&principal, &request, &asker, asked.into_body()?).await
}

/// Says how a query would run and what it would read, without running it.
#[utoipa::path(
    post,
    path = "/v1/query/explain",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, description = "`plan`, one operator a line, for an organization the logical one; \
            `columns`; `parameters`; for staff `scan` with the `files`, `bytes` and `rows` that it reads at most.", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
pub(crate) async fn explain_query(
    principal: Authorized<RunSql>,
    asker: web::Data<Asker>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    planned(&principal, &asker, body.json(&principal).await?, Task::Explain).await
}

/// Says whether a query is right: its columns and its parameters, without running it.
#[utoipa::path(
    post,
    path = "/v1/query/validate",
    tag = "query",
    request_body = QueryBody,
    responses(
        (status = 200, description = "`columns`, with name and type; `parameters`, with the type that each \
            takes, null where any will do.", body = Object),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    ),
)]
pub(crate) async fn validate_query(
    principal: Authorized<RunSql>,
    asker: web::Data<Asker>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    planned(&principal, &asker, body.json(&principal).await?, Task::Validate).await
}

async fn planned(
    principal: &Principal,
    asker: &Asker,
    body: QueryBody,
    task: Task,
) -> Result<HttpResponse, Problem> {
    let asked = asker.question(principal, body, asker.deadline_ms(), task).await?;
    let as_of = asker.seal.token(&asked.cut, principal)?;
    let planned = asker.engine.planned(asked).await.map_err(problem)?;
    Ok(HttpResponse::Ok().insert_header(("X-As-Of", as_of)).json(planned))
}

/// `usage_ledger=12, billing_events=3`
fn table_versions(cut: &Cut) -> String {
    let versions = cut.tables.iter().map(|(table, mark)| format!("{table}={}", mark.version));
    versions.collect::<Vec<_>>().join(", ")
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

/// The tables that one may ask about: columns, types, and a sentence for each.
#[utoipa::path(
    get,
    path = "/v1/schema",
    tag = "query",
    responses(
        (status = 200, description = "`tables`: `name`, `description`, and `columns` with `name`, `type` and \
            `description`.", body = Object),
        (status = 401, body = Problem),
        (status = 403, body = Problem),
    ),
)]
pub(crate) async fn get_schema(principal: Authorized<RunSql>) -> Result<HttpResponse, Problem> {
    let tables = schema::tables(&reach(&principal)).map_err(problem)?;
    Ok(HttpResponse::Ok().json(serde_json::json!({"tables": tables})))
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
    let code = Code::from(error.reason);
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
