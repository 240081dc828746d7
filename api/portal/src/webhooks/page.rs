//! `/webhooks`: the endpoints of the own organization, what was sent to them, and what can be done.

use accounts::{Directory, Fields, Visit, filled_in, posted, value, visit};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use delivery::webhooks::{EventType, WebhookDelivery, WebhookEndpoint, WebhookError};
use pages::screen::{Act, Field, Form, Row, Screen, Section, Table};
use rest::{
    body::Body,
    principal::{Gate, ManageKeys, Permission},
    problem::{Problem, parameters},
};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{events_of, new, owner, problem};
use crate::{Portal, words::Say};

/// Deliveries that the page of an endpoint shows.
const SHOWN: u64 = 50;
/// What failed in this time is replayed by the button.
const REPLAYED: TimeDelta = TimeDelta::days(7);

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .route("/webhooks", web::get().to(list))
        .route("/webhooks", web::post().to(create))
        .route("/webhooks/{webhook_id}", web::get().to(one))
        .route("/webhooks/{webhook_id}/{act}", web::post().to(act))
        .route("/webhooks/{webhook_id}/deliveries/{delivery_id}", web::get().to(delivery));
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageParameters {
    lang: Option<String>,
    done: Option<String>,
}

type Asked = Result<web::Query<PageParameters>, actix_web::Error>;

async fn opened(
    request: &HttpRequest,
    gate: &Gate,
    directory: &Directory,
    asked: Asked,
) -> Result<Result<Visit, HttpResponse>, Problem> {
    let asked = parameters(asked)?;
    let said = (asked.lang.as_deref(), asked.done.as_deref());
    visit(request, gate, directory, said, ManageKeys::check).await
}

async fn list(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    match opened(&request, &gate, &directory, asked).await? {
        Ok(visit) => listed(&portal, &visit, &Fields::new(), None).await,
        Err(way_in) => Ok(way_in),
    }
}

/// The list, with what was filled into the form, and why it was refused.
async fn listed(
    portal: &Portal,
    visit: &Visit,
    fields: &Fields,
    refused: Option<WebhookError>,
) -> Result<HttpResponse, Problem> {
    let say = Say::of(visit);
    let found = portal.courier.webhooks(owner(&visit.principal, None)?).await?;
    let row = |endpoint: WebhookEndpoint| Row {
        link: Some(say.to(&format!("/webhooks/{}", endpoint.webhook_id))),
        status: Some(standing(&say, &endpoint)),
        cells: vec![endpoint.url, events_text(&say, &endpoint.events), endpoint.description],
        acts: Vec::new(),
    };
    let head = ["url", "events", "description"].map(|name| say.word(name)).to_vec();
    let table = Table { head, rows: found.into_iter().map(row).collect() };
    let mut form = form(&say, "/webhooks", "add_webhook", fields);
    if let Some(error) = refused {
        form = refusal(form, &say, error)?;
    }
    visit.shown(Screen {
        here: "developers",
        title: say.word("webhooks"),
        lead: Some(say.word("webhooks_lead")),
        tabs: say.tabs("/webhooks"),
        sections: vec![
            Section {
                title: say.word("webhooks"),
                table: Some(table),
                empty: Some(say.word("no_webhooks")),
                links: vec![(say.to("/docs/webhooks"), say.word("docs_webhooks"))],
                ..Section::default()
            },
            Section { title: say.word("add_webhook"), forms: vec![form], ..Section::default() },
        ],
        ..Screen::default()
    })
}

fn standing(say: &Say, endpoint: &WebhookEndpoint) -> (String, &'static str) {
    match (endpoint.enabled, endpoint.disabled_reason.as_deref(), endpoint.failing_since) {
        (true, _, None) => (say.word("on"), "ok"),
        (true, _, Some(_)) => (say.word("failing"), "failed"),
        (false, Some("gone"), _) => (say.word("off_gone"), "failed"),
        (false, Some(_), _) => (say.word("off_failing"), "failed"),
        (false, None, _) => (say.word("off"), ""),
    }
}

