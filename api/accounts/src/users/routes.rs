//! `/v1/auth` and `/v1/me`

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{AUTHORIZATION, USER_AGENT},
    patch, post, web,
};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{
        Ability, Authorized, Gate, Principal, PrincipalKind, Restriction, SESSION_COOKIE, Scope,
        SignedIn, caller, refuse_cross_site,
    },
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Accounts, Browser, Email, Profile, ProfileChange, SignedInSession, User, account_routes,
    admin_routes, confirmation, cookies, factor_routes, member_routes, profile_of, projects,
    sign_in_page, token_routes,
};
use crate::Directory;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    pub email: String,
    #[schema(format = Password)]
    pub password: String,
}

/// The answer to `second_factor_required`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChallengeBody {
    /// `challenge` of the refusal; it holds for five minutes, and three codes.
    #[schema(format = Password)]
    challenge: String,
    /// Six digits of the app, or a recovery code.
    #[schema(format = Password)]
    code: String,
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
    /// admin, analyst, manager, user or enterprise
    pub role: &'static str,
    /// Of `user` and `enterprise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
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
    /// Why a user may do less than the role says: `suspended`, `view` (an administrator looks at what the user sees), or
    /// `second_factor_missing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restriction: Option<&'static str>,
    /// A user's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config
        .app_data(directory.accounts.clone())
        .service(login)
        .service(answer_challenge)
        .service(logout)
        .service(me)
        .service(change_me);
    account_routes::routes(config);
    confirmation::routes(config);
    factor_routes::routes(config);
    member_routes::routes(config);
    projects::routes(config);
    token_routes::routes(config);
    admin_routes::routes(config);
    sign_in_page::routes(config);
}

/// Signs in: the answer sets the session cookie, and one by which the device is known again. Who sends that back
/// is not slowed down when others guess the password. Who has a second factor gets 401 `second_factor_required` with a
/// `challenge`, for `POST /v1/auth/second-factor`.
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
    let (origin, mark) = (caller("anonymous", &request), cookies::mark(&request));
    let browser = Browser { mark: mark.as_deref(), agent: agent(&request), ..Browser::default() };
    let session = accounts.sign_in(&email, &body.password, browser, &origin, now).await?;
    Ok(signed_in(session, &gate, now))
}

/// Completes a sign-in with the code of the second factor, or with a recovery code.
#[utoipa::path(
    operation_id = "answer_second_factor",
    tag = "accounts",
    request_body = ChallengeBody,
    responses(
        (status = 200, body = LoginView), (status = 400, body = Problem), Denied,
        (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/second-factor")]
async fn answer_challenge(
    body: Body,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: ChallengeBody = body.json_of_stranger().await?;
    let (origin, mark) = (caller("anonymous", &request), cookies::mark(&request));
    let browser = Browser { mark: mark.as_deref(), agent: agent(&request), ..Browser::default() };
    let now = state.clock.now();
    let session =
        accounts.answer_challenge(&body.challenge, &body.code, browser, &origin, now).await?;
    Ok(signed_in(session, &gate, now))
}

fn signed_in(session: SignedInSession, gate: &Gate, now: DateTime<Utc>) -> HttpResponse {
    let [cookie, device] = cookies::signed_in(gate, &session, now);
    let SignedInSession { user, expires_at, .. } = session;
    let view = LoginView { user: UserView::from(user), expires_at };
    HttpResponse::Ok().cookie(cookie).cookie(device).json(view)
}

/// The header `User-Agent`.
pub(crate) fn agent(request: &HttpRequest) -> Option<&str> {
    request.headers().get(USER_AGENT)?.to_str().ok()
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            role: user.role.as_str(),
            user_id: user.user_id,
            email: user.email.to_string(),
            organization_id: user.organization_id,
        }
    }
}

/// Ends the session of the cookie, or of the access token.
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
    let (origin, now) = (principal.origin(&request), state.clock.now());
    let is_by_token = request.headers().contains_key(AUTHORIZATION);
    match (&principal.session_id, request.cookie(SESSION_COOKIE)) {
        (Some(session_id), _) if is_by_token => {
            accounts.end_session(&principal.id, session_id, &origin, now).await?;
        }
        (_, Some(cookie)) if !is_by_token => {
            accounts.sign_out(cookie.value(), &origin, now).await?;
        }
        _ => {}
    }
    Ok(HttpResponse::NoContent().cookie(cookies::signed_out(&gate)).finish())
}

/// The principal of the credentials.
#[utoipa::path(
    operation_id = "get_me",
    tag = "accounts",
    responses(
        (status = 200, body = Me),
        (status = 401, body = Problem),
    )
)]
#[get("/v1/me")]
async fn me(
    principal: Authorized<SignedIn>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(Me::of(principal.into_principal(), &state).await?))
}

/// Changes the profile of the user who asks. What is left out stays.
#[utoipa::path(
    operation_id = "update_me",
    tag = "accounts",
    request_body = ProfileChange,
    responses((status = 200, body = Me), (status = 400, body = Problem), Denied)
)]
#[patch("/v1/me")]
async fn change_me(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let change: ProfileChange = body.json(&principal).await?;
    let user_id = own_user(&principal)?;
    let (origin, now) = (principal.origin(&request), state.clock.now());
    accounts.change_profile(user_id, change, &origin, now).await?;
    Ok(HttpResponse::Ok().json(Me::of(principal.into_principal(), &state).await?))
}

/// The user who asks; keys and views have no account to change.
pub(crate) fn own_user(principal: &Principal) -> Result<&str, Problem> {
    let is_view = principal.restriction == Some(Restriction::View);
    match principal.kind {
        PrincipalKind::User(_) if !is_view => Ok(&principal.id),
        _ => Err(Problem::forbidden(Code::Forbidden, "this is for users who signed in")),
    }
}

impl Me {
    async fn of(principal: Principal, state: &State) -> Result<Self, Problem> {
        let profile = match principal.kind {
            PrincipalKind::User(_) => Some(profile_of(&state.store, &principal.id).await?),
            _ => None,
        };
        let (kind, role, scopes) = match principal.kind {
            PrincipalKind::User(role) => ("user", Some(role.as_str()), None),
            PrincipalKind::Key(scopes) => {
                ("key", None, Some(scopes.iter().map(Scope::as_str).collect()))
            }
            PrincipalKind::LocalProcess => ("local_process", None, None),
        };
        let permissions =
            Ability::ALL.into_iter().filter(|ability| principal.may(*ability)).map(Ability::name);
        let restriction = principal.restriction.map(|restriction| match restriction {
            Restriction::Suspended => "suspended",
            Restriction::View => "view",
            Restriction::SecondFactorMissing => "second_factor_missing",
        });
        Ok(Self {
            kind,
            role,
            scopes,
            restriction,
            profile,
            permissions: permissions.collect(),
            organization_id: principal.reach.organization_id().map(ToOwned::to_owned),
            id: principal.id,
            name: principal.name,
        })
    }
}
