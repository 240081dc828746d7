//! `/v1/keys`

use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, TimeDelta, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized, ManageKeys, Principal, Scope, Scopes},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::{State, store::Store};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{ApiKey, KeyError, KeyLimits, KeyPurpose, KeyRing, NewKey, verify_route::verify_key};
use crate::{Directory, plans::Limits};

/// What to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKeyBody {
    pub name: String,
    /// Left out: a platform key, which sends for every organization.
    pub organization_id: Option<String>,
    /// Some of `read`, `write`, `backfill`, `admin`, `verify`.
    pub scopes: Vec<String>,
    /// Of a platform key: beginnings of the sources that it may send under. Left out: all.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The types that it may send, such as `usage.request` or `billing.*`. Left out: all.
    #[serde(default)]
    pub types: Vec<String>,
    /// The models that it is for: names or globs such as `gpt-4*`. Left out: all.
    #[serde(default)]
    pub models: Vec<String>,
    /// The addresses that it may be used from, such as `10.0.0.0/8`. Left out: all.
    #[serde(default)]
    pub networks: Vec<String>,
    /// What it may call and use, beside what its organization may. Left out: there is no limit.
    #[serde(default)]
    pub budget: Limits,
    /// The project that its calls are of.
    pub project_id: Option<String>,
    /// At most 1000 characters.
    pub notes: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The project and the notes of a key. What is left out is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PurposeBody {
    /// The project that its calls are of.
    project_id: Option<String>,
    /// At most 1000 characters.
    notes: Option<String>,
}

/// What a key is for, and where. Without entries there is no limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsBody {
    /// Names or globs such as `gpt-4*`.
    #[serde(default)]
    pub models: Vec<String>,
    /// Addresses or networks such as `10.0.0.0/8`.
    #[serde(default)]
    pub networks: Vec<String>,
    /// What it may call and use, beside what its organization may.
    #[serde(default)]
    pub budget: Limits,
}

/// A rotation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    /// How long the old secret works beside the new one: 0 to 2592000, which is 30 days. Left out: 86400, which is a day.
    pub overlap_seconds: Option<u32>,
}

/// A day.
const OVERLAP_SECONDS: u32 = 86_400;

/// What a key may write. Without entries there is no limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// Of a platform key: beginnings of the sources that it may send under.
    #[serde(default)]
    pub sources: Vec<String>,
    /// The types that it may send, such as `usage.request` or `billing.*`.
    #[serde(default)]
    pub types: Vec<String>,
}

/// An API key without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyView {
    pub api_key_id: String,
    pub organization_id: Option<String>,
    pub name: String,
    /// The first characters of the secret.
    pub start: String,
    pub scopes: Vec<&'static str>,
    /// Beginnings of the sources that it may send under; empty where it is not narrowed.
    pub sources: Vec<String>,
    /// The types that it may send; empty where it is not narrowed.
    pub types: Vec<String>,
    /// The models that it is for; empty where all are.
    pub models: Vec<String>,
    /// The networks that it may be used from; empty where all are.
    pub networks: Vec<String>,
    /// What it may call and use.
    pub budget: Limits,
    pub project_id: Option<String>,
    pub notes: Option<String>,
    pub created_by: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<DateTime<Utc>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// The id of the key that took its place.
    pub rotated_to: Option<String>,
}

/// A new API key with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewKeyView {
    #[serde(flatten)]
    pub key: KeyView,
    pub secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    pub keys: Vec<KeyView>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config
        .app_data(directory.keys.clone())
        .service(list_keys)
        .service(create_key)
        .service(grant_key)
        .service(limit_key)
        .service(describe_key)
        .service(rotate_key)
        .service(verify_key)
        .service(revoke_key);
}

/// Whether a key is of an organization in reach.
fn is_in_reach(principal: &Principal, key: &ApiKey) -> bool {
    let own = principal.reach.organization_id();
    own.is_none() || key.organization_id.as_deref() == own
}

