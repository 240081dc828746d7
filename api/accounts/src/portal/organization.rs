//! `/organization`: members, invitations and projects.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Ability, Gate, ManageMembers, ReadMetrics, Role},
    problem::{Code, Problem},
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Fields, Visit, filled_in, opened, posted, refusal, value};
use crate::{
    Directory, organizations,
    users::{
        AccountError, Email, Invitation, archive_project, create_project_of, invitations,
        members_of, projects_of,
    },
};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/organization", web::get().to(show))
        .route("/organization/{act}", web::post().to(act));
}

/// The organization of a visitor; staff has none.
pub(super) fn own(visit: &Visit) -> Result<&str, Problem> {
    let own = visit.principal.reach.organization_id();
    let none = || Problem::forbidden(Code::Forbidden, "this page is for users of an organization");
    own.ok_or_else(none)
}

type Refused = Option<(String, Option<&'static str>, String)>;

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<ReadMetrics>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => shown(&directory, &visit, None).await,
        Err(way_in) => Ok(way_in),
    }
}

async fn shown(
    directory: &Directory,
    visit: &Visit,
    refused: Refused,
) -> Result<HttpResponse, Problem> {
    let id = own(visit)?;
    let store = &directory.state.store;
    let manages = visit.principal.may(Ability::ManageMembers);
    let organization = organizations::get(store, id).await?.ok_or_else(Problem::internal)?;
    let status = organizations::status_of(store.db(), id).await?;
    let status = status.map(|status| visit.word(status.as_str())).unwrap_or_default();
    let facts = [("id", id.to_owned()), ("plan", organization.plan), ("status", status)];
    let facts = facts.map(|(name, text)| (visit.word(name), text)).to_vec();
    let mut sections = vec![
        Section { title: organization.name, facts, ..Section::default() },
        members(directory, visit, id, manages).await?,
    ];
    if manages {
        sections.push(invited(directory, visit, id).await?);
    }
    sections.push(projects(directory, visit, id, manages).await?);
    sections.push(policy(directory, visit, id, manages).await?);
    if let Some((act, field, reason)) = &refused {
        let path = format!("/organization/{act}");
        for form in sections.iter_mut().flat_map(|section| &mut section.forms) {
            if form.path == path {
                *form = std::mem::take(form).refused(*field, reason);
            }
        }
    }
    let is_of_form = |act: &str| matches!(act, "invite" | "project" | "policy");
    let failure = refused.filter(|(act, ..)| !is_of_form(act)).map(|(.., reason)| reason);
    visit.shown(Screen {
        here: "organization",
        title: visit.word("organization"),
        failure,
        sections,
        ..Screen::default()
    })
}

