//! `GET /v1/usage`: usage by time, in the shape that clients of OpenAI's usage endpoint read.

mod keys;
mod question;

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, web};
use query::{
    MetricContext,
    metric::{Group, MetricAnswer},
};
use rest::{
    feature::Feature,
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use question::{METRICS, Question, UsageParameters};

use crate::Lake;

/// Usage by time.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("usage").with_routes(|config, _| {
    config.service(get_usage).service(keys::usage_by_key);
});

/// A page of buckets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsagePage {
    /// `page`.
    object: &'static str,
    /// The oldest first. One without usage has no results.
    data: Vec<UsageBucket>,
    has_more: bool,
    /// Send it as `page` for the next buckets, at the same cut.
    next_page: Option<String>,
    as_of: String,
}

/// The usage of one span of time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageBucket {
    /// `bucket`.
    object: &'static str,
    /// Unix time in seconds.
    start_time: i64,
    /// Unix time in seconds, not included.
    end_time: i64,
    /// One for each group: `input_tokens` (with `input_cached_tokens`), `output_tokens`, `input_audio_tokens`,
    /// `output_audio_tokens`, `num_model_requests`, and the dimensions of `group_by`; the others are null.
    #[schema(value_type = Vec<UsageResult>)]
    results: Vec<Value>,
}

/// The usage of one group in a span of time. What it is not grouped by is null.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct UsageResult {
    /// `organization.usage.completions.result`.
    object: String,
    input_tokens: i64,
    input_cached_tokens: i64,
    output_tokens: i64,
    input_audio_tokens: i64,
    output_audio_tokens: i64,
    num_model_requests: i64,
    organization_id: Option<String>,
    project_id: Option<String>,
    api_key_id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
}

/// Requests and tokens by time, of the organizations in reach.
///
/// The parameters are those of OpenAI's usage endpoint: `bucket_width` is `bucket`, and lists are separated by commas.
#[utoipa::path(
    tag = "usage",
    params(UsageParameters),
    responses((status = 200, body = UsagePage), (status = 400, body = Problem), Denied),
)]
#[get("/v1/usage")]
async fn get_usage(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<UsageParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let is_staff = principal.reach.organization_id().is_none();
    let question = Question::of(&asked, lake.state.clock.now(), is_staff)
        .map_err(Problem::invalid_parameters)?;
    let requests = question.requests();
    let ask =
        async |context: MetricContext<'_>, _: &str| lake.engine.metrics(&requests, context).await;
    let (answers, as_of) = lake.at_cut(&principal, question.as_of.as_deref(), ask).await?;
    let next_page = question.next_page(&as_of);
    Ok(HttpResponse::Ok().json(UsagePage {
        object: "page",
        data: buckets(&question, &answers)?,
        has_more: next_page.is_some(),
        next_page,
        as_of,
    }))
}

/// The values of all metrics beside each other.
fn buckets(question: &Question, answers: &[MetricAnswer]) -> Result<Vec<UsageBucket>, Problem> {
    let mut found: BTreeMap<(i64, Group), Map<String, Value>> = BTreeMap::new();
    for ((_, name), answer) in METRICS.iter().zip(answers) {
        for row in &answer.rows {
            let at = row.at.ok_or_else(Problem::internal)?.timestamp();
            let value = row.value.map(|value| value.to_decimal().to_u64());
            let value = value.unwrap_or(Some(0)).ok_or_else(Problem::internal)?;
            let values = found.entry((at, row.group.clone())).or_default();
            values.insert((*name).to_owned(), json!(value));
        }
    }
    let result = |group: &Group, values: &Map<String, Value>| {
        let mut result = json!({"object": "organization.usage.completions.result"});
        for (_, name) in METRICS {
            result[name] = values.get(name).cloned().unwrap_or(json!(0));
        }
        for name in question::DIMENSIONS {
            let place = question.by.iter().position(|by| by == name);
            result[name] = json!(place.and_then(|place| group.get(place).cloned().flatten()));
        }
        result
    };
    let bucket = |(from, to): (i64, i64)| UsageBucket {
        object: "bucket",
        start_time: from,
        end_time: to,
        results: found
            .range((from, Group::new())..(to, Group::new()))
            .map(|((_, group), values)| result(group, values))
            .collect(),
    };
    Ok(question.buckets().into_iter().map(bucket).collect())
}
