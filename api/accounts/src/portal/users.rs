//! `/admin/users`: all users, and one of them, as administrators see them; and the invitations of staff.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate, Role, SESSION_COOKIE},
    problem::Problem,
};
use strum::EnumString;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Asked, Fields, PageParameters, Visit, opened,
    organization::{invitation_section, roles_of},
    posted, refusal,
    staff::{SHOWN, search_form, tabs},
    value,
};
use crate::{
    Directory, Status,
    users::{
        AccountError, Email, User, VIEW_LIFETIME, find_user, invitations, list_users,
        made_up_password, sessions_of,
    },
};

const PAGE: &str = "/admin/users";
const STAFF: [&str; 3] = ["analyst", "manager", "admin"];
const CUSTOMERS: [&str; 2] = ["user", "enterprise"];

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route(PAGE, web::get().to(show_all))
        .route("/admin/users/{user_id}", web::get().to(show))
        .route("/admin/users/invite", web::post().to(invite))
        .route("/admin/users/take-back", web::post().to(take_back))
        .route("/admin/users/{act}", web::post().to(act));
}

async fn show_all(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok((visit, asked)) => all(&directory, &visit, &asked, None).await,
        Err(way_in) => Ok(way_in),
    }
}

/// Why an invitation was refused: the field and the reason.
type Refused = Option<(Option<&'static str>, String)>;

async fn all(
    directory: &Directory,
    visit: &Visit,
    asked: &PageParameters,
    refused: Refused,
) -> Result<HttpResponse, Problem> {
    let text = asked.search.as_deref().unwrap_or_default().to_lowercase();
    let found = list_users(&directory.state.store).await?.into_iter().filter(|user| {
        let organization = user.organization_id.as_deref().unwrap_or_default();
        [user.email.as_str(), &user.user_id, organization]
            .iter()
            .any(|held| held.to_lowercase().contains(&text))
    });
    let rows = found.take(SHOWN).map(|user| Row {
        cells: vec![
            user.email.to_string(),
            visit.word(user.role.as_str()),
            user.organization_id.clone().unwrap_or_default(),
            visit.minute(user.created_at),
        ],
        link: Some(page_of(visit, &user.user_id)),
        status: Some(status(visit, &user)),
        ..Row::default()
    });
    let rows: Vec<Row> = rows.collect();
    let head = ["email", "role", "organization", "created"].map(|name| visit.word(name)).to_vec();
    let users = Section {
        title: visit.word("users"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("none_found")),
        ..Section::default()
    };
    let search = Section {
        title: visit.word("search"),
        forms: vec![search_form(visit, PAGE, asked)],
        ..Section::default()
    };
    visit.shown(Screen {
        title: visit.word("users"),
        tabs: tabs(visit, "users"),
        sections: vec![search, users, invited(directory, visit, refused).await?],
        ..Screen::default()
    })
}

fn page_of(visit: &Visit, user_id: &str) -> String {
    format!("{PAGE}/{user_id}?lang={}", visit.reader.language.tag())
}

fn status(visit: &Visit, user: &User) -> (String, &'static str) {
    let class = if user.status == Status::Active { "ok" } else { "failed" };
    (visit.word(user.status.as_str()), class)
}

/// The invitations of staff that are not answered.
async fn invited(
    directory: &Directory,
    visit: &Visit,
    refused: Refused,
) -> Result<Section, Problem> {
    let now = directory.state.clock.now();
    let found = invitations(&directory.state.store, None, now).await?;
    let mut section = invitation_section(visit, "staff_invitations", found, PAGE, &STAFF);
    if let Some((field, reason)) = refused {
        let forms = std::mem::take(&mut section.forms).into_iter();
        section.forms = forms.map(|form| form.refused(field, &reason)).collect();
    }
    Ok(section)
}

async fn show(
    request: HttpRequest,
    user_id: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => one(&directory, &visit, &user_id, Once::default()).await,
        Err(way_in) => Ok(way_in),
    }
}

/// What stands on the page of a user this once.
#[derive(Default)]
struct Once {
    failure: Option<String>,
    password: Option<String>,
}

async fn one(
    directory: &Directory,
    visit: &Visit,
    user_id: &str,
    once: Once,
) -> Result<HttpResponse, Problem> {
    let store = &directory.state.store;
    let user = find_user(store, user_id).await?;
    let factor = directory.accounts.factor_state(&user.user_id).await?;
    let of = |path: &str, label: &str| Act {
        path: format!("{PAGE}/{path}"),
        label: visit.word(label),
        values: vec![("user_id", user.user_id.clone())],
    };
    let mut acts = match user.status {
        Status::Active => vec![of("suspend", "suspend"), of("disable", "disable")],
        Status::Suspended => vec![of("enable", "enable"), of("disable", "disable")],
        Status::Disabled => vec![of("enable", "enable")],
    };
    acts.push(of("sign-out", "end_all"));
    acts.push(of("reset-password", "reset_password"));
    if factor.is_on {
        acts.push(of("reset-factor", "reset_factor"));
    }
    if user.role.is_of_organization() && user.status != Status::Disabled {
        acts.push(of("view", "view"));
    }
    let mut facts = vec![
        ("id", user.user_id.clone()),
        ("status", status(visit, &user).0),
        ("created", visit.minute(user.created_at)),
        ("second_factor", visit.word(if factor.is_on { "on" } else { "off" })),
    ];
    facts.extend(user.organization_id.clone().map(|id| ("organization", id)));
    let facts = facts.into_iter().map(|(name, text)| (visit.word(name), text)).collect();
    let roles: &[&str] = if user.role.is_of_organization() { &CUSTOMERS } else { &STAFF };
    let role = Form {
        path: "/admin/users/role".into(),
        fields: vec![
            Field::new("role", &visit.word("role"), "select")
                .with(user.role.as_str())
                .of(roles_of(visit, roles)),
        ],
        values: vec![("user_id".to_owned(), user.user_id.clone())],
        button: visit.word("save"),
        ..Form::default()
    };
    let sections = vec![
        Section {
            title: visit.word("user"),
            note: once.password.is_some().then(|| visit.word("password_once")),
            secrets: once.password.into_iter().collect(),
            facts,
            acts,
            ..Section::default()
        },
        Section { title: visit.word("role"), forms: vec![role], ..Section::default() },
        sessions(directory, visit, &user.user_id).await?,
    ];
    visit.shown(Screen {
        title: user.email.to_string(),
        tabs: tabs(visit, "users"),
        failure: once.failure,
        sections,
        ..Screen::default()
    })
}

