//! `POST /v1/events/void` and `/v1/events/correct`: an event that was wrong is taken back, and entered again.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, post, web};
use ingest::{
    OrganizationId, Rejection, Table,
    grant::money_refused,
    time::{self, Window},
};
use pipeline::correction::{Chain, Change, ChangeOutcome, EventName};
use rest::{
    body::Body,
    principal::{Ability, Authorized, Principal, SendEvents},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{json, value::RawValue};
use state::audit::{self, AuditAction, AuditOrigin};
use utoipa::ToSchema;

use super::schema::UsageData;
use super::{
    headers, own_organization, rate,
    whereabouts::{locate, owner, unknown},
};
use crate::Lake;

/// Bytes of a body: more than an event's own columns and attributes need.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Changes that were written, by kind.
const CORRECTIONS: &str = "ingest_corrections_total";
/// How often a change is tried that others come before.
const ATTEMPTS: usize = 5;

/// Shows the counters from the start: one that is absent cannot be told from one that is zero.
pub(super) fn begin() {
    for kind in ["void", "correct"] {
        metrics::counter!(CORRECTIONS, "kind" => kind).increment(0);
    }
}

/// The event to take back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidBody {
    /// For keys of the platform; an organization's own key means its own. Visitors' events have none.
    pub organization: Option<String>,
    pub source: String,
    pub id: String,
}

/// The usage event to correct, and what it should have said.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CorrectBody {
    /// For keys of the platform; an organization's own key means its own.
    pub organization: Option<String>,
    pub source: String,
    pub id: String,
    /// The right time, if it was wrong.
    #[schema(format = DateTime)]
    pub time: Option<String>,
    /// The columns and attributes that were wrong, as an event's data has them. `null` clears one.
    #[schema(value_type = Option<UsageData>)]
    pub data: Option<Box<RawValue>>,
}

/// An event after its change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Correction {
    /// `accepted`, or `duplicate` when the event was like that before.
    #[schema(value_type = String)]
    pub status: &'static str,
    pub organization_id: Option<String>,
    pub source: String,
    pub id: String,
    /// How often it was voided or corrected by now.
    pub generation: usize,
    /// A cut at which the change is visible.
    pub as_of: String,
}

/// Takes an event back: it does not count any more. It is kept, and gets a reversal. Billing and activity events are
/// voided by staff only.
#[utoipa::path(
    tag = "events",
    request_body = VoidBody,
    responses(
        (status = 200, description = "The event is void.", body = Correction),
        (status = 400, description = "The body is not usable, or the event is too old for the key.", body = Problem),
        Denied,
        (status = 404, description = "No such event was accepted.", body = Problem),
        (status = 409, description = "It is no usage event and the key is an organization's, or others change it all \
            the time.", body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem),
    ),
)]
#[post("/v1/events/void")]
pub(crate) async fn void_event(
    sender: Authorized<SendEvents>,
    request: HttpRequest,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let body: VoidBody = body.json(&sender).await?;
    let event = event(&sender, body.organization.as_deref(), body.source, body.id)?;
    let desk = CorrectionContext { origin: sender.origin(&request), sender: &sender, lake };
    desk.change(event, Change::Void).await
}

