//! Projects: what an organization's keys and use are divided by.

use actix_web::{HttpRequest, HttpResponse, get, patch, post, web};
use chrono::{DateTime, Utc};
use ingest::control;
use rest::{
    body::Body,
    principal::{Authorized, ManageMembers, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    State,
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, time_of},
};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    AccountError,
    member_routes::{MemberParameters, one_organization},
    project_row as row,
};

const NAME_CHARS_MAX: usize = 100;
const PROJECTS_MAX: u64 = 1_000;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Project {
    /// `proj_…`, as events name it.
    pub project_id: String,
    /// The name that people see.
    pub name: String,
    /// The id of who created it.
    pub created_by: String,
    /// When, in UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// It is not offered any more since then; its use stays.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProjectList {
    projects: Vec<Project>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectBody {
    /// 1 to 100 characters.
    name: String,
}

/// What is to be changed. What is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectChange {
    /// 1 to 100 characters.
    name: Option<String>,
    /// Whether it is offered no more.
    archived: Option<bool>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list_projects).service(create_project).service(change_project);
}

fn check(name: &str) -> Result<(), AccountError> {
    let fits = name.chars().count() <= NAME_CHARS_MAX && !control::in_name(name);
    match fits && !name.trim().is_empty() {
        true => Ok(()),
        false => Err(AccountError::Invalid {
            field: "name",
            reason: "must be 1 to 100 characters without control characters",
        }),
    }
}

impl TryFrom<row::Model> for Project {
    type Error = AccountError;

    fn try_from(row: row::Model) -> Result<Self, AccountError> {
        Ok(Self {
            created_at: time_of("projects", row.created_at)?,
            archived_at: row.archived_at.map(|at| time_of("projects", at)).transpose()?,
            project_id: row.project_id,
            name: row.name,
            created_by: row.created_by,
        })
    }
}

/// The projects of an organization, by name.
pub async fn projects_of(
    store: &Store,
    organization_id: &str,
) -> Result<Vec<Project>, AccountError> {
    let rows = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .order_by_asc(row::Column::Name)
        .order_by_asc(row::Column::ProjectId)
        .all(store.db())
        .await
        .doing("listing projects")?;
    rows.into_iter().map(Project::try_from).collect()
}

/// Creates a project.
pub async fn create_project_of(
    store: &Store,
    organization_id: &str,
    name: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<Project, AccountError> {
    check(name)?;
    let write = store.write().await?;
    let count = row::Entity::find()
        .filter(row::Column::OrganizationId.eq(organization_id))
        .count(write.db())
        .await
        .doing("counting projects")?;
    if count >= PROJECTS_MAX {
        let reason = "cannot be another one: there are 1000 projects";
        return Err(AccountError::Invalid { field: "name", reason });
    }
    let made = row::Model {
        project_id: format!("proj_{}", base62(&random_bytes::<16>()?, 22)),
        organization_id: organization_id.to_owned(),
        name: name.trim().to_owned(),
        created_by: origin.actor.clone(),
        created_at: now.timestamp_micros(),
        archived_at: None,
    };
    let added = row::ActiveModel {
        project_id: Set(made.project_id.clone()),
        organization_id: Set(made.organization_id.clone()),
        name: Set(made.name.clone()),
        created_by: Set(made.created_by.clone()),
        created_at: Set(made.created_at),
        archived_at: Set(None),
    };
    let added = row::Entity::insert(added).exec_without_returning(write.db()).await;
    added.doing("creating a project").map(drop).map_err(|error| match error {
        error if error.is_foreign_key_violation() => {
            AccountError::UnknownOrganization { organization_id: organization_id.to_owned() }
        }
        error => error.into(),
    })?;
    let detail = json!({"organization_id": organization_id});
    let act = AuditAction { action: "project.created", target: made.project_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    Project::try_from(made)
}

async fn change(
    store: &Store,
    organization_id: &str,
    project_id: &str,
    change: ProjectChange,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<Project, AccountError> {
    if let Some(name) = &change.name {
        check(name)?;
    }
    let write = store.write().await?;
    let found = row::Entity::find_by_id(project_id)
        .filter(row::Column::OrganizationId.eq(organization_id))
        .one(write.db())
        .await
        .doing("reading a project")?;
    let mut found = found.ok_or(AccountError::UnknownProject)?;
    if let Some(name) = change.name {
        name.trim().clone_into(&mut found.name);
    }
    found.archived_at = match change.archived {
        Some(true) => found.archived_at.or(Some(now.timestamp_micros())),
        Some(false) => None,
        None => found.archived_at,
    };
    row::Entity::update_many()
        .col_expr(row::Column::Name, Expr::value(found.name.as_str()))
        .col_expr(row::Column::ArchivedAt, Expr::value(found.archived_at))
        .filter(row::Column::ProjectId.eq(project_id))
        .exec(write.db())
        .await
        .doing("changing a project")?;
    let detail = json!({"archived": found.archived_at.is_some()});
    let act = AuditAction { action: "project.changed", target: project_id.to_owned(), detail };
    audit::append(&write, origin, act, now).await?;
    write.commit().await?;
    Project::try_from(found)
}

/// Archives a project, or offers it again.
pub async fn archive_project(
    store: &Store,
    organization_id: &str,
    project_id: &str,
    is_archived: bool,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    let asked = ProjectChange { name: None, archived: Some(is_archived) };
    change(store, organization_id, project_id, asked, origin, now).await.map(drop)
}

/// The projects of an organization, by name.
#[utoipa::path(
    tag = "members",
    params(MemberParameters),
    responses((status = 200, body = ProjectList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/projects")]
async fn list_projects(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let of = one_organization(&principal, parameters(asked)?)?;
    let projects = projects_of(&state.store, &of).await?;
    Ok(HttpResponse::Ok().json(ProjectList { projects }))
}

/// Creates a project. Events and keys name it by its id.
#[utoipa::path(
    tag = "members",
    params(MemberParameters),
    request_body = ProjectBody,
    responses((status = 201, body = Project), (status = 400, body = Problem), Denied)
)]
#[post("/v1/projects")]
async fn create_project(
    principal: Authorized<ManageMembers>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    body: Body,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = one_organization(&principal, parameters(asked)?)?;
    let body: ProjectBody = body.json(&principal).await?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let made = create_project_of(&state.store, &of, &body.name, &origin, now).await?;
    Ok(HttpResponse::Created().json(made))
}

/// Renames a project, or archives it.
#[utoipa::path(
    operation_id = "update_project",
    tag = "members",
    params(("project_id" = String, Path), MemberParameters),
    request_body = ProjectChange,
    responses(
        (status = 200, body = Project), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem),
    )
)]
#[patch("/v1/projects/{project_id}")]
async fn change_project(
    principal: Authorized<ManageMembers>,
    project_id: web::Path<String>,
    asked: Result<web::Query<MemberParameters>, actix_web::Error>,
    body: Body,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let of = one_organization(&principal, parameters(asked)?)?;
    let body: ProjectChange = body.json(&principal).await?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let changed = change(&state.store, &of, &project_id, body, &origin, now).await?;
    Ok(HttpResponse::Ok().json(changed))
}