async fn members(
    directory: &Directory,
    visit: &Visit,
    id: &str,
    manages: bool,
) -> Result<Section, Problem> {
    let found = members_of(&directory.state.store, id).await?;
    let rows = found.into_iter().map(|member| {
        let user = member.user;
        let of = |path: &str, label: &str, role: Option<&str>| Act {
            path: format!("/organization/{path}"),
            label: visit.word(label),
            values: [
                Some(("user_id", user.user_id.clone())),
                role.map(|role| ("role", role.to_owned())),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let mut acts = Vec::new();
        if manages && user.user_id != visit.principal.id {
            acts.push(match user.role {
                Role::Enterprise => of("role", "make_user", Some("user")),
                _ => of("role", "make_enterprise", Some("enterprise")),
            });
            acts.push(of("remove", "remove", None));
        }
        let role = visit.word(user.role.as_str());
        let status = (user.status != crate::Status::Active)
            .then(|| (visit.word(user.status.as_str()), "failed"));
        Row {
            link: None,
            cells: vec![user.email.to_string(), member.name.unwrap_or_default(), role],
            status,
            acts,
        }
    });
    let head = ["email", "name", "role"].map(|name| visit.word(name)).to_vec();
    let table = Some(Table { head, rows: rows.collect() });
    Ok(Section { title: visit.word("members"), table, ..Section::default() })
}

async fn invited(directory: &Directory, visit: &Visit, id: &str) -> Result<Section, Problem> {
    let now = directory.state.clock.now();
    let found = invitations(&directory.state.store, Some(id), now).await?;
    Ok(invitation_section(visit, "invitations", found, "/organization", &["user", "enterprise"]))
}

/// Invitations that are not answered, with a form for another one. The first role is the one that is mostly meant.
pub(super) fn invitation_section(
    visit: &Visit,
    title: &str,
    found: Vec<Invitation>,
    page: &str,
    roles: &[&str],
) -> Section {
    let rows = found.into_iter().map(|invitation| Row {
        cells: vec![
            invitation.email,
            visit.word(invitation.role.as_str()),
            visit.minute(invitation.expires_at),
        ],
        acts: vec![Act {
            path: format!("{page}/take-back"),
            label: visit.word("take_back"),
            values: vec![("invitation_id", invitation.invitation_id)],
        }],
        ..Row::default()
    });
    let head = ["email", "role", "until"].map(|name| visit.word(name)).to_vec();
    let form = Form {
        path: format!("{page}/invite"),
        fields: vec![
            Field::new("email", &visit.word("email"), "email"),
            Field::new("role", &visit.word("role"), "select").of(roles_of(visit, roles)),
        ],
        button: visit.word("invite"),
        ..Form::default()
    };
    Section {
        title: visit.word(title),
        table: Some(Table { head, rows: rows.collect() }),
        empty: Some(visit.word("no_invitations")),
        forms: vec![form],
        ..Section::default()
    }
}

/// Roles as choices.
pub(super) fn roles_of(visit: &Visit, roles: &[&str]) -> Vec<(String, String)> {
    roles.iter().map(|role| ((*role).to_owned(), visit.word(role))).collect()
}

async fn projects(
    directory: &Directory,
    visit: &Visit,
    id: &str,
    manages: bool,
) -> Result<Section, Problem> {
    let found = projects_of(&directory.state.store, id).await?;
    let rows = found.into_iter().map(|project| {
        let is_archived = project.archived_at.is_some();
        let act = Act {
            path: "/organization/archive".into(),
            label: visit.word(if is_archived { "restore" } else { "archive" }),
            values: vec![
                ("project_id", project.project_id.clone()),
                ("archived", if is_archived { "no" } else { "yes" }.to_owned()),
            ],
        };
        Row {
            link: None,
            cells: vec![project.name, project.project_id],
            status: is_archived.then(|| (visit.word("archived"), "")),
            acts: if manages { vec![act] } else { Vec::new() },
        }
    });
    let head = ["project", "id"].map(|name| visit.word(name)).to_vec();
    let form = Form {
        path: "/organization/project".into(),
        fields: vec![Field::new("name", &visit.word("project"), "text")],
        button: visit.word("create"),
        ..Form::default()
    };
    Ok(Section {
        title: visit.word("projects"),
        table: Some(Table { head, rows: rows.collect() }),
        empty: Some(visit.word("no_projects")),
        forms: if manages { vec![form] } else { Vec::new() },
        ..Section::default()
    })
}

/// What holds for all keys of the organization.
async fn policy(
    directory: &Directory,
    visit: &Visit,
    id: &str,
    manages: bool,
) -> Result<Section, Problem> {
    let days = organizations::key_max_age_of(directory.state.store.db(), id).await?;
    let days = days.map(|age| age.num_days().to_string()).unwrap_or_default();
    let form = Form {
        path: "/organization/policy".into(),
        fields: vec![
            Field::new("key_max_age_days", &visit.word("key_max_age"), "number")
                .with(&days)
                .optional()
                .hinted(&visit.word("key_max_age_hint")),
        ],
        button: visit.word("save"),
        ..Form::default()
    };
    let shown = if days.is_empty() { visit.word("no_limit") } else { days };
    Ok(Section {
        title: visit.word("policy"),
        facts: if manages { Vec::new() } else { vec![(visit.word("key_max_age"), shown)] },
        forms: if manages { vec![form] } else { Vec::new() },
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
    let (visit, fields) = match posted::<ManageMembers>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    own(&visit)?;
    match done(&request, &act, &directory, &visit, &fields).await {
        Ok(word) => {
            directory.state.departures.notify_waiters();
            directory.state.jobs.wake();
            Ok(visit.on_to("/organization", word))
        }
        Err(error) => {
            let (field, reason) = refusal(error, visit.reader.language)?;
            shown(&directory, &visit, Some((act.into_inner(), field, reason))).await
        }
    }
}

/// Does what a form asks for, and gives the word for it.
async fn done(
    request: &HttpRequest,
    act: &str,
    directory: &Directory,
    visit: &Visit,
    fields: &Fields,
) -> Result<&'static str, AccountError> {
    let (accounts, store) = (&directory.accounts, &directory.state.store);
    let (origin, now) = (visit.origin(request), directory.state.clock.now());
    let id = visit.principal.reach.organization_id();
    let role = || {
        let reason = "must be user or enterprise";
        Role::parse(value(fields, "role"))
            .map_err(|_| AccountError::Invalid { field: "role", reason })
    };
    let user_id = value(fields, "user_id");
    match act {
        "role" => accounts.set_role(id, user_id, role()?, &origin, now).await.map(|()| "saved"),
        "remove" => accounts.remove_member(id, user_id, &origin, now).await.map(|()| "removed"),
        "invite" => {
            let email = Email::parse(value(fields, "email"))?;
            let language = visit.reader.language;
            let who = (&email, role()?);
            accounts.invite(id, who, &visit.principal.name, language, &origin, now).await?;
            Ok("invited")
        }
        "take-back" => {
            let invitation = value(fields, "invitation_id");
            accounts.revoke_invitation(id, invitation, &origin, now).await.map(|()| "done")
        }
        "project" => {
            let id = id.unwrap_or_default();
            create_project_of(store, id, value(fields, "name"), &origin, now).await.map(|_| "saved")
        }
        "policy" => {
            let reason = "must be a number of days";
            let days = filled_in(fields, "key_max_age_days").map(|text| {
                text.parse()
                    .map_err(|_| AccountError::Invalid { field: "key_max_age_days", reason })
            });
            let days = days.transpose()?;
            organizations::set_key_max_age(store, id.unwrap_or_default(), days, &origin, now)
                .await?;
            directory.keys.forget();
            Ok("saved")
        }
        "archive" => {
            let is_archived = value(fields, "archived") == "yes";
            let (id, project) = (id.unwrap_or_default(), value(fields, "project_id"));
            archive_project(store, id, project, is_archived, &origin, now).await.map(|()| "saved")
        }
        _ => Err(AccountError::UnknownProject),
    }
}
