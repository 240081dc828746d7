//! Sign-in by e-mail address and password.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::StoreContext,
};

use super::{
    AccountError, Accounts, Devices, Email, Status, User, refresh,
    session::{self, LIFETIME, NewSession, SessionKind, SessionToken},
    throttle::LoginTarget,
    user_row,
};
use crate::organizations;

/// A session that has just begun.
#[derive(Clone, Debug)]
pub struct SignedInSession {
    /// The secret of the session. The session cookie holds it; the database has only its hash.
    pub token: SessionToken,
    /// The id of the session, which says nothing to others.
    pub session_id: String,
    /// The user who signed in.
    pub user: User,
    /// The end of the session in UTC, if it is not used.
    pub expires_at: DateTime<Utc>,
    /// The mark of the user's device, to be shown at the next sign-in.
    pub device: String,
}

fn lifetime_of(kind: SessionKind) -> TimeDelta {
    match kind {
        SessionKind::Program => refresh::IDLE,
        SessionKind::Browser | SessionKind::View => LIFETIME,
    }
}

/// What a browser or program says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Browser<'a> {
    /// The mark that an earlier session gave.
    pub mark: Option<&'a str>,
    /// The header `User-Agent`.
    pub agent: Option<&'a str>,
    /// What the session is held by.
    pub kind: SessionKind,
}

impl Accounts {
    /// Begins a session. An unknown address, a wrong password and a disabled user get the same answer after the
    /// same work; only the audit log tells them apart. Attempts are throttled; by the mark of the browser a user gets in
    /// while others guess. Who has a second factor gets [`AccountError::SecondFactorRequired`], and answers its challenge.
    pub async fn sign_in(
        &self,
        email: &Email,
        password: &str,
        browser: Browser<'_>,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<SignedInSession, AccountError> {
        let row = user_row::Entity::find()
            .filter(user_row::Column::Email.eq(email.as_str()))
            .one(self.store.db())
            .await
            .doing("looking up a user")?;
        let guessed =
            LoginTarget { email: email.clone(), epoch: row.as_ref().map(|row| row.epoch) };
        let device = browser.mark.and_then(|mark| self.devices.recognize(mark, &guessed));
        let attempt = self.throttle.attempt(&guessed, origin.ip, device)?;
        let hash = row.as_ref().map(|row| row.password_hash.clone());
        let asks_more = row.as_ref().is_some_and(|row| row.totp_confirmed_at.is_some());
        let verified = self.hasher.verify(password, hash.as_deref(), attempt.is_known()).await;
        if matches!(verified, Err(AccountError::HashQueue)) {
            self.throttle.undo(&attempt);
        }
        let right = verified?;
        let user = row.map(User::try_from).transpose()?;
        // Everybody is asked for, so that it takes the same time.
        let may_sign_in = match &user {
            Some(user) => user.may_sign_in(self.store.db()).await?,
            None => organizations::status_of(self.store.db(), "org_none").await?.is_some(),
        };
        match (user, hash) {
            // The attempt counts as a failure until the second factor is right, too.
            (Some(user), Some(hash)) if right && may_sign_in && asks_more => {
                let challenge = self.challenge(&user, &hash, now).await?;
                Err(AccountError::SecondFactorRequired { challenge })
            }
            (Some(user), Some(hash)) if right && may_sign_in => {
                let begun = self.begin(user, &hash, guessed, browser, origin, now).await?;
                self.throttle.succeeded(&attempt);
                Ok(begun)
            }
            (user, _) => Err(self.refuse(user.as_ref(), right, origin, now)),
        }
    }

    /// Begins the session of who gave all that is asked for.
    pub(super) async fn begin(
        &self,
        user: User,
        hash: &str,
        guessed: LoginTarget,
        browser: Browser<'_>,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<SignedInSession, AccountError> {
        let (token, session_id) = self.admit(&user, hash, browser, origin, now).await?;
        let known = browser.mark.and_then(|mark| self.devices.recognize(mark, &guessed));
        let device = known.map_or_else(Devices::fresh, Ok)?;
        let device = self.devices.mark(&device, &guessed);
        Ok(SignedInSession {
            token,
            session_id,
            user,
            expires_at: now + lifetime_of(browser.kind),
            device,
        })
    }

    /// `hash` is the one that the password was found to have: an administrator may have reset it meanwhile.
    pub(super) async fn admit(
        &self,
        user: &User,
        hash: &str,
        browser: Browser<'_>,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(SessionToken, String), AccountError> {
        let write = self.store.write().await?;
        let unchanged = user_row::Entity::find_by_id(&user.user_id)
            .filter(user_row::Column::PasswordHash.eq(hash))
            .filter(user_row::Column::Status.ne(Status::Disabled.as_str()))
            .one(write.db())
            .await
            .doing("reading a user")?;
        if unchanged.is_none() {
            drop(write);
            return Err(self.refuse(Some(user), false, origin, now));
        }
        let new = NewSession {
            user_id: &user.user_id,
            kind: browser.kind,
            agent: browser.agent,
            ip: origin.ip,
            lifetime: lifetime_of(browser.kind),
            viewed_by: None,
        };
        let token = session::begin(&write, new, now).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        let act = AuditAction {
            action: "user.signed_in",
            target: user.user_id.clone(),
            detail: json!({}),
        };
        audit::append(&write, &origin, act, now).await?;
        write.commit().await?;
        Ok(token)
    }

    fn refuse(
        &self,
        user: Option<&User>,
        right: bool,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> AccountError {
        let reason = match (&user, right) {
            (None, _) => "unknown_user",
            (Some(_), false) => "wrong_password",
            (Some(_), true) => "disabled",
        };
        let target = user.map_or_else(|| "unknown".to_owned(), |user| user.user_id.clone());
        self.refusals.note(target, reason, origin, now);
        AccountError::WrongCredentials
    }
}
