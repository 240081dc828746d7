//! `/v1/auth/token`: tokens for programs that act for a user.

use actix_web::{HttpRequest, HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use rest::{
    body::Body,
    principal::{caller, refuse_cross_site},
    problem::{Denied, Problem},
};
use serde::{Deserialize, Serialize};
use state::State;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Accounts, Browser, Email, SessionKind, TokenPair, cookies, routes::agent};

/// What is given for tokens.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "grant_type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TokenBody {
    /// A first pair.
    Password {
        email: String,
        #[schema(format = Password)]
        password: String,
    },
    /// A first pair, where `password` was answered with a challenge.
    SecondFactor {
        #[schema(format = Password)]
        challenge: String,
        /// Six digits of the app, or a recovery code.
        #[schema(format = Password)]
        code: String,
    },
    /// The next pair.
    RefreshToken {
        #[schema(format = Password)]
        refresh_token: String,
    },
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    #[schema(format = Password)]
    refresh_token: String,
}

/// A pair of tokens (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
pub(super) struct TokenView {
    /// A JWT, for `Authorization: Bearer`.
    #[schema(format = Password)]
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    /// For the next pair; it works once.
    #[schema(format = Password)]
    refresh_token: String,
    #[schema(value_type = String, format = DateTime)]
    refresh_expires_at: DateTime<Utc>,
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(issue_tokens).service(revoke_tokens).service(jwks);
}

/// Gives an access token for ten minutes and a refresh token, for an e-mail address and a password, for the answer to a
/// challenge, or for a refresh token. A refresh token works once; used again later, it ends its session.
#[utoipa::path(
    tag = "accounts",
    request_body = TokenBody,
    responses(
        (status = 200, body = TokenView), (status = 400, body = Problem), Denied,
        (status = 429, body = Problem),
    )
)]
#[post("/v1/auth/token")]
async fn issue_tokens(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: TokenBody = body.json_of_stranger().await?;
    let (origin, now) = (caller("anonymous", &request), state.clock.now());
    let mark = cookies::mark(&request);
    let program =
        Browser { mark: mark.as_deref(), agent: agent(&request), kind: SessionKind::Program };
    let pair = match body {
        TokenBody::Password { email, password } => {
            let email = Email::parse(&email)?;
            let session = accounts.sign_in(&email, &password, program, &origin, now).await?;
            accounts.tokens_of(&session, now).await?
        }
        TokenBody::SecondFactor { challenge, code } => {
            let session =
                accounts.answer_challenge(&challenge, &code, program, &origin, now).await?;
            accounts.tokens_of(&session, now).await?
        }
        TokenBody::RefreshToken { refresh_token } => {
            let refreshed = accounts.refresh(&refresh_token, &origin, now).await;
            state.jobs.wake();
            refreshed?
        }
    };
    let view = TokenView::from(pair);
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(view))
}

/// Ends the session of a refresh token, and with it its access tokens. The answer is the same for what is no token.
#[utoipa::path(
    tag = "accounts",
    request_body = RevokeBody,
    responses((status = 204), (status = 400, body = Problem))
)]
#[post("/v1/auth/token/revoke")]
async fn revoke_tokens(
    body: Body,
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    refuse_cross_site(&request)?;
    let body: RevokeBody = body.json_of_stranger().await?;
    let origin = caller("anonymous", &request);
    accounts.revoke_refresh(&body.refresh_token, &origin, state.clock.now()).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The public keys of access tokens (RFC 7517).
#[utoipa::path(
    operation_id = "get_jwks",
    tag = "accounts",
    responses((status = 200, body = KeySet))
)]
#[get("/.well-known/jwks.json")]
async fn jwks(
    accounts: web::Data<Accounts>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let keys = accounts.jwks(state.clock.now()).await?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "public, max-age=300")).json(keys))
}

/// Public keys of access tokens, by RFC 7517.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct KeySet {
    /// Each with `kty`, `crv`, `x`, `kid`, `use` and `alg`.
    keys: Vec<BTreeMap<String, String>>,
}

impl From<TokenPair> for TokenView {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access_token,
            token_type: "Bearer",
            expires_in: pair.expires_in.num_seconds(),
            refresh_token: pair.refresh_token,
            refresh_expires_at: pair.refresh_expires_at,
        }
    }
}
