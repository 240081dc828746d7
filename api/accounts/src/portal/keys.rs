//! `/keys`: the API keys of the own organization.

use std::collections::HashSet;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Gate, ManageKeys, Scope, Scopes},
    problem::Problem,
};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Asked, Fields, Visit, filled_in, key_refusal, opened, organization::own, posted, value,
};
use crate::{
    Directory,
    keys::{self, ApiKey, KeyError, KeyLimits, KeyPurpose, KeySecret, NewKey},
    plans::{CountQuota, Limits, Monthly},
    users,
};

/// Both secrets work for so long after a rotation.
const OVERLAP: TimeDelta = TimeDelta::days(1);
const DAYS_MAX: i64 = 3_650;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/keys", web::get().to(show)).route("/keys/{act}", web::post().to(act));
}

/// What stands on the page this once.
#[derive(Default)]
struct Once {
    secret: Option<KeySecret>,
    refused: Option<(Option<&'static str>, String)>,
    fields: Fields,
}

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    match opened::<ManageKeys>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => shown(&directory, &visit, Once::default()).await,
        Err(way_in) => Ok(way_in),
    }
}

async fn shown(directory: &Directory, visit: &Visit, once: Once) -> Result<HttpResponse, Problem> {
    let (id, now) = (own(visit)?, directory.state.clock.now());
    let max_age = directory.keys.organization(id, now).await?.and_then(|found| found.key_max_age);
    let found = keys::list(&directory.state.store).await?.into_iter();
    let found = found.filter(|key| key.organization_id.as_deref() == Some(id));
    let barred = users::barred(directory.state.store.db()).await?;
    let rows = found.map(|key| row(visit, key, max_age, &barred, now)).collect();
    let head = ["name", "key", "scopes", "created", "last_used", "expires"];
    let head = head.map(|name| visit.word(name)).to_vec();
    let mut sections = Vec::new();
    if let Some(secret) = &once.secret {
        sections.push(Section {
            title: visit.word("new_key"),
            note: Some(visit.word("secret_note")),
            secrets: vec![secret.reveal().to_owned()],
            ..Section::default()
        });
    }
    sections.push(Section {
        title: visit.word("keys"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("no_keys")),
        ..Section::default()
    });
    let mut form = form(visit, &once.fields);
    if let Some((field, reason)) = &once.refused {
        form = form.refused(*field, reason);
    }
    sections.push(Section {
        title: visit.word("new_key"),
        forms: vec![form],
        ..Section::default()
    });
    visit.shown(Screen {
        here: "keys",
        title: visit.word("keys"),
        lead: Some(visit.word("keys_lead")),
        sections,
        ..Screen::default()
    })
}

/// `barred` are the users who are suspended or disabled.
fn row(
    visit: &Visit,
    key: ApiKey,
    max_age: Option<TimeDelta>,
    barred: &HashSet<String>,
    now: DateTime<Utc>,
) -> Row {
    let ends_at = key.ends_at(max_age);
    let is_over = ends_at.is_some_and(|at| at <= now);
    let works = key.revoked_at.is_none() && !is_over;
    let status = match () {
        () if key.revoked_at.is_some() => ("revoked", "failed"),
        () if is_over => ("expired", ""),
        () if barred.contains(&key.created_by) => ("disabled", "failed"),
        () if key.rotated_to.is_some() => ("rotated", ""),
        () => ("active", "ok"),
    };
    let scopes = match key.scopes.contains(Scope::Write) {
        true if key.scopes.contains(Scope::Read) => visit.word("read-write"),
        _ => key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(", "),
    };
    let of = |path: &str, label: &str| Act {
        path: format!("/keys/{path}"),
        label: visit.word(label),
        values: vec![("api_key_id", key.api_key_id.clone())],
    };
    let mut acts = Vec::new();
    if works && key.rotated_to.is_none() {
        acts.push(of("rotate", "rotate"));
    }
    if works {
        acts.push(of("revoke", "revoke"));
    }
    let when = |at: Option<DateTime<Utc>>, absent| {
        at.map_or_else(|| visit.word(absent), |at| visit.minute(at))
    };
    let cells = vec![
        key.name,
        format!("{}…", key.start),
        scopes,
        visit.minute(key.created_at),
        when(key.last_used_at, "not_yet"),
        when(ends_at, "never"),
    ];
    Row { cells, link: None, status: Some((visit.word(status.0), status.1)), acts }
}

