//! `/v1/saved-queries`: statements under a name, with typed parameters, versioned, shared with roles.
//!
//! Staff and each organization have names of their own. Whoever runs a saved query sees the rows in their own
//! reach, whoever wrote it.

mod stored;

use super::contract::QueryAnswer;
use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header, post, web};
use chrono::{DateTime, Utc};
use ingest::control;
use query::{AnswerFormat, Parameters, QueryMode, parameter::ParameterKind};
use rest::{
    body::Body,
    principal::{Ability, Authorized, Principal, ReadMetrics, Role, RunSql},
    problem::{Code, Denied, Problem, parameters},
};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction},
    store::{Store, StoreContext, StoreError},
};
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX, Lake, QueryBody,
    body::{AnswerOptions, Csv},
    problem, rows, saved_row as row,
};
use stored::{add, find, newest};

const DESCRIPTION_BYTES_MAX: usize = 1_000;
/// Bytes of a parameter's default.
const DEFAULT_BYTES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 64;
/// What the address of a run says of a parameter begins so: `p.model=gpt-4o`.
pub const PARAMETER: &str = "p.";

/// A query to save. What is saved under the name already gets another version.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewQuery {
    /// Lower-case letters, digits and hyphens, at most 64.
    pub name: String,
    pub sql: String,
    #[serde(default)]
    pub description: String,
    /// The statement's `$name`s, each with its type.
    #[serde(default)]
    pub parameters: BTreeMap<String, Declared>,
    /// Roles that may run it besides who saved it and administrators.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub shared_with: Vec<String>,
}

/// A parameter of a saved query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// `boolean`, `integer`, `decimal`, `double`, `text`, `timestamp` or `date`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: ParameterKind,
    /// Taken where a run gives no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A saved query, in one of its versions.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SavedQuery {
    pub name: String,
    pub version: i32,
    pub description: String,
    pub sql: String,
    pub parameters: BTreeMap<String, Declared>,
    pub shared_with: Vec<String>,
    /// Who saved the first version: only they and administrators change it.
    pub owner_id: String,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionParameters {
    version: Option<i32>,
}

impl SavedQuery {
    fn may_run(&self, who: &Principal) -> bool {
        let role = who.role().as_str();
        self.may_change(who) || self.shared_with.iter().any(|shared| shared == role)
    }

    fn may_change(&self, who: &Principal) -> bool {
        self.owner_id == who.id || who.may(Ability::Administer)
    }
}

fn scope_of(who: &Principal) -> &str {
    who.reach.organization_id().unwrap_or_default()
}

impl NewQuery {
    fn check(&self) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let name = &self.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return refuse(format!(
                "`name` must be 1 to {NAME_BYTES_MAX} lower-case letters, digits, `-` and `_`"
            ));
        }
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            return refuse(format!("`description` is longer than {DESCRIPTION_BYTES_MAX} bytes"));
        }
        if control::in_text(&self.description) {
            let detail = "`description` holds other control characters than tabs and line ends";
            return refuse(detail.to_owned());
        }
        let long = |declared: &Declared| {
            declared.default.as_ref().is_some_and(|text| text.len() > DEFAULT_BYTES_MAX)
        };
        if self.parameters.values().any(long) {
            return refuse(format!("a `default` is longer than {DEFAULT_BYTES_MAX} bytes"));
        }
        if self.shared_with.len() > Role::SHARED.len() {
            return refuse("`shared_with` names a role twice".into());
        }
        for role in &self.shared_with {
            if Role::parse_shared(role).is_err() {
                return refuse(format!(
                    "`shared_with`: `{role}` is no role; they are admin, analyst, manager, user"
                ));
            }
        }
        // Also says which default is not of its type.
        let mut defaults = Parameters::default();
        for (name, declared) in &self.parameters {
            if let Some(text) = &declared.default {
                defaults.add(name, declared.kind, text).map_err(problem)?;
            }
        }
        Ok(())
    }
}