/// Corrects a usage event: what is named changes, and the rest stays. The ledger keeps the wrong row, and gets a
/// reversal of it and a re-entry.
#[utoipa::path(
    tag = "events",
    request_body = CorrectBody,
    responses(
        (status = 200, description = "The event says what it should.", body = Correction),
        (status = 400, description = "The body is not usable, or the corrected event would be rejected: `code` is \
            the rejection's.", body = Problem),
        Denied,
        (status = 404, description = "No such event was accepted.", body = Problem),
        (status = 409, description = "It is void, or no usage event, or others change it all the time.", body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem),
    ),
)]
#[post("/v1/events/correct")]
pub(crate) async fn correct_event(
    sender: Authorized<SendEvents>,
    request: HttpRequest,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let body: CorrectBody = body.json(&sender).await?;
    if body.time.is_none() && body.data.is_none() {
        let detail = "say what was wrong: `time`, `data` or both";
        return Err(Problem::bad_request(Code::InvalidJson, detail));
    }
    let occurred_at = match body.time.as_deref() {
        Some(text) => Some(time::parse_rfc3339(text).ok_or_else(|| {
            let detail = "`time` is not an RFC 3339 time with a zone, between 1970 and 2261";
            Problem::bad_request(Code::InvalidValue, detail).with("pointer", "/time")
        })?),
        None => None,
    };
    check_no_money(&sender, body.data.as_deref())?;
    let event = event(&sender, body.organization.as_deref(), body.source, body.id)?;
    let desk = CorrectionContext { origin: sender.origin(&request), sender: &sender, lake };
    desk.change(event, Change::Correct { occurred_at, data: body.data }).await
}

fn event(
    sender: &Principal,
    organization: Option<&str>,
    source: String,
    id: String,
) -> Result<EventName, Problem> {
    if sender.reach.organization_id().is_some() && !sender.may(Ability::Backfill) {
        let detail = "an organization's own key needs the scope `backfill` to void or correct";
        return Err(Problem::forbidden(Code::Forbidden, detail));
    }
    let organization = owner(sender, organization)?;
    // Nobody takes back what somebody else reported. Which type it has is known once it is read.
    let own = own_organization(sender)?;
    sender.grant.check(own.as_ref(), &source, "").map_err(outside_grant)?;
    Ok(EventName { organization, source, id })
}

/// What only the platform states.
fn check_no_money(sender: &Principal, data: Option<&RawValue>) -> Result<(), Problem> {
    let named: BTreeMap<String, IgnoredAny> =
        data.and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    let is_money = |name: &&String| ["cost", "list_price", "currency"].contains(&name.as_str());
    match named.keys().find(is_money) {
        Some(name) if sender.reach.organization_id().is_some() => {
            Err(outside_grant(money_refused(name)))
        }
        _ => Ok(()),
    }
}

fn outside_grant(why: Rejection) -> Problem {
    Problem::forbidden(why.code.into(), why.reason).with("pointer", why.pointer)
}

/// What a change needs beside the event.
struct CorrectionContext<'a> {
    origin: AuditOrigin,
    sender: &'a Principal,
    lake: web::Data<Lake>,
}

