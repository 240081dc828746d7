//! The own requests: what an organization asked of the models, as its events say it, and what stands out.

mod overview;
mod page;
mod routes;

use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};
use rest::{feature::Feature, problem::Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Portal;

/// The request log and the overview.
pub(crate) const FEATURE: Feature<Portal> = Feature::new("requests").with_routes(|config, _| {
    routes::routes(config);
    page::routes(config);
    overview::routes(config);
});

/// The longest window of one question.
const WINDOW_MAX: TimeDelta = TimeDelta::days(93);
/// The window of a question that names none.
const WINDOW: TimeDelta = TimeDelta::days(7);
/// A page of a list begins at most so far from the first.
const SKIP_MAX: u64 = 10_000;

/// Where requests are read: the binary has it from the lake.
#[async_trait::async_trait]
pub trait RequestSource: Debug + Send + Sync {
    /// Requests of an organization, the newest first.
    async fn requests(
        &self,
        organization_id: &str,
        filter: &RequestFilter,
    ) -> Result<Vec<LoggedRequest>, Problem>;

    /// What the requests of a window come to.
    async fn summary(
        &self,
        organization_id: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<RequestSummary, Problem>;
}

/// Which requests are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestFilter {
    /// From then on.
    pub from: DateTime<Utc>,
    /// Before then.
    pub to: DateTime<Utc>,
    /// With this id.
    pub request_id: Option<String>,
    /// With this key.
    pub api_key_id: Option<String>,
    /// To this model.
    pub model: Option<String>,
    /// With this outcome.
    pub status: Option<StatusFilter>,
    /// So many are left out, and so many are read.
    pub page: (u64, u64),
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusFilter {
    /// A status of 400 or more, or an error code.
    Errors,
    /// One status.
    Status(u16),
}

/// A request to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoggedRequest {
    /// The id of the event, which the gateway gave to the request.
    pub request_id: String,
    /// Who sent the event.
    pub source: String,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// Of the key.
    pub api_key_id: Option<String>,
    /// Of the project.
    pub project_id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// The HTTP status of the answer.
    pub status_code: Option<i64>,
    /// Why it failed; null when it did not.
    pub error_code: Option<String>,
    /// Milliseconds to the end of the answer.
    pub latency_ms: Option<i64>,
    /// Tokens that were read.
    pub input_tokens: Option<i64>,
    /// Tokens that were written.
    pub output_tokens: Option<i64>,
    /// At list price: a decimal as text.
    pub list_price: Option<String>,
    /// ISO 4217.
    pub currency: Option<String>,
}

/// What the requests of a window come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct RequestSummary {
    /// How many there are.
    pub requests: i64,
    /// Those with a status of 400 or more, or an error code.
    pub errors: i64,
    /// Half of them take at most so many milliseconds.
    pub latency_p50_ms: Option<i64>,
    /// 95 % of them take at most so many milliseconds.
    pub latency_p95_ms: Option<i64>,
    /// At list price by currency: decimals as text.
    pub cost: std::collections::BTreeMap<String, String>,
}

impl LoggedRequest {
    fn failed(&self) -> bool {
        self.status_code.is_some_and(|status| status >= 400) || self.error_code.is_some()
    }
}

/// The window of a question: from and to, in this order, and not too long.
fn window(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
    // What happens now counts: events of this moment are there.
    let to = to.unwrap_or(now + TimeDelta::minutes(1));
    let from = from.or_else(|| to.checked_sub_signed(WINDOW)).unwrap_or(to);
    if from >= to {
        return Err(Problem::invalid_parameters("`from` is not before `to`"));
    }
    match to - from > WINDOW_MAX {
        true => {
            let days = WINDOW_MAX.num_days();
            Err(Problem::invalid_parameters(format!("a window has at most {days} days")))
        }
        false => Ok((from, to)),
    }
}

fn status_of(text: &str) -> Result<StatusFilter, Problem> {
    let wrong = || Problem::invalid_parameters("`status` is `error`, or a status such as 429");
    match text {
        "error" => Ok(StatusFilter::Errors),
        text => text
            .parse()
            .ok()
            .filter(|status| (100..600).contains(status))
            .map(StatusFilter::Status)
            .ok_or_else(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_and_statuses_are_checked() {
        let now: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        let (from, to) = window(None, None, now).unwrap();
        assert_eq!((to - from, to > now), (TimeDelta::days(7), true));
        assert!(window(Some(now), Some(now), now).is_err());
        assert!(window(Some(now - TimeDelta::days(94)), None, now).is_err());
        assert!(window(None, Some(DateTime::<Utc>::MIN_UTC), now).is_err());
        assert_eq!(status_of("error").unwrap(), StatusFilter::Errors);
        assert_eq!(status_of("429").unwrap(), StatusFilter::Status(429));
        for wrong in ["", "99", "600", "ok", "-1"] {
            assert!(status_of(wrong).is_err(), "{wrong}");
        }
    }
}
