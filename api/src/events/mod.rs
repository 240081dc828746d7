//! `POST /v1/events`: events in, a verdict for each.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Bytes},
};
use ingest::{OrganizationId, Verdict, decode::Form, intake::Refused};
use pipeline::{Lakehouse, Outcome};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    principal::{Authorized, SendEvents},
    problem::Problem,
};

pub(crate) fn configure(body_bytes_max: usize) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config.service(
            web::resource("/v1/events")
                .app_data(web::PayloadConfig::new(body_bytes_max))
                .route(web::post().to(take_in)),
        );
    }
}

/// What became of a request's events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdicts {
    pub(crate) accepted: usize,
    pub(crate) duplicate: usize,
    pub(crate) rejected: usize,
    /// One entry per event, in order.
    pub(crate) results: Vec<EventResult>,
    /// The cut at which every accepted event is visible.
    pub(crate) as_of: String,
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventResult {
    pub(crate) index: usize,
    /// `accepted`, `duplicate` or `rejected`.
    #[schema(value_type = String)]
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(crate) code: Option<&'static str>,
    /// RFC 6901, into the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Takes events in. A 200 is sent after every accepted event is on the disk.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    request_body(
        description = "CloudEvents 1.0: one, an array, or one per line.",
        content((Object = "application/json"), (String = "application/x-ndjson"),
            (Object = "application/cloudevents+json"), (Object = "application/cloudevents-batch+json")),
    ),
    responses(
        (status = 200, description = "A verdict for each event; at least one was not rejected.", body = Verdicts),
        (status = 400, description = "The body is not readable, or every event was rejected.", body = Problem),
        (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem), (status = 503, body = Problem),
    ),
)]
pub(crate) async fn take_in(
    sender: Authorized<SendEvents>,
    request: HttpRequest,
    lakehouse: web::Data<Lakehouse>,
    body: Result<Bytes, actix_web::Error>,
) -> Result<HttpResponse, Problem> {
    let form = form(&request)?;
    let body = body.map_err(unreadable)?;
    let organization = sender.reach.organization_id().and_then(OrganizationId::parse);
    if sender.reach.organization_id().is_some() && organization.is_none() {
        return Err(Problem::forbidden("forbidden", "the key's organization has no usable id"));
    }
    let outcome = lakehouse.take_in(form, body, organization).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "events could not be stored");
        Problem::unavailable(1)
    })?;
    let verdicts = match outcome {
        Outcome::Settled(verdicts) => verdicts,
        Outcome::Malformed(malformed) => {
            return Err(Problem::bad_request("malformed_body", malformed.to_string()));
        }
        Outcome::Refused(refused) => {
            let seconds = if refused == Refused::DiskFull { 10 } else { 1 };
            return Err(Problem::unavailable(seconds).explained(refused.to_string()));
        }
    };
    answer(verdicts, lakehouse.cut().token())
}

fn answer(verdicts: Vec<Verdict>, as_of: String) -> Result<HttpResponse, Problem> {
    let mut body = Verdicts { accepted: 0, duplicate: 0, rejected: 0, results: Vec::new(), as_of };
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let plain = |status| EventResult { index, status, code: None, pointer: None, reason: None };
        body.results.push(match verdict {
            Verdict::Accepted => {
                body.accepted += 1;
                plain("accepted")
            }
            Verdict::Duplicate => {
                body.duplicate += 1;
                plain("duplicate")
            }
            Verdict::Rejected(why) => {
                body.rejected += 1;
                metrics::counter!("ingest_rejected_events_total", "code" => why.code.as_str())
                    .increment(1);
                EventResult {
                    code: Some(why.code.as_str()),
                    pointer: Some(why.pointer),
                    reason: Some(why.reason),
                    ..plain("rejected")
                }
            }
        });
    }
    metrics::counter!("ingest_accepted_events_total").increment(body.accepted as u64);
    metrics::counter!("ingest_duplicate_events_total").increment(body.duplicate as u64);
    if body.rejected == body.results.len() {
        let results = serde_json::to_value(&body.results).unwrap_or_default();
        let detail = "every event was rejected; each is kept as a dead letter";
        return Err(Problem::bad_request("all_rejected", detail)
            .with("accepted", 0)
            .with("duplicate", 0)
            .with("rejected", body.rejected)
            .with("results", results));
    }
    Ok(HttpResponse::Ok().json(body))
}

fn form(request: &HttpRequest) -> Result<Form, Problem> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    match media_type.as_deref() {
        None
        | Some(
            "application/json"
            | "application/cloudevents+json"
            | "application/cloudevents-batch+json"
            // What curl sends with -d and no header.
            | "application/x-www-form-urlencoded",
        ) => Ok(Form::Json),
        Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Ok(Form::Ndjson),
        Some(other) => Err(Problem::unsupported_media_type(format!(
            "`{other}` is not one of application/json, application/x-ndjson, \
             application/cloudevents+json, application/cloudevents-batch+json"
        ))),
    }
}

fn unreadable(error: actix_web::Error) -> Problem {
    if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::payload_too_large("the body is larger than this server takes");
    }
    Problem::bad_request("invalid_body", "the body could not be read")
}
