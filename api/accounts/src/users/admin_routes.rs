//! `/v1/admin/users`: users as administrators see and handle them.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized, Gate, SESSION_COOKIE},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, Status, User, find_user, made_up_password, session::VIEW_LIFETIME, user};
use crate::keys::KeyRing;

/// A user, without anything that lets one sign in.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountView {
    pub user_id: String,
    pub email: String,
    /// admin, analyst, manager, user or enterprise
    pub role: &'static str,
    /// Of `user` and `enterprise`.
    pub organization_id: Option<String>,
    /// active, suspended or disabled
    pub status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AccountList {
    pub users: Vec<AccountView>,
}

/// Which users.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct UserParameters {
    /// Part of the address or of the id.
    search: Option<String>,
    /// Of this organization.
    organization_id: Option<String>,
    /// In this role.
    role: Option<String>,
    /// `active`, `suspended` or `disabled`
    status: Option<String>,
    /// 1 to 10000; left out: 1000
    limit: Option<usize>,
}

const LIMIT: usize = 1_000;
const LIMIT_MAX: usize = 10_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetBody {
    /// Left out: one is made up, and the answer shows it.
    #[schema(format = Password)]
    pub password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct NewPassword {
    pub user_id: String,
    /// The one that was made up, shown this once. Null when the request named one.
    #[schema(format = Password)]
    pub password: Option<String>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_users)
        .service(disable_user)
        .service(enable_user)
        .service(suspend_user)
        .service(reset_password)
        .service(reset_factor)
        .service(view_as)
        .service(sign_out_user);
}

/// Users by e-mail address: all, or those whose address or id holds a text, whatever its case.
#[utoipa::path(
    tag = "accounts",
    params(UserParameters),
    responses((status = 200, body = AccountList), (status = 400, body = Problem), Denied)
)]
#[get("/v1/admin/users")]
async fn list_users(
    _: Authorized<Administer>,
    asked: Result<web::Query<UserParameters>, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::invalid_parameters(format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let text = asked.search.unwrap_or_default().to_lowercase();
    let users = user::list_users(&state.store).await?.into_iter().filter(|user| {
        let is_found = [user.email.as_str(), &user.user_id]
            .iter()
            .any(|held| held.to_lowercase().contains(&text));
        is_found
            && asked
                .organization_id
                .as_ref()
                .is_none_or(|id| user.organization_id.as_ref() == Some(id))
            && asked.role.as_ref().is_none_or(|role| user.role.as_str() == role)
            && asked.status.as_ref().is_none_or(|status| user.status.as_str() == status)
    });
    let users = users.take(limit).map(AccountView::from).collect();
    Ok(HttpResponse::Ok().json(AccountList { users }))
}

/// Suspends a user, who signs in and reads then, and can do nothing else. `enable` ends it. The last administrator cannot be
/// suspended.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses(
        (status = 204), Denied, (status = 404, body = Problem),
        (status = 409, description = "`last_administrator`", body = Problem),
    )
)]
#[post("/v1/admin/users/{user_id}/suspend")]
async fn suspend_user(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (origin, now) = (admin.origin(&request), state.clock.now());
    accounts.set_status(&user_id, Status::Suspended, &origin, now).await?;
    state.departures.notify_waiters();
    ring.forget();
    Ok(HttpResponse::NoContent().finish())
}

/// Turns the second factor of a user off, who has lost it.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses((status = 204), Denied, (status = 404, body = Problem))
)]
#[post("/v1/admin/users/{user_id}/reset-second-factor")]
async fn reset_factor(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts.reset_factor(&user_id, &admin.origin(&request), state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// Begins a view of what a customer's user sees, for 30 minutes: the answer puts it in the place of the session cookie. A
/// view reads and changes nothing. Who looked at whom is in the audit log.
#[utoipa::path(
    operation_id = "view_as_user",
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses((status = 204), (status = 400, body = Problem), Denied, (status = 404, body = Problem))
)]
#[post("/v1/admin/users/{user_id}/view")]
async fn view_as(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (origin, now) = (admin.origin(&request), state.clock.now());
    let token = accounts.begin_view(&user_id, &origin, now).await?;
    let cookie = gate.cookie(SESSION_COOKIE, token.reveal(), VIEW_LIFETIME.num_seconds());
    Ok(HttpResponse::NoContent().cookie(cookie).finish())
}

/// Disables a user: ends the user's sessions and running queries, and lets no new session begin. Their kept
/// answers can be had by administrators only. The last administrator cannot be disabled.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses(
        (status = 204),
        Denied,
        (status = 404, body = Problem),
        (status = 409, description = "`last_administrator`", body = Problem),
    )
)]
#[post("/v1/admin/users/{user_id}/disable")]
async fn disable_user(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts
        .set_status(&user_id, Status::Disabled, &admin.origin(&request), state.clock.now())
        .await?;
    state.departures.notify_waiters();
    ring.forget();
    Ok(HttpResponse::NoContent().finish())
}

/// Lets a disabled user sign in again.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses(
        (status = 204),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[post("/v1/admin/users/{user_id}/enable")]
async fn enable_user(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    ring: web::Data<KeyRing>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts
        .set_status(&user_id, Status::Active, &admin.origin(&request), state.clock.now())
        .await?;
    ring.forget();
    Ok(HttpResponse::NoContent().finish())
}

/// Gives a user another password, and ends the user's sessions.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    request_body = ResetBody,
    responses(
        (status = 200, body = NewPassword),
        (status = 400, description = "`weak_password`, or the body is not right.", body = Problem),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[post("/v1/admin/users/{user_id}/reset-password")]
async fn reset_password(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: ResetBody = body.json(&admin).await?;
    let user = find_user(&state.store, &user_id).await?;
    let made_up = body.password.is_none().then(made_up_password);
    let password = body.password.as_deref().or(made_up.as_deref()).unwrap_or_default();
    accounts.reset_password(&user, password, &admin.origin(&request), state.clock.now()).await?;
    let view = NewPassword { user_id: user.user_id, password: made_up };
    Ok(HttpResponse::Ok().json(view))
}

/// Ends all sessions of a user.
#[utoipa::path(
    tag = "accounts",
    params(("user_id" = String, Path)),
    responses(
        (status = 204),
        Denied,
        (status = 404, body = Problem),
    )
)]
#[post("/v1/admin/users/{user_id}/sign-out")]
async fn sign_out_user(
    admin: Authorized<Administer>,
    user_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts.end_sessions(&user_id, &admin.origin(&request), state.clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<User> for AccountView {
    fn from(user: User) -> Self {
        Self {
            user_id: user.user_id,
            email: user.email.to_string(),
            role: user.role.as_str(),
            organization_id: user.organization_id,
            status: user.status.as_str(),
            created_at: user.created_at,
        }
    }
}
