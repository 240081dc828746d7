//! `POST /v1/events`: events in, a verdict for each.

mod binary;
mod correction;
mod headers;
mod rate;
mod schema;
mod settings;
mod whereabouts;

use chrono::{DateTime, Utc};
use std::{path::Path, time::Duration};

use actix_web::{HttpRequest, HttpResponse, post, web};
use ingest::{Grant, OrganizationId, Verdict, Warning, decode::Malformed, names::Vocabulary};
use pipeline::{Delivery, Outcome, ReplacedImport};
use rest::{
    body::{self, Body},
    feature::Feature,
    principal::{Ability, Authorized, Principal, SendEvents},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use headers::refused;
pub use settings::Settings;

use crate::{Lake, imports::ReplacedImportCache};
use rate::{EventRateLimiter, Rates};
use schema::EventData;

/// Events in, where one is, and their corrections.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("events")
    .with_routes(|config, _| {
        config
            .service(take_in)
            .service(whereabouts::find_event)
            .service(correction::void_event)
            .service(correction::correct_event);
    })
    .with_tasks(|lake| {
        correction::begin();
        let lakehouse = lake.lakehouse.clone();
        lake.state.tasks.keep("mover", move || {
            let lakehouse = lakehouse.clone();
            async move { lakehouse.run().await }
        });
    });

/// What the intake counts and remembers: one per process.
#[derive(Debug)]
pub struct EventIntake {
    replacing: ReplacedImportCache,
    body_bytes_max: usize,
    limiter: EventRateLimiter,
}

impl EventIntake {
    pub fn new(settings: &Settings) -> Self {
        Self {
            replacing: ReplacedImportCache::default(),
            body_bytes_max: settings.body_bytes_max,
            limiter: EventRateLimiter::new(Rates {
                events_per_second: settings.organization_events_per_second,
                bytes_per_second: settings.organization_bytes_per_second,
            }),
        }
    }

    /// The import whose events are entered again.
    fn replaced(
        &self,
        dir: &Path,
        sender: &Principal,
        import: Option<&str>,
    ) -> Result<Option<ReplacedImport>, Problem> {
        let Some(import) = import else { return Ok(None) };
        let is_whole = sender.reach.organization_id().is_none() && sender.grant == Grant::ALL;
        if !sender.may(Ability::Administer) || !is_whole {
            return Err(Problem::forbidden(
                Code::Forbidden,
                "only administrators replace an import",
            ));
        }
        self.replacing.find(dir, import).map(Some)
    }
}

impl SendParameters {
    fn names(&self) -> Result<Option<&'static Vocabulary>, Problem> {
        let Some(word) = &self.names else { return Ok(None) };
        let unknown =
            || Problem::invalid_parameters(format!("names: {}", Vocabulary::unknown(word)));
        Vocabulary::find(word).map(Some).ok_or_else(unknown)
    }
}

/// How the events are to be taken.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SendParameters {
    /// `log` (the default): answer when they are in the log on disk. `table`: when their tables hold them too.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub durability: Durability,
    /// For `aihub import --replace`, as long as it is at work: an event with the identity of one of this import counts
    /// again, as it is sent now.
    pub replaces: Option<String>,
    /// Whose names the members of `data` have, if not ours: `openai`, `anthropic`, `litellm` or `otel`. What has no name
    /// of ours is left out then.
    pub names: Option<String>,
    /// Reject an event with a member of `data` that is no column. Attributes are in `data.attributes` then.
    #[serde(default)]
    pub strict: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    #[default]
    Log,
    Table,
}

/// After this, one who waits for the tables is told that the log holds the events.
const TABLE_PATIENCE: Duration = Duration::from_secs(30);

