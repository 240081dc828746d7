//! Registration, passwords, addresses, the second factor and sessions, as programs use them.

use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use pages::Language;
use rest::{
    body::Body,
    page::language,
    principal::{Authorized, Gate, SignedIn, caller, refuse_cross_site},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Accounts, Email, NewRegistration, Session, check_password, cookies,
    routes::{UserView, own_user},
    sessions_of,
};
use crate::organizations::OrganizationKind;

/// An organization and its first user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    email: String,
    #[schema(format = Password)]
    password: String,
    /// The name of the organization.
    organization: String,
    /// `individual` or `business`. Left out: `business`.
    kind: Option<String>,
    /// ISO 3166-1 alpha-2, such as `DE`.
    country: String,
    /// `en` or `zh-CN`. Left out: what the `Accept-Language` header prefers.
    language: Option<String>,
}

/// A token that a mail carried.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MailTokenBody)]
pub(super) struct TokenBody {
    #[schema(format = Password)]
    token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgotBody {
    email: String,
}

/// A token that a mail carried, and a password: the one from then on, or of the registration.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenAndPassword {
    #[schema(format = Password)]
    token: String,
    #[schema(format = Password)]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    /// The present one.
    #[schema(format = Password)]
    current_password: String,
    /// The one from then on.
    #[schema(format = Password)]
    password: String,
}

/// A password that somebody thinks of. It is not kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StrengthBody {
    #[schema(format = Password)]
    password: String,
    /// The address that it is for.
    email: Option<String>,
}

/// How hard a password is to guess, as `zxcvbn` estimates it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StrengthView {
    /// 0 (at once) to 4 (very hard).
    score: u8,
    /// What makes it weak, in English.
    warning: Option<String>,
    /// What would make it better, in English.
    suggestions: Vec<String>,
    /// Whether it would be taken.
    allowed: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmailBody {
    /// The one from then on.
    email: String,
    #[schema(format = Password)]
    password: String,
}

/// A mail is on its way, if there is anything to send.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MailView {
    /// `mail_sent`
    status: &'static str,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    session_id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// `browser` or `program`
    kind: &'static str,
    /// What the browser or program calls itself.
    device: Option<String>,
    /// Where it began.
    ip: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<DateTime<Utc>>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    sessions: Vec<SessionView>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(register)
        .service(complete_registration)
        .service(forgot_password)
        .service(reset_by_token)
        .service(password_strength)
        .service(change_password)
        .service(change_email)
        .service(complete_email_change)
        .service(list_sessions)
        .service(end_session)
        .service(end_all);
}

const ESTIMATED_CHARS: usize = 40;

const MAIL_SENT: MailView = MailView { status: "mail_sent" };

/// The kind of an organization that somebody names.
pub(super) fn kind_of(text: Option<&str>) -> Result<OrganizationKind, Problem> {
    let invalid = || {
        let detail = "`kind` is individual or business";
        Problem::bad_request(Code::InvalidField, detail).with("field", "kind")
    };
    text.map_or(Some(OrganizationKind::Business), OrganizationKind::parse).ok_or_else(invalid)
}

