//! The pages of accounts: signing up, the own account, the organization with its keys and usage, and what administrators see.
//! Each is a [`Screen`](pages::screen::Screen), complete without a script.

mod account;
mod audit;
mod home;
mod keys;
mod organization;
mod signed_out;
mod staff;
mod usage;
mod users;

use std::{collections::HashMap, sync::LazyLock};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use pages::{
    Language, Vocabulary,
    saved_query::Reader,
    screen::{Field, Form, Screen, Section, screen_page, signed_out_page},
};
use rest::{
    body::Body,
    feature::Feature,
    page::{html_page, language, see_other, user_name, visitor},
    principal::{Ability, Gate, Permission, Principal, PrincipalKind},
    problem::{Code, Problem, parameters},
};
use serde::Deserialize;

use crate::{
    Directory,
    keys::KeyError,
    users::{AccountError, PasswordFault, Profile, own_user, profile_of},
};

/// Pages of accounts.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("portal").with_routes(|config, directory| {
        config.app_data(web::Data::new(directory.clone()));
        signed_out::routes(config);
        home::routes(config);
        account::routes(config);
        organization::routes(config);
        keys::routes(config);
        usage::routes(config);
        staff::routes(config);
        users::routes(config);
        audit::routes(config);
    });

pub(crate) use signed_out::CHALLENGE_COOKIE;
pub use staff::tabs as staff_tabs;
pub use usage::sections as usage_sections;

static WORDS: LazyLock<Vocabulary> =
    LazyLock::new(|| Vocabulary::read(include_str!("../words/portal.yaml")).unwrap_or_default());

/// A word of these pages.
fn word(name: &str, language: Language) -> String {
    WORDS.text(name, language).to_owned()
}

/// A word in which something stands for what is named in braces.
fn filled(name: &str, values: &[(&str, &str)], language: Language) -> String {
    let text = word(name, language);
    values.iter().fold(text, |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// What addresses of these pages may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    lang: Option<String>,
    /// The word for what was done.
    done: Option<String>,
    /// Of the pages of administrators.
    search: Option<String>,
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    cursor: Option<i64>,
    /// Days in UTC.
    from: Option<String>,
    to: Option<String>,
}

type Asked = Result<web::Query<PageParameters>, actix_web::Error>;
/// What a form sent.
pub type Fields = HashMap<String, String>;

/// Somebody who signed in and opens a page, or sends a form.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who it is.
    pub principal: Principal,
    /// What the head of the page says.
    pub reader: Reader,
    /// The word for what was done before.
    done: Option<String>,
    /// Of the times.
    zone: Tz,
}

/// What was done, as an address says it: one of our words.
const DONE: [&str; 9] = [
    "saved",
    "mail_sent",
    "password_changed",
    "turned_off",
    "ended",
    "removed",
    "invited",
    "key_revoked",
    "done",
];

/// Who opens a page: the language and the word for what was done are those of its address. Somebody without a session is
/// shown the way in.
pub async fn visit(
    request: &HttpRequest,
    gate: &Gate,
    directory: &Directory,
    (lang, done): (Option<&str>, Option<&str>),
    permission: impl Fn(&Principal) -> Result<(), Problem>,
) -> Result<Result<Visit, HttpResponse>, Problem> {
    let principal = match visitor::<rest::principal::SignedIn>(request, gate).await? {
        Ok(principal) => principal,
        Err(way_in) => return Ok(Err(way_in)),
    };
    // A key reads metrics, and not who works here.
    if matches!(principal.kind, PrincipalKind::Key(_)) {
        let detail = "these pages are for users who signed in";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    permission(&principal)?;
    let profile = match principal.kind {
        PrincipalKind::User(_) => profile_of(&directory.state.store, &principal.id).await?,
        _ => Profile::default(),
    };
    let reader = Reader {
        language: language(request, lang),
        user: user_name(&principal),
        organization: principal.reach.organization_id().map(str::to_owned),
        asks_sql: principal.may(Ability::RunSql),
    };
    let done = done.filter(|word| DONE.contains(word)).map(str::to_owned);
    let zone = profile.zone.and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC);
    Ok(Ok(Visit { principal, reader, done, zone }))
}