impl CorrectionContext<'_> {
    async fn change(&self, event: EventName, change: Change) -> Result<HttpResponse, Problem> {
        let lakehouse = &self.lake.lakehouse;
        let now = self.lake.state.clock.now().timestamp_micros();
        if let (Some(_), Some(own)) = (self.sender.reach.organization_id(), &event.organization) {
            let allowances = self.lake.event_intake.limiter.allowances(own, now);
            if let Some(problem) = rate::exceeded(&allowances) {
                return Err(problem);
            }
            self.lake.event_intake.limiter.charge(own, 1, 0, now);
        }
        let _admission = lakehouse.admit().map_err(headers::refused)?;
        let window = Window::at(now);
        let is_history = self.sender.may(Ability::Backfill);
        let window = if is_history { window.with_history() } else { window };
        for _ in 0..ATTEMPTS {
            let chain = self.chain(&event, &change).await?;
            let outcome = match lakehouse.prepare(&chain, &change, window).map_err(unstored)? {
                Ok(prepared) => {
                    self.record(&event, &change, chain.generation() + 1).await?;
                    lakehouse.append(prepared).await.map_err(unstored)?
                }
                Err(outcome) => outcome,
            };
            let (status, generation) = match outcome {
                ChangeOutcome::Done => {
                    metrics::counter!(CORRECTIONS, "kind" => kind(&change)).increment(1);
                    ("accepted", chain.generation() + 1)
                }
                ChangeOutcome::Already => {
                    ("duplicate", self.chain(&event, &change).await?.generation())
                }
                ChangeOutcome::Meanwhile => continue,
                ChangeOutcome::IsVoid => return Err(is_void()),
                ChangeOutcome::Rejected(why) => {
                    let problem = Problem::bad_request(why.code.into(), why.reason);
                    return Err(problem.with("pointer", why.pointer));
                }
                ChangeOutcome::Refused(refused) => return Err(headers::refused(refused)),
            };
            return Ok(HttpResponse::Ok().json(Correction {
                status,
                organization_id: event.organization.map(|id| id.to_string()),
                source: event.source,
                id: event.id,
                generation,
                as_of: self.lake.cut_cipher.token(&lakehouse.cut(), self.sender)?,
            }));
        }
        Err(Problem::conflict(Code::ChangedMeanwhile, "others change this event; try again later"))
    }

    async fn chain(&self, event: &EventName, change: &Change) -> Result<Chain, Problem> {
        let chain = match self.rows(event, Table::UsageLedger).await? {
            Some(chain) => chain,
            None => self.other_chain(event, change).await?,
        };
        let own = own_organization(self.sender)?;
        let event_type = chain.event_type().unwrap_or_default();
        let refused = self.sender.grant.check(own.as_ref(), &event.source, &event_type);
        refused.map_err(outside_grant)?;
        Ok(chain)
    }

    /// The rows of an event that is no usage.
    async fn other_chain(&self, event: &EventName, change: &Change) -> Result<Chain, Problem> {
        let owner = event.organization.clone();
        let found = locate(&self.lake, self.sender, owner, &event.source, &event.id).await?;
        let Some(table) = found.and_then(|found| Table::parse(found.table)) else {
            return Err(match event.organization {
                Some(_) => unknown(),
                None => {
                    let detail = "no visitor's event with this source and id was accepted; \
                                  `organization` is required for all others";
                    Problem::bad_request(Code::InvalidJson, detail)
                }
            });
        };
        let is_staff = self.sender.reach.organization_id().is_none();
        if is_staff && matches!(change, Change::Void) {
            return self.rows(event, table).await?.ok_or_else(unknown);
        }
        let name = table.name();
        let detail = match is_staff {
            true => {
                format!("the event is in {name}: it can be voided, and sent again under another id")
            }
            false => format!(
                "the event is in {name}: only usage events are voided or corrected; a further event sets this right"
            ),
        };
        Err(Problem::conflict(Code::NotCorrectable, detail).with("table", name))
    }

    async fn rows(&self, event: &EventName, table: Table) -> Result<Option<Chain>, Problem> {
        let (_, answer) = self.lake.ask(self.sender, Chain::question(event, table)).await?;
        Chain::read(event, table, &answer.batches).map_err(unstored)
    }

    /// Written before the rows, so that there is no change without it. A change that then fails is followed by
    /// another attempt, or by the sender's.
    async fn record(
        &self,
        event: &EventName,
        change: &Change,
        generation: usize,
    ) -> Result<(), Problem> {
        let action = match change {
            Change::Void => "event.voided",
            Change::Correct { .. } => "event.corrected",
        };
        let detail = json!({"source": event.source, "id": event.id, "generation": generation});
        let target = event.organization.as_ref().map_or("visitors", OrganizationId::as_str);
        let act = AuditAction { action, target: target.to_owned(), detail };
        Ok(audit::record(&self.lake.state.store, &self.origin, act, self.lake.state.clock.now())
            .await?)
    }
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::Void => "void",
        Change::Correct { .. } => "correct",
    }
}

fn is_void() -> Problem {
    let detail = "the event is void; what should count in its place is sent under another id";
    Problem::conflict(Code::EventIsVoid, detail)
}

fn unstored(error: pipeline::Error) -> Problem {
    tracing::error!(error = &error as &dyn std::error::Error, "a correction could not be stored");
    Problem::unavailable(1)
}