async fn sessions(directory: &Directory, visit: &Visit, user_id: &str) -> Result<Section, Problem> {
    let now = directory.state.clock.now();
    let found = sessions_of(&directory.state.store, user_id, now).await?;
    let rows = found.into_iter().map(|session| Row {
        cells: vec![
            session.device.unwrap_or_default(),
            session.ip.unwrap_or_default(),
            visit.minute(session.last_used_at.unwrap_or(session.created_at)),
        ],
        ..Row::default()
    });
    let head = ["device", "place", "last_used"].map(|name| visit.word(name)).to_vec();
    Ok(Section {
        title: visit.word("sessions"),
        table: Some(Table { head, rows: rows.collect() }),
        empty: Some(visit.word("none_found")),
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
    let (visit, fields) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let user_id = value(&fields, "user_id");
    let act: UserAct = act.parse().map_err(|_| Problem::not_found("there is no such page"))?;
    if act == UserAct::View {
        let (origin, now) = (visit.origin(&request), directory.state.clock.now());
        let token = directory.accounts.begin_view(user_id, &origin, now).await?;
        let mut response = rest::page::see_other("/");
        let cookie = gate.cookie(SESSION_COOKIE, token.reveal(), VIEW_LIFETIME.num_seconds());
        response.add_cookie(&cookie).map_err(|_| Problem::internal())?;
        return Ok(response);
    }
    let done = change(&request, act, &directory, &visit, &fields).await;
    directory.keys.forget();
    directory.state.departures.notify_waiters();
    directory.state.jobs.wake();
    match done {
        Ok(None) => Ok(visit.on_to(&format!("{PAGE}/{user_id}"), "done")),
        Ok(password) => {
            one(&directory, &visit, user_id, Once { password, ..Once::default() }).await
        }
        Err(error) => {
            let failure = Some(refusal(error, visit.reader.language)?.1);
            one(&directory, &visit, user_id, Once { failure, ..Once::default() }).await
        }
    }
}

/// What can be done to a user.
#[derive(Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "kebab-case")]
enum UserAct {
    Suspend,
    Disable,
    Enable,
    SignOut,
    Role,
    ResetFactor,
    ResetPassword,
    View,
}

/// Does what a button asks for, and gives a password that was made up.
async fn change(
    request: &HttpRequest,
    act: UserAct,
    directory: &Directory,
    visit: &Visit,
    fields: &Fields,
) -> Result<Option<String>, AccountError> {
    let (accounts, now) = (&directory.accounts, directory.state.clock.now());
    let (user_id, origin) = (value(fields, "user_id"), visit.origin(request));
    match act {
        UserAct::Suspend => accounts.set_status(user_id, Status::Suspended, &origin, now).await?,
        UserAct::Disable => accounts.set_status(user_id, Status::Disabled, &origin, now).await?,
        UserAct::Enable => accounts.set_status(user_id, Status::Active, &origin, now).await?,
        UserAct::ResetFactor => accounts.reset_factor(user_id, &origin, now).await?,
        UserAct::SignOut => drop(accounts.end_sessions(user_id, &origin, now).await?),
        UserAct::Role => accounts.set_role(None, user_id, role(fields)?, &origin, now).await?,
        UserAct::ResetPassword => {
            let user = find_user(&directory.state.store, user_id).await?;
            let password = made_up_password();
            accounts.reset_password(&user, &password, &origin, now).await?;
            return Ok(Some(password));
        }
        // It begins a session, and is done before.
        UserAct::View => {}
    }
    Ok(None)
}

fn role(fields: &Fields) -> Result<Role, AccountError> {
    let reason = "must be one of the roles";
    Role::parse(value(fields, "role")).map_err(|_| AccountError::Invalid { field: "role", reason })
}

async fn invite(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let (origin, now) = (visit.origin(&request), directory.state.clock.now());
    let invited = async {
        let email = Email::parse(value(&fields, "email"))?;
        let who = (&email, role(&fields)?);
        let (by, language) = (&visit.principal.name, visit.reader.language);
        directory.accounts.invite(None, who, by, language, &origin, now).await
    };
    match invited.await {
        Ok(_) => {
            directory.state.jobs.wake();
            Ok(visit.on_to(PAGE, "invited"))
        }
        Err(error) => {
            let refused = Some(refusal(error, visit.reader.language)?);
            all(&directory, &visit, &PageParameters::default(), refused).await
        }
    }
}

async fn take_back(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let (origin, now) = (visit.origin(&request), directory.state.clock.now());
    let invitation = value(&fields, "invitation_id");
    match directory.accounts.revoke_invitation(None, invitation, &origin, now).await {
        Ok(()) => Ok(visit.on_to(PAGE, "done")),
        Err(error) => {
            let refused = Some(refusal(error, visit.reader.language)?);
            all(&directory, &visit, &PageParameters::default(), refused).await
        }
    }
}