/// Saves a query, or another version of it.
#[utoipa::path(
    tag = "query",
    request_body = NewQuery,
    responses(
        (status = 201, body = SavedQuery), (status = 400, body = Problem), Denied, (status = 409, description = "Somebody else has the name, or too many versions are saved.", body = Problem),
    ),
)]
#[post("/v1/saved-queries")]
pub(crate) async fn save_query(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let new: NewQuery = body.json(&principal).await?;
    new.check()?;
    // A statement that could not run is not saved.
    let body = QueryBody { sql: new.sql.clone(), ..QueryBody::default() };
    let asked = lake.question(&principal, body, lake.deadline_ms(), QueryMode::Validate).await?;
    let planned = lake.engine.planned(asked).await.map_err(problem)?;
    let invalid = |detail: String| Err(Problem::invalid_parameters(detail));
    if let Some(name) = planned.parameters.keys().find(|name| !new.parameters.contains_key(*name)) {
        return invalid(format!("`parameters` does not say the type of `${name}`"));
    }
    if let Some(name) = new.parameters.keys().find(|name| !planned.parameters.contains_key(*name)) {
        return invalid(format!("the statement has no parameter `${name}`"));
    }
    let origin = principal.origin(&request);
    let saved = add(&lake.state.store, &principal, &origin, &new, lake.state.clock.now()).await?;
    let place = format!("/v1/saved-queries/{}", saved.name);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, place)).json(saved))
}

/// The saved queries that one may run, in their newest versions.
#[utoipa::path(
    operation_id = "list_saved_queries",
    tag = "query",
    responses(
        (status = 200, body = SavedQueryList), Denied,
    ),
)]
#[get("/v1/saved-queries")]
pub(crate) async fn list_saved(
    principal: Authorized<ReadMetrics>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let queries = saved_for(&lake.state.store, &principal).await?;
    Ok(HttpResponse::Ok().json(SavedQueryList { saved_queries: queries }))
}

#[derive(Debug, Serialize, ToSchema)]
struct SavedQueryList {
    saved_queries: Vec<SavedQuery>,
}

/// The newest versions that somebody may run, by name.
pub async fn saved_for(store: &Store, who: &Principal) -> Result<Vec<SavedQuery>, StoreError> {
    let mut queries = newest(store, scope_of(who)).await?;
    queries.retain(|query| query.may_run(who));
    Ok(queries)
}

pub async fn visible(
    store: &Store,
    who: &Principal,
    name: &str,
    version: Option<i32>,
) -> Result<SavedQuery, Problem> {
    visible_in(store.db(), who, name, version).await
}

async fn visible_in(
    db: &impl ConnectionTrait,
    who: &Principal,
    name: &str,
    version: Option<i32>,
) -> Result<SavedQuery, Problem> {
    // The newest version says with whom it is shared.
    let absent = || Problem::not_found(format!("there is no saved query `{name}`"));
    let newest = find(db, scope_of(who), name, None).await?;
    let newest = newest.filter(|newest| newest.may_run(who)).ok_or_else(absent)?;
    match version {
        None => Ok(newest),
        Some(_) => find(db, scope_of(who), name, version).await?.ok_or_else(|| {
            Problem::not_found(format!("`{name}` has the versions 1 to {}", newest.version))
        }),
    }
}

/// A saved query, in its newest version or in one of its others.
#[utoipa::path(
    operation_id = "get_saved_query",
    tag = "query",
    params(("name" = String, Path), ("version" = Option<i32>, Query)),
    responses(
        (status = 200, body = SavedQuery), Denied,
        (status = 404, body = Problem),
    ),
)]
#[get("/v1/saved-queries/{name}")]
pub(crate) async fn get_saved(
    principal: Authorized<ReadMetrics>,
    name: web::Path<String>,
    asked: Result<web::Query<VersionParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let saved = visible(&lake.state.store, &principal, &name, asked.version).await?;
    Ok(HttpResponse::Ok().json(saved))
}