/// Registers an organization and its first user, where `accounts.registration` is `open`. A mail with a token completes it.
/// The answer is the same whether the address has an account or not.
#[utoipa::path(
    tag = "accounts",
    request_body = RegisterBody,
    responses(
        (status = 202, body = MailView), (status = 400, body = Problem),
        (status = 403, description = "`registration_closed`", body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/register")]
async fn register(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: RegisterBody = body.json_of_stranger().await?;
    let asked: Option<Language> = body.language.as_deref().and_then(Language::from_tag);
    let new = NewRegistration {
        email: Email::parse(&body.email)?,
        password: body.password,
        organization: body.organization,
        kind: kind_of(body.kind.as_deref())?,
        country: body.country,
        language: asked.unwrap_or_else(|| language(&request, None)),
    };
    accounts.register(new, &caller("anonymous", &request), state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::Accepted().json(MAIL_SENT))
}

/// Completes a registration by the token of its mail, and the password of the registration.
#[utoipa::path(
    tag = "accounts",
    request_body = TokenAndPassword,
    responses(
        (status = 201, body = UserView), (status = 400, description = "`invalid_token`", body = Problem),
        (status = 403, description = "`wrong_password`", body = Problem),
        (status = 409, description = "`email_taken`", body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/register/verify")]
async fn complete_registration(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: TokenAndPassword = body.json_of_stranger().await?;
    let (origin, now) = (caller("anonymous", &request), state.clock.now());
    let user = accounts.complete_registration(&body.token, &body.password, &origin, now).await?;
    Ok(HttpResponse::Created().json(UserView::from(user)))
}

/// Sends a mail with a token for a new password. The answer is the same whether the address has an account or not.
#[utoipa::path(
    tag = "accounts",
    request_body = ForgotBody,
    responses(
        (status = 202, body = MailView), (status = 400, body = Problem),
        (status = 403, description = "`no_mail`", body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/password/forgot")]
async fn forgot_password(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: ForgotBody = body.json_of_stranger().await?;
    let email = Email::parse(&body.email)?;
    accounts.forgot_password(&email, &caller("anonymous", &request), state.clock.now())?;
    Ok(HttpResponse::Accepted().json(MAIL_SENT))
}

/// Sets a new password by the token of a mail, and ends all sessions of the user. A second factor stays as it is.
#[utoipa::path(
    operation_id = "reset_password_by_token",
    tag = "accounts",
    request_body = TokenAndPassword,
    responses(
        (status = 204), (status = 400, description = "`invalid_token` or `weak_password`", body = Problem),
    )
)]
#[post("/v1/auth/password/reset")]
async fn reset_by_token(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: TokenAndPassword = body.json_of_stranger().await?;
    let origin = caller("anonymous", &request);
    accounts.reset_by_token(&body.token, &body.password, &origin, state.clock.now()).await?;
    state.departures.notify_waiters();
    state.jobs.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// Estimates how hard a password is to guess, and how it could be better. It is advice: see `allowed`.
#[utoipa::path(
    tag = "accounts",
    request_body = StrengthBody,
    responses((status = 200, body = StrengthView), (status = 400, body = Problem), (status = 429, body = Problem))
)]
#[post("/v1/auth/password/strength")]
async fn password_strength(body: Body, request: HttpRequest) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: StrengthBody = body.json_of_stranger().await?;
    let email = body.email.as_deref().map(Email::parse).transpose()?;
    // The estimate takes longer for long ones, which are hard to guess anyway.
    let start: String = body.password.chars().take(ESTIMATED_CHARS).collect();
    let own = email.clone();
    let estimate = web::block(move || {
        let inputs: Vec<&str> = own.iter().map(Email::as_str).collect();
        zxcvbn::zxcvbn(&start, &inputs)
    });
    let estimate = estimate.await.map_err(|_| Problem::internal())?;
    let feedback = estimate.feedback();
    let suggestions = feedback.map(zxcvbn::feedback::Feedback::suggestions).unwrap_or_default();
    let email = email.unwrap_or_else(Email::nobody);
    Ok(HttpResponse::Ok().json(StrengthView {
        score: estimate.score().into(),
        warning: feedback.and_then(|feedback| Some(feedback.warning()?.to_string())),
        suggestions: suggestions.iter().map(ToString::to_string).collect(),
        allowed: check_password(&body.password, &email).is_ok(),
    }))
}

/// Changes the password of the user who asks, and ends the user's other sessions.
#[utoipa::path(
    tag = "accounts",
    request_body = PasswordBody,
    responses((status = 204), (status = 400, body = Problem), Denied, (status = 429, body = Problem))
)]
#[post("/v1/me/password")]
async fn change_password(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: PasswordBody = body.json(&principal).await?;
    let user_id = own_user(&principal)?;
    let passwords = (body.current_password.as_str(), body.password.as_str());
    let (session, origin) = (principal.session_id.as_deref(), principal.origin(&request));
    accounts.change_password(user_id, session, passwords, &origin, state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// Sends a mail to another address, which becomes that of the user who asks when its token comes back.
#[utoipa::path(
    tag = "accounts",
    request_body = EmailBody,
    responses(
        (status = 202, body = MailView), (status = 400, body = Problem), Denied,
        (status = 429, body = Problem),
    )
)]
#[post("/v1/me/email")]
async fn change_email(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: EmailBody = body.json(&principal).await?;
    let user_id = own_user(&principal)?;
    let (email, origin) = (Email::parse(&body.email)?, principal.origin(&request));
    accounts.change_email(user_id, &body.password, &email, &origin, state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::Accepted().json(MAIL_SENT))
}

/// Makes another address the user's by the token of its mail.
#[utoipa::path(
    tag = "accounts",
    request_body = TokenBody,
    responses(
        (status = 204), (status = 400, description = "`invalid_token`", body = Problem),
        (status = 409, description = "`email_taken`", body = Problem),
    )
)]
#[post("/v1/auth/email/verify")]
async fn complete_email_change(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: TokenBody = body.json_of_stranger().await?;
    let origin = caller("anonymous", &request);
    accounts.complete_email_change(&body.token, &origin, state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::NoContent().finish())
}

/// The sessions of the user who asks, the newest first.
#[utoipa::path(tag = "accounts", responses((status = 200, body = SessionList), Denied))]
#[get("/v1/sessions")]
async fn list_sessions(
    principal: Authorized<SignedIn>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let user_id = own_user(&principal)?;
    let view = |session: Session| SessionView {
        current: principal.session_id.as_deref() == Some(session.session_id.as_str()),
        kind: session.kind.into(),
        session_id: session.session_id,
        device: session.device,
        ip: session.ip,
        created_at: session.created_at,
        last_used_at: session.last_used_at,
        expires_at: session.expires_at,
    };
    let sessions = sessions_of(&state.store, user_id, state.clock.now()).await?;
    Ok(HttpResponse::Ok().json(SessionList { sessions: sessions.into_iter().map(view).collect() }))
}

/// Ends a session of the user who asks.
#[utoipa::path(
    tag = "accounts",
    params(("session_id" = String, Path)),
    responses((status = 204), Denied, (status = 404, body = Problem))
)]
#[delete("/v1/sessions/{session_id}")]
async fn end_session(
    principal: Authorized<SignedIn>,
    session_id: web::Path<String>,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    accounts.end_session(user_id, &session_id, &origin, state.clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends all sessions of the user who asks, this one too.
#[utoipa::path(operation_id = "logout_everywhere", tag = "accounts", responses((status = 204), Denied))]
#[post("/v1/auth/logout-all")]
async fn end_all(
    principal: Authorized<SignedIn>,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    accounts.end_sessions(user_id, &origin, state.clock.now()).await?;
    Ok(HttpResponse::NoContent().cookie(cookies::signed_out(&gate)).finish())
}
