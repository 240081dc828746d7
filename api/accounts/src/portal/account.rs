//! `/account`: the own profile, password, second factor and sessions.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::{
    Language,
    screen::{Act, Field, Form, Row, Screen, Section, Table},
};
use rest::{
    body::Body,
    principal::{Ability, Gate, Restriction, SignedIn},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Fields, Visit, filled_in, opened, posted, refusal, value};
use crate::{
    Directory,
    users::{AccountError, Email, Profile, ProfileChange, own_user, profile_of, sessions_of},
};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/account", web::get().to(show)).route("/account/{act}", web::post().to(act));
}

/// Why a form of the page was refused: its act, the field and the reason.
type Refused = Option<(String, Option<&'static str>, String)>;

/// What stands on the page this once.
#[derive(Default)]
struct Once {
    refused: Refused,
    enrolment: Option<crate::users::Enrolment>,
    recovery_codes: Vec<String>,
}

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<SignedIn>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => shown(&directory, &visit, Once::default()).await,
        Err(way_in) => Ok(way_in),
    }
}

async fn shown(directory: &Directory, visit: &Visit, once: Once) -> Result<HttpResponse, Problem> {
    let user_id = own_user(&visit.principal)?;
    let profile = profile_of(&directory.state.store, user_id).await?;
    let mut sections = vec![profile_section(visit, &profile)];
    sections.push(password_section(visit));
    sections.extend(factor_sections(directory, visit, &once).await?);
    sections.push(session_section(directory, visit).await?);
    if let Some((act, field, reason)) = &once.refused {
        let path = format!("/account/{act}");
        for form in sections.iter_mut().flat_map(|section| &mut section.forms) {
            if form.path == path {
                *form = std::mem::take(form).refused(*field, reason);
            }
        }
    }
    let is_must = visit.principal.restriction == Some(Restriction::SecondFactorMissing);
    let mut tabs = Vec::new();
    if visit.principal.may(Ability::Administer) {
        tabs = super::staff::tabs(visit, "account");
    }
    visit.shown(Screen {
        here: "account",
        title: visit.word("account"),
        lead: visit.reader.user.clone(),
        failure: is_must.then(|| visit.word("factor_must")),
        sections,
        tabs,
        ..Screen::default()
    })
}

fn profile_section(visit: &Visit, profile: &Profile) -> Section {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let choice = |value: &str, name: &str| (value.to_owned(), visit.word(name));
    let languages = vec![
        choice("", "by_browser"),
        ("en".to_owned(), "English".to_owned()),
        ("zh-CN".to_owned(), "简体中文".to_owned()),
    ];
    let form = Form {
        path: "/account/profile".into(),
        fields: vec![
            Field::new("name", &visit.word("name"), "text")
                .filled_by("name")
                .with(&text(&profile.name))
                .optional(),
            Field::new("language", &visit.word("language"), "select")
                .with(&text(&profile.language))
                .of(languages),
            Field::new("zone", &visit.word("zone"), "text")
                .with(&text(&profile.zone))
                .optional()
                .hinted(&visit.word("zone_hint")),
            Field::new("mails", &visit.word("mails"), "check").with(if profile.mails {
                "yes"
            } else {
                ""
            }),
        ],
        button: visit.word("save"),
        ..Form::default()
    };
    Section { title: visit.word("profile"), forms: vec![form], ..Section::default() }
}

fn present_password(visit: &Visit) -> Field {
    Field::new("current_password", &visit.word("present_password"), "password")
        .filled_by("current-password")
}

fn password_section(visit: &Visit) -> Section {
    let password = Form {
        path: "/account/password".into(),
        fields: vec![
            present_password(visit),
            Field::new("password", &visit.word("new_password"), "password")
                .filled_by("new-password")
                .hinted(&visit.word("password_hint")),
        ],
        button: visit.word("change_password"),
        ..Form::default()
    };
    let email = Form {
        path: "/account/email".into(),
        fields: vec![
            Field::new("email", &visit.word("new_email"), "email").filled_by("email"),
            present_password(visit),
        ],
        button: visit.word("change_email"),
        ..Form::default()
    };
    Section { title: visit.word("password"), forms: vec![password, email], ..Section::default() }
}