/// Opens a page.
async fn opened<P: Permission>(
    request: &HttpRequest,
    gate: &Gate,
    directory: &Directory,
    asked: Asked,
) -> Result<Result<(Visit, PageParameters), HttpResponse>, Problem> {
    let asked = parameters(asked)?;
    let said = (asked.lang.as_deref(), asked.done.as_deref());
    Ok(visit(request, gate, directory, said, P::check).await?.map(|visit| (visit, asked)))
}

/// Takes a form. Who gave the password long ago gives it again, where the permission asks for that.
pub async fn posted<P: Permission>(
    request: &HttpRequest,
    gate: &Gate,
    directory: &Directory,
    body: Body,
) -> Result<Result<(Visit, Fields), HttpResponse>, Problem> {
    let visit = match visit(request, gate, directory, (None, None), P::check).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(Err(way_in)),
    };
    let mut fields: Fields = body.form(&visit.principal).await?;
    let mut visit = visit;
    if let Some(language) = fields.get("lang").and_then(|tag| Language::from_tag(tag)) {
        visit.reader.language = language;
    }
    let again = fields.remove(PASSWORD_AGAIN);
    if P::IS_SENSITIVE
        && visit.principal.needs_confirmation
        && let Some(page) = confirmed(request, directory, &visit, &fields, again).await?
    {
        return Ok(Err(page));
    }
    Ok(Ok((visit, fields)))
}

/// The field with the password that is asked for again.
const PASSWORD_AGAIN: &str = "password_again";

/// Takes the password that a form asked for again, or gives the page that asks. It sends the values of the form once more.
async fn confirmed(
    request: &HttpRequest,
    directory: &Directory,
    visit: &Visit,
    fields: &Fields,
    again: Option<String>,
) -> Result<Option<HttpResponse>, Problem> {
    let mut failure = None;
    if let (Some(password), Some(session)) = (&again, visit.principal.session_id.as_deref()) {
        let (accounts, origin) = (&directory.accounts, visit.origin(request));
        let (user_id, now) = (own_user(&visit.principal)?, directory.state.clock.now());
        match accounts.confirm(user_id, session, password, &origin, now).await {
            Ok(()) => return Ok(None),
            Err(error) => failure = Some(refusal(error, visit.reader.language)?.1),
        }
    }
    let mut values: Vec<_> =
        fields.clone().into_iter().filter(|(name, _)| name != "lang").collect();
    values.sort();
    let field = Field::new(PASSWORD_AGAIN, &visit.word("password"), "password")
        .filled_by("current-password");
    let mut form = Form {
        path: request.path().to_owned(),
        fields: vec![field],
        values,
        button: visit.word("confirm"),
        ..Form::default()
    };
    if let Some(reason) = failure {
        form = form.refused(Some(PASSWORD_AGAIN), &reason);
    }
    let title = visit.principal.name.clone();
    let section = Section { title, forms: vec![form], ..Section::default() };
    let screen = Screen {
        title: visit.word("confirm_title"),
        lead: Some(visit.word("confirm_lead")),
        sections: vec![section],
        ..Screen::default()
    };
    page(screen_page(&visit.reader, &screen), StatusCode::FORBIDDEN).map(Some)
}

impl Visit {
    fn word(&self, name: &str) -> String {
        word(name, self.reader.language)
    }

    /// To the minute, in the zone of the reader.
    pub fn minute(&self, at: DateTime<Utc>) -> String {
        at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M %Z").to_string()
    }

    /// The page of a screen.
    pub fn shown(&self, mut screen: Screen) -> Result<HttpResponse, Problem> {
        screen.done = self.done.as_deref().map(|done| self.word(done));
        let html = screen_page(&self.reader, &screen);
        page(html, if is_refused(&screen) { StatusCode::BAD_REQUEST } else { StatusCode::OK })
    }

