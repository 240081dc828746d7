//! `POST /v1/dead-letters/replay`: rejected events get a second chance, with the rules of today.

use std::collections::{BTreeSet, HashMap};

use actix_web::{HttpRequest, HttpResponse, post, web};
use chrono::{DateTime, Utc};
use ingest::{
    OrganizationId, RejectionCode, Verdict,
    decode::{self, SENT_BY_NARROWED, SENT_BY_PLATFORM},
};
use pipeline::Outcome;
use rest::{
    body::Body,
    principal::{Ability, Administer, Authorized, Principal},
    problem::{Code, Denied, Problem},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::audit::{self, AuditAction};
use utoipa::ToSchema;

use super::{
    BODY_BYTES_MAX, DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterPage, LETTERS_MAX, find,
    letter,
};
use crate::{Lake, events};

/// Which letters to replay: by their ids, or all that a filter finds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    /// At most 1,000. With ids there is no filter.
    pub ids: Option<Vec<String>>,
    /// A rejection's code.
    pub code: Option<String>,
    pub organization: Option<String>,
    /// Received at or after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub from: Option<DateTime<Utc>>,
    /// Received before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub to: Option<DateTime<Utc>>,
    /// At most 1,000, which it is unless this says otherwise.
    pub limit: Option<u64>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// What became of the letters.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Replayed {
    pub accepted: usize,
    pub duplicate: usize,
    pub rejected: usize,
    pub not_replayable: usize,
    pub not_found: usize,
    /// One entry per letter, newest first, or in the order of the ids.
    pub results: Vec<ReplayResult>,
    /// The `cursor` with which a filter goes on; null when that was all.
    pub next: Option<String>,
    /// A cut at which every accepted event is visible.
    pub as_of: String,
}

/// What became of one letter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplayResult {
    pub id: String,
    /// `accepted`, `duplicate`, `rejected`, `not_replayable` or `not_found`.
    #[schema(value_type = String)]
    pub status: &'static str,
    /// Of a rejection, or `truncated`, `erased`, `outside_grant` or `unknown_sender`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<&'static str>,
    /// RFC 6901, into the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Takes rejected events in again. Each is judged by the rules of today, as if its sender sent it now, and counts
/// once however often it is replayed. What is rejected again stays the one letter that it was.
#[utoipa::path(operation_id = "replay_dead_letters", tag = "dead letters",
    request_body = ReplayBody,
    responses(
        (status = 200, description = "A verdict for each letter.", body = Replayed),
        (status = 400, body = Problem), Denied,
        (status = 429, body = Problem), (status = 503, body = Problem),
    ),
)]
#[post("/v1/dead-letters/replay")]
pub(crate) async fn replay_letters(
    admin: Authorized<Administer>,
    request: HttpRequest,
    lake: web::Data<Lake>,
    body: Body<BODY_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let body: ReplayBody = body.json(&admin).await?;
    let wanted = body.ids.clone();
    let found = match &wanted {
        Some(ids) => by_ids(&lake, &admin, &body, ids).await?,
        None => by_filter(&lake, &admin, body).await?,
    };
    let ids: Vec<_> = found.letters.iter().map(|letter| letter.place.to_string()).collect();
    if !ids.is_empty() {
        let detail = json!({"letters": ids.len(), "first": ids.first(), "last": ids.last()});
        let act =
            AuditAction { action: "dead_letters.replayed", target: "dead_letter".into(), detail };
        audit::record(&lake.state.store, &admin.origin(&request), act, lake.state.clock.now())
            .await?;
    }
    let is_history = admin.may(Ability::Backfill);
    let mut results = replay(&lake, found.letters, is_history).await?;
    if let Some(wanted) = wanted {
        let mut known: HashMap<_, _> = results.drain(..).map(|r| (r.id.clone(), r)).collect();
        let missing = |id: String| ReplayResult::plain(id, "not_found");
        results
            .extend(wanted.into_iter().map(|id| known.remove(&id).unwrap_or_else(|| missing(id))));
    }
    let count = |status| results.iter().filter(|result| result.status == status).count();
    Ok(HttpResponse::Ok().json(Replayed {
        accepted: count("accepted"),
        duplicate: count("duplicate"),
        rejected: count("rejected"),
        not_replayable: count("not_replayable"),
        not_found: count("not_found"),
        results,
        next: found.next,
        as_of: lake.cut_cipher.token(&lake.lakehouse.cut(), &admin)?,
    }))
}

