//! Finds the principal behind credentials.

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time},
    http::header::AUTHORIZATION,
};
use chrono::{DateTime, Utc};

use super::{Principal, TrustedProxies, same_origin};
use crate::{
    accounts::{self, SignedInSession},
    clock::Clock,
    keys::KeyRing,
    problem::{Code, Problem},
    store::{Store, digest},
};

pub const SESSION_COOKIE: &str = "aihub_session";
/// It admits to nothing: it only says that this browser has signed in before.
pub const DEVICE_COOKIE: &str = "aihub_device";
/// Browsers keep a cookie no longer than 400 days.
const DEVICE_LIFETIME_S: i64 = 400 * 24 * 3600;

/// What every guarded handler needs; registered once per process as `web::Data<Gate>`.
#[derive(Debug)]
pub struct Gate {
    store: Store,
    clock: Clock,
    keys: KeyRing,
    local_token: Option<[u8; 32]>,
    secure_cookie: bool,
    proxies: TrustedProxies,
}

impl Gate {
    pub fn new(store: Store, clock: Clock) -> Self {
        let keys = KeyRing::new(store.clone());
        let proxies = TrustedProxies::default();
        Self { store, clock, keys, local_token: None, secure_cookie: false, proxies }
    }

    /// A token that commands on this machine find in a private file. It admits as administrator.
    pub fn with_local_token(mut self, token: &str) -> Self {
        self.local_token = Some(digest(token));
        self
    }

    /// Marks cookies `Secure`: for servers that are reached over TLS only.
    pub fn with_secure_cookie(mut self, secure: bool) -> Self {
        self.secure_cookie = secure;
        self
    }

    /// Takes the word of these about where a request comes from.
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    pub(super) fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// Whether clients reach us over TLS, whatever a proxy says.
    pub(super) fn is_behind_tls(&self) -> bool {
        self.secure_cookie
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
        if request.headers().contains_key(AUTHORIZATION) {
            let token = bearer_token(request).ok_or_else(|| {
                Problem::unauthorized(Code::WrongCredentials, "send `Authorization: Bearer <key>`")
            })?;
            return self.admit_token(token).await;
        }
        let Some(cookie) = request.cookie(SESSION_COOKIE) else {
            return Err(Problem::unauthorized(Code::NoCredentials, "sign in, or send an API key"));
        };
        let user = accounts::session_user(&self.store, cookie.value(), self.now()).await?;
        let user = user.ok_or_else(|| Problem::unauthorized(Code::SessionOver, "sign in again"))?;
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

    /// What a browser gets that has signed in: its session, and the mark of its device.
    pub(crate) fn cookies(
        &self,
        session: &SignedInSession,
        now: DateTime<Utc>,
    ) -> [Cookie<'static>; 2] {
        let lifetime_s = (session.expires_at - now).num_seconds();
        [
            self.session_cookie(session.token.reveal(), lifetime_s),
            self.cookie(DEVICE_COOKIE, &session.device, DEVICE_LIFETIME_S),
        ]
    }

    pub(crate) fn session_cookie(&self, token: &str, lifetime_s: i64) -> Cookie<'static> {
        self.cookie(SESSION_COOKIE, token, lifetime_s)
    }

    fn cookie(&self, name: &'static str, value: &str, lifetime_s: i64) -> Cookie<'static> {
        Cookie::build(name, value.to_owned())
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure_cookie)
            .max_age(time::Duration::seconds(lifetime_s))
            .finish()
    }
}

/// What the `Authorization` header holds.
pub(crate) fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
