//! `/admin/organizations`: the organizations, as administrators see them; and the way to their other pages.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Administer, Gate},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, PageParameters, Visit, opened, posted, value};
use crate::{
    Directory,
    organizations::{self, OrganizationStatus},
};

/// Rows of a page.
pub(super) const SHOWN: usize = 200;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/admin/organizations", web::get().to(all_organizations))
        .route("/admin/organizations/status", web::post().to(change_status));
}

/// The pages of administrators.
pub fn tabs(visit: &Visit, here: &str) -> Vec<(String, String, bool)> {
    let lang = visit.reader.language.tag();
    [
        ("account", "/account"),
        ("users", "/admin/users"),
        ("organizations", "/admin/organizations"),
        ("billing", "/admin/billing"),
        ("audit", "/admin/audit"),
    ]
    .map(|(name, path)| (format!("{path}?lang={lang}"), visit.word(name), name == here))
    .to_vec()
}

pub(super) fn search_form(visit: &Visit, path: &str, asked: &PageParameters) -> Form {
    let search = asked.search.as_deref().unwrap_or_default();
    Form {
        path: path.to_owned(),
        fields: vec![Field::new("search", &visit.word("search"), "search").with(search).optional()],
        button: visit.word("search"),
        is_query: true,
        ..Form::default()
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
            link: Some(format!(
                "/admin/billing/organizations/{}?lang={}",
                organization.organization_id,
                visit.reader.language.tag()
            )),
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
