//! `/home`: where each role begins.

use actix_web::{HttpRequest, HttpResponse, web};
use pages::screen::{Screen, Section, Table};
use rest::{
    page::see_other,
    principal::{Gate, PrincipalKind, Restriction, Role, SignedIn},
    problem::Problem,
};
use state::audit;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Visit, audit::record_row, filled, opened, usage};
use crate::{
    Directory, Status, keys, organizations,
    users::{self, invitations, list_users, members_of},
};

/// The newest acts that administrators see.
const ACTS: u64 = 5;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/home", web::get().to(show));
}

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let visit = match opened::<SignedIn>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => visit,
        Err(way_in) => return Ok(way_in),
    };
    // There it can be turned on.
    if visit.principal.restriction == Some(Restriction::SecondFactorMissing) {
        return Ok(see_other("/account"));
    }
    let sections = match (visit.principal.kind, visit.principal.reach.organization_id()) {
        (_, Some(id)) => of_customer(&directory, &visit, id).await?,
        (PrincipalKind::User(Role::Manager), None) => of_manager(&visit),
        (PrincipalKind::User(Role::Analyst), None) => of_analyst(&visit),
        (_, None) => of_administrator(&directory, &visit).await?,
    };
    visit.shown(Screen {
        here: "home",
        title: visit.word("home"),
        lead: visit.reader.user.clone(),
        sections,
        is_grid: true,
        ..Screen::default()
    })
}

/// Addresses with their words.
fn links(visit: &Visit, to: &[(&str, &str)]) -> Vec<(String, String)> {
    let lang = visit.reader.language.tag();
    to.iter().map(|(path, name)| (format!("{path}?lang={lang}"), visit.word(name))).collect()
}

/// A card of links with a sentence about them.
fn ways(visit: &Visit, name: &str, to: &[(&str, &str)]) -> Section {
    Section {
        title: visit.word(name),
        note: Some(visit.word(&format!("{name}_note"))),
        links: links(visit, to),
        ..Section::default()
    }
}

async fn of_customer(
    directory: &Directory,
    visit: &Visit,
    id: &str,
) -> Result<Vec<Section>, Problem> {
    let (store, now) = (&directory.state.store, directory.state.clock.now());
    let (mut used, _) = usage::sections(directory, visit, id).await?;
    if let Some(last) = used.last_mut() {
        last.links = links(visit, &[("/usage", "usage"), ("/billing", "billing")]);
    }
    let keys = keys::list(store).await?.into_iter();
    let own = keys.filter(|key| key.organization_id.as_deref() == Some(id));
    let max_age = organizations::key_max_age_of(store.db(), id).await?;
    let barred = users::barred(store.db()).await?;
    let works = |key: &keys::ApiKey| {
        key.revoked_at.is_none()
            && !barred.contains(&key.created_by)
            && key.ends_at(max_age).is_none_or(|end| now < end)
    };
    let working = own.filter(works).count();
    let mut sections = vec![Section {
        title: visit.word("keys"),
        note: (working == 0).then(|| visit.word("first_key")),
        facts: vec![(visit.word("keys_in_use"), working.to_string())],
        links: links(visit, &[("/keys", "keys")]),
        ..Section::default()
    }];
    // Who has no key yet begins with one.
    let at = if working == 0 { sections.len() } else { 0 };
    sections.splice(at..at, used);
    if visit.principal.may(rest::principal::Ability::ManageMembers) {
        let members = members_of(store, id).await?.len();
        let open = invitations(store, Some(id), now).await?.len();
        sections.push(Section {
            title: visit.word("members"),
            facts: vec![
                (visit.word("members"), members.to_string()),
                (visit.word("invitations"), open.to_string()),
            ],
            links: links(visit, &[("/organization", "organization")]),
            ..Section::default()
        });
    }
    sections.push(ways(visit, "numbers", &[("/dashboards/business", "dashboard")]));
    // Who looks at what the user sees does not see this.
    if visit.principal.restriction != Some(Restriction::View) {
        sections.push(security(directory, visit).await?);
    }
    Ok(sections)
}

fn of_manager(visit: &Visit) -> Vec<Section> {
    vec![
        ways(
            visit,
            "numbers",
            &[("/dashboards/business", "dashboard"), ("/metrics-catalog", "metrics")],
        ),
        ways(visit, "reports", &[("/reports", "report_list"), ("/alerts", "alerts")]),
        ways(visit, "ahead", &[("/forecasts", "forecasts"), ("/churn", "churn")]),
    ]
}

fn of_analyst(visit: &Visit) -> Vec<Section> {
    vec![
        ways(
            visit,
            "questions",
            &[("/sql", "sql"), ("/queries", "queries"), ("/metrics-catalog", "metrics")],
        ),
        ways(
            visit,
            "numbers",
            &[("/dashboards/business", "dashboard"), ("/anomalies", "anomalies")],
        ),
        ways(visit, "ahead", &[("/forecasts", "forecasts"), ("/churn", "churn")]),
    ]
}

async fn of_administrator(directory: &Directory, visit: &Visit) -> Result<Vec<Section>, Problem> {
    let (store, now) = (&directory.state.store, directory.state.clock.now());
    let found = list_users(store).await?;
    let of = |status| found.iter().filter(|user| user.status == status).count().to_string();
    let open = invitations(store, None, now).await?.len();
    let organizations = organizations::count(store).await?;
    let accounts = Section {
        title: visit.word("accounts"),
        facts: vec![
            (visit.word("users"), of(Status::Active)),
            (visit.word("suspended_users"), of(Status::Suspended)),
            (visit.word("organizations"), organizations.to_string()),
            (visit.word("staff_invitations"), open.to_string()),
        ],
        links: links(
            visit,
            &[
                ("/admin/users", "users"),
                ("/admin/organizations", "organizations"),
                ("/admin/billing", "billing"),
            ],
        ),
        ..Section::default()
    };
    let acts = audit::recent(store, ACTS).await?;
    let head = ["at", "actor", "action", "target"];
    let short = |record| {
        let mut row = record_row(record);
        row.cells.truncate(head.len());
        row
    };
    let acts = Section {
        title: visit.word("audit"),
        table: Some(Table {
            head: head.map(|name| visit.word(name)).to_vec(),
            rows: acts.into_iter().map(short).collect(),
        }),
        links: links(visit, &[("/admin/audit", "audit")]),
        ..Section::default()
    };
    let mut sections = vec![accounts];
    if matches!(visit.principal.kind, PrincipalKind::User(_)) {
        sections.push(security(directory, visit).await?);
    }
    sections.push(acts);
    sections.extend(of_manager(visit));
    Ok(sections)
}

async fn security(directory: &Directory, visit: &Visit) -> Result<Section, Problem> {
    let (id, now) = (users::own_user(&visit.principal)?, directory.state.clock.now());
    let factor = directory.accounts.factor_state(id).await?;
    let sessions = users::sessions_of(&directory.state.store, id, now).await?.len().to_string();
    let codes = factor.recovery_codes.to_string();
    let language = visit.reader.language;
    Ok(Section {
        title: visit.word("security"),
        facts: vec![
            (
                visit.word("second_factor"),
                match factor.is_on {
                    true => filled("factor_with_codes", &[("codes", &codes)], language),
                    false => visit.word("off"),
                },
            ),
            (visit.word("sessions"), sessions),
        ],
        links: links(visit, &[("/account", "account")]),
        ..Section::default()
    })
}
