//! `/admin/…`: users, organizations and the audit log, as administrators see them.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate, SESSION_COOKIE},
    problem::Problem,
};
use state::audit::{AuditFilter, Record, list};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, PageParameters, Visit, opened, posted, refusal, value};
use crate::{
    Directory, Status,
    organizations::{self, OrganizationStatus},
    users::{AccountError, VIEW_LIFETIME, list_users},
};

const SHOWN: usize = 200;
const ACTS: u64 = 100;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/admin/users", web::get().to(users))
        .route("/admin/users/{act}", web::post().to(act_on_user))
        .route("/admin/organizations", web::get().to(all_organizations))
        .route("/admin/organizations/status", web::post().to(change_status))
        .route("/admin/audit", web::get().to(audit));
}

/// The pages of administrators.
pub(super) fn tabs(visit: &Visit, here: &str) -> Vec<(String, String, bool)> {
    let lang = visit.reader.language.tag();
    [
        ("account", "/account"),
        ("users", "/admin/users"),
        ("organizations", "/admin/organizations"),
        ("audit", "/admin/audit"),
    ]
    .map(|(name, path)| (format!("{path}?lang={lang}"), visit.word(name), name == here))
    .to_vec()
}

fn search_form(visit: &Visit, path: &str, asked: &PageParameters) -> Form {
    let search = asked.search.as_deref().unwrap_or_default();
    Form {
        path: path.to_owned(),
        fields: vec![Field::new("search", &visit.word("search"), "search").with(search).optional()],
        button: visit.word("search"),
        is_query: true,
        ..Form::default()
    }
}

async fn users(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok((visit, asked)) => users_page(&directory, &visit, &asked, None).await,
        Err(way_in) => Ok(way_in),
    }
}

async fn users_page(
    directory: &Directory,
    visit: &Visit,
    asked: &PageParameters,
    failure: Option<String>,
) -> Result<HttpResponse, Problem> {
    let text = asked.search.as_deref().unwrap_or_default().to_lowercase();
    let found = list_users(&directory.state.store).await?.into_iter().filter(|user| {
        let organization = user.organization_id.as_deref().unwrap_or_default();
        [user.email.as_str(), &user.user_id, organization]
            .iter()
            .any(|held| held.to_lowercase().contains(&text))
    });
    let rows = found.take(SHOWN).map(|user| {
        let of = |path: &str, label: &str| Act {
            path: format!("/admin/users/{path}"),
            label: visit.word(label),
            values: vec![("user_id", user.user_id.clone())],
        };
        let mut acts = match user.status {
            Status::Active => vec![of("suspend", "suspend"), of("disable", "disable")],
            Status::Suspended => vec![of("enable", "enable"), of("disable", "disable")],
            Status::Disabled => vec![of("enable", "enable")],
        };
        acts.push(of("reset-factor", "reset_factor"));
        if user.role.is_of_organization() && user.status != Status::Disabled {
            acts.push(of("view", "view"));
        }
        let class = if user.status == Status::Active { "ok" } else { "failed" };
        Row {
            cells: vec![
                user.email.to_string(),
                visit.word(user.role.as_str()),
                user.organization_id.clone().unwrap_or_default(),
                visit.minute(user.created_at),
            ],
            status: Some((visit.word(user.status.as_str()), class)),
            acts,
        }
    });
    let rows: Vec<Row> = rows.collect();
    let head = ["email", "role", "organization", "created"].map(|name| visit.word(name)).to_vec();
    let section = Section {
        title: visit.word("users"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("none_found")),
        ..Section::default()
    };
    let search = Section {
        title: visit.word("search"),
        forms: vec![search_form(visit, "/admin/users", asked)],
        ..Section::default()
    };
    visit.shown(Screen {
        title: visit.word("users"),
        tabs: tabs(visit, "users"),
        failure,
        sections: vec![search, section],
        ..Screen::default()
    })
}

async fn act_on_user(
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
    let (accounts, now) = (&directory.accounts, directory.state.clock.now());
    let (user_id, origin) = (value(&fields, "user_id"), visit.origin(&request));
    let done: Result<(), AccountError> = match act.as_str() {
        "suspend" => accounts.set_status(user_id, Status::Suspended, &origin, now).await,
        "disable" => accounts.set_status(user_id, Status::Disabled, &origin, now).await,
        "enable" => accounts.set_status(user_id, Status::Active, &origin, now).await,
        "reset-factor" => accounts.reset_factor(user_id, &origin, now).await,
        "view" => {
            let token = accounts.begin_view(user_id, &origin, now).await?;
            let seconds = VIEW_LIFETIME.num_seconds();
            let mut response = rest::page::see_other("/");
            let cookie = gate.cookie(SESSION_COOKIE, token.reveal(), seconds);
            response.add_cookie(&cookie).map_err(|_| Problem::internal())?;
            return Ok(response);
        }
        _ => return Err(Problem::not_found("there is no such page")),
    };
    directory.state.departures.notify_waiters();
    directory.state.jobs.wake();
    match done {
        Ok(()) => Ok(visit.on_to("/admin/users", "done")),
        Err(error) => {
            let (_, reason) = refusal(error, visit.reader.language)?;
            users_page(&directory, &visit, &PageParameters::default(), Some(reason)).await
        }
    }
}

