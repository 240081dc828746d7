//! Pages: who opens them, in which language, and how they are sent.

use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::header};
use pages::Language;

use crate::{
    principal::{ChosenLanguage, Gate, Permission, Principal, PrincipalKind, Restriction},
    problem::Problem,
};

/// Who opens a page, with the permission that it needs. Somebody without a session is a person with a browser: they are
/// shown the way in.
pub async fn visitor<P: Permission>(
    request: &HttpRequest,
    gate: &Gate,
) -> Result<Result<Principal, HttpResponse>, Problem> {
    match gate.admit(request).await {
        Ok(principal) => {
            match (P::check(&principal), principal.restriction) {
                (Ok(()), _) => Ok(Ok(principal)),
                // There it can be turned on.
                (Err(_), Some(Restriction::SecondFactorMissing)) => Ok(Err(see_other("/account"))),
                (Err(problem), _) => Err(problem),
            }
        }
        Err(problem)
            if problem.status == 401 && request.headers().get(header::AUTHORIZATION).is_none() =>
        {
            let asked = request.uri().path_and_query().map(|path| path.as_str());
            // What a form was sent to is no page.
            let next = asked.filter(|_| request.method().is_safe()).unwrap_or("/");
            Ok(Err(see_other(&sign_in(next))))
        }
        Err(problem) => Err(problem),
    }
}

/// The address of the form to sign in, which leads on to `next`.
fn sign_in(next: &str) -> String {
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/sign-in?next={next}")
}

/// How a person is named on a page; programs are not.
pub fn user_name(principal: &Principal) -> Option<String> {
    matches!(principal.kind, PrincipalKind::User(_)).then(|| principal.name.clone())
}

/// The language asked for in the address, else the one that the user chose, else the first that the browser prefers and we
/// speak.
pub fn language(request: &HttpRequest, asked: Option<&str>) -> Language {
    let preferred =
        request.headers().get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let chosen = || request.extensions().get::<ChosenLanguage>().map(|chosen| chosen.0);
    asked
        .and_then(Language::from_tag)
        .or_else(chosen)
        .unwrap_or_else(|| Language::preferred(preferred.unwrap_or_default()))
}

/// A page that runs no script and asks nobody for anything.
pub fn html_page(html: String) -> HttpResponse {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    page_under(POLICY, html)
}

/// An answer with an HTML page that has scripts of ours, which ask nobody but us: status 200.
pub fn scripted_page(html: String) -> HttpResponse {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                          script-src 'self'; connect-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    page_under(POLICY, html)
}

/// An answer with a script of ours.
pub fn script(text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .insert_header(("Cache-Control", "no-cache"))
        .body(text)
}

/// An answer with an HTML page and its `Content-Security-Policy`: status 200. A link from it sends no `Referer`.
pub fn page_under(policy: &'static str, html: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("Content-Security-Policy", policy))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .body(html)
}

/// An answer that leads a browser to `location`, which it then gets: status 303.
pub fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((header::LOCATION, location)).finish()
}