fn form(visit: &Visit, fields: &Fields) -> Form {
    let scopes = ["read", "read-write"].map(|name| (name.to_owned(), visit.word(name))).to_vec();
    let text = |name: &'static str, label: &str, kind: &'static str| {
        Field::new(name, &visit.word(label), kind).with(value(fields, name)).optional()
    };
    Form {
        path: "/keys/create".into(),
        fields: vec![
            Field::new("name", &visit.word("name"), "text").with(value(fields, "name")),
            Field::new("scopes", &visit.word("scopes"), "select")
                .with(value(fields, "scopes"))
                .of(scopes),
            text("models", "models", "text"),
            text("expires_at", "days", "number"),
            text("budget", "tokens_a_month", "number"),
        ],
        button: visit.word("create"),
        ..Form::default()
    }
}

async fn act(
    request: HttpRequest,
    act: web::Path<String>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<ManageKeys>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let id = own(&visit)?.to_owned();
    let (origin, now) = (visit.origin(&request), directory.state.clock.now());
    let (store, key_id) = (&directory.state.store, value(&fields, "api_key_id"));
    if act.as_str() != "create" {
        // One of another organization is not there.
        let found = keys::find(store, key_id).await?;
        let own = found.filter(|key| key.organization_id.as_deref() == Some(&*id));
        if own.is_none() {
            return Err(KeyError::UnknownKey { api_key_id: key_id.to_owned() }.into());
        }
    }
    let made = match act.as_str() {
        "create" => match new_key(&fields, &id, now) {
            Ok(new) => keys::create(store, new, &origin, now).await,
            Err(error) => Err(error),
        },
        "rotate" => {
            keys::require_own_scopes(&visit.principal, store, key_id).await?;
            keys::rotate(store, key_id, OVERLAP, &origin, now).await
        }
        "revoke" => {
            keys::revoke(store, key_id, &origin, now).await?;
            directory.keys.forget();
            directory.state.departures.notify_waiters();
            return Ok(visit.on_to("/keys", "key_revoked"));
        }
        _ => return Err(Problem::not_found("there is no such page")),
    };
    directory.keys.forget();
    match made {
        Ok((_, secret)) => {
            let once = Once { secret: Some(secret), ..Once::default() };
            shown(&directory, &visit, once).await
        }
        Err(error) => {
            let refused = Some(key_refusal(error, visit.reader.language)?);
            shown(&directory, &visit, Once { refused, fields, ..Once::default() }).await
        }
    }
}

fn new_key(fields: &Fields, organization_id: &str, now: DateTime<Utc>) -> Result<NewKey, KeyError> {
    let invalid = |field, reason| KeyError::Invalid { field, reason };
    let models: Vec<String> = filled_in(fields, "models")
        .map(|text| text.split(',').map(|one| one.trim().to_owned()).collect())
        .unwrap_or_default();
    let days = filled_in(fields, "expires_at").map(|text| {
        let days = text.parse::<i64>().ok().filter(|days| (1..=DAYS_MAX).contains(days));
        days.ok_or_else(|| invalid("expires_at", "must be 1 to 3650"))
    });
    let tokens = filled_in(fields, "budget")
        .map(|text| text.parse::<u64>().map_err(|_| invalid("budget", "must be a whole number")));
    let tokens = tokens.transpose()?.map(|limit| CountQuota { limit, soft: false });
    let budget = Limits { monthly: Monthly { tokens, ..Monthly::default() }, ..Limits::default() };
    // What the page does not offer is not made.
    let scopes = match value(fields, "scopes") {
        name @ ("read" | "read-write") => Scopes::of([name])?,
        _ => return Err(invalid("scopes", "must be read or read-write")),
    };
    Ok(NewKey {
        name: value(fields, "name").to_owned(),
        organization_id: Some(organization_id.to_owned()),
        scopes,
        grant: ingest::Grant::ALL,
        limits: KeyLimits::new(&models, &[])?.with_budget(budget)?,
        purpose: KeyPurpose::default(),
        expires_at: days.transpose()?.map(|days| now + TimeDelta::days(days)),
    })
}
