//! `/v1/person-grants`: which roles see what says something of a person in SQL. To the others these columns are
//! null. Administrators see them, and each grant they give or take is in the audit log.

mod row;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::OnConflict,
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    accounts::Role,
    audit::{self, Act, Origin},
    clock::Clock,
    principal::{Administer, Authorized, Principal},
    problem::Problem,
    store::{Doing, Store, StoreError, time_of},
};

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(web::resource("/v1/person-grants").route(web::get().to(list_grants))).service(
        web::resource("/v1/person-grants/{role}")
            .route(web::put().to(grant_persons))
            .route(web::delete().to(revoke_persons)),
    );
}

/// A role that sees persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PersonGrant {
    pub(crate) role: String,
    pub(crate) granted_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) granted_at: DateTime<Utc>,
}

/// Whether somebody sees persons.
pub(crate) async fn are_shown_to(store: &Store, who: &Principal) -> Result<bool, StoreError> {
    let role = who.role();
    if role == Role::Admin {
        return Ok(true);
    }
    let granted = row::Entity::find_by_id(role.as_str()).one(store.db()).await;
    Ok(granted.doing("reading the grants of persons")?.is_some())
}

pub(crate) async fn grants(store: &Store) -> Result<Vec<PersonGrant>, StoreError> {
    let rows = row::Entity::find().order_by_asc(row::Column::Role).all(store.db()).await;
    let rows = rows.doing("reading the grants of persons")?;
    let grant = |row: row::Model| {
        let granted_at = time_of("person_grants", row.granted_at)?;
        Ok(PersonGrant { role: row.role, granted_by: row.granted_by, granted_at })
    };
    rows.into_iter().map(grant).collect()
}

/// Lets a role see persons.
pub(crate) async fn grant(
    store: &Store,
    role: Role,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    let row = row::ActiveModel {
        role: Set(role.as_str().to_owned()),
        granted_by: Set(origin.actor.clone()),
        granted_at: Set(now.timestamp_micros()),
    };
    row::Entity::insert(row)
        .on_conflict(OnConflict::column(row::Column::Role).do_nothing().to_owned())
        .exec_without_returning(write.db())
        .await
        .doing("granting persons to a role")?;
    let act =
        Act { action: "persons.granted", target: role.as_str().to_owned(), detail: json!({}) };
    audit::append(&write, origin, act, now).await?;
    write.commit().await
}

/// Hides persons from a role again.
pub(crate) async fn revoke(
    store: &Store,
    role: Role,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    row::Entity::delete_many()
        .filter(row::Column::Role.eq(role.as_str()))
        .exec(write.db())
        .await
        .doing("taking persons from a role")?;
    let act =
        Act { action: "persons.revoked", target: role.as_str().to_owned(), detail: json!({}) };
    audit::append(&write, origin, act, now).await?;
    write.commit().await
}

fn role(name: &str) -> Result<Role, Problem> {
    match Role::parse(name) {
        Ok(Role::Admin) => {
            Err(Problem::conflict("always_granted", "administrators see persons always"))
        }
        Ok(role) => Ok(role),
        Err(_) => Err(Problem::not_found(format!("there is no role `{name}`"))),
    }
}

/// The roles that see persons, besides administrators.
#[utoipa::path(
    get,
    path = "/v1/person-grants",
    tag = "accounts",
    responses(
        (status = 200, description = "`grants`.", body = Object), (status = 401, body = Problem),
        (status = 403, body = Problem),
    ),
)]
pub(crate) async fn list_grants(
    _: Authorized<Administer>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(json!({"grants": grants(&store).await?})))
}

/// Lets a role see persons in SQL.
#[utoipa::path(
    put,
    path = "/v1/person-grants/{role}",
    tag = "accounts",
    params(("role" = String, Path)),
    responses(
        (status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
    ),
)]
pub(crate) async fn grant_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    name: web::Path<String>,
    store: web::Data<Store>,
    clock: web::Data<Clock>,
) -> Result<HttpResponse, Problem> {
    grant(&store, role(&name)?, &admin.origin(&request), clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Hides persons from a role in SQL.
#[utoipa::path(
    delete,
    path = "/v1/person-grants/{role}",
    tag = "accounts",
    params(("role" = String, Path)),
    responses(
        (status = 204), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem),
    ),
)]
pub(crate) async fn revoke_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    name: web::Path<String>,
    store: web::Data<Store>,
    clock: web::Data<Clock>,
) -> Result<HttpResponse, Problem> {
    revoke(&store, role(&name)?, &admin.origin(&request), clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}
