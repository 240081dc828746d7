//! `/v1/quota`: how quotas stand, and what the gateway reserves.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use ingest::grant::SELF_REPORTED;
use rest::{
    body::Body,
    principal::{Authorized, Principal, ReadMetrics, VerifyKeys},
    problem::{Code, Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    Caller, EventName, Month, QuotaError, QuotaStanding, Quotas, Usage, live,
    view::{PeriodView, UsageView},
};
use crate::{
    Directory,
    keys::{KeyRing, Verdict},
    organizations::OrganizationStatus,
    plans::{Amount, Currency, Limits, Plans},
};

pub(super) fn routes(config: &mut ServiceConfig<'_>, directory: &Directory) {
    config
        .app_data(directory.quotas.clone())
        .service(get_quota)
        .service(check_quota)
        .service(settle_quota);
    live::routes(config, directory);
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaParameters {
    /// Whose quotas; an organization's own key or member leaves it out.
    pub(super) organization_id: Option<String>,
    /// The use of this key, and its budget.
    pub(super) api_key_id: Option<String>,
}

/// What an organization may use, and has used.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuotaView {
    organization_id: String,
    plan: String,
    /// The month that the quotas are of.
    period: PeriodView,
    /// What the events of the month say.
    used: UsageView,
    quotas: Vec<QuotaStanding>,
    /// What the plan says, with the overrides.
    limits: Limits,
    /// Reservations that are not settled.
    open_calls: usize,
}

/// An event that will come.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReservationBody)]
pub(super) struct CheckBody {
    organization_id: String,
    /// The key of the call: its budget counts, too.
    api_key_id: Option<String>,
    /// The source of the event that will come.
    source: String,
    /// Its id.
    id: String,
    /// The model that is called.
    model: Option<String>,
    /// Tokens of input and output.
    #[serde(default)]
    estimated_tokens: u32,
    /// Money.
    estimated_spend: Option<MoneyBody>,
}

/// Money.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyBody {
    /// A decimal as text, such as `"0.02"`.
    #[schema(value_type = String)]
    amount: Amount,
    /// ISO 4217, such as `USD`.
    #[schema(value_type = String)]
    currency: Currency,
}

/// Whether the call may be made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReservationView)]
pub(super) struct CheckView {
    /// `VALID`, `DISABLED`, `EXPIRED`, `MODEL_NOT_ALLOWED`, `USAGE_EXCEEDED`, or `RATE_LIMITED` where too many calls are under way.
    code: Verdict,
    valid: bool,
    quotas: Vec<QuotaStanding>,
    /// The reservation ends then by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
}

/// What was really used.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleBody {
    organization_id: String,
    /// The source of the event.
    source: String,
    /// Its id.
    id: String,
    /// Tokens of input and output; required unless it is canceled.
    tokens: Option<u64>,
    /// Money. Left out: as it was estimated.
    spend: Option<MoneyBody>,
    /// The event will not come: the reservation ends.
    #[serde(default)]
    cancel: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettleView {
    /// `settled` or `canceled`.
    status: &'static str,
    /// What is settled counts until the event comes, at most until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
}

/// As in events.
const NAME_BYTES_MAX: usize = 256;
const TOKENS_MAX: u64 = 1_000_000_000_000;

fn event(organization_id: &str, source: &str, id: &str) -> Result<EventName, Problem> {
    for (field, text) in [("organization_id", organization_id), ("source", source), ("id", id)] {
        if !(1..=NAME_BYTES_MAX).contains(&text.len()) {
            let detail = format!("`{field}` is 1 to {NAME_BYTES_MAX} bytes long");
            return Err(Problem::bad_request(Code::InvalidField, detail).with("field", field));
        }
    }
    if source.starts_with(SELF_REPORTED) {
        let detail = format!(
            "`source` is a gateway's: what organizations state under {SELF_REPORTED} does not count"
        );
        return Err(Problem::bad_request(Code::InvalidField, detail).with("field", "source"));
    }
    Ok(EventName {
        organization_id: organization_id.to_owned(),
        source: source.to_owned(),
        id: id.to_owned(),
    })
}