    /// Leads on after something was done.
    pub fn on_to(&self, path: &str, done: &str) -> HttpResponse {
        see_other(&format!("{path}?lang={}&done={done}", self.reader.language.tag()))
    }

    /// Who asks, for the audit log.
    pub fn origin(&self, request: &HttpRequest) -> state::audit::AuditOrigin {
        self.principal.origin(request)
    }
}

fn is_refused(screen: &Screen) -> bool {
    let mut forms = screen.sections.iter().flat_map(|section| &section.forms);
    screen.failure.is_some()
        || forms.any(|form| {
            form.failure.is_some() || form.fields.iter().any(|field| field.failure.is_some())
        })
}

/// A page of somebody who did not sign in.
fn small_page(language: Language, screen: &Screen) -> Result<HttpResponse, Problem> {
    let status = if is_refused(screen) { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    page(signed_out_page(language, screen), status)
}

fn page(html: Result<String, pages::Error>, status: StatusCode) -> Result<HttpResponse, Problem> {
    let html = html.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a page cannot be written");
        Problem::internal()
    })?;
    let mut response = html_page(html);
    *response.status_mut() = status;
    // What is shown once is not kept by the browser.
    let no_store = actix_web::http::header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(actix_web::http::header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// The value of a field, without the spaces around it.
pub fn value<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map(|text| text.trim()).unwrap_or_default()
}

/// The value of a field that is not empty.
pub fn filled_in(fields: &Fields, name: &str) -> Option<String> {
    Some(value(fields, name).to_owned()).filter(|text| !text.is_empty())
}

/// Why a form was refused: the field, and a sentence for people. What people cannot mend is a problem.
fn refusal(
    error: AccountError,
    language: Language,
) -> Result<(Option<&'static str>, String), Problem> {
    let say = |field, name: &str| Ok((field, word(name, language)));
    match error {
        AccountError::Password(fault) => say(
            Some("password"),
            match fault {
                PasswordFault::TooShort => "too_short",
                PasswordFault::TooLong => "too_long",
                PasswordFault::Common => "common",
                PasswordFault::HoldsEmail => "holds_email",
            },
        ),
        AccountError::EmailTaken => say(Some("email"), "email_taken"),
        AccountError::WrongPassword => say(Some("current_password"), "wrong_password"),
        AccountError::WrongCode => say(Some("code"), "wrong_code"),
        AccountError::WrongToken => say(None, "wrong_token"),
        AccountError::RegistrationClosed => say(None, "closed"),
        AccountError::NoMail => say(None, "no_mail"),
        AccountError::LastAdministrator => say(None, "last_administrator"),
        AccountError::Invalid { field: "email", .. } => say(Some("email"), "invalid_email"),
        AccountError::Invalid { field, reason } => {
            Ok((Some(field), filled("invalid", &[("reason", reason)], language)))
        }
        AccountError::Organization(crate::organizations::OrganizationError::Invalid {
            field,
            reason,
        }) => Ok((
            Some(if field == "name" { "organization" } else { field }),
            filled("invalid", &[("reason", reason)], language),
        )),
        AccountError::TooManyAttempts { retry_after_s } => {
            let seconds = retry_after_s.to_string();
            Ok((None, filled("too_many", &[("seconds", &seconds)], language)))
        }
        other => Err(other.into()),
    }
}

/// The same of keys.
fn key_refusal(
    error: KeyError,
    language: Language,
) -> Result<(Option<&'static str>, String), Problem> {
    match error {
        KeyError::Invalid { field, reason } => {
            Ok((Some(field), filled("invalid", &[("reason", reason)], language)))
        }
        other => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_done_is_one_of_them() {
        for name in DONE {
            assert_ne!(word(name, Language::ZhCn), name);
        }
        let text = filled("too_many", &[("seconds", "7")], Language::En);
        assert_eq!(text, "Too many attempts. Try again in 7 seconds.");
    }
}
