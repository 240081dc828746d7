//! `/sql`: the page where analysts ask.

use actix_web::{HttpRequest, HttpResponse, web};
use query::schema;
use reports::{WORKBENCH_SCRIPT, Workbench, workbench_page};
use rest::{
    page::{language, scripted_page, user_name, visitor},
    principal::{Gate, Role, RunSql},
    problem::{Problem, parameters},
};
use serde::Deserialize;

use crate::queries::{problem, reach};

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
        Some(_) => &[Role::Member],
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

pub(super) async fn script() -> HttpResponse {
    rest::page::script(WORKBENCH_SCRIPT)
}
