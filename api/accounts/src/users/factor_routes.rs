//! `/v1/me/second-factor`: the second factor, as its user handles it.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use rest::{
    body::Body,
    principal::{Authorized, SignedIn},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, routes::own_user};

/// The password, which confirms what is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmBody {
    #[schema(format = Password)]
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    #[schema(format = Password)]
    password: String,
    /// Six digits of the app, or a recovery code.
    code: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeBody {
    /// Six digits of the app.
    #[schema(format = Password)]
    code: String,
}

/// What an authenticator app needs.
#[derive(Serialize, ToSchema)]
pub(super) struct EnrolmentView {
    /// In base 32.
    #[schema(format = Password)]
    secret: String,
    /// `otpauth://…`
    #[schema(format = Password)]
    uri: String,
    /// The URI as a QR code.
    qr_svg: String,
}

/// Each works once, where the app is not at hand.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// Whether a second factor is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FactorView {
    on: bool,
    /// Those that were not used.
    recovery_codes_left: u64,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(factor_state)
        .service(enrol)
        .service(confirm_factor)
        .service(renew_codes)
        .service(remove_factor);
}

/// Whether a second factor is asked for at sign-in.
#[utoipa::path(operation_id = "get_second_factor", tag = "accounts", responses((status = 200, body = FactorView), Denied))]
#[get("/v1/me/second-factor")]
async fn factor_state(
    principal: Authorized<SignedIn>,
    accounts: web::Data<Accounts>,
) -> Result<HttpResponse, Problem> {
    let state = accounts.factor_state(own_user(&principal)?).await?;
    let view = FactorView { on: state.is_on, recovery_codes_left: state.recovery_codes };
    Ok(HttpResponse::Ok().json(view))
}

/// Makes a secret for an authenticator app. It counts when its first code comes.
#[utoipa::path(
    operation_id = "enroll_second_factor",
    tag = "accounts",
    request_body = ConfirmBody,
    responses(
        (status = 200, body = EnrolmentView), (status = 400, body = Problem), Denied,
        (status = 409, body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/me/second-factor")]
async fn enrol(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: ConfirmBody = body.json(&principal).await?;
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    let made = accounts.enrol(user_id, &body.password, &origin, state.clock.now()).await?;
    let view = EnrolmentView { secret: made.secret, uri: made.uri, qr_svg: made.qr_svg };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Turns the second factor on by its first code, and ends the user's other sessions. The answer is the only place that ever
/// shows the recovery codes.
#[utoipa::path(
    operation_id = "confirm_second_factor",
    tag = "accounts",
    request_body = CodeBody,
    responses(
        (status = 200, body = RecoveryCodes), (status = 400, body = Problem), Denied,
        (status = 409, body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/me/second-factor/confirm")]
async fn confirm_factor(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: CodeBody = body.json(&principal).await?;
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    let (session, now) = (principal.session_id.as_deref(), state.clock.now());
    let recovery_codes =
        accounts.confirm_factor(user_id, session, &body.code, &origin, now).await?;
    state.jobs.wake();
    let view = RecoveryCodes { recovery_codes };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Makes new recovery codes, with the password and a code of the app or a recovery code; the former ones do not work any
/// more.
#[utoipa::path(
    operation_id = "renew_recovery_codes",
    tag = "accounts",
    request_body = ProofBody,
    responses(
        (status = 200, body = RecoveryCodes), (status = 400, body = Problem), Denied,
        (status = 409, body = Problem), (status = 429, body = Problem),
    )
)]
#[post("/v1/me/second-factor/recovery-codes")]
async fn renew_codes(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: ProofBody = body.json(&principal).await?;
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    let proofs = (body.password.as_str(), body.code.as_str());
    let recovery_codes =
        accounts.renew_recovery_codes(user_id, proofs, &origin, state.clock.now()).await?;
    let view = RecoveryCodes { recovery_codes };
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Turns the second factor off, with the password and a code of the app or a recovery code.
#[utoipa::path(
    operation_id = "remove_second_factor",
    tag = "accounts",
    request_body = ProofBody,
    responses(
        (status = 204), (status = 400, body = Problem), Denied, (status = 409, body = Problem),
        (status = 429, body = Problem),
    )
)]
#[post("/v1/me/second-factor/remove")]
async fn remove_factor(
    principal: Authorized<SignedIn>,
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body: ProofBody = body.json(&principal).await?;
    let (user_id, origin) = (own_user(&principal)?, principal.origin(&request));
    let proofs = (body.password.as_str(), body.code.as_str());
    accounts.remove_factor(user_id, proofs, &origin, state.clock.now()).await?;
    state.jobs.wake();
    Ok(HttpResponse::NoContent().finish())
}
