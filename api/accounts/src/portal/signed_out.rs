//! Pages for people who did not sign in: registering, verifying, forgotten passwords, invitations, and the second factor.

use actix_web::{HttpRequest, HttpResponse, cookie::Cookie, http::StatusCode, web};
use pages::{
    Language,
    screen::{Field, Form, Screen, Section},
};
use rest::{
    body::Body,
    page::{language, see_other},
    principal::{Gate, caller, refuse_cross_site},
    problem::{Problem, parameters},
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Fields, filled, filled_in, refusal, small_page, value, word};
use crate::{
    Directory,
    organizations::OrganizationKind,
    users::{
        AccountError, Browser, Email, NewRegistration, agent, device_mark, own_path,
        signed_in_cookies,
    },
};

/// Holds the challenge of a second factor, for five minutes.
pub(crate) const CHALLENGE_COOKIE: &str = "aihub_challenge";

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/register", web::get().to(register_form))
        .route("/register", web::post().to(register))
        .route("/verify/{token}", web::get().to(verify_form))
        .route("/verify/{token}", web::post().to(verify))
        .route("/verify-email/{token}", web::get().to(verify_email_form))
        .route("/verify-email/{token}", web::post().to(verify_email))
        .route("/forgot", web::get().to(forgot_form))
        .route("/forgot", web::post().to(forgot))
        .route("/reset/{token}", web::get().to(reset_form))
        .route("/reset/{token}", web::post().to(reset))
        .route("/invitations/{token}", web::get().to(join_form))
        .route("/invitations/{token}", web::post().to(join))
        .route("/sign-in/code", web::get().to(code_form))
        .route("/sign-in/code", web::post().to(code));
}

/// The language of a form, and what stands in it.
async fn sent(request: &HttpRequest, body: Body) -> Result<(Language, Fields), Problem> {
    refuse_cross_site(request)?;
    let fields: Fields = body.form_of_stranger().await?;
    let language = language(request, fields.get("lang").map(String::as_str));
    Ok((language, fields))
}

fn spoken(request: &HttpRequest, asked: Asked) -> Result<Language, Problem> {
    Ok(language(request, parameters(asked)?.lang.as_deref()))
}

/// A page with one form.
fn screen(title: String, lead: Option<String>, form: Form, links: Vec<(String, String)>) -> Screen {
    let section = Section { forms: vec![form], links, ..Section::default() };
    Screen { title, lead, sections: vec![section], ..Screen::default() }
}

/// A page that says that something is done, and leads to the sign-in.
fn done(language: Language, title: &str, text: &str) -> Result<HttpResponse, Problem> {
    let link = (format!("/sign-in?lang={}", language.tag()), word("sign_in", language));
    let section = Section { links: vec![link], ..Section::default() };
    let screen = Screen {
        title: word(title, language),
        done: Some(word(text, language)),
        sections: vec![section],
        ..Screen::default()
    };
    small_page(language, &screen)
}

fn password(language: Language) -> Field {
    Field::new("password", &word("password", language), "password")
        .filled_by("new-password")
        .hinted(&word("password_hint", language))
}

fn email(language: Language, fields: &Fields) -> Field {
    Field::new("email", &word("email", language), "email")
        .filled_by("username")
        .with(value(fields, "email"))
}

fn registration(language: Language, fields: &Fields) -> Form {
    Form {
        path: "/register".into(),
        fields: vec![
            Field::new("organization", &word("organization_name", language), "text")
                .filled_by("organization")
                .with(value(fields, "organization")),
            Field::new("kind", &word("kind", language), "select").with(value(fields, "kind")).of([
                "business",
                "individual",
            ]
            .map(|kind| (kind.to_owned(), word(kind, language)))
            .to_vec()),
            Field::new("country", &word("country", language), "text")
                .filled_by("country")
                .with(value(fields, "country")),
            email(language, fields),
            password(language),
        ],
        button: word("register", language),
        ..Form::default()
    }
}

fn registration_page(language: Language, form: Form) -> Result<HttpResponse, Problem> {
    let link = (format!("/sign-in?lang={}", language.tag()), word("have_account", language));
    let lead = Some(word("register_lead", language));
    small_page(language, &screen(word("register", language), lead, form, vec![link]))
}

async fn register_form(
    request: HttpRequest,
    directory: web::Data<Directory>,
    asked: Asked,
) -> Result<HttpResponse, Problem> {
    let language = spoken(&request, asked)?;
    if !directory.accounts.is_open() {
        return gone(language, "register", AccountError::RegistrationClosed);
    }
    registration_page(language, registration(language, &Fields::new()))
}

