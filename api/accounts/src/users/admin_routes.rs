//! `/v1/admin/users`: users as administrators see and handle them.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Administer, Authorized},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, Status, User, find_user, made_up_password, user};

/// A user, without anything that lets one sign in.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountView {
    pub user_id: String,
    pub email: String,
    /// admin, analyst, manager or member
    pub role: &'static str,
    /// A member's.
    pub organization_id: Option<String>,
    /// active or disabled
    pub status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AccountList {
    pub users: Vec<AccountView>,
}

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
        .service(reset_password)
        .service(sign_out_user);
}

/// All users, by e-mail address.
#[utoipa::path(
    tag = "accounts",
    responses(
        (status = 200, body = AccountList),
        Denied,
    )
)]
#[get("/v1/admin/users")]
async fn list_users(
    _: Authorized<Administer>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let users = user::list_users(&state.store).await?;
    let users = users.into_iter().map(AccountView::from).collect();
    Ok(HttpResponse::Ok().json(AccountList { users }))
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
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts
        .set_status(&user_id, Status::Disabled, &admin.origin(&request), state.clock.now())
        .await?;
    state.departures.notify_waiters();
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
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    accounts
        .set_status(&user_id, Status::Active, &admin.origin(&request), state.clock.now())
        .await?;
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