/// An event as it is sent. The members of `data` are columns of the table that `type` names; others are attributes.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schema(example = json!({
    "specversion": "1.0", "id": "req-1", "source": "/gateway/eu-1", "type": "usage.request",
    "time": "2026-01-31T09:15:00.123456Z",
    "data": {"model": "gpt-4o", "input_tokens": 812, "output_tokens": 96, "status_code": 200, "latency_ms": 840}
}))]
struct CloudEvent {
    /// `1.0`
    specversion: String,
    /// Unique within its source.
    id: String,
    source: String,
    /// `usage.request`, `billing.…` or `activity.…`
    #[schema(rename = "type")]
    kind: String,
    /// When it happened.
    time: DateTime<Utc>,
    /// The organization. An organization's own key leaves it out.
    subject: Option<String>,
    data: EventData,
}

/// One event, or several.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
enum Events {
    Many(Vec<CloudEvent>),
    One(CloudEvent),
}

/// What became of a request's events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdicts {
    pub accepted: usize,
    pub duplicate: usize,
    pub rejected: usize,
    /// One entry per event, in order.
    pub results: Vec<EventResult>,
    /// Where the accepted events are: `log` or `table`.
    #[schema(value_type = String)]
    pub durability: Durability,
    /// The cut at which every accepted event is visible.
    pub as_of: String,
}

/// Warnings of one answer: whoever has more of them has the same a thousand times.
const WARNINGS_MAX: usize = 1_000;

/// A member that became an attribute, and the column that may be meant.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventWarning {
    /// RFC 6901, into the event.
    pub pointer: String,
    #[schema(value_type = String)]
    pub column: &'static str,
}

/// What became of one event.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct EventResult {
    pub index: usize,
    /// `accepted`, `duplicate` or `rejected`.
    #[schema(value_type = String)]
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<&'static str>,
    /// RFC 6901, into the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is odd about an event that was not rejected; at most 1,000 in one answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<EventWarning>,
}

/// Takes events in. A 200 is sent after every accepted event is on the disk.
#[utoipa::path(
    operation_id = "send_events",
    tag = "events",
    params(SendParameters),
    request_body(
        description = "CloudEvents 1.0: one, an array, or one per line; or the data of one, whose members are \
            `ce-` headers. `Content-Encoding` may be gzip or zstd.",
        content((Events = "application/json"), (String = "application/x-ndjson"),
            (CloudEvent = "application/cloudevents+json"), (Vec<CloudEvent> = "application/cloudevents-batch+json")),
    ),
    responses(
        (status = 200, description = "A verdict for each event; at least one was not rejected.", body = Verdicts),
        (status = 202, description = "The same; the tables were asked for, and only the log holds the events yet.",
            body = Verdicts),
        (status = 400, description = "The body is not readable, or every event was rejected.", body = Problem),
        Denied,
        (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 429, description = "Too fast; see `Retry-After`.", body = Problem),
        (status = 503, description = "Nothing more is taken now; see `Retry-After`.", body = Problem),
    ),
)]
#[post("/v1/events")]
pub(crate) async fn take_in(
    sender: Authorized<SendEvents>,
    request: HttpRequest,
    manner: Result<web::Query<SendParameters>, actix_web::Error>,
    body: Body,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let event_intake = &lake.event_intake;
    let manner = parameters(manner)?;
    let names = manner.names()?;
    let body_format = headers::body_format(&request)?;
    let replaced = event_intake.replaced(&lake.dir, &sender, manner.replaces.as_deref())?;
    let organization = own_organization(&sender)?;
    let now = || lake.state.clock.now().timestamp_micros();
    let standing = || organization.as_ref().map(|id| event_intake.limiter.allowances(id, now()));
    let charge = |events: usize, bytes: usize| {
        if let Some(id) = &organization {
            event_intake.limiter.charge(id, events as u64, bytes as u64, now());
        }
    };
    if let Some(problem) = standing().as_deref().and_then(rate::exceeded) {
        return Err(problem);
    }
    let mut admission = lake.lakehouse.admit().map_err(headers::refused)?;
    let bytes_max = event_intake.body_bytes_max;
    let body = body.packed(&sender, bytes_max).await?;
    admission.grow(body.len()).map_err(headers::refused)?;
    charge(0, body.len());
    let delivery = Delivery {
        form: body_format.form,
        coding: body_format.coding,
        members: body_format.members,
        body,
        bytes_max,
        organization: organization.clone(),
        grant: sender.grant.clone(),
        is_history: sender.may(Ability::Backfill),
        replaced,
        names,
        is_strict: manner.strict,
    };
    let outcome = lake.lakehouse.take_in(admission, delivery).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "events could not be stored");
        Problem::unavailable(1)
    })?;
    let (verdicts, warnings) = match outcome {
        Outcome::Settled(verdicts, warnings) => (verdicts, warnings),
        Outcome::Malformed(malformed) => return Err(unreadable(&malformed)),
        Outcome::Refused(refused) => return Err(headers::refused(refused)),
    };
    charge(verdicts.len(), 0);
    let cut = lake.lakehouse.cut();
    let (status, durability) = match manner.durability {
        Durability::Log => (200, Durability::Log),
        Durability::Table if lake.lakehouse.stored(cut.lsn, TABLE_PATIENCE).await => {
            (200, Durability::Table)
        }
        Durability::Table => (202, Durability::Log),
    };
    let as_of = lake.cut_cipher.token(&cut, &sender)?;
    let mut answer = answer(verdicts, warnings, status, durability, as_of)?;
    for header in rate::headers(&standing().unwrap_or_default()) {
        answer.headers_mut().insert(header.0, header.1);
    }
    Ok(answer)
}