/// Fails for a key that is not in reach as for one that is not there.
async fn require_reach(
    principal: &Principal,
    store: &Store,
    api_key_id: &str,
) -> Result<ApiKey, KeyError> {
    let found = super::find(store, api_key_id).await?;
    let own = found.filter(|key| is_in_reach(principal, key));
    own.ok_or_else(|| KeyError::UnknownKey { api_key_id: api_key_id.to_owned() })
}

/// Fails, too, for a key with scopes that the principal could not give: staff gave it to the organization.
pub(crate) async fn require_own_scopes(
    principal: &Principal,
    store: &Store,
    api_key_id: &str,
) -> Result<(), Problem> {
    let key = require_reach(principal, store, api_key_id).await?;
    let is_of_customer = principal.reach.organization_id().is_some();
    if is_of_customer && !key.scopes.iter().all(is_for_customers) {
        let detail = "this key has scopes that only staff gives";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    Ok(())
}

/// Whether users of an organization give it to the keys of the organization.
fn is_for_customers(scope: Scope) -> bool {
    matches!(scope, Scope::Read | Scope::Write)
}

/// Whose key is created: of a customer's user the own organization's, for reading and writing.
pub(crate) fn owner(
    principal: &Principal,
    asked: Option<String>,
    scopes: Scopes,
) -> Result<Option<String>, Problem> {
    let Some(own) = principal.reach.organization_id() else { return Ok(asked) };
    if asked.is_some_and(|asked| asked != own) {
        let detail = "`organization_id` is another organization than yours";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    if !scopes.iter().all(is_for_customers) {
        return Err(KeyError::Invalid { field: "scopes", reason: "must be read or write" }.into());
    }
    Ok(Some(own.to_owned()))
}

/// The API keys of the organizations in reach, newest first.
#[utoipa::path(
    tag = "keys",
    responses(
        (status = 200, body = KeyList),
        Denied,
    )
)]
#[get("/v1/keys")]
async fn list_keys(
    principal: Authorized<ManageKeys>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let keys = super::list(&state.store).await?.into_iter();
    let keys = keys.filter(|key| is_in_reach(&principal, key)).map(KeyView::from).collect();
    Ok(HttpResponse::Ok().json(KeyList { keys }))
}

/// Creates an API key. The answer is the only place that ever shows its secret. Users of an organization create its keys,
/// with `read` and `write`.
#[utoipa::path(
    tag = "keys",
    request_body = NewKeyBody,
    responses(
        (status = 201, body = NewKeyView),
        (status = 400, body = Problem),
        Denied,
    )
)]
#[post("/v1/keys")]
async fn create_key(
    principal: Authorized<ManageKeys>,
    body: Body,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: NewKeyBody = body.json(&principal).await?;
    let scopes = Scopes::of(body.scopes.iter().map(String::as_str)).map_err(KeyError::from)?;
    let new = NewKey {
        name: body.name,
        organization_id: owner(&principal, body.organization_id, scopes)?,
        scopes,
        grant: super::grant(body.sources, body.types)?,
        limits: KeyLimits::new(&body.models, &body.networks)?.with_budget(body.budget)?,
        purpose: KeyPurpose::new(body.project_id, body.notes)?,
        expires_at: body.expires_at,
    };
    let (key, secret) =
        super::create(&state.store, new, &principal.origin(&request), state.clock.now()).await?;
    let view = NewKeyView { key: key.into(), secret: secret.reveal().to_owned() };
    Ok(HttpResponse::Created().json(view))
}

