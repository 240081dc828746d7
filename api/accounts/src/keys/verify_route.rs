//! `POST /v1/keys/verify`, for the gateway.

use std::net::IpAddr;

use actix_web::{HttpResponse, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{Authorized, Scope, VerifyKeys},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;

use super::{KeyError, KeyRing, KnownKey, Scopes, Verdict, Verification};
use crate::{
    plans::{Admission, LimitScope, Limited, Plans, RateLimit},
    quotas::{Caller, QuotaError, QuotaStanding, Quotas, Usage, rate_limit_headers},
};

/// A use of a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyBody {
    /// The secret that the caller sent.
    #[schema(format = Password)]
    key: String,
    /// The model that is called. Left out, a key or plan with models is refused.
    model: Option<String>,
    /// The address of the caller.
    #[schema(value_type = Option<String>)]
    ip: Option<IpAddr>,
    /// A scope that the call needs: `read`, `write` or `backfill`.
    scope: Option<String>,
    /// Tokens of input and output that the call may take: whether the quotas of the month leave so many.
    #[serde(default)]
    estimated_tokens: u32,
}

/// Whether the key may be used, and whose it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifyView {
    /// The first reason against it, or `VALID`.
    code: Verdict,
    valid: bool,
    /// The rest is null where the key is unknown.
    api_key_id: Option<String>,
    organization_id: Option<String>,
    /// The plan of the organization.
    plan: Option<String>,
    scopes: Option<Vec<&'static str>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
    /// The project that its calls are of.
    project_id: Option<String>,
    /// The quotas of the month. Empty where there are none, or another reason came before.
    quotas: Vec<QuotaStanding>,
    /// The rate limits of plan and key, with this call. Empty unless the call was counted.
    rate_limits: Vec<RateLimit>,
    /// With `RATE_LIMITED`: seconds until a call is possible.
    retry_after: Option<u64>,
    /// Whether the plan lets calls through while this service is away.
    fail_open: Option<bool>,
}

/// Verifies the key of a customer. The answer comes from memory, and changes are seen within a second.
///
/// The status is 200 whatever the `code` is: `VALID`, `NOT_FOUND`, `DISABLED`, `EXPIRED`, `FORBIDDEN`,
/// `INSUFFICIENT_PERMISSIONS`, `MODEL_NOT_ALLOWED`, `USAGE_EXCEEDED` or `RATE_LIMITED`. A valid call counts for the rate limits
/// of plan and key, which stand in the headers `RateLimit-Policy` and `RateLimit`, too. For the quotas of the month, the
/// events count, and what `POST /v1/quota/check` reserves.
#[utoipa::path(
    tag = "keys",
    request_body = VerifyBody,
    responses(
        (status = 200, body = VerifyView), (status = 400, body = Problem), Denied, (status = 503, body = Problem),
    )
)]
#[post("/v1/keys/verify")]
pub(super) async fn verify_key(
    principal: Authorized<VerifyKeys>,
    body: Body,
    ring: web::Data<KeyRing>,
    plans: web::Data<Plans>,
    quotas: web::Data<Quotas>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let body: VerifyBody = body.json(&principal).await?;
    let scope: Option<Scope> = match &body.scope {
        Some(name) => Scopes::of([name.as_str()]).map_err(KeyError::from)?.iter().next(),
        None => None,
    };
    let asked = Verification { model: body.model.as_deref(), from: body.ip, scope };
    let now = state.clock.now();
    let Some(known) = ring.find(&body.key, now).await? else {
        let unknown = VerifyView {
            code: Verdict::NotFound,
            valid: false,
            api_key_id: None,
            organization_id: None,
            plan: None,
            scopes: None,
            expires_at: None,
            project_id: None,
            quotas: Vec::new(),
            rate_limits: Vec::new(),
            retry_after: None,
            fail_open: None,
        };
        return Ok(HttpResponse::Ok().json(unknown));
    };
    let estimate = Usage { requests: 1, tokens: body.estimated_tokens.into(), ..Usage::default() };
    let Ruling { code, quotas, admission } = rule(&known, &asked, &estimate, &plans, &quotas, now)?;
    if code == Verdict::Valid {
        ring.note_use(&known.key, now);
    }
    let key = &known.key;
    let plan = known.organization.as_ref().map(|organization| organization.plan.clone());
    let mut response = HttpResponse::Ok();
    for header in rate_limit_headers(&admission) {
        response.insert_header(header);
    }
    Ok(response.json(VerifyView {
        code,
        valid: code == Verdict::Valid,
        api_key_id: Some(key.api_key_id.clone()),
        organization_id: key.organization_id.clone(),
        fail_open: plan.as_deref().and_then(|name| plans.get(name)).map(|plan| plan.fail_open),
        plan,
        scopes: Some(key.scopes.iter().map(Scope::as_str).collect()),
        expires_at: key.ends_at(known.organization.as_ref().and_then(|one| one.key_max_age)),
        project_id: key.purpose.project_id().map(ToOwned::to_owned),
        quotas,
        rate_limits: admission.limits,
        retry_after: admission.retry_after,
    }))
}

/// What is said of a use, and why.
#[derive(Debug, Default)]
struct Ruling {
    code: Verdict,
    quotas: Vec<QuotaStanding>,
    admission: Admission,
}

/// Whether a key may be used, by itself, its plan, the quotas and the rate limits: the first reason against it counts.
fn rule(
    known: &KnownKey,
    asked: &Verification<'_>,
    estimate: &Usage,
    plans: &Plans,
    quotas: &Quotas,
    now: DateTime<Utc>,
) -> Result<Ruling, Problem> {
    let of = |code| Ok(Ruling { code, ..Ruling::default() });
    let code = known.verdict(asked, now);
    let (Verdict::Valid, Some(organization)) = (code, known.organization.as_deref()) else {
        return of(code);
    };
    if !plans.has_model(&organization.plan, asked.model) {
        return of(Verdict::ModelNotAllowed);
    }
    let organization_id = known.key.organization_id.as_deref().unwrap_or_default();
    let limits = plans.limits(&organization.plan, &organization.overrides, now);
    let (key_id, budget) = (known.key.api_key_id.as_str(), known.key.limits.budget());
    let caller = Caller { organization_id, limits: &limits, key: Some((key_id, budget)) };
    let quotas = match quotas.check(&caller, estimate, now) {
        Ok(quotas) => quotas,
        Err(QuotaError::Exceeded(quotas)) => {
            return Ok(Ruling { code: Verdict::UsageExceeded, quotas, ..Ruling::default() });
        }
        Err(error) => return Err(error.into()),
    };
    let admission = plans.admit(&[
        Limited { scope: LimitScope::ApiKey, id: key_id, limits: budget },
        Limited { scope: LimitScope::Organization, id: organization_id, limits: &limits },
    ]);
    let code = match admission.retry_after {
        Some(_) => Verdict::RateLimited,
        None => Verdict::Valid,
    };
    Ok(Ruling { code, quotas, admission })
}