async fn by_ids(
    lake: &Lake,
    admin: &Principal,
    body: &ReplayBody,
    ids: &[String],
) -> Result<DeadLetterPage, Problem> {
    let invalid = |detail: String| Err(Problem::bad_request(Code::InvalidJson, detail));
    let has_filter = body.code.is_some()
        || body.organization.is_some()
        || body.from.is_some()
        || body.to.is_some()
        || body.limit.is_some()
        || body.cursor.is_some();
    if has_filter {
        return invalid("`ids` and a filter do not go together".into());
    }
    if ids.is_empty() || ids.len() as u64 > LETTERS_MAX {
        return invalid(format!("`ids` must be 1 to {LETTERS_MAX} ids"));
    }
    if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        return invalid("`ids` names a letter twice".into());
    }
    let places: Vec<_> = ids.iter().filter_map(|id| DeadLetterId::parse(id)).collect();
    // Other logs may have rows of the same numbers; -1 is no row's.
    let lsns = [-1].into_iter().chain(places.iter().map(|place| place.lsn));
    let lsns: Vec<_> = lsns.map(|lsn| lsn.to_string()).collect();
    let sql = format!("{} where lsn in ({})", letter::SELECT, lsns.join(", "));
    let (cut, answer) = lake.ask(admin, sql).await?;
    let mut letters = letter::read(&answer.batches).ok_or_else(Problem::internal)?;
    letters.retain(|letter| places.contains(&letter.place));
    Ok(DeadLetterPage { letters, next: None, as_of: lake.cut_cipher.token(&cut, admin)? })
}

async fn by_filter(
    lake: &Lake,
    admin: &Principal,
    body: ReplayBody,
) -> Result<DeadLetterPage, Problem> {
    let ReplayBody { code, organization, from, to, limit, cursor, .. } = body;
    if code.is_none() && organization.is_none() && from.is_none() && to.is_none() {
        let detail = "say which letters: `ids`, or some of `code`, `organization`, `from` and `to`";
        return Err(Problem::bad_request(Code::InvalidJson, detail));
    }
    let filter = DeadLetterFilter { code, organization, from, to, limit, cursor };
    find(lake, admin, &filter, limit.unwrap_or(LETTERS_MAX)).await
}

/// The results in the order of the letters.
async fn replay(
    lake: &Lake,
    letters: Vec<DeadLetter>,
    is_history: bool,
) -> Result<Vec<ReplayResult>, Problem> {
    let mut results = Vec::with_capacity(letters.len());
    let (mut places, mut events) = (Vec::new(), Vec::new());
    for letter in letters {
        let id = letter.place.to_string();
        match sender(&letter) {
            Ok((organization, raw)) => {
                places.push(results.len());
                results.push(ReplayResult::plain(id, "accepted"));
                events.push((organization, raw.to_owned()));
            }
            Err((code, reason)) => results.push(ReplayResult {
                code: Some(code),
                reason: Some(reason.to_owned()),
                ..ReplayResult::plain(id, "not_replayable")
            }),
        }
    }
    if events.is_empty() {
        return Ok(results);
    }
    let admission = lake.lakehouse.admit().map_err(events::refused)?;
    let outcome = lake.lakehouse.replay(admission, events, is_history).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "letters could not be replayed");
        Problem::unavailable(1)
    })?;
    let verdicts = match outcome {
        Outcome::Settled(verdicts, _) => verdicts,
        Outcome::Refused(refused) => return Err(events::refused(refused)),
        Outcome::Malformed(malformed) => {
            return Err(Problem::bad_request(Code::MalformedBody, malformed.to_string()));
        }
    };
    for (place, verdict) in places.into_iter().zip(verdicts) {
        let result = &mut results[place];
        match verdict {
            Verdict::Accepted => {}
            Verdict::Duplicate => result.status = "duplicate",
            Verdict::Rejected(why) => {
                result.status = "rejected";
                result.code = Some(why.code.as_str());
                result.pointer = Some(why.pointer);
                result.reason = Some(why.reason);
            }
        }
    }
    Ok(results)
}

/// For whom a letter is taken in again, and what, or why it cannot be.
fn sender(
    letter: &DeadLetter,
) -> Result<(Option<OrganizationId>, &str), (&'static str, &'static str)> {
    let Some(raw) = &letter.raw else {
        return Err(("erased", "the event named a person who was erased"));
    };
    if decode::is_cut(raw) {
        let reason = "only the first 16 KiB of the event were kept; its sender must send it again";
        return Err(("truncated", reason));
    }
    if RejectionCode::ALL.iter().any(|code| code.is_outside_grant() && code.as_str() == letter.code)
    {
        let reason = "its sender may not write that; a key that may must send the event";
        return Err(("outside_grant", reason));
    }
    if letter.sender.as_deref() == Some(SENT_BY_NARROWED) {
        let reason = "its key may not write everything; a key that may must send the event";
        return Err(("outside_grant", reason));
    }
    let unknown = ("unknown_sender", "the letter does not say whose key sent the event");
    match (letter.sender.as_deref(), &letter.organization_id) {
        (Some(SENT_BY_PLATFORM), _) => Ok((None, raw)),
        (_, Some(id)) => {
            OrganizationId::parse(id).map(|id| (Some(id), raw.as_str())).ok_or(unknown)
        }
        // Taken for an event of the platform, it would get what it was refused: rows of another organization.
        (Some(_), None) => Err(unknown),
        (None, None) if letter.code == RejectionCode::WrongOrganization.as_str() => Err(unknown),
        (None, None) => Ok((None, raw)),
    }
}

impl ReplayResult {
    fn plain(id: String, status: &'static str) -> Self {
        Self { id, status, code: None, pointer: None, reason: None }
    }
}