/// Changes what a key may write. Servers obey within a second.
#[utoipa::path(
    operation_id = "update_key_grant",
    tag = "keys",
    params(("api_key_id" = String, Path)),
    request_body = GrantBody,
    responses(
        (status = 200, body = KeyView),
        (status = 400, body = Problem),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[put("/v1/keys/{api_key_id}/grant")]
async fn grant_key(
    principal: Authorized<Administer>,
    api_key_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: GrantBody = body.json(&principal).await?;
    let (grant, origin) = (super::grant(body.sources, body.types)?, principal.origin(&request));
    let key =
        super::set_grant(&state.store, &api_key_id, grant, &origin, state.clock.now()).await?;
    ring.forget();
    Ok(HttpResponse::Ok().json(KeyView::from(key)))
}

/// Changes the models and networks that a key is for, and what it may use. What is left out has no limit. Servers obey within a second.
#[utoipa::path(
    operation_id = "update_key_limits",
    tag = "keys",
    params(("api_key_id" = String, Path)),
    request_body = LimitsBody,
    responses(
        (status = 200, body = KeyView),
        (status = 400, body = Problem),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[put("/v1/keys/{api_key_id}/limits")]
async fn limit_key(
    principal: Authorized<ManageKeys>,
    api_key_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_own_scopes(&principal, &state.store, &api_key_id).await?;
    let body: LimitsBody = body.json(&principal).await?;
    let limits = KeyLimits::new(&body.models, &body.networks)?.with_budget(body.budget)?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let key = super::set_limits(&state.store, &api_key_id, limits, &origin, now).await?;
    ring.forget();
    Ok(HttpResponse::Ok().json(KeyView::from(key)))
}

/// Changes the project and the notes of a key.
#[utoipa::path(
    operation_id = "update_key_purpose",
    tag = "keys",
    params(("api_key_id" = String, Path)),
    request_body = PurposeBody,
    responses(
        (status = 200, body = KeyView), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem),
    )
)]
#[put("/v1/keys/{api_key_id}/purpose")]
async fn describe_key(
    principal: Authorized<ManageKeys>,
    api_key_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_reach(&principal, &state.store, &api_key_id).await?;
    let body: PurposeBody = body.json(&principal).await?;
    let purpose = KeyPurpose::new(body.project_id, body.notes)?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let key = super::set_purpose(&state.store, &api_key_id, purpose, &origin, now).await?;
    ring.forget();
    Ok(HttpResponse::Ok().json(KeyView::from(key)))
}

/// Rotates an API key: a new one may do the same, and the old one ends after an overlap. The answer is the only place that
/// ever shows the new secret.
#[utoipa::path(
    tag = "keys",
    params(("api_key_id" = String, Path)),
    request_body = RotateBody,
    responses(
        (status = 201, body = NewKeyView),
        (status = 400, body = Problem),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[post("/v1/keys/{api_key_id}/rotate")]
async fn rotate_key(
    principal: Authorized<ManageKeys>,
    api_key_id: web::Path<String>,
    body: Body,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_own_scopes(&principal, &state.store, &api_key_id).await?;
    let body: RotateBody = body.json(&principal).await?;
    let overlap = TimeDelta::seconds(body.overlap_seconds.unwrap_or(OVERLAP_SECONDS).into());
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let (key, secret) = super::rotate(&state.store, &api_key_id, overlap, &origin, now).await?;
    ring.forget();
    state.departures.notify_waiters();
    let view = NewKeyView { key: key.into(), secret: secret.reveal().to_owned() };
    Ok(HttpResponse::Created().json(view))
}

/// Revokes an API key. Servers refuse it within a second.
#[utoipa::path(
    tag = "keys",
    params(("api_key_id" = String, Path)),
    responses(
        (status = 204),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[delete("/v1/keys/{api_key_id}")]
async fn revoke_key(
    principal: Authorized<ManageKeys>,
    api_key_id: web::Path<String>,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_reach(&principal, &state.store, &api_key_id).await?;
    super::revoke(&state.store, &api_key_id, &principal.origin(&request), state.clock.now())
        .await?;
    ring.forget();
    state.departures.notify_waiters();
    Ok(HttpResponse::NoContent().finish())
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            scopes: key.scopes.iter().map(Scope::as_str).collect(),
            sources: key.grant.sources().to_vec(),
            types: key.grant.types().to_vec(),
            models: key.limits.models(),
            networks: key.limits.networks(),
            budget: key.limits.budget().clone(),
            project_id: key.purpose.project_id().map(ToOwned::to_owned),
            notes: key.purpose.notes().map(ToOwned::to_owned),
            api_key_id: key.api_key_id,
            organization_id: key.organization_id,
            name: key.name,
            start: key.start,
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
            rotated_to: key.rotated_to,
        }
    }
}
