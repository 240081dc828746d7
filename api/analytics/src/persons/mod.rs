//! `/v1/person-grants`: which roles see what says something of a person. To the others these columns are null in SQL,
//! and no dimension of a metric. Administrators see them, and each grant they give or take is in the audit log.

mod row;

use actix_web::{HttpRequest, HttpResponse, delete, get, put, web};
use chrono::{DateTime, Utc};
use rest::{
    feature::Feature,
    principal::{Administer, Authorized, Principal, Role},
    problem::{Code, Denied, Problem},
};
use sea_orm::{ActiveValue::Set, EntityTrait, QueryOrder, sea_query::OnConflict};
use serde::Serialize;
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::{Store, StoreContext, StoreError, time_of},
};
use utoipa::ToSchema;

use crate::Lake;

/// Which roles see persons.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("persons").with_routes(|config, _| {
    config.service(list_grants).service(grant_persons).service(revoke_persons);
});

/// A role that sees persons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonGrant {
    pub role: String,
    pub granted_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub granted_at: DateTime<Utc>,
}

/// Whether somebody sees persons.
pub async fn are_shown_to(store: &Store, who: &Principal) -> Result<bool, StoreError> {
    let role = who.role();
    if role == Role::Admin {
        return Ok(true);
    }
    let granted = row::Entity::find_by_id(role.as_str()).one(store.db()).await;
    Ok(granted.doing("reading the grants of persons")?.is_some())
}

pub async fn grants(store: &Store) -> Result<Vec<PersonGrant>, StoreError> {
    let rows = row::Entity::find().order_by_asc(row::Column::Role).all(store.db()).await;
    let rows = rows.doing("reading the grants of persons")?;
    let grant = |row: row::Model| {
        let granted_at = time_of("person_grants", row.granted_at)?;
        Ok(PersonGrant { role: row.role, granted_by: row.granted_by, granted_at })
    };
    rows.into_iter().map(grant).collect()
}

/// Lets a role see persons, or hides them from it again.
pub async fn show(
    store: &Store,
    role: Role,
    shown: bool,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let write = store.write().await?;
    let action = if shown {
        let row = row::ActiveModel {
            role: Set(role.as_str().to_owned()),
            granted_by: Set(origin.actor.clone()),
            granted_at: Set(now.timestamp_micros()),
        };
        let once = OnConflict::column(row::Column::Role).do_nothing().to_owned();
        let granted = row::Entity::insert(row).on_conflict(once);
        granted.exec_without_returning(write.db()).await.doing("granting persons to a role")?;
        "persons.granted"
    } else {
        let revoked = row::Entity::delete_by_id(role.as_str()).exec(write.db()).await;
        revoked.doing("taking persons from a role")?;
        "persons.revoked"
    };
    let act = AuditAction { action, target: role.as_str().to_owned(), detail: json!({}) };
    audit::append(&write, origin, act, now).await?;
    write.commit().await
}

/// Persons cannot be granted to administrators, nor taken from them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("administrators see persons always")]
pub struct AlwaysGranted;

impl From<AlwaysGranted> for Problem {
    fn from(error: AlwaysGranted) -> Self {
        Self::conflict(Code::AlwaysGranted, error.to_string())
    }
}

/// A role that persons can be granted to. Of a customer's users, a grant is for all.
pub fn grantable(role: Role) -> Result<Role, AlwaysGranted> {
    match role {
        Role::Admin => Err(AlwaysGranted),
        Role::Enterprise => Ok(Role::User),
        role => Ok(role),
    }
}

fn named(name: &str) -> Result<Role, Problem> {
    let absent = |_| Problem::not_found(format!("there is no role `{name}`"));
    Ok(grantable(Role::parse_shared(name).map_err(absent)?)?)
}

/// The roles that see persons, besides administrators.
#[utoipa::path(
    operation_id = "list_person_grants",
    tag = "accounts",
    responses(
        (status = 200, body = GrantList), Denied,
    ),
)]
#[get("/v1/person-grants")]
pub(crate) async fn list_grants(
    _: Authorized<Administer>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(GrantList { grants: grants(&lake.state.store).await? }))
}

#[derive(Debug, Serialize, ToSchema)]
struct GrantList {
    grants: Vec<PersonGrant>,
}

/// Lets a role see persons in SQL.
#[utoipa::path(
    tag = "accounts",
    params(("role" = String, Path)),
    responses(
        (status = 204), Denied,
        (status = 404, body = Problem), (status = 409, description = "Administrators see persons always.", body = Problem),
    ),
)]
#[put("/v1/person-grants/{role}")]
pub(crate) async fn grant_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    show(&lake.state.store, named(&name)?, true, &admin.origin(&request), lake.state.clock.now())
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Hides persons from a role in SQL.
#[utoipa::path(
    tag = "accounts",
    params(("role" = String, Path)),
    responses(
        (status = 204), Denied,
        (status = 404, body = Problem), (status = 409, description = "Administrators see persons always.", body = Problem),
    ),
)]
#[delete("/v1/person-grants/{role}")]
pub(crate) async fn revoke_persons(
    admin: Authorized<Administer>,
    request: HttpRequest,
    name: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    show(&lake.state.store, named(&name)?, false, &admin.origin(&request), lake.state.clock.now())
        .await?;
    Ok(HttpResponse::NoContent().finish())
}
