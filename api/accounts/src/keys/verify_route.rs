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

use super::{KeyError, KeyRing, Scopes, Verdict, Verification};
use crate::plans::{Admission, Plans, RateLimit};

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
    /// The rate limits of the plan, with this call. Empty unless the call was counted.
    rate_limits: Vec<RateLimit>,
    /// With `RATE_LIMITED`: seconds until a call is possible.
    retry_after: Option<u64>,
}

/// Verifies the key of a customer. The answer comes from memory, and changes are seen within a second.
///
/// The status is 200 whatever the `code` is: `VALID`, `NOT_FOUND`, `DISABLED`, `EXPIRED`, `FORBIDDEN`,
/// `INSUFFICIENT_PERMISSIONS`, `MODEL_NOT_ALLOWED` or `RATE_LIMITED`. A valid call counts for the rate limits of the plan.
#[utoipa::path(
    tag = "keys",
    request_body = VerifyBody,
    responses((status = 200, body = VerifyView), (status = 400, body = Problem), Denied)
)]
#[post("/v1/keys/verify")]
pub(super) async fn verify_key(
    principal: Authorized<VerifyKeys>,
    body: Body,
    ring: web::Data<KeyRing>,
    plans: web::Data<Plans>,
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
            rate_limits: Vec::new(),
            retry_after: None,
        };
        return Ok(HttpResponse::Ok().json(unknown));
    };
    let mut code = known.verdict(&asked, now);
    let mut admission = Admission::default();
    if let (Verdict::Valid, Some((plan, _))) = (code, &known.organization) {
        if !plans.has_model(plan, asked.model) {
            code = Verdict::ModelNotAllowed;
        } else {
            let organization_id = known.key.organization_id.as_deref().unwrap_or_default();
            admission = plans.admit(plan, organization_id);
            if admission.retry_after.is_some() {
                code = Verdict::RateLimited;
            }
        }
    }
    if code == Verdict::Valid {
        ring.note_use(&known.key, now);
    }
    let key = &known.key;
    Ok(HttpResponse::Ok().json(VerifyView {
        code,
        valid: code == Verdict::Valid,
        api_key_id: Some(key.api_key_id.clone()),
        organization_id: key.organization_id.clone(),
        plan: known.organization.as_ref().map(|(plan, _)| plan.clone()),
        scopes: Some(key.scopes.iter().map(Scope::as_str).collect()),
        expires_at: key.expires_at,
        rate_limits: admission.limits,
        retry_after: admission.retry_after,
    }))
}
