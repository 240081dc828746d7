//! `GET /v1/usage/live`: the use of an organization as it grows, as server-sent events.

use std::time::Duration;

use actix_web::{HttpResponse, get, http::header, web};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream;
use rest::{
    client_limiter::{ClientId, ClientLimiter, ClientPermit},
    principal::{Authenticator, Authorized, ReadMetrics},
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
use crate::Directory;

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
    config
        .app_data(web::Data::new(directory.clone()))
        .app_data(web::Data::new(LiveLimiter(ClientLimiter::new(EACH, ALL))))
        .service(live_usage);
}

#[derive(Debug)]
struct LiveLimiter(ClientLimiter);

/// One stream.
struct Live {
    directory: Directory,
    principal_id: String,
    organization_id: String,
    api_key_id: Option<String>,
    /// What was said last, and when.
    said: Option<UsageView>,
    said_at: Instant,
    until: Instant,
    _place: ClientPermit,
}

/// The use of this month of UTC as server-sent events: one at once, and one within two seconds of each change. `data` is
/// JSON with `organization_id`, `period`, `at` and `used`, as `GET /v1/quota` has them.
///
/// A stream ends after five minutes, and when its caller may not read any more; clients of server-sent events ask again by
/// themselves.
#[utoipa::path(
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
    limiter: web::Data<LiveLimiter>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let organization_id = asked_organization(&principal, asked.organization_id.as_deref())?;
    let place = limiter.0.take(ClientId::from(&*principal));
    let now = Instant::now();
    let live = Live {
        directory: directory.as_ref().clone(),
        principal_id: principal.id.clone(),
        organization_id,
        api_key_id: asked.api_key_id,
        said: None,
        said_at: now,
        until: now + LASTS,
        _place: place.map_err(|full| full.problem("streams are being read", 5))?,
    };
    let pieces = stream::unfold(live, |mut live| async move {
        let piece = live.next().await?;
        Some((Ok::<_, actix_web::Error>(piece), live))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // What is compressed waits for more.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .streaming(Box::pin(pieces)))
}

impl Live {
    /// The next piece; nothing when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.said.is_some() {
                tokio::time::sleep(PAUSE).await;
                if Instant::now() >= self.until || !self.may_read().await {
                    return None;
                }
            }
            let now = self.directory.state.clock.now();
            match self.used(now) {
                Some(used) if self.said.as_ref() != Some(&used) => {
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
                // The ledger is being read.
                None if self.said.is_none() => tokio::time::sleep(PAUSE).await,
                _ => {}
            }
            if self.said_at.elapsed() >= SILENCE {
                self.said_at = Instant::now();
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    fn used(&self, now: DateTime<Utc>) -> Option<UsageView> {
        let (total, by_key) = self.directory.quotas.used(&self.organization_id, Month::of(now))?;
        let used = match &self.api_key_id {
            Some(id) => by_key.get(id).cloned().unwrap_or_default(),
            None => total,
        };
        Some(UsageView::from(&used))
    }

    /// Whether the caller still works.
    async fn may_read(&self) -> bool {
        !matches!(self.directory.by_id(&self.principal_id).await, Ok(None))
    }
}
