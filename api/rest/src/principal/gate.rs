//! Finds the principal behind credentials.

use std::{net::IpAddr, sync::Arc};

use actix_web::{
    HttpMessage, HttpRequest,
    cookie::{Cookie, SameSite, time},
    http::header::AUTHORIZATION,
};
use pages::Language;
use state::ids::digest;

use super::{Authenticator, Principal, TrustedProxies, client_ip, same_origin};
use crate::problem::{Code, Problem};

/// The name of the cookie that holds the token of a session.
pub const SESSION_COOKIE: &str = "aihub_session";

/// What every guarded handler needs; registered once per process as `web::Data<Gate>`.
#[derive(Debug)]
pub struct Gate {
    authenticator: Arc<dyn Authenticator>,
    local_token: Option<[u8; 32]>,
    secure_cookie: bool,
    proxies: TrustedProxies,
}

/// The language that the user of a request chose, once the user is known.
pub(crate) struct ChosenLanguage(pub(crate) Language);

impl Gate {
    /// A gate without a local token and without trusted proxies. Its cookies are not marked `Secure`.
    pub fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        let proxies = TrustedProxies::default();
        Self { authenticator, local_token: None, secure_cookie: false, proxies }
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

    /// The principal of a request: by its `Authorization` header, else by its session cookie. Never by its URL,
    /// which ends in logs and histories.
    pub async fn admit(&self, request: &HttpRequest) -> Result<Principal, Problem> {
        if request.headers().contains_key(AUTHORIZATION) {
            let token = bearer_token(request).ok_or_else(|| {
                Problem::unauthorized(Code::WrongCredentials, "send `Authorization: Bearer <key>`")
            })?;
            let principal = self.admit_token(token, client_ip(request)).await?;
            return principal.require_unrestricted(request);
        }
        let Some(cookie) = request.cookie(SESSION_COOKIE) else {
            return Err(Problem::unauthorized(Code::NoCredentials, "sign in, or send an API key"));
        };
        let user = self.authenticator.by_session(cookie.value()).await?;
        let user = user.ok_or_else(|| Problem::unauthorized(Code::SessionOver, "sign in again"))?;
        same_origin::require(request)?;
        if let Some(language) = user.language {
            request.extensions_mut().insert(ChosenLanguage(language));
        }
        user.require_unrestricted(request)
    }

    /// The principal of an API key or of the local token.
    pub async fn admit_token(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Principal, Problem> {
        // Digests are compared: how long that takes says nothing about the token.
        if self.local_token == Some(digest(token)) {
            return Ok(Principal::local_process());
        }
        self.authenticator.by_key(token, from).await
    }

    /// A cookie for our own pages, which no script reads.
    pub fn cookie(&self, name: &'static str, value: &str, lifetime_s: i64) -> Cookie<'static> {
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
pub fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
