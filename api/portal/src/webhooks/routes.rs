//! `/v1/webhooks`.

use actix_web::{HttpRequest, HttpResponse, delete, get, http::header::LOCATION, post, put, web};
use chrono::{DateTime, Utc};
use delivery::webhooks::{
    DeliveryCursor, EventType, WebhookAttempt, WebhookDelivery, WebhookEndpoint, WebhookSecret,
};
use rest::{
    body::Body,
    principal::{Authorized, ManageKeys, SignedIn},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{events_of, new, owner, problem};
use crate::Portal;

const BODY_BYTES_MAX: usize = 16 << 10;
const LIMIT: u64 = 50;
const LIMIT_MAX: u64 = 500;

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list_event_types)
        .service(list_webhooks)
        .service(create_webhook)
        .service(get_webhook)
        .service(update_webhook)
        .service(remove_webhook)
        .service(rotate_webhook_secret)
        .service(test_webhook)
        .service(list_webhook_deliveries)
        .service(get_webhook_delivery)
        .service(replay_webhook_delivery)
        .service(replay_webhook);
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct OwnerParameters {
    /// For staff; everybody else means the own organization.
    organization: Option<String>,
}

type Asked = Result<web::Query<OwnerParameters>, actix_web::Error>;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct DeliveryParameters {
    /// For staff; everybody else means the own organization.
    organization: Option<String>,
    /// `queued`, `sent` or `failed`.
    state: Option<String>,
    /// At most so many: 50 without it, and at most 500.
    limit: Option<u64>,
    /// `next_page` of the answer before.
    page: Option<String>,
}

/// An endpoint to make, or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookBody {
    /// Begins with `https://`, and leads to no private network.
    url: String,
    /// What it is for: at most 200 characters.
    #[serde(default)]
    description: String,
    /// What it is told of, such as `invoice.paid`; empty for all.
    #[serde(default)]
    events: Vec<String>,
    /// Whether anything is sent: `true` without it.
    #[serde(default = "on")]
    enabled: bool,
}

fn on() -> bool {
    true
}

/// What failed since a time is sent once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookReplayBody {
    /// Of what happened since then.
    since: DateTime<Utc>,
}

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookView {
    webhook_id: String,
    url: String,
    description: String,
    /// Empty for all.
    #[schema(value_type = Vec<String>)]
    events: Vec<EventType>,
    enabled: bool,
    /// Why we turned it off: `gone` after an answer of 410, `failing` after five days without success.
    disabled_reason: Option<String>,
    /// Since then no attempt arrived.
    failing_since: Option<DateTime<Utc>>,
    /// Until then deliveries are signed with the former secret, too.
    previous_secret_until: Option<DateTime<Utc>>,
    created_by: String,
    created_at: DateTime<Utc>,
}

/// An endpoint with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
struct NewWebhookView {
    #[serde(flatten)]
    webhook: WebhookView,
    /// `whsec_…`
    secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct WebhookList {
    webhooks: Vec<WebhookView>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EventTypeList {
    event_types: Vec<&'static str>,
}

/// A delivery of a message to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookDeliveryView {
    delivery_id: String,
    /// The header `webhook-id` of all attempts.
    message_id: String,
    event_type: String,
    /// `queued`, `sent` or `failed`.
    state: String,
    attempts: u32,
    next_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
struct WebhookDeliveryList {
    deliveries: Vec<WebhookDeliveryView>,
    /// Send it as `page` for older ones.
    next_page: Option<String>,
}

/// A delivery with what was sent, and each attempt.
#[derive(Debug, Serialize, ToSchema)]
struct WholeDeliveryView {
    #[serde(flatten)]
    delivery: WebhookDeliveryView,
    /// What was sent, as it is signed.
    body: String,
    tries: Vec<WebhookAttemptView>,
}

/// An attempt.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookAttemptView {
    /// From 1.
    attempt: u32,
    began_at: DateTime<Utc>,
    duration_ms: u32,
    /// Null without an answer.
    status: Option<u16>,
    /// The first 300 bytes of the answer.
    answer: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct WebhookReplayView {
    /// How many are sent once more; at most 1,000.
    deliveries: usize,
}

impl From<WebhookEndpoint> for WebhookView {
    fn from(endpoint: WebhookEndpoint) -> Self {
        Self {
            webhook_id: endpoint.webhook_id,
            url: endpoint.url,
            description: endpoint.description,
            events: endpoint.events,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason,
            failing_since: endpoint.failing_since,
            previous_secret_until: endpoint.previous_until,
            created_by: endpoint.created_by,
            created_at: endpoint.created_at,
        }
    }
}

impl From<WebhookDelivery> for WebhookDeliveryView {
    fn from(delivery: WebhookDelivery) -> Self {
        Self {
            delivery_id: delivery.delivery_id,
            message_id: delivery.message_id,
            event_type: delivery.event_type,
            state: delivery.state,
            attempts: delivery.attempts,
            next_at: delivery.next_at,
            created_at: delivery.created_at,
        }
    }
}

impl From<WebhookAttempt> for WebhookAttemptView {
    fn from(attempt: WebhookAttempt) -> Self {
        Self {
            attempt: attempt.attempt,
            began_at: attempt.began_at,
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            answer: attempt.answer,
            error: attempt.error,
        }
    }
}

fn with_secret((endpoint, secret): (WebhookEndpoint, WebhookSecret)) -> NewWebhookView {
    NewWebhookView { webhook: endpoint.into(), secret: secret.reveal().to_owned() }
}

/// What an endpoint may be told of.
#[utoipa::path(tag = "webhooks", responses((status = 200, body = EventTypeList), Denied))]
#[get("/v1/webhooks/event-types")]
async fn list_event_types(_: Authorized<SignedIn>) -> HttpResponse {
    let event_types = EventType::choices().map(EventType::as_str).collect();
    HttpResponse::Ok().json(EventTypeList { event_types })
}

/// The endpoints of an organization, the oldest first.
#[utoipa::path(
    tag = "webhooks",
    params(OwnerParameters),
    responses((status = 200, body = WebhookList), (status = 400, body = Problem), Denied),
)]
#[get("/v1/webhooks")]
async fn list_webhooks(
    principal: Authorized<ManageKeys>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let found = portal.courier.webhooks(owner(&principal, asked.organization.as_deref())?).await?;
    let webhooks = found.into_iter().map(WebhookView::from).collect();
    Ok(HttpResponse::Ok().json(WebhookList { webhooks }))
}