fn estimate(tokens: u64, spend: Option<MoneyBody>) -> Usage {
    let spend = spend.into_iter().map(|money| (money.currency, money.amount.0)).collect();
    Usage { requests: 1, tokens: tokens.into(), spend }
}

impl From<QuotaError> for Problem {
    fn from(error: QuotaError) -> Self {
        let detail = error.to_string();
        match error {
            QuotaError::NotCounted => Self::unavailable(1).explained(detail),
            QuotaError::NoReservation => Self::not_found(detail),
            QuotaError::Full | QuotaError::Exceeded(_) | QuotaError::TooManyCalls { .. } => {
                Self::too_many_requests(1).explained(detail)
            }
        }
    }
}

/// The organization that a principal asks about.
pub(super) fn asked_organization(
    principal: &Principal,
    asked: Option<&str>,
) -> Result<String, Problem> {
    match (principal.reach.organization_id(), asked) {
        (Some(own), None) => Ok(own.to_owned()),
        (Some(own), Some(asked)) if own == asked => Ok(own.to_owned()),
        (Some(_), Some(_)) => Err(Problem::forbidden(
            Code::Forbidden,
            "`organization_id` is another organization than yours",
        )),
        (None, Some(asked)) => Ok(asked.to_owned()),
        (None, None) => Err(Problem::invalid_parameters("say which `organization_id`")),
    }
}

/// What an organization may use in this month of UTC, and has used: live, from the log of events.
#[utoipa::path(
    tag = "quotas",
    params(QuotaParameters),
    responses(
        (status = 200, body = QuotaView), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem), (status = 503, body = Problem),
    )
)]
#[get("/v1/quota")]
async fn get_quota(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<QuotaParameters>, actix_web::Error>,
    quotas: web::Data<Quotas>,
    ring: web::Data<KeyRing>,
    plans: web::Data<Plans>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let organization_id = asked_organization(&principal, asked.organization_id.as_deref())?;
    let now = state.clock.now();
    let unknown = || Problem::not_found(format!("there is no organization `{organization_id}`"));
    let organization = ring.organization(&organization_id, now).await?.ok_or_else(unknown)?;
    let limits = plans.limits(&organization.plan, &organization.overrides, now);
    let key = match &asked.api_key_id {
        Some(id) => Some(ring.find_own(id, &organization_id, now).await?),
        None => None,
    };
    let of_key = key.as_deref().map(|known| &known.key);
    let caller = Caller {
        organization_id: &organization_id,
        limits: &limits,
        key: of_key.map(|key| (key.api_key_id.as_str(), key.limits.budget())),
    };
    let month = Month::of(now);
    let key_id = of_key.map(|key| key.api_key_id.as_str());
    let used = quotas.used(&organization_id, key_id, month).ok_or(QuotaError::NotCounted)?;
    let standing = quotas.standing(&caller, now)?;
    let open_calls = quotas.open_calls(&organization_id, now);
    Ok(HttpResponse::Ok().json(QuotaView {
        plan: organization.plan.clone(),
        period: month.into(),
        used: UsageView::from(&used),
        quotas: standing,
        limits,
        open_calls,
        organization_id,
    }))
}