async fn register(
    request: HttpRequest,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let now = directory.state.clock.now();
    let asked = async {
        let reason = "must be business or individual";
        let kind = OrganizationKind::parse(value(&fields, "kind"));
        let new = NewRegistration {
            email: Email::parse(value(&fields, "email"))?,
            password: fields.get("password").cloned().unwrap_or_default(),
            organization: value(&fields, "organization").to_owned(),
            kind: kind.ok_or(AccountError::Invalid { field: "kind", reason })?,
            country: value(&fields, "country").to_uppercase(),
            language,
        };
        directory.accounts.register(new, &caller("anonymous", &request), now).await
    };
    match asked.await {
        Ok(()) => {
            directory.state.jobs.wake();
            done(language, "register", "mail_sent")
        }
        Err(error) => {
            let (field, reason) = refusal(error, language)?;
            registration_page(language, registration(language, &fields).refused(field, &reason))
        }
    }
}

/// A page with one button, so that a program that follows links does nothing.
fn button(
    language: Language,
    title: &str,
    failure: Option<String>,
) -> Result<HttpResponse, Problem> {
    let form = Form { button: word(title, language), failure, ..Form::default() };
    small_page(language, &screen(word(title, language), None, form, Vec::new()))
}

/// The form asks for the password: whoever reads the mail of an address that somebody else registered does not know it.
fn verification(language: Language) -> Form {
    let field = Field::new("password", &word("password", language), "password");
    Form {
        fields: vec![field.filled_by("current-password")],
        button: word("verify", language),
        ..Form::default()
    }
}

fn verification_page(language: Language, form: Form) -> Result<HttpResponse, Problem> {
    let lead = Some(word("verify_lead", language));
    small_page(language, &screen(word("verify", language), lead, form, Vec::new()))
}

async fn verify_form(request: HttpRequest, asked: Asked) -> Result<HttpResponse, Problem> {
    let language = spoken(&request, asked)?;
    verification_page(language, verification(language))
}

async fn verify(
    request: HttpRequest,
    token: web::Path<String>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    let password = fields.get("password").map(String::as_str).unwrap_or_default();
    match directory.accounts.complete_registration(&token, password, &origin, now).await {
        Ok(_) => done(language, "verify", "verified"),
        Err(error) => {
            let (field, reason) = refusal(error, language)?;
            verification_page(language, verification(language).refused(field, &reason))
        }
    }
}

async fn verify_email_form(request: HttpRequest, asked: Asked) -> Result<HttpResponse, Problem> {
    button(spoken(&request, asked)?, "verify_email", None)
}

async fn verify_email(
    request: HttpRequest,
    token: web::Path<String>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, _) = sent(&request, body).await?;
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    match directory.accounts.complete_email_change(&token, &origin, now).await {
        Ok(()) => {
            directory.state.jobs.wake();
            done(language, "verify_email", "verified")
        }
        Err(error) => button(language, "verify_email", Some(refusal(error, language)?.1)),
    }
}

fn forgotten(language: Language, fields: &Fields) -> Form {
    Form {
        path: "/forgot".into(),
        fields: vec![email(language, fields)],
        button: word("send", language),
        ..Form::default()
    }
}

async fn forgot_form(request: HttpRequest, asked: Asked) -> Result<HttpResponse, Problem> {
    let language = spoken(&request, asked)?;
    let form = forgotten(language, &Fields::new());
    let lead = Some(word("forgot_lead", language));
    small_page(language, &screen(word("forgot", language), lead, form, Vec::new()))
}

async fn forgot(
    request: HttpRequest,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    let asked = Email::parse(value(&fields, "email"))
        .and_then(|email| directory.accounts.forgot_password(&email, &origin, now));
    match asked {
        Ok(()) => done(language, "forgot", "mail_sent"),
        Err(error) => {
            let (field, reason) = refusal(error, language)?;
            let form = forgotten(language, &fields).refused(field, &reason);
            small_page(language, &screen(word("forgot", language), None, form, Vec::new()))
        }
    }
}

fn new_password(language: Language) -> Form {
    let fields = vec![password(language)];
    Form { fields, button: word("save", language), ..Form::default() }
}

async fn reset_form(request: HttpRequest, asked: Asked) -> Result<HttpResponse, Problem> {
    let language = spoken(&request, asked)?;
    small_page(language, &screen(word("reset", language), None, new_password(language), Vec::new()))
}

async fn reset(
    request: HttpRequest,
    token: web::Path<String>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    let password = fields.get("password").map(String::as_str).unwrap_or_default();
    match directory.accounts.reset_by_token(&token, password, &origin, now).await {
        Ok(()) => {
            directory.state.departures.notify_waiters();
            directory.state.jobs.wake();
            done(language, "reset", "verified")
        }
        Err(error) => {
            let (field, reason) = refusal(error, language)?;
            let form = new_password(language).refused(field, &reason);
            small_page(language, &screen(word("reset", language), None, form, Vec::new()))
        }
    }
}