/// The organization that a key belongs to; none for keys of the platform.
fn own_organization(principal: &Principal) -> Result<Option<OrganizationId>, Problem> {
    let Some(id) = principal.reach.organization_id() else { return Ok(None) };
    let unusable =
        || Problem::forbidden(Code::Forbidden, "the key's organization has no usable id");
    OrganizationId::parse(id).map(Some).ok_or_else(unusable)
}

fn answer(
    verdicts: Vec<Verdict>,
    warnings: Vec<(u32, Warning)>,
    status: u16,
    durability: Durability,
    as_of: String,
) -> Result<HttpResponse, Problem> {
    let mut body = Verdicts {
        accepted: 0,
        duplicate: 0,
        rejected: 0,
        results: Vec::with_capacity(verdicts.len()),
        durability,
        as_of,
    };
    for (index, verdict) in verdicts.into_iter().enumerate() {
        let plain = |status| EventResult { index, status, ..EventResult::default() };
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
                EventResult {
                    code: Some(why.code.as_str()),
                    pointer: Some(why.pointer),
                    reason: Some(why.reason),
                    ..plain("rejected")
                }
            }
        });
    }
    for (index, Warning { pointer, column }) in warnings.into_iter().take(WARNINGS_MAX) {
        if let Some(result) = body.results.get_mut(index as usize) {
            result.warnings.push(EventWarning { pointer, column });
        }
    }
    if body.rejected == body.results.len() {
        let results = serde_json::to_value(&body.results).unwrap_or_default();
        let detail = "every event was rejected; each is kept as a dead letter";
        return Err(Problem::bad_request(Code::AllRejected, detail)
            .with("accepted", 0)
            .with("duplicate", 0)
            .with("rejected", body.rejected)
            .with("results", results));
    }
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(HttpResponse::build(status).json(body))
}

fn unreadable(malformed: &Malformed) -> Problem {
    match malformed {
        Malformed::TooLarge(bytes_max) => body::too_large(*bytes_max),
        Malformed::TooMany => Problem::payload_too_large(malformed.to_string()),
        Malformed::Compressed(_) => Problem::bad_request(Code::InvalidBody, malformed.to_string()),
        Malformed::Encoding(_) | Malformed::Json(_) | Malformed::Empty => {
            Problem::bad_request(Code::MalformedBody, malformed.to_string())
        }
    }
}