/// Asks whether a call may be made, and reserves its estimate until its event comes. For the gateway.
///
/// The event is named by its organization, source and id. When it is accepted, the reservation ends, and what the event
/// says counts. Without that, it ends after ten minutes. Asked again for the same event, the estimate is replaced. A quota
/// that is soft refuses nothing.
#[utoipa::path(
    operation_id = "reserve_quota",
    tag = "quotas",
    request_body = CheckBody,
    responses(
        (status = 200, body = CheckView), (status = 400, body = Problem), Denied,
        (status = 404, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem),
    )
)]
#[post("/v1/quota/check")]
async fn check_quota(
    principal: Authorized<VerifyKeys>,
    body: Body,
    quotas: web::Data<Quotas>,
    ring: web::Data<KeyRing>,
    plans: web::Data<Plans>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let body: CheckBody = body.json(&principal).await?;
    let event = event(&body.organization_id, &body.source, &body.id)?;
    let now = state.clock.now();
    let unknown =
        || Problem::not_found(format!("there is no organization `{}`", body.organization_id));
    let organization = ring.organization(&body.organization_id, now).await?;
    let organization = organization.ok_or_else(unknown)?;
    let key = match &body.api_key_id {
        Some(id) => Some(ring.find_own(id, &body.organization_id, now).await?),
        None => None,
    };
    let refused = |code, quotas| CheckView { code, valid: false, quotas, expires_at: None };
    let model = body.model.as_deref();
    let is_for = key.as_deref().is_none_or(|known| known.key.limits.allows_model(model));
    let code = match key.as_deref().map_or(Verdict::Valid, |known| known.standing(now)) {
        _ if organization.status != OrganizationStatus::Active => Verdict::Disabled,
        Verdict::Valid if !is_for || !plans.has_model(&organization.plan, model) => {
            Verdict::ModelNotAllowed
        }
        code => code,
    };
    if code != Verdict::Valid {
        return Ok(HttpResponse::Ok().json(refused(code, Vec::new())));
    }
    let limits = plans.limits(&organization.plan, &organization.overrides, now);
    let of_key = key.as_deref().map(|known| &known.key);
    let caller = Caller {
        organization_id: &body.organization_id,
        limits: &limits,
        key: of_key.map(|key| (key.api_key_id.as_str(), key.limits.budget())),
    };
    let estimate = estimate(body.estimated_tokens.into(), body.estimated_spend);
    let view = match quotas.reserve(&caller, event, estimate, now) {
        Ok((quotas, expires_at)) => {
            CheckView { code: Verdict::Valid, valid: true, quotas, expires_at: Some(expires_at) }
        }
        Err(QuotaError::Exceeded(quotas)) => refused(Verdict::UsageExceeded, quotas),
        Err(QuotaError::TooManyCalls { .. }) => refused(Verdict::RateLimited, Vec::new()),
        Err(error) => return Err(error.into()),
    };
    Ok(HttpResponse::Ok().json(view))
}

/// Says what a call has really used, until its event comes; or that it will not come.
#[utoipa::path(
    tag = "quotas",
    request_body = SettleBody,
    responses(
        (status = 200, body = SettleView), (status = 400, body = Problem), Denied,
        (status = 404, description = "The reservation expired, or its event was counted.", body = Problem),
    )
)]
#[post("/v1/quota/settle")]
async fn settle_quota(
    principal: Authorized<VerifyKeys>,
    body: Body,
    quotas: web::Data<Quotas>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let body: SettleBody = body.json(&principal).await?;
    let event = event(&body.organization_id, &body.source, &body.id)?;
    let now = state.clock.now();
    let view = match body.cancel {
        true => {
            quotas.cancel(&event, now)?;
            SettleView { status: "canceled", expires_at: None }
        }
        false => {
            let invalid = |reason| {
                let detail = format!("`tokens` {reason}");
                Problem::bad_request(Code::InvalidField, detail).with("field", "tokens")
            };
            let tokens =
                body.tokens.ok_or_else(|| invalid("are required unless `cancel` is true"))?;
            if tokens > TOKENS_MAX {
                return Err(invalid("are at most 1000000000000"));
            }
            let until = quotas.settle(&event, estimate(tokens, body.spend), now)?;
            SettleView { status: "settled", expires_at: Some(until) }
        }
    };
    Ok(HttpResponse::Ok().json(view))
}
