//! `GET /v1/usage/live`: the use of an organization as it grows, as server-sent events.

use std::time::Duration;

use actix_web::{HttpResponse, get, http::header, web};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream;
use rest::{
    client_limiter::{ClientId, ClientLimiter},
    principal::{Ability, Authenticator, Authorized, Principal, PrincipalKind, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde_json::json;
use state::store::rfc3339;
use tokio::time::Instant;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Month,
    routes::{QuotaParameters, asked_organization},
    view::UsageView,
};
use crate::{Directory, users};

/// A change is told so soon.
const PAUSE: Duration = Duration::from_secs(1);
/// Something is said at least so often, so that everybody in between knows that the stream goes on.
const SILENCE: Duration = Duration::from_secs(10);
/// A client asks again after it.
const LASTS: Duration = Duration::from_secs(300);
/// Streams of one organization, and of all.
const EACH: usize = 10;
const ALL: usize = 500;

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config.app_data(web::Data::new(directory.clone())).service(live_usage);
}

/// The places of all streams.
pub(crate) fn limiter() -> ClientLimiter {
    ClientLimiter::new(EACH, ALL)
}

/// One stream.
struct Live {
    directory: Directory,
    principal: Principal,
    organization_id: String,
    api_key_id: Option<String>,
    /// What was said last, and when.
    said: Option<UsageView>,
    said_at: Instant,
    until: Instant,
}

/// The use of this month of UTC as server-sent events: one at once, and one within two seconds of each change. `data` is
/// JSON with `organization_id`, `period`, `at` and `used`, as `GET /v1/quota` has them.
///
/// A stream ends after five minutes, and when its caller may not read any more; clients of server-sent events ask again by
/// themselves.
#[utoipa::path(
    operation_id = "stream_usage",
    tag = "usage",
    params(QuotaParameters),
    responses(
        (status = 200, content_type = "text/event-stream", body = String), (status = 400, body = Problem), Denied,
        (status = 429, body = Problem),
    )
)]
#[get("/v1/usage/live")]
async fn live_usage(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<QuotaParameters>, actix_web::Error>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let organization_id = asked_organization(&principal, asked.organization_id.as_deref())?;
    let clock = directory.state.clock.now();
    let organization = directory.keys.organization(&organization_id, clock).await?;
    if organization.is_none() {
        return Err(Problem::not_found(format!("there is no organization `{organization_id}`")));
    }
    if let Some(id) = &asked.api_key_id {
        directory.keys.find_own(id, &organization_id, clock).await?;
    }
    let place = directory.streams.take(ClientId::from(&*principal));
    let place = place.map_err(|full| full.problem("streams are being read", 5))?;
    let now = Instant::now();
    let live = Live {
        directory: directory.as_ref().clone(),
        principal: principal.into_principal(),
        organization_id,
        api_key_id: asked.api_key_id,
        said: None,
        said_at: now,
        until: now + LASTS,
    };
    let pieces = stream::unfold(live, |mut live| async move {
        let piece = live.next().await?;
        Some((Ok::<_, actix_web::Error>(piece), live))
    });
    let mut response = HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // What is compressed waits for more.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .streaming(Box::pin(pieces));
    // Held until the stream ends, instead of a place for large answers.
    response.extensions_mut().insert(place);
    Ok(response)
}

impl Live {
    /// The next piece; nothing when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        let mut is_first = self.said.is_none();
        loop {
            if !std::mem::take(&mut is_first) {
                tokio::time::sleep(PAUSE).await;
                if Instant::now() >= self.until || !self.may_read().await {
                    return None;
                }
            }
            let now = self.directory.state.clock.now();
            // Before the ledger is read, nothing is known.
            if let Some(used) = self.used(now)
                && self.said.as_ref() != Some(&used)
            {
                let month = Month::of(now);
                let data = json!({
                    "organization_id": self.organization_id,
                    "api_key_id": self.api_key_id,
                    "period": {"start": rfc3339(month.start()), "end": rfc3339(month.end())},
                    "at": rfc3339(now),
                    "used": used,
                });
                self.said = Some(used);
                self.said_at = Instant::now();
                return Some(Bytes::from(format!("event: usage\ndata: {data}\n\n")));
            }
            if self.said_at.elapsed() >= SILENCE {
                self.said_at = Instant::now();
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    fn used(&self, now: DateTime<Utc>) -> Option<UsageView> {
        let (quotas, key) = (&self.directory.quotas, self.api_key_id.as_deref());
        Some(UsageView::from(&quotas.used(&self.organization_id, key, Month::of(now))?))
    }

    /// Whether the caller may still read the same; what is not known is no yes.
    async fn may_read(&self) -> bool {
        let (directory, before) = (&self.directory, &self.principal);
        let now = directory.state.clock.now();
        if matches!(before.kind, PrincipalKind::Key(_)) {
            return matches!(directory.keys.works(&before.id, now).await, Ok(true));
        }
        let is_open = match &before.session_id {
            Some(id) => users::session_is_open(&directory.state.store, id, now).await,
            None => Ok(true),
        };
        let now = directory.by_id(&before.id).await.ok().flatten();
        matches!(is_open, Ok(true))
            && now.is_some_and(|now| now.may(Ability::ReadMetrics) && now.reach == before.reach)
    }
}
