//! What is told of limits: in bodies, and in headers.

use actix_web::http::header::{HeaderName, HeaderValue};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Month, Usage};
use crate::plans::{Admission, Amount, LimitScope, PerSpan, RateLimit};

/// A month of UTC.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeriodView {
    /// Its first moment.
    #[schema(value_type = String, format = DateTime)]
    start: DateTime<Utc>,
    /// The first moment after it.
    #[schema(value_type = String, format = DateTime)]
    end: DateTime<Utc>,
}

impl From<Month> for PeriodView {
    fn from(month: Month) -> Self {
        Self { start: month.start(), end: month.end() }
    }
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct UsageView {
    /// Requests, whatever their outcome.
    requests: i64,
    /// Tokens of input and output.
    tokens: i64,
    /// Money at list price by currency, as text.
    #[schema(value_type = BTreeMap<String, String>)]
    spend: Map<String, Value>,
}

impl From<&Usage> for UsageView {
    fn from(usage: &Usage) -> Self {
        let spend = usage.spend.iter().filter(|(_, units)| **units != 0);
        let spend = spend.map(|(currency, units)| {
            (currency.as_str().to_owned(), json!(Amount(*units).to_string()))
        });
        Self {
            requests: usage.requests,
            tokens: i64::try_from(usage.tokens).unwrap_or(i64::MAX),
            spend: spend.collect(),
        }
    }
}

/// `RateLimit-Policy` and `RateLimit`, as draft 10 of the IETF's httpapi working group writes them.
pub(crate) fn rate_limit_headers(admission: &Admission) -> Vec<(HeaderName, HeaderValue)> {
    let name = |limit: &RateLimit| match (limit.scope, limit.per) {
        (LimitScope::Organization, PerSpan::Minute) => "minute",
        (LimitScope::Organization, PerSpan::Day) => "day",
        (LimitScope::ApiKey, PerSpan::Minute) => "key-minute",
        (LimitScope::ApiKey, PerSpan::Day) => "key-day",
    };
    let policy = |limit: &RateLimit| {
        format!("\"{}\";q={};w={}", name(limit), limit.limit, limit.per.seconds())
    };
    let left = |limit: &RateLimit| {
        // The last one is the one that refused.
        let is_last = admission.limits.last() == Some(limit);
        let wait = admission.retry_after.filter(|_| is_last);
        let wait = wait.map(|seconds| format!(";t={seconds}")).unwrap_or_default();
        format!("\"{}\";r={}{wait}", name(limit), limit.remaining)
    };
    let limits = &admission.limits;
    if limits.is_empty() {
        return Vec::new();
    }
    let joined = |texts: Vec<String>| HeaderValue::from_str(&texts.join(", ")).ok();
    let headers = [
        ("ratelimit-policy", joined(limits.iter().map(policy).collect())),
        ("ratelimit", joined(limits.iter().map(left).collect())),
        ("retry-after", admission.retry_after.map(HeaderValue::from)),
    ];
    let header = |(name, value): (&'static str, Option<HeaderValue>)| {
        Some((HeaderName::from_static(name), value?))
    };
    headers.into_iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_structured_fields() {
        let limit = |scope, per, limit, remaining| RateLimit { scope, per, limit, remaining };
        let limits = vec![
            limit(LimitScope::ApiKey, PerSpan::Day, 1_000, 7),
            limit(LimitScope::Organization, PerSpan::Minute, 20, 0),
        ];
        let text = |admission: &Admission| {
            let headers = rate_limit_headers(admission);
            let text =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            text.collect::<Vec<_>>()
        };
        assert_eq!(
            text(&Admission { limits, retry_after: Some(3) }),
            [
                "ratelimit-policy: \"key-day\";q=1000;w=86400, \"minute\";q=20;w=60",
                "ratelimit: \"key-day\";r=7, \"minute\";r=0;t=3",
                "retry-after: 3",
            ]
        );
        assert_eq!(text(&Admission::default()), [""; 0]);
    }
}