fn events_text(say: &Say, events: &[EventType]) -> String {
    match events.is_empty() {
        true => say.word("all_events"),
        false => events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn form(say: &Say, path: &str, button: &str, fields: &Fields) -> Form {
    let all: Vec<_> = EventType::choices().map(EventType::as_str).collect();
    Form {
        path: path.to_owned(),
        fields: vec![
            Field::new("url", &say.word("url"), "text").with(value(fields, "url")),
            Field::new("events", &say.word("events"), "text")
                .with(value(fields, "events"))
                .hinted(&say.filled("events_hint", &[("events", &all.join(", "))]))
                .optional(),
            Field::new("description", &say.word("description"), "text")
                .with(value(fields, "description"))
                .optional(),
        ],
        button: say.word(button),
        ..Form::default()
    }
}

/// What people can mend stands at its field.
fn refusal(form: Form, say: &Say, error: WebhookError) -> Result<Form, Problem> {
    let reason = say.filled("refused", &[("reason", &error.to_string())]);
    match error {
        WebhookError::Invalid { field, .. } => Ok(form.refused(Some(field), &reason)),
        WebhookError::TooMany
        | WebhookError::TooManyWaiting
        | WebhookError::Off
        | WebhookError::UnderWay => Ok(form.refused(None, &reason)),
        other => Err(problem(other)),
    }
}

fn chosen(fields: &Fields) -> Result<Vec<EventType>, WebhookError> {
    let text = filled_in(fields, "events").unwrap_or_default();
    events_of(text.split(',').map(str::trim).filter(|name| !name.is_empty()))
}

async fn create(
    request: HttpRequest,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<ManageKeys>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let id = owner(&visit.principal, None)?;
    let made = match chosen(&fields) {
        Ok(events) => {
            let new = new(value(&fields, "url"), value(&fields, "description"), events, None);
            portal.courier.create_webhook(id, new, &visit.origin(&request)).await
        }
        Err(error) => Err(error),
    };
    match made {
        Ok((endpoint, secret)) => {
            shown(
                &portal,
                &visit,
                endpoint,
                Once { secret: Some(secret.reveal().to_owned()), refused: None },
            )
            .await
        }
        Err(error) => listed(&portal, &visit, &fields, Some(error)).await,
    }
}

/// What stands on the page this once.
#[derive(Default)]
struct Once {
    secret: Option<String>,
    refused: Option<WebhookError>,
}

async fn one(
    request: HttpRequest,
    webhook_id: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let visit = match opened(&request, &gate, &directory, asked).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let id = owner(&visit.principal, None)?;
    let endpoint = portal.courier.webhook(id, &webhook_id).await.map_err(problem)?;
    shown(&portal, &visit, endpoint, Once::default()).await
}

async fn shown(
    portal: &Portal,
    visit: &Visit,
    endpoint: WebhookEndpoint,
    once: Once,
) -> Result<HttpResponse, Problem> {
    let say = Say::of(visit);
    let id = owner(&visit.principal, None)?;
    let path = format!("/webhooks/{}", endpoint.webhook_id);
    let deliveries = portal
        .courier
        .webhook_deliveries(id, &endpoint.webhook_id, (None, None, SHOWN))
        .await
        .map_err(problem)?;
    let mut sections = Vec::new();
    if let Some(secret) = once.secret {
        sections.push(Section {
            title: say.word("secret"),
            note: Some(say.word("secret_note")),
            secrets: vec![secret],
            ..Section::default()
        });
    }
    sections.push(state_section(&say, visit, &endpoint, &path));
    let rows = deliveries.into_iter().map(|one| delivery_row(&say, visit, one, &path)).collect();
    let head = ["event", "id", "attempts", "at"].map(|name| say.word(name)).to_vec();
    sections.push(Section {
        title: say.word("deliveries"),
        table: Some(Table { head, rows }),
        empty: Some(say.word("no_deliveries")),
        ..Section::default()
    });
    let fields = Fields::from([
        ("url".to_owned(), endpoint.url.clone()),
        ("description".to_owned(), endpoint.description.clone()),
        (
            "events".to_owned(),
            endpoint.events.iter().map(|event| event.as_str()).collect::<Vec<_>>().join(", "),
        ),
    ]);
    let mut form = form(&say, &format!("{path}/change"), "save", &fields);
    if let Some(error) = once.refused {
        form = refusal(form, &say, error)?;
    }
    sections.push(Section { title: say.word("change"), forms: vec![form], ..Section::default() });
    visit.shown(Screen {
        here: "developers",
        title: say.word("webhook"),
        lead: Some(endpoint.url),
        tabs: say.tabs("/webhooks"),
        sections,
        ..Screen::default()
    })
}

fn state_section(say: &Say, visit: &Visit, endpoint: &WebhookEndpoint, path: &str) -> Section {
    let act = |name: &str| Act {
        path: format!("{path}/{name}"),
        label: say.word(name),
        values: Vec::new(),
    };
    let mut facts = vec![
        (say.word("status"), standing(say, endpoint).0),
        (say.word("events"), events_text(say, &endpoint.events)),
        (say.word("created"), visit.minute(endpoint.created_at)),
    ];
    let times = [
        ("failing_since", endpoint.failing_since),
        ("both_until", endpoint.previous_until.filter(|until| *until > endpoint.created_at)),
    ];
    for (name, at) in times {
        facts.extend(at.map(|at| (say.word(name), visit.minute(at))));
    }
    let acts = match endpoint.enabled {
        true => ["test", "replay", "rotate", "disable", "remove"].map(act).to_vec(),
        false => ["enable", "rotate", "remove"].map(act).to_vec(),
    };
    Section { title: say.word("status"), facts, acts, ..Section::default() }
}

fn delivery_row(say: &Say, visit: &Visit, delivery: WebhookDelivery, path: &str) -> Row {
    let class = match delivery.state.as_str() {
        "sent" => "ok",
        "failed" => "failed",
        _ => "",
    };
    let at = match delivery.next_at {
        Some(next) => say.filled("next_at", &[("at", &visit.minute(next))]),
        None => visit.minute(delivery.created_at),
    };
    Row {
        link: Some(say.to(&format!("{path}/deliveries/{}", delivery.delivery_id))),
        status: Some((say.word(&format!("state_{}", delivery.state)), class)),
        cells: vec![delivery.event_type, delivery.message_id, delivery.attempts.to_string(), at],
        acts: Vec::new(),
    }
}

async fn delivery(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let visit = match opened(&request, &gate, &directory, asked).await? {
        Ok(visit) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let say = Say::of(&visit);
    let (webhook_id, delivery_id) = path.into_inner();
    let id = owner(&visit.principal, None)?;
    let found = portal.courier.webhook_delivery(id, &webhook_id, &delivery_id).await;
    let (delivery, body, attempts) = found.map_err(problem)?;
    let row = |attempt: delivery::webhooks::WebhookAttempt| Row {
        cells: vec![
            attempt.attempt.to_string(),
            visit.minute(attempt.began_at),
            format!("{} ms", attempt.duration_ms),
            attempt.status.map_or_else(|| "–".to_owned(), |status| status.to_string()),
            attempt.error.or(attempt.answer).unwrap_or_default(),
        ],
        ..Row::default()
    };
    let head = ["attempt", "at", "duration", "answer", "said"].map(|name| say.word(name)).to_vec();
    let mut acts = Vec::new();
    if delivery.state != "queued" {
        acts.push(Act {
            path: format!("/webhooks/{webhook_id}/replay_one"),
            label: say.word("replay_one"),
            values: vec![("delivery_id", delivery_id)],
        });
    }
    visit.shown(Screen {
        here: "developers",
        title: delivery.event_type,
        lead: Some(delivery.message_id),
        tabs: say.tabs("/webhooks"),
        sections: vec![
            Section {
                title: say.word("sent_body"),
                secrets: vec![body],
                acts,
                ..Section::default()
            },
            Section {
                title: say.word("attempts"),
                table: Some(Table { head, rows: attempts.into_iter().map(row).collect() }),
                empty: Some(say.word("no_attempts")),
                links: vec![(say.to(&format!("/webhooks/{webhook_id}")), say.word("back"))],
                ..Section::default()
            },
        ],
        ..Screen::default()
    })
}

async fn act(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
    portal: web::Data<Portal>,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let (visit, fields) = match posted::<ManageKeys>(&request, &gate, &directory, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let (webhook_id, act) = path.into_inner();
    let (courier, origin) = (&portal.courier, visit.origin(&request));
    let id = owner(&visit.principal, None)?;
    let endpoint = courier.webhook(id, &webhook_id).await.map_err(problem)?;
    let done = match act.as_str() {
        "test" => courier.test_webhook(id, &webhook_id).await,
        "replay" => {
            let since: DateTime<Utc> = portal.state.clock.now() - REPLAYED;
            courier.replay_failed(id, &webhook_id, since).await.map(|_| ())
        }
        "replay_one" => {
            courier.replay_delivery(id, &webhook_id, value(&fields, "delivery_id")).await
        }
        "enable" | "disable" => {
            let is_on = act == "enable";
            courier.switch_webhook(id, &webhook_id, is_on, &origin).await.map(|_| ())
        }
        "change" => match chosen(&fields) {
            Ok(events) => {
                let (url, description) = (value(&fields, "url"), value(&fields, "description"));
                let new = new(url, description, events, None);
                courier.change_webhook(id, &webhook_id, new, &origin).await.map(|_| ())
            }
            Err(error) => Err(error),
        },
        "rotate" => {
            let rotated = courier.rotate_webhook(id, &webhook_id, &origin).await;
            let (endpoint, secret) = rotated.map_err(problem)?;
            let once = Once { secret: Some(secret.reveal().to_owned()), refused: None };
            return shown(&portal, &visit, endpoint, once).await;
        }
        "remove" => {
            courier.remove_webhook(id, &webhook_id, &origin).await.map_err(problem)?;
            return Ok(visit.on_to("/webhooks", "removed"));
        }
        _ => return Err(Problem::not_found("there is no such page")),
    };
    match done {
        Ok(()) => Ok(visit.on_to(&format!("/webhooks/{webhook_id}"), "done")),
        Err(error) => {
            let once = Once { secret: None, refused: Some(error) };
            shown(&portal, &visit, endpoint, once).await
        }
    }
}
