//! Sign-in by e-mail address and password.

use chrono::{DateTime, Utc};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::StoreContext,
};

use super::{
    AccountError, Accounts, Devices, Email, Status, User,
    session::{self, LIFETIME, SessionToken},
    throttle::LoginTarget,
    user_row,
};

/// A session that has just begun.
#[derive(Clone, Debug)]
pub struct SignedInSession {
    /// The secret of the session. The session cookie holds it; the database has only its hash.
    pub token: SessionToken,
    /// The user who signed in.
    pub user: User,
    /// The end of the session in UTC, twelve hours after its beginning.
    pub expires_at: DateTime<Utc>,
    /// The mark of the user's device, to be shown at the next sign-in.
    pub device: String,
}

impl Accounts {
    /// Begins a session. An unknown address, a wrong password and a disabled user get the same answer after the
    /// same work; only the audit log tells them apart. Attempts are throttled; `device` is the mark that an earlier
    /// session gave, by which a user gets in while others guess.
    pub async fn sign_in(
        &self,
        email: &Email,
        password: &str,
        device: Option<&str>,
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
        let device = device.and_then(|mark| self.devices.recognize(mark, &guessed));
        let attempt = self.throttle.attempt(&guessed, origin.ip, device.clone())?;
        let hash = row.as_ref().map(|row| row.password_hash.clone());
        let verified = self.hasher.verify(password, hash.as_deref(), attempt.is_known()).await;
        if matches!(verified, Err(AccountError::HashQueue)) {
            self.throttle.undo(&attempt);
        }
        let right = verified?;
        let user = row.map(User::try_from).transpose()?;
        // Everybody is asked for, so that it takes the same time.
        let may_sign_in = match &user {
            Some(user) => user.may_sign_in(self.store.db()).await?,
            None => false,
        };
        match (user, hash) {
            (Some(user), Some(hash)) if right && may_sign_in => {
                let token = self.admit(&user, &hash, origin, now).await?;
                self.throttle.succeeded(&attempt);
                let device = device.map_or_else(Devices::fresh, Ok)?;
                let device = self.devices.mark(&device, &guessed);
                Ok(SignedInSession { token, user, expires_at: now + LIFETIME, device })
            }
            (user, _) => Err(self.refuse(user.as_ref(), right, origin, now)),
        }
    }

    /// `hash` is the one that the password was found to have: an administrator may have reset it meanwhile.
    pub(super) async fn admit(
        &self,
        user: &User,
        hash: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<SessionToken, AccountError> {
        let write = self.store.write().await?;
        let unchanged = user_row::Entity::find_by_id(&user.user_id)
            .filter(user_row::Column::PasswordHash.eq(hash))
            .filter(user_row::Column::Status.eq(Status::Active.as_str()))
            .one(write.db())
            .await
            .doing("reading a user")?;
        if unchanged.is_none() {
            drop(write);
            return Err(self.refuse(Some(user), false, origin, now));
        }
        let token = session::begin(&write, &user.user_id, now).await?;
        let origin = AuditOrigin { actor: user.user_id.clone(), ..origin.clone() };
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