/// The form of an invitation: who is invited, and to what.
async fn invitation(
    directory: &Directory,
    token: &str,
    language: Language,
    fields: &Fields,
) -> Result<Screen, AccountError> {
    let now = directory.state.clock.now();
    let (organization, invited) = directory.accounts.invited_to(token, now).await?;
    let organization = organization.unwrap_or_else(|| word("staff", language));
    let mut form = new_password(language);
    // The first administrator says who that is.
    let lead = match invited.as_str() {
        "" => {
            form.fields.insert(0, email(language, fields));
            None
        }
        invited => Some(filled("join_lead", &[("email", invited)], language)),
    };
    let title = filled("join", &[("organization", &organization)], language);
    Ok(screen(title, lead, form, Vec::new()))
}

async fn join_form(
    request: HttpRequest,
    token: web::Path<String>,
    directory: web::Data<Directory>,
    asked: Asked,
) -> Result<HttpResponse, Problem> {
    let language = spoken(&request, asked)?;
    match invitation(&directory, &token, language, &Fields::new()).await {
        Ok(screen) => small_page(language, &screen),
        Err(error) => gone(language, "invitations", error),
    }
}

/// What is not there, or not any more.
fn gone(language: Language, title: &str, error: AccountError) -> Result<HttpResponse, Problem> {
    let is_closed = matches!(error, AccountError::RegistrationClosed);
    let failure = Some(refusal(error, language)?.1);
    let link = (format!("/sign-in?lang={}", language.tag()), word("sign_in", language));
    let section = Section { links: vec![link], ..Section::default() };
    let title = word(title, language);
    let mut page = small_page(
        language,
        &Screen { title, failure, sections: vec![section], ..Screen::default() },
    )?;
    if is_closed {
        *page.status_mut() = StatusCode::FORBIDDEN;
    }
    Ok(page)
}

async fn join(
    request: HttpRequest,
    token: web::Path<String>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    let password = fields.get("password").map(String::as_str).unwrap_or_default();
    let joined = async {
        let email = filled_in(&fields, "email").map(|text| Email::parse(&text)).transpose()?;
        directory.accounts.accept_invitation(&token, email, password, &origin, now).await
    };
    match joined.await {
        Ok(_) => done(language, "invitations", "verified"),
        Err(error) => match invitation(&directory, &token, language, &fields).await {
            Ok(mut screen) => {
                let (field, reason) = refusal(error, language)?;
                for section in &mut screen.sections {
                    let forms = std::mem::take(&mut section.forms).into_iter();
                    section.forms = forms.map(|form| form.refused(field, &reason)).collect();
                }
                small_page(language, &screen)
            }
            Err(error) => gone(language, "invitations", error),
        },
    }
}

fn code_page(
    language: Language,
    next: &str,
    failure: Option<String>,
) -> Result<HttpResponse, Problem> {
    let field = Field::new("code", &word("code", language), "code").filled_by("one-time-code");
    let mut form = Form {
        path: "/sign-in/code".into(),
        fields: vec![field],
        values: vec![("next".to_owned(), next.to_owned())],
        button: word("sign_in", language),
        ..Form::default()
    };
    if let Some(reason) = failure {
        form = form.refused(Some("code"), &reason);
    }
    let lead = Some(word("code_lead", language));
    small_page(language, &screen(word("second_factor", language), lead, form, Vec::new()))
}

async fn code_form(
    request: HttpRequest,
    asked: Result<web::Query<CodeParameters>, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let language = language(&request, asked.lang.as_deref());
    code_page(language, own_path(asked.next.as_deref()), None)
}

#[derive(Debug, serde::Deserialize)]
struct CodeParameters {
    lang: Option<String>,
    next: Option<String>,
}

async fn code(
    request: HttpRequest,
    directory: web::Data<Directory>,
    gate: web::Data<Gate>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (language, fields) = sent(&request, body).await?;
    let next = own_path(fields.get("next").map(String::as_str)).to_owned();
    let challenge = request.cookie(CHALLENGE_COOKIE);
    let challenge = challenge.as_ref().map(Cookie::value).unwrap_or_default();
    let (origin, now) = (caller("anonymous", &request), directory.state.clock.now());
    let mark = device_mark(&request);
    let browser = Browser { mark: mark.as_deref(), agent: agent(&request), ..Browser::default() };
    let answered = directory
        .accounts
        .answer_challenge(challenge, value(&fields, "code"), browser, &origin, now)
        .await;
    match answered {
        Ok(session) => {
            let mut response = see_other(&next);
            let spent = gate.cookie(CHALLENGE_COOKIE, "", 0);
            for cookie in signed_in_cookies(&gate, &session, now).into_iter().chain([spent]) {
                response.add_cookie(&cookie).map_err(|_| Problem::internal())?;
            }
            Ok(response)
        }
        // The challenge is spent: the password is asked for again.
        Err(AccountError::WrongToken) => {
            Ok(see_other(&format!("/sign-in?lang={}", language.tag())))
        }
        Err(error) => code_page(language, &next, Some(refusal(error, language)?.1)),
    }
}
