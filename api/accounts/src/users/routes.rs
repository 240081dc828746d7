//! `/v1/auth` and `/v1/me`

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{
        Ability, Authorized, Gate, Principal, PrincipalKind, SESSION_COOKIE, Scope, SignedIn,
        caller, refuse_cross_site,
    },
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, Email, SignedInSession, admin_routes, cookies, sign_in_page};
use crate::Directory;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    pub email: String,
    #[schema(format = Password)]
    pub password: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LoginView {
    pub user: UserView,
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserView {
    pub user_id: String,
    pub email: String,
    /// admin, analyst, manager or member
    pub role: &'static str,
}

/// Who asks, and what they may do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    pub id: String,
    pub name: String,
    /// user, key or local_process
    pub kind: &'static str,
    /// The only organization in reach; absent when all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// A user's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// A key's scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<&'static str>>,
    pub permissions: Vec<&'static str>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config.app_data(directory.accounts.clone()).service(login).service(logout).service(me);
    admin_routes::routes(config);
    sign_in_page::routes(config);
}

/// Signs in: the answer sets the session cookie, and one by which the device is known again. Who sends that back
/// is not slowed down when others guess the password.
#[utoipa::path(
    tag = "accounts",
    request_body = LoginBody,
    responses(
        (status = 200, body = LoginView),
        (status = 400, body = Problem),
        Denied,
        (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/login")]
async fn login(
    body: Body,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: LoginBody = body.json_of_stranger().await?;
    let email = Email::parse(&body.email)?;
    let now = state.clock.now();
    let (origin, device) = (caller("anonymous", &request), request.cookie(cookies::DEVICE_COOKIE));
    let device = device.as_ref().map(|cookie| cookie.value());
    let session = accounts.sign_in(&email, &body.password, device, &origin, now).await?;
    let [cookie, device] = cookies::signed_in(&gate, &session, now);
    let SignedInSession { user, expires_at, .. } = session;
    let user =
        UserView { user_id: user.user_id, email: user.email.to_string(), role: user.role.as_str() };
    let view = LoginView { user, expires_at };
    Ok(HttpResponse::Ok().cookie(cookie).cookie(device).json(view))
}

/// Ends the session of the cookie.
#[utoipa::path(
    tag = "accounts",
    responses(
        (status = 204),
        Denied,
    )
)]
#[post("/v1/auth/logout")]
async fn logout(
    principal: Authorized<SignedIn>,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    if let (PrincipalKind::User(_), Some(cookie)) = (principal.kind, request.cookie(SESSION_COOKIE))
    {
        accounts.sign_out(cookie.value(), &principal.origin(&request), state.clock.now()).await?;
    }
    Ok(HttpResponse::NoContent().cookie(cookies::signed_out(&gate)).finish())
}

/// The principal of the credentials.
#[utoipa::path(
    tag = "accounts",
    responses(
        (status = 200, body = Me),
        (status = 401, body = Problem),
    )
)]
#[get("/v1/me")]
async fn me(principal: Authorized<SignedIn>) -> HttpResponse {
    HttpResponse::Ok().json(Me::from(principal.into_principal()))
}

impl From<Principal> for Me {
    fn from(principal: Principal) -> Self {
        let (kind, role, scopes) = match principal.kind {
            PrincipalKind::User(role) => ("user", Some(role.as_str()), None),
            PrincipalKind::Key(scopes) => {
                ("key", None, Some(scopes.iter().map(Scope::as_str).collect()))
            }
            PrincipalKind::LocalProcess => ("local_process", None, None),
        };
        let permissions =
            Ability::ALL.into_iter().filter(|ability| principal.may(*ability)).map(Ability::name);
        Self {
            kind,
            role,
            scopes,
            permissions: permissions.collect(),
            organization_id: principal.reach.organization_id().map(ToOwned::to_owned),
            id: principal.id,
            name: principal.name,
        }
    }
}