/// Removes a saved query in all its versions.
#[utoipa::path(
    operation_id = "remove_saved_query",
    tag = "query",
    params(("name" = String, Path)),
    responses(
        (status = 204), Denied,
        (status = 404, body = Problem),
    ),
)]
#[delete("/v1/saved-queries/{name}")]
pub(crate) async fn remove_saved(
    principal: Authorized<RunSql>,
    request: HttpRequest,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let write = lake.state.store.write().await?;
    let saved = visible_in(write.db(), &principal, &name, None).await?;
    if !saved.may_change(&principal) {
        let detail = "only who saved it, and administrators, remove it";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    row::Entity::delete_many()
        .filter(row::Column::Scope.eq(scope_of(&principal)))
        .filter(row::Column::Name.eq(name.as_str()))
        .exec(write.db())
        .await
        .doing("removing a saved query")?;
    let detail = json!({"versions": saved.version});
    let act = AuditAction { action: "saved_query.removed", target: saved.name, detail };
    audit::append(&write, &principal.origin(&request), act, lake.state.clock.now()).await?;
    write.commit().await?;
    Ok(HttpResponse::NoContent().finish())
}

/// How a saved query is run: what the address says.
#[derive(Debug, Default)]
struct RunParameters {
    version: Option<i32>,
    body: QueryBody,
    values: Vec<(String, String)>,
}

impl RunParameters {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut run = Self::default();
        for (name, text) in pairs {
            let refuse = || {
                let detail = format!("`{name}={text}` is not possible");
                Problem::invalid_parameters(detail)
            };
            match name.as_str() {
                "version" => run.version = Some(text.parse().map_err(|_| refuse())?),
                "csv" => run.body.csv = Some(Csv::parse(&text).ok_or_else(refuse)?),
                "format" => run.body.format = Some(AnswerFormat::parse(&text).ok_or_else(refuse)?),
                "max_rows" => run.body.max_rows = Some(text.parse().map_err(|_| refuse())?),
                "timeout_ms" => run.body.timeout_ms = Some(text.parse().map_err(|_| refuse())?),
                "truncate" => run.body.truncate = text.parse().map_err(|_| refuse())?,
                "tz" => run.body.tz = Some(text),
                "as_of" => run.body.as_of = Some(text),
                _ => match name.strip_prefix(PARAMETER) {
                    Some(parameter) => run.values.push((parameter.to_owned(), text)),
                    None => return Err(refuse()),
                },
            }
        }
        Ok(run)
    }
}

impl SavedQuery {
    async fn answer(
        &self,
        who: &Principal,
        lake: &Lake,
        values: Vec<(String, String)>,
        body: QueryBody,
        written: AnswerOptions,
    ) -> Result<HttpResponse, Problem> {
        let values = self.bound(values)?;
        let body = QueryBody { sql: self.sql.clone(), ..body };
        let body = body.limited(written.form, &lake.limits);
        let mut asked = lake.question(who, body, lake.deadline_ms(), QueryMode::Rows).await?;
        asked.terms.parameters = values;
        rows(who, lake, asked, written).await
    }

    /// The values of a run, each of its declared type.
    pub(crate) fn bound(&self, values: Vec<(String, String)>) -> Result<Parameters, Problem> {
        let mut bound = Parameters::default();
        for (name, text) in &values {
            let declared = self.parameters.get(name).ok_or_else(|| {
                let detail = format!("the query has no parameter `{name}`");
                Problem::invalid_parameters(detail)
            })?;
            bound.add(name, declared.kind, text).map_err(problem)?;
        }
        for (name, declared) in &self.parameters {
            let given = values.iter().any(|(given, _)| given == name);
            if let Some(text) = declared.default.as_ref().filter(|_| !given) {
                bound.add(name, declared.kind, text).map_err(problem)?;
            }
        }
        Ok(bound)
    }
}

/// Runs a saved query. Parameters stand in the address as `p.name=value`.
#[utoipa::path(
    operation_id = "run_saved_query",
    tag = "query",
    params(
        ("name" = String, Path), ("version" = Option<i32>, Query), ("format" = Option<String>, Query), ("csv" = Option<Csv>, Query),
        ("max_rows" = Option<u64>, Query), ("truncate" = Option<bool>, Query),
        ("timeout_ms" = Option<u64>, Query), ("tz" = Option<String>, Query), ("as_of" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "The rows.", body = QueryAnswer), (status = 400, body = Problem),
        Denied, (status = 404, body = Problem),
    ),
)]
#[get("/v1/saved-queries/{name}/rows")]
pub(crate) async fn run_saved(
    principal: Authorized<ReadMetrics>,
    request: HttpRequest,
    name: web::Path<String>,
    asked: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let mut run = RunParameters::read(asked)?;
    let saved = visible(&lake.state.store, &principal, &name, run.version).await?;
    let (values, written) = (std::mem::take(&mut run.values), run.body.written(&request));
    saved.answer(&principal, &lake, values, run.body, written).await
}

/// The rows of a saved query as JSON.
pub async fn saved_json(
    who: &Principal,
    lake: &Lake,
    saved: &SavedQuery,
    values: Vec<(String, String)>,
    body: QueryBody,
) -> Result<HttpResponse, Problem> {
    let written =
        AnswerOptions { form: AnswerFormat::Json, text_integers: false, spreadsheet: false };
    saved.answer(who, lake, values, body, written).await
}