/// Adds an endpoint: at most 20 of an organization. The answer is the only place that shows its secret.
#[utoipa::path(
    tag = "webhooks",
    params(OwnerParameters),
    request_body = WebhookBody,
    responses((status = 201, body = NewWebhookView), (status = 400, body = Problem), Denied, (status = 409, body = Problem)),
)]
#[post("/v1/webhooks")]
async fn create_webhook(
    principal: Authorized<ManageKeys>,
    request: HttpRequest,
    asked: Asked,
    body: Body<BODY_BYTES_MAX>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let body: WebhookBody = body.json(&principal).await?;
    let id = owner(&principal, asked.organization.as_deref())?;
    if !portal.directory.knows_organization(id).await? {
        let detail = format!("there is no organization `{id}`");
        return Err(Problem::bad_request(Code::UnknownOrganization, detail));
    }
    let events = events_of(body.events.iter().map(String::as_str)).map_err(problem)?;
    let new = new(&body.url, &body.description, events, Some(body.enabled));
    let made = portal.courier.create_webhook(id, new, &principal.origin(&request)).await;
    let made = made.map_err(problem)?;
    let place = format!("/v1/webhooks/{}", made.0.webhook_id);
    Ok(HttpResponse::Created().insert_header((LOCATION, place)).json(with_secret(made)))
}

/// An endpoint.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    responses((status = 200, body = WebhookView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/webhooks/{webhook_id}")]
async fn get_webhook(
    principal: Authorized<ManageKeys>,
    webhook_id: web::Path<String>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let found = portal.courier.webhook(id, &webhook_id).await.map_err(problem)?;
    Ok(HttpResponse::Ok().json(WebhookView::from(found)))
}

