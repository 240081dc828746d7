//! Finds the principal behind credentials.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
    http::header::AUTHORIZATION,
};
use chrono::{DateTime, Utc};

use super::{Principal, same_origin};
use crate::{
    accounts,
    clock::Clock,
    keys::KeyRing,
    problem::Problem,
    store::{Store, digest},
};

pub const SESSION_COOKIE: &str = "aihub_session";

/// What every guarded handler needs; registered once per process as `web::Data<Gate>`.
#[derive(Debug)]
pub struct Gate {
    store: Store,
    clock: Clock,
    keys: KeyRing,
    local_token: Option<[u8; 32]>,
    secure_cookie: bool,
}

impl Gate {
    pub fn new(store: Store, clock: Clock) -> Self {
        let keys = KeyRing::new(store.clone());
        Self { store, clock, keys, local_token: None, secure_cookie: false }
    }

    /// A token that commands on this machine find in a private file. It admits as administrator.
    pub fn with_local_token(mut self, token: &str) -> Self {
        self.local_token = Some(digest(token));
        self
    }

    /// Marks the session cookie `Secure`: for servers that are reached over TLS.
    pub fn with_secure_cookie(mut self, secure: bool) -> Self {
        self.secure_cookie = secure;
        self
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// The principal of a request: by its `Authorization` header, else by its session cookie. Never by its URL,
    /// which ends in logs and histories.
    pub async fn admit(&self, request: &HttpRequest) -> Result<Principal, Problem> {
        if let Some(header) = request.headers().get(AUTHORIZATION) {
            let token = header.to_str().ok().and_then(bearer_token);
            let token = token.ok_or_else(|| {
                Problem::unauthorized("wrong_credentials", "send `Authorization: Bearer <key>`")
            })?;
            return self.admit_token(token).await;
        }
        let Some(cookie) = request.cookie(SESSION_COOKIE) else {
            return Err(Problem::unauthorized("no_credentials", "sign in, or send an API key"));
        };
        let user = accounts::session_user(&self.store, cookie.value(), self.now()).await?;
        let user = user.ok_or_else(|| Problem::unauthorized("session_over", "sign in again"))?;
        same_origin::require(request)?;
        Ok(user.principal())
    }

    /// The principal of an API key or of the local token.
    pub async fn admit_token(&self, token: &str) -> Result<Principal, Problem> {
        // Digests are compared: how long that takes says nothing about the token.
        if self.local_token == Some(digest(token)) {
            return Ok(Principal::local_process());
        }
        Ok(self.keys.verify(token, self.now()).await?)
    }

    pub(crate) fn session_cookie(&self, token: &str, lifetime_s: i64) -> Cookie<'static> {
        Cookie::build(SESSION_COOKIE, token.to_owned())
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure_cookie)
            .max_age(time::Duration::seconds(lifetime_s))
            .finish()
    }
}

fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