async fn factor_sections(
    directory: &Directory,
    visit: &Visit,
    once: &Once,
) -> Result<Vec<Section>, Problem> {
    let state = directory.accounts.factor_state(own_user(&visit.principal)?).await?;
    let with_password = |path: &str, button: &str| Form {
        path: format!("/account/{path}"),
        fields: vec![present_password(visit)],
        button: visit.word(button),
        ..Form::default()
    };
    let code = || Field::new("code", &visit.word("code"), "code").filled_by("one-time-code");
    let with_both = |path: &str, button: &str| {
        let mut form = with_password(path, button);
        form.fields.push(code().hinted(&visit.word("code_lead")));
        form
    };
    let mut sections = Vec::new();
    if !once.recovery_codes.is_empty() {
        sections.push(Section {
            title: visit.word("codes"),
            note: Some(visit.word("codes_note")),
            secrets: once.recovery_codes.clone(),
            ..Section::default()
        });
    }
    let title = visit.word("second_factor");
    // A code that was wrong: the secret is not shown again, and still counts.
    let awaits_code = once.refused.as_ref().is_some_and(|(act, ..)| act == "confirm-factor");
    let confirm = || Form {
        path: "/account/confirm-factor".into(),
        fields: vec![code()],
        button: visit.word("confirm"),
        ..Form::default()
    };
    sections.push(match (&once.enrolment, state.is_on) {
        (Some(made), false) => Section {
            title,
            note: Some(visit.word("scan")),
            drawing: Some(made.qr_svg.clone()),
            secrets: vec![made.secret.clone()],
            forms: vec![confirm()],
            ..Section::default()
        },
        (None, false) if awaits_code => Section {
            title,
            note: Some(visit.word("scan")),
            forms: vec![confirm()],
            ..Section::default()
        },
        (_, false) => Section {
            title,
            note: Some(visit.word("factor_off")),
            forms: vec![with_password("factor", "begin")],
            ..Section::default()
        },
        (_, true) => Section {
            title,
            note: Some(format!("{} {}", visit.word("factor_on"), state.recovery_codes)),
            forms: vec![with_both("recovery-codes", "renew"), with_both("factor-off", "turn_off")],
            ..Section::default()
        },
    });
    Ok(sections)
}

async fn session_section(directory: &Directory, visit: &Visit) -> Result<Section, Problem> {
    let now = directory.state.clock.now();
    let found = sessions_of(&directory.state.store, own_user(&visit.principal)?, now).await?;
    let rows = found.into_iter().map(|session| {
        let current = visit.principal.session_id.as_deref() == Some(session.session_id.as_str());
        let end = Act {
            path: "/account/session".into(),
            label: visit.word("end"),
            values: vec![("session_id", session.session_id)],
        };
        Row {
            link: None,
            cells: vec![
                session.device.unwrap_or_default(),
                session.ip.unwrap_or_default(),
                visit.minute(session.last_used_at.unwrap_or(session.created_at)),
            ],
            status: current.then(|| (visit.word("this_one"), "ok")),
            acts: if current { Vec::new() } else { vec![end] },
        }
    });
    let head = ["device", "place", "last_used"].map(|name| visit.word(name)).to_vec();
    let everywhere =
        Act { path: "/account/end-all".into(), label: visit.word("end_all"), values: Vec::new() };
    Ok(Section {
        title: visit.word("sessions"),
        table: Some(Table { head, rows: rows.collect() }),
        acts: vec![everywhere],
        ..Section::default()
    })
}

async fn act(
    request: HttpRequest,
    act: web::Path<String>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<SignedIn>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    match done(&request, &act, &directory, &visit, &fields).await? {
        Ok(response) => {
            directory.state.jobs.wake();
            Ok(response)
        }
        Err(error) => {
            let (field, reason) = refusal(error, visit.reader.language)?;
            let refused = Some((act.into_inner(), field, reason));
            shown(&directory, &visit, Once { refused, ..Once::default() }).await
        }
    }
}