/// Changes an endpoint as a whole. One that is turned on again begins anew.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    request_body = WebhookBody,
    responses((status = 200, body = WebhookView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[put("/v1/webhooks/{webhook_id}")]
async fn update_webhook(
    principal: Authorized<ManageKeys>,
    request: HttpRequest,
    webhook_id: web::Path<String>,
    asked: Asked,
    body: Body<BODY_BYTES_MAX>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let body: WebhookBody = body.json(&principal).await?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let events = events_of(body.events.iter().map(String::as_str)).map_err(problem)?;
    let new = new(&body.url, &body.description, events, Some(body.enabled));
    let origin = principal.origin(&request);
    let changed = portal.courier.change_webhook(id, &webhook_id, new, &origin).await;
    Ok(HttpResponse::Ok().json(WebhookView::from(changed.map_err(problem)?)))
}

/// Removes an endpoint, and what is known of its deliveries.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    responses((status = 204), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[delete("/v1/webhooks/{webhook_id}")]
async fn remove_webhook(
    principal: Authorized<ManageKeys>,
    request: HttpRequest,
    webhook_id: web::Path<String>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let origin = principal.origin(&request);
    portal.courier.remove_webhook(id, &webhook_id, &origin).await.map_err(problem)?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives an endpoint another secret. For a day each delivery is signed with both.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    responses((status = 200, body = NewWebhookView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[post("/v1/webhooks/{webhook_id}/rotate-secret")]
async fn rotate_webhook_secret(
    principal: Authorized<ManageKeys>,
    request: HttpRequest,
    webhook_id: web::Path<String>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let origin = principal.origin(&request);
    let rotated = portal.courier.rotate_webhook(id, &webhook_id, &origin).await;
    Ok(HttpResponse::Ok().json(with_secret(rotated.map_err(problem)?)))
}

/// Sends `webhook.test` to an endpoint.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    responses((status = 202), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem)),
)]
#[post("/v1/webhooks/{webhook_id}/test")]
async fn test_webhook(
    principal: Authorized<ManageKeys>,
    webhook_id: web::Path<String>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    portal.courier.test_webhook(id, &webhook_id).await.map_err(problem)?;
    Ok(HttpResponse::Accepted().finish())
}

/// What was sent to an endpoint in the last 90 days, the newest first.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), DeliveryParameters),
    responses((status = 200, body = WebhookDeliveryList), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/webhooks/{webhook_id}/deliveries")]
async fn list_webhook_deliveries(
    principal: Authorized<ManageKeys>,
    webhook_id: web::Path<String>,
    asked: Result<web::Query<DeliveryParameters>, actix_web::Error>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let state = asked.state.as_deref();
    if state.is_some_and(|state| !["queued", "sent", "failed"].contains(&state)) {
        return Err(Problem::invalid_parameters("`state` is queued, sent or failed"));
    }
    let limit = asked.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let wrong = |()| Problem::invalid_parameters("`page` is none of an answer before");
    let page: Option<DeliveryCursor> =
        asked.page.as_deref().map(str::parse).transpose().map_err(wrong)?;
    let window = (state, page.as_ref(), limit);
    let found = portal.courier.webhook_deliveries(id, &webhook_id, window).await;
    let found = found.map_err(problem)?;
    let is_full = found.len() as u64 == limit;
    let next_page = found.last().filter(|_| is_full).map(|last| last.cursor().to_string());
    let deliveries = found.into_iter().map(WebhookDeliveryView::from).collect();
    Ok(HttpResponse::Ok().json(WebhookDeliveryList { deliveries, next_page }))
}

/// A delivery with what was sent, and each attempt with its answer.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), ("delivery_id" = String, Path), OwnerParameters),
    responses((status = 200, body = WholeDeliveryView), (status = 400, body = Problem), Denied, (status = 404, body = Problem)),
)]
#[get("/v1/webhooks/{webhook_id}/deliveries/{delivery_id}")]
async fn get_webhook_delivery(
    principal: Authorized<ManageKeys>,
    path: web::Path<(String, String)>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let found = portal.courier.webhook_delivery(id, &path.0, &path.1).await;
    let (delivery, body, attempts) = found.map_err(problem)?;
    let tries = attempts.into_iter().map(WebhookAttemptView::from).collect();
    Ok(HttpResponse::Ok().json(WholeDeliveryView { delivery: delivery.into(), body, tries }))
}

/// Sends a delivery once more, whether it arrived or not, with the same `webhook-id`.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), ("delivery_id" = String, Path), OwnerParameters),
    responses((status = 202), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem)),
)]
#[post("/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay")]
async fn replay_webhook_delivery(
    principal: Authorized<ManageKeys>,
    path: web::Path<(String, String)>,
    asked: Asked,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let id = owner(&principal, asked.organization.as_deref())?;
    portal.courier.replay_delivery(id, &path.0, &path.1).await.map_err(problem)?;
    Ok(HttpResponse::Accepted().finish())
}

/// Sends once more what failed since a time, the oldest first.
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path), OwnerParameters),
    request_body = WebhookReplayBody,
    responses((status = 202, body = WebhookReplayView), (status = 400, body = Problem), Denied, (status = 404, body = Problem), (status = 409, body = Problem)),
)]
#[post("/v1/webhooks/{webhook_id}/replay")]
async fn replay_webhook(
    principal: Authorized<ManageKeys>,
    webhook_id: web::Path<String>,
    asked: Asked,
    body: Body<BODY_BYTES_MAX>,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let body: WebhookReplayBody = body.json(&principal).await?;
    let id = owner(&principal, asked.organization.as_deref())?;
    let deliveries = portal.courier.replay_failed(id, &webhook_id, body.since).await;
    let deliveries = deliveries.map_err(problem)?;
    Ok(HttpResponse::Accepted().json(WebhookReplayView { deliveries }))
}
