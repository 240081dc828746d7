//! `/v1/dead-letters`: events that were rejected, shown as they were sent, and taken in again after a fix.

mod letter;
mod replay;

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use ingest::RejectionCode;
use query::quoted;
use rest::{
    feature::Feature,
    principal::{Administer, Authorized, Principal},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Lake;
use letter::{DeadLetter, DeadLetterId};

const BODY_BYTES_MAX: usize = 64 * 1024;
const LETTERS: u64 = 100;
/// Letters of one answer or one replay: at 16 KiB each they are 16 MiB.
const LETTERS_MAX: u64 = 1_000;

/// Events that were rejected, and their replay.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("dead_letters").with_routes(|config, _| {
    config.service(list_letters).service(replay::replay_letters);
});

/// Which letters, newest first.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadLetterFilter {
    /// A rejection's code.
    pub code: Option<String>,
    pub organization: Option<String>,
    /// Received at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    pub from: Option<DateTime<Utc>>,
    /// Received before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    pub to: Option<DateTime<Utc>>,
    /// At most 1,000; 100 unless this says otherwise.
    pub limit: Option<u64>,
    /// `next` of the answer before.
    pub cursor: Option<String>,
}

/// A rejected event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LetterView {
    pub id: String,
    #[schema(value_type = String, format = DateTime)]
    pub received_at: DateTime<Utc>,
    /// Whose key sent it, or which organization it names. Absent when a key of the platform sent it and it names
    /// none.
    pub organization_id: Option<String>,
    pub code: String,
    /// RFC 6901, into the event.
    pub pointer: String,
    pub reason: String,
    /// As it was sent, up to 16 KiB. Null once a person whom it named was erased: then it cannot be replayed.
    pub raw: Option<String>,
    /// Whether the end of `raw` is missing. Then it cannot be replayed.
    pub truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LetterList {
    pub dead_letters: Vec<LetterView>,
    /// The `cursor` of the next page; null at the end.
    pub next: Option<String>,
    /// The cut at which this was read.
    pub as_of: String,
}

/// Rejected events, newest first.
#[utoipa::path(operation_id = "list_dead_letters", tag = "dead letters",
    params(DeadLetterFilter),
    responses(
        (status = 200, body = LetterList), (status = 400, body = Problem), Denied, (status = 503, body = Problem),
    ),
)]
#[get("/v1/dead-letters")]
pub(crate) async fn list_letters(
    admin: Authorized<Administer>,
    asked: Result<web::Query<DeadLetterFilter>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let filter = parameters(asked)?;
    let limit = filter.limit.unwrap_or(LETTERS);
    let found = find(&lake, &admin, &filter, limit).await?;
    let dead_letters = found.letters.into_iter().map(LetterView::from).collect();
    Ok(HttpResponse::Ok().json(LetterList { dead_letters, next: found.next, as_of: found.as_of }))
}

/// Letters that were found, and where the next ones begin.
struct DeadLetterPage {
    letters: Vec<DeadLetter>,
    next: Option<String>,
    as_of: String,
}

async fn find(
    lake: &Lake,
    admin: &Principal,
    filter: &DeadLetterFilter,
    limit: u64,
) -> Result<DeadLetterPage, Problem> {
    if !(1..=LETTERS_MAX).contains(&limit) {
        let detail = format!("`limit` must be 1 to {LETTERS_MAX}");
        return Err(Problem::invalid_parameters(detail));
    }
    // One more than wanted tells whether there are more.
    let sql = format!(
        "{} where {} order by lsn desc, log desc limit {}",
        letter::SELECT,
        conditions(filter)?,
        limit + 1
    );
    let (cut, answer) = lake.ask(admin, sql).await?;
    let mut letters = letter::read(&answer.batches).ok_or_else(Problem::internal)?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = letters.len() > wanted;
    letters.truncate(wanted);
    let next = letters.last().filter(|_| has_more).map(|last| last.place.to_string());
    Ok(DeadLetterPage { letters, next, as_of: lake.cut_cipher.token(&cut, admin)? })
}

fn conditions(filter: &DeadLetterFilter) -> Result<String, Problem> {
    let invalid = |detail: String| Problem::invalid_parameters(detail);
    let mut conditions = vec!["true".to_owned()];
    if let Some(code) = &filter.code {
        if !RejectionCode::ALL.iter().any(|known| known.as_str() == code) {
            let known =
                RejectionCode::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(", ");
            return Err(invalid(format!("`code` must be one of {known}")));
        }
        conditions.push(format!("code = {}", quoted(code)));
    }
    if let Some(organization) = &filter.organization {
        conditions.push(format!("organization_id = {}", quoted(organization)));
    }
    for (at, comparison) in [(filter.from, ">="), (filter.to, "<")] {
        if let Some(at) = at {
            let at = quoted(&ingest::time::to_rfc3339(at.timestamp_micros()));
            conditions.push(format!("received_at {comparison} {at}"));
        }
    }
    if let Some(cursor) = &filter.cursor {
        let place =
            DeadLetterId::parse(cursor).ok_or_else(|| invalid("`cursor` is not one".into()))?;
        let DeadLetterId { log, lsn } = place;
        conditions.push(format!("(lsn < {lsn} or (lsn = {lsn} and log < {log}))"));
    }
    Ok(conditions.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rest::problem::Code;

    #[test]
    fn a_filter_becomes_conditions_and_nothing_else() {
        assert_eq!(conditions(&DeadLetterFilter::default()).unwrap(), "true");
        let filter = DeadLetterFilter {
            code: Some("wrong_type".into()),
            organization: Some("o' or true --".into()),
            from: DateTime::from_timestamp_micros(1_767_225_600_000_001),
            cursor: Some("a.b".into()),
            ..DeadLetterFilter::default()
        };
        assert_eq!(
            conditions(&filter).unwrap(),
            "true and code = 'wrong_type' and organization_id = 'o'' or true --' \
             and received_at >= '2026-01-01T00:00:00.000001Z' \
             and (lsn < 11 or (lsn = 11 and log < 10))"
        );
        for filter in [
            DeadLetterFilter { code: Some("no_such".into()), ..DeadLetterFilter::default() },
            DeadLetterFilter { cursor: Some("1".into()), ..DeadLetterFilter::default() },
        ] {
            assert_eq!(conditions(&filter).unwrap_err().code, Code::InvalidParameters);
        }
    }
}
