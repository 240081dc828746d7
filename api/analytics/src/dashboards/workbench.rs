//! `/sql`: the page where analysts ask.

use actix_web::{HttpRequest, HttpResponse, web};
use query::schema;
use reports::{QueryDraw, WORKBENCH_SCRIPT, Workbench, query_chart, workbench_page};
use rest::{
    body::Body,
    page::{language, scripted_page, user_name, visitor},
    principal::{Authorized, Gate, Role, RunSql},
    problem::{Problem, parameters},
};
use serde::Deserialize;
use serde_json::Value;

use super::saved_rows::rows_of_statement;
use crate::{
    Lake,
    queries::{QueryBody, problem, reach},
};

/// What stands in the editor at first.
const STATEMENT: &str = "select model, count(*) as requests, sum(list_price) as revenue, currency\n\
    from usage_events\n\
    where occurred_at >= now() - interval '7 days'\n\
    group by model, currency\n\
    order by requests desc";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkbenchParameters {
    lang: Option<String>,
    /// A statement to begin with, for links.
    q: Option<String>,
}

pub(super) async fn page(
    request: HttpRequest,
    asked: Result<web::Query<WorkbenchParameters>, actix_web::Error>,
    gate: web::Data<Gate>,
) -> Result<HttpResponse, Problem> {
    let principal = match visitor::<RunSql>(&request, &gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(way_in),
    };
    let asked = parameters(asked)?;
    let roles: &[Role] = match principal.reach.organization_id() {
        Some(_) => &[Role::User],
        None => &[Role::Analyst, Role::Manager],
    };
    let html = workbench_page(&Workbench {
        language: language(&request, asked.lang.as_deref()),
        user: user_name(&principal),
        organization: principal.reach.organization_id().map(str::to_owned),
        tables: schema::tables(&reach(&principal)).map_err(problem)?,
        roles: roles.iter().map(|role| role.as_str()).collect(),
        statement: asked.q.unwrap_or_else(|| STATEMENT.to_owned()),
    });
    let html = html.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the workbench cannot be shown");
        Problem::internal()
    })?;
    Ok(scripted_page(html))
}

/// A statement whose answer is drawn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChartBody {
    sql: String,
    #[serde(default)]
    params: Value,
    draw: QueryDraw,
    lang: Option<String>,
}

const BODY_BYTES_MAX: usize = 256 << 10;

/// The answer of a statement as a picture, drawn as a tile would be; nothing where there is nothing to draw.
pub(super) async fn chart(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let ChartBody { sql, params, draw, lang } = body.json(&principal).await?;
    let body = QueryBody { sql, params, ..QueryBody::default() };
    let Some(rows) = rows_of_statement(&principal, &lake, body, None, false).await? else {
        return Ok(HttpResponse::NoContent().finish());
    };
    let language = language(&request, lang.as_deref());
    let drawing = web::block(move || query_chart(&rows, draw, language)).await;
    let drawn = drawing.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a chart cannot be drawn");
        Problem::internal()
    })?;
    Ok(match drawn {
        Some(svg) => HttpResponse::Ok()
            .content_type("image/svg+xml")
            .insert_header(("Content-Security-Policy", "default-src 'none'"))
            .body(svg),
        None => HttpResponse::NoContent().finish(),
    })
}

pub(super) async fn script() -> HttpResponse {
    rest::page::script(WORKBENCH_SCRIPT)
}
