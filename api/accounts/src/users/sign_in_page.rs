//! `/sign-in` and `/sign-out`, for browsers without a script.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use pages::{Language, SignIn, sign_in_page};
use rest::{
    body::Body,
    page::{html_page, language, see_other},
    principal::{Gate, SESSION_COOKIE, caller, refuse_cross_site},
    problem::{Problem, parameters},
};
use serde::Deserialize;
use state::State;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{AccountError, Accounts, Browser, Email, cookies, routes::agent};
use crate::portal::CHALLENGE_COOKIE;

/// As long as the challenge holds.
const CHALLENGE_SECONDS: i64 = 300;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/sign-in", web::get().to(form))
        .route("/sign-in", web::post().to(begin))
        .route("/sign-out", web::post().to(end));
}

#[derive(Debug, Deserialize)]
struct SignInParameters {
    next: Option<String>,
    lang: Option<String>,
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
    next: Option<String>,
}

async fn form(
    request: HttpRequest,
    accounts: web::Data<Accounts>,
    asked: Result<web::Query<SignInParameters>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let language = language(&request, asked.lang.as_deref());
    page(&accounts, language, None, own_path(asked.next.as_deref()), StatusCode::OK)
}

async fn begin(
    request: HttpRequest,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let language = language(&request, None);
    let form: Credentials = body.form_of_stranger().await?;
    let next = own_path(form.next.as_deref());
    let now = state.clock.now();
    let begun = match Email::parse(&form.email) {
        Ok(email) => {
            let (origin, mark) = (caller("anonymous", &request), cookies::mark(&request));
            let browser =
                Browser { mark: mark.as_deref(), agent: agent(&request), ..Browser::default() };
            accounts.sign_in(&email, &form.password, browser, &origin, now).await
        }
        Err(_) => Err(AccountError::WrongCredentials),
    };
    match begun {
        Ok(session) => {
            let mut response = see_other(next);
            for cookie in cookies::signed_in(&gate, &session, now) {
                response.add_cookie(&cookie).map_err(|_| Problem::internal())?;
            }
            Ok(response)
        }
        Err(AccountError::SecondFactorRequired { challenge }) => {
            let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
            let lang = language.tag();
            let mut response = see_other(&format!("/sign-in/code?lang={lang}&next={next}"));
            let cookie = gate.cookie(CHALLENGE_COOKIE, &challenge, CHALLENGE_SECONDS);
            response.add_cookie(&cookie).map_err(|_| Problem::internal())?;
            Ok(response)
        }
        Err(AccountError::WrongCredentials) => {
            let message = match language {
                Language::En => "The e-mail address or the password is wrong.",
                Language::ZhCn => "邮箱或密码不正确。",
            };
            page(&accounts, language, Some(message.into()), next, StatusCode::UNAUTHORIZED)
        }
        Err(AccountError::TooManyAttempts { retry_after_s }) => {
            let message = match language {
                Language::En => format!("Too many attempts. Try again in {retry_after_s} seconds."),
                Language::ZhCn => format!("尝试次数过多，请在 {retry_after_s} 秒后重试。"),
            };
            page(&accounts, language, Some(message), next, StatusCode::TOO_MANY_REQUESTS)
        }
        Err(error) => Err(error.into()),
    }
}

async fn end(
    request: HttpRequest,
    accounts: web::Data<Accounts>,
    gate: web::Data<Gate>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    if let Some(cookie) = request.cookie(SESSION_COOKIE) {
        accounts.sign_out(cookie.value(), &caller("user", &request), state.clock.now()).await?;
    }
    let mut response = see_other("/sign-in");
    response.add_cookie(&cookies::signed_out(&gate)).map_err(|_| Problem::internal())?;
    Ok(response)
}

fn page(
    accounts: &Accounts,
    language: Language,
    error: Option<String>,
    next: &str,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let html = sign_in_page(&SignIn {
        language,
        error,
        next: next.to_owned(),
        can_register: accounts.is_open(),
    })
    .map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the sign-in page");
        Problem::internal()
    })?;
    let mut response = html_page(html);
    *response.status_mut() = status;
    Ok(response)
}

/// Only a path of our own: anything else could lead elsewhere after signing in.
pub(crate) fn own_path(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/')
                && !path.starts_with("//")
                && !path.contains('\\')
                && path.chars().all(|c| !c.is_control()) =>
        {
            path
        }
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn next_stays_here() {
        assert_eq!(own_path(Some("/dashboards/business?days=7")), "/dashboards/business?days=7");
        for elsewhere in
            ["//evil.example", "https://evil.example", "/\\evil", "", "javascript:x", "/a\r\nb"]
        {
            assert_eq!(own_path(Some(elsewhere)), "/", "{elsewhere}");
        }
    }
}