/// Does what a form asks for. What people can mend is told beside the form.
async fn done(
    request: &HttpRequest,
    act: &str,
    directory: &Directory,
    visit: &Visit,
    fields: &Fields,
) -> Result<Result<HttpResponse, AccountError>, Problem> {
    let (accounts, now) = (&directory.accounts, directory.state.clock.now());
    let (user_id, origin) = (own_user(&visit.principal)?, visit.origin(request));
    let session = visit.principal.session_id.as_deref();
    let secret = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let present = secret("current_password");
    let on_to = |word: &str| Ok(visit.on_to("/account", word));
    Ok(match act {
        "profile" => {
            let change = ProfileChange {
                name: Some(filled_in(fields, "name")),
                language: Some(filled_in(fields, "language")),
                zone: Some(filled_in(fields, "zone")),
                theme: None,
                mails: Some(fields.contains_key("mails")),
            };
            let spoken = filled_in(fields, "language");
            let changed = accounts.change_profile(user_id, change, &origin, now).await;
            changed.and_then(|_| match spoken.as_deref().and_then(Language::from_tag) {
                Some(language) => Ok(rest::page::see_other(&format!(
                    "/account?lang={}&done=saved",
                    language.tag()
                ))),
                None => on_to("saved"),
            })
        }
        "password" => {
            let passwords = (present, secret("password"));
            let changed = accounts.change_password(user_id, session, passwords, &origin, now).await;
            changed.and_then(|()| on_to("password_changed"))
        }
        "email" => match Email::parse(value(fields, "email")) {
            Ok(email) => {
                let changed = accounts.change_email(user_id, present, &email, &origin, now).await;
                changed.and_then(|()| on_to("mail_sent"))
            }
            Err(error) => Err(error),
        },
        "factor" | "confirm-factor" | "recovery-codes" | "factor-off" => {
            return factor(request, act, directory, visit, fields).await;
        }
        "session" => {
            let id = value(fields, "session_id");
            accounts.end_session(user_id, id, &origin, now).await.and_then(|()| on_to("ended"))
        }
        "end-all" => {
            let ended = accounts.end_sessions(user_id, &origin, now).await;
            ended.map(|_| rest::page::see_other("/sign-in"))
        }
        _ => return Err(Problem::not_found("there is no such page")),
    })
}

/// Does what a form of the second factor asks for.
async fn factor(
    request: &HttpRequest,
    act: &str,
    directory: &Directory,
    visit: &Visit,
    fields: &Fields,
) -> Result<Result<HttpResponse, AccountError>, Problem> {
    let (accounts, now) = (&directory.accounts, directory.state.clock.now());
    let (user_id, origin) = (own_user(&visit.principal)?, visit.origin(request));
    let session = visit.principal.session_id.as_deref();
    let present = fields.get("current_password").map(String::as_str).unwrap_or_default();
    let once = match act {
        "factor" => accounts
            .enrol(user_id, present, &origin, now)
            .await
            .map(|made| Once { enrolment: Some(made), ..Once::default() }),
        "confirm-factor" => accounts
            .confirm_factor(user_id, session, value(fields, "code"), &origin, now)
            .await
            .map(|recovery_codes| Once { recovery_codes, ..Once::default() }),
        "recovery-codes" => accounts
            .renew_recovery_codes(user_id, (present, value(fields, "code")), &origin, now)
            .await
            .map(|recovery_codes| Once { recovery_codes, ..Once::default() }),
        _ => {
            let proofs = (present, value(fields, "code"));
            let removed = accounts.remove_factor(user_id, proofs, &origin, now).await;
            return Ok(removed.map(|()| visit.on_to("/account", "turned_off")));
        }
    };
    match once {
        // The principal was found before: what was missing is there now.
        Ok(once) => {
            let mut visit = visit.clone();
            visit.principal.restriction = None;
            Ok(Ok(shown(directory, &visit, once).await?))
        }
        Err(error) => Ok(Err(error)),
    }
}