async fn all_organizations(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let (visit, asked) = match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let text = asked.search.as_deref().unwrap_or_default();
    let found = organizations::search(&directory.state.store, text, SHOWN as u64).await?;
    let rows = found.into_iter().map(|found| {
        let organization = found.organization;
        let to = |status: &str, label: &str| Act {
            path: "/admin/organizations/status".into(),
            label: visit.word(label),
            values: vec![
                ("organization_id", organization.organization_id.clone()),
                ("status", status.to_owned()),
            ],
        };
        let acts = match found.status {
            OrganizationStatus::Active => {
                vec![to("suspended", "suspend"), to("disabled", "disable")]
            }
            OrganizationStatus::Suspended => {
                vec![to("active", "enable"), to("disabled", "disable")]
            }
            OrganizationStatus::Disabled => vec![to("active", "enable")],
        };
        let class = if found.status == OrganizationStatus::Active { "ok" } else { "failed" };
        Row {
            status: Some((visit.word(found.status.as_str()), class)),
            acts,
            cells: vec![
                organization.organization_id,
                organization.name,
                organization.plan,
                organization.country,
                visit.minute(organization.signed_up_at),
            ],
        }
    });
    let rows: Vec<Row> = rows.collect();
    let head = ["id", "name", "plan", "country", "created"].map(|name| match name {
        "country" => visit.word("place"),
        name => visit.word(name),
    });
    let section = Section {
        title: visit.word("organizations"),
        table: Some(Table { head: head.to_vec(), rows }),
        empty: Some(visit.word("none_found")),
        ..Section::default()
    };
    let search = Section {
        title: visit.word("search"),
        forms: vec![search_form(&visit, "/admin/organizations", &asked)],
        ..Section::default()
    };
    visit.shown(Screen {
        title: visit.word("organizations"),
        tabs: tabs(&visit, "organizations"),
        sections: vec![search, section],
        ..Screen::default()
    })
}

async fn change_status(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<Administer>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let status = OrganizationStatus::parse(value(&fields, "status"));
    let status = status.ok_or_else(|| Problem::not_found("there is no such status"))?;
    let (origin, now) = (visit.origin(&request), directory.state.clock.now());
    let id = value(&fields, "organization_id");
    organizations::set_status(&directory.state.store, id, status, &origin, now).await?;
    directory.keys.forget();
    directory.state.departures.notify_waiters();
    Ok(visit.on_to("/admin/organizations", "done"))
}

async fn audit(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let (visit, asked) = match opened::<Administer>(&request, &gate, &directory, asked).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let filter = AuditFilter {
        actor: given(&asked.actor),
        action: given(&asked.action),
        target: given(&asked.target),
        before: asked.cursor,
        ..AuditFilter::default()
    };
    let found = list(&directory.state.store, &filter, ACTS).await?;
    let last = found.last().map(|record| record.seq);
    let is_full = found.len() as u64 == ACTS;
    let rows: Vec<Row> = found.into_iter().map(audit_row).collect();
    let head = ["at", "actor", "action", "target", "detail", "place"];
    let head = head.map(|name| visit.word(name)).to_vec();
    let mut links = Vec::new();
    if let Some(last) = last.filter(|_| is_full) {
        let of_page = [("lang", visit.reader.language.tag()), ("cursor", &last.to_string())];
        links.push((filtered("/admin/audit", &filter, &of_page), visit.word("older")));
    }
    links.push((filtered("/v1/admin/audit/export", &filter, &[]), visit.word("export")));
    let fields = [("actor", &filter.actor), ("action", &filter.action), ("target", &filter.target)];
    let fields = fields.map(|(name, text)| {
        let text = text.as_deref().unwrap_or_default();
        Field::new(name, &visit.word(name), "search").with(text).optional()
    });
    let form = Form {
        path: "/admin/audit".into(),
        fields: fields.to_vec(),
        button: visit.word("search"),
        is_query: true,
        ..Form::default()
    };
    let search = Section { title: visit.word("search"), forms: vec![form], ..Section::default() };
    let section = Section {
        title: visit.word("audit"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("none_found")),
        links,
        ..Section::default()
    };
    visit.shown(Screen {
        title: visit.word("audit"),
        tabs: tabs(&visit, "audit"),
        sections: vec![search, section],
        ..Screen::default()
    })
}

fn audit_row(record: Record) -> Row {
    let at = chrono::DateTime::from_timestamp_micros(record.at);
    let cells = vec![
        at.map_or_else(|| record.at.to_string(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string()),
        record.origin.actor,
        record.action,
        record.target,
        record.detail,
        record.ip.unwrap_or_default(),
    ];
    Row { cells, ..Row::default() }
}

/// An address of acts with the same filters.
fn filtered(path: &str, filter: &AuditFilter, more: &[(&str, &str)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(more);
    let texts = [("actor", &filter.actor), ("action", &filter.action), ("target", &filter.target)];
    for (name, text) in texts {
        if let Some(text) = text {
            query.append_pair(name, text);
        }
    }
    match query.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
