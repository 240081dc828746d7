//! Webhooks of customers: their routes, their page, and the mail when one was turned off.

mod notice;
mod page;
mod routes;

use delivery::webhooks::{EventType, NewWebhook, WebhookError};
use rest::{
    feature::Feature,
    principal::Principal,
    problem::{Code, Problem},
};

use crate::Portal;

/// Endpoints, what was sent to them, and their page.
pub(crate) const FEATURE: Feature<Portal> = Feature::new("webhook_routes")
    .with_routes(|config, _| {
        routes::routes(config);
        page::routes(config);
    })
    .with_tasks(notice::register);

/// Whose webhooks are meant: those of the own organization; staff names one.
fn owner<'a>(principal: &'a Principal, asked: Option<&'a str>) -> Result<&'a str, Problem> {
    let own = principal.reach.organization_id();
    if own.is_some() && asked.is_some_and(|asked| own != Some(asked)) {
        let detail = "`organization` is another organization than yours";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    own.or(asked).ok_or_else(|| Problem::invalid_parameters("`organization` is missing"))
}

/// The events of their names; none for all.
fn events_of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<EventType>, WebhookError> {
    let parse = |name: &str| {
        name.parse().map_err(|_| WebhookError::Invalid {
            field: "events",
            reason: format!("holds `{name}`, which is no type of an event"),
        })
    };
    names.map(parse).collect()
}

fn problem(error: WebhookError) -> Problem {
    let detail = error.to_string();
    match error {
        WebhookError::Invalid { field, .. } => {
            Problem::bad_request(Code::InvalidField, detail).with("field", field)
        }
        WebhookError::Unknown(_) | WebhookError::UnknownDelivery(_) => Problem::not_found(detail),
        WebhookError::TooMany => Problem::conflict(Code::TooManyWebhooks, detail),
        WebhookError::TooManyWaiting => Problem::too_many_requests(60).explained(detail),
        WebhookError::UnderWay | WebhookError::Off => Problem::conflict(Code::WebhookState, detail),
        WebhookError::Store(error) => error.into(),
    }
}

/// With these values.
fn new(url: &str, description: &str, events: Vec<EventType>, enabled: Option<bool>) -> NewWebhook {
    NewWebhook { url: url.to_owned(), description: description.to_owned(), events, enabled }
}
