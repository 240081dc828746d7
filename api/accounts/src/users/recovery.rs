//! Passwords and addresses that are changed: by who knows the password, or by who gets the mail.

use chrono::{DateTime, Utc};
use pages::Language;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::{Value, json};
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision::{self, Remembered},
    store::{StoreContext, StoreError, Write},
};

use super::{
    AccountError, Accounts, Email, Status, administration, check_password,
    mail::AccountMail,
    session,
    throttle::{Attempt, LoginTarget},
    tokens::{self, NewToken, Purpose},
    user::{by_email, by_id},
    user_row as row,
};

/// The tokens that a new password makes useless.
const OF_PASSWORD: [Purpose; 3] = [Purpose::Reset, Purpose::Email, Purpose::Challenge];

impl Accounts {
    /// Sends a mail with a token for a new password. Nothing tells whether the address has an account: the work is done
    /// beside the answer.
    pub fn forgot_password(
        &self,
        email: &Email,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        if !self.outgoing.sends_mail {
            return Err(AccountError::NoMail);
        }
        self.mails.admit(email, origin.ip)?;
        let (accounts, email, origin) = (self.clone(), email.clone(), origin.clone());
        tokio::spawn(async move {
            if let Err(error) = accounts.send_reset(&email, &origin, now).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a mail for a new password is not sent");
            }
        });
        Ok(())
    }

    async fn send_reset(
        &self,
        email: &Email,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let Some(user) = by_email(self.store.db(), email).await? else { return Ok(()) };
        if user.status == Status::Disabled.as_str() {
            return Ok(());
        }
        let write = self.store.write().await?;
        tokens::forget_of_user(&write, &user.user_id, &[Purpose::Reset]).await?;
        let token = NewToken {
            purpose: Purpose::Reset,
            user_id: Some(&user.user_id),
            organization_id: None,
            email: email.as_str(),
            created_by: "anonymous",
        };
        let (secret, _) = tokens::issue(&write, token, &Value::Null, now).await?;
        let path = format!("/reset/{secret}");
        let mail = AccountMail { words: "reset", path: &path, organization: "", inviter: "" };
        self.outgoing.send(&write, email.as_str(), language_of(&user), mail, now).await?;
        let act = AuditAction {
            action: "user.password_forgotten",
            target: user.user_id,
            detail: json!({}),
        };
        audit::append(&write, origin, act, now).await?;
        write.commit().await?;
        self.wake.notify_waiters();
        Ok(())
    }

    /// Sets a new password by a token of a mail, and ends all sessions of the user. A second factor stays.
    pub async fn reset_by_token(
        &self,
        token: &str,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let found = tokens::find(&self.store, Purpose::Reset, token, now).await?;
        let email = Email::stored(&found.ok_or(AccountError::WrongToken)?.email)?;
        check_password(password, &email).map_err(AccountError::Password)?;
        let hash = self.hasher.hash_of_stranger(password).await?;
        let write = self.store.write().await?;
        let (token, _) = tokens::take::<Value>(&write, Purpose::Reset, token, now).await?;
        let user = by_id(write.db(), token.user_id.as_deref().unwrap_or_default()).await?;
        // It was sent to where the user's mail went then.
        if user.email != token.email || user.status == Status::Disabled.as_str() {
            return Err(AccountError::WrongToken);
        }
        set_password(&write, &user.user_id, hash).await?;
        session::end_all(&write, &user.user_id).await?;
        let mail = AccountMail::of("changed", "/forgot");
        self.outgoing.send(&write, &user.email, language_of(&user), mail, now).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        record(write, "user.password_recovered", &user.user_id, &origin, now).await
    }

    /// Sets a new password by who knows the present one, and ends the user's other sessions.
    pub async fn change_password(
        &self,
        user_id: &str,
        session_id: Option<&str>,
        (present, password): (&str, &str),
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let user = self.confirmed(user_id, present, origin).await?;
        let email = Email::stored(&user.email)?;
        check_password(password, &email).map_err(AccountError::Password)?;
        let hash = self.hasher.hash(password).await?;
        let write = self.store.write().await?;
        unchanged(&write, &user).await?;
        set_password(&write, user_id, hash).await?;
        session::end_others(&write, user_id, session_id).await?;
        let mail = AccountMail::of("changed", "/forgot");
        self.outgoing.send(&write, &user.email, language_of(&user), mail, now).await?;
        record(write, "user.password_changed", user_id, origin, now).await
    }

    /// Sends a mail to a new address, which becomes the user's when its token comes back.
    pub async fn change_email(
        &self,
        user_id: &str,
        password: &str,
        email: &Email,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        if !self.outgoing.sends_mail {
            return Err(AccountError::NoMail);
        }
        let user = self.confirmed(user_id, password, origin).await?;
        self.mails.admit(email, origin.ip)?;
        let write = self.store.write().await?;
        unchanged(&write, &user).await?;
        tokens::forget_of_user(&write, user_id, &[Purpose::Email]).await?;
        let token = NewToken {
            purpose: Purpose::Email,
            user_id: Some(user_id),
            organization_id: None,
            email: email.as_str(),
            created_by: user_id,
        };
        let (secret, _) = tokens::issue(&write, token, &Value::Null, now).await?;
        let path = format!("/verify-email/{secret}");
        let mail = AccountMail { words: "email", path: &path, organization: "", inviter: "" };
        self.outgoing.send(&write, email.as_str(), language_of(&user), mail, now).await?;
        record(write, "user.email_change_requested", user_id, origin, now).await
    }

    /// Makes a verified address the user's.
    pub async fn complete_email_change(
        &self,
        token: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let write = self.store.write().await?;
        let (token, _) = tokens::take::<Value>(&write, Purpose::Email, token, now).await?;
        let user = by_id(write.db(), token.user_id.as_deref().unwrap_or_default()).await?;
        if user.status == Status::Disabled.as_str() {
            return Err(AccountError::WrongToken);
        }
        // Whoever reads the mail of the former address gets no further.
        tokens::forget_of_user(&write, &user.user_id, &OF_PASSWORD).await?;
        revision::bump_of(&write, Remembered::Sessions).await?;
        let changed = row::Entity::update_many()
            .col_expr(row::Column::Email, Expr::value(token.email.as_str()))
            .filter(row::Column::UserId.eq(user.user_id.as_str()))
            .exec(write.db())
            .await
            .doing("changing an address");
        changed.map_err(|error| match error {
            error if error.is_unique_violation() => AccountError::EmailTaken,
            error => error.into(),
        })?;
        let mail = AccountMail::of("moved", "/sign-in");
        self.outgoing.send(&write, &user.email, language_of(&user), mail, now).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        record(write, "user.email_changed", &user.user_id, &origin, now).await
    }

    /// The user, whose password was given. Guesses are counted as at sign-in.
    pub(super) async fn confirmed(
        &self,
        user_id: &str,
        password: &str,
        origin: &AuditOrigin,
    ) -> Result<row::Model, AccountError> {
        let user = by_id(self.store.db(), user_id).await?;
        let guessed = LoginTarget { email: Email::stored(&user.email)?, epoch: Some(user.epoch) };
        self.require_password(&guessed, (password, &user.password_hash), true, origin).await?;
        Ok(user)
    }

    /// Fails unless the password has the hash. Guesses are counted as at sign-in. `known` is as for the hasher.
    pub(super) async fn require_password(
        &self,
        guessed: &LoginTarget,
        (password, hash): (&str, &str),
        known: bool,
        origin: &AuditOrigin,
    ) -> Result<(), AccountError> {
        let attempt = self.attempt_password(guessed, (password, hash), known, origin).await?;
        self.throttle.succeeded(&attempt);
        Ok(())
    }

    /// The same, but the attempt counts as a failure until the caller says otherwise: more is to be proven.
    pub(super) async fn attempt_password(
        &self,
        guessed: &LoginTarget,
        (password, hash): (&str, &str),
        known: bool,
        origin: &AuditOrigin,
    ) -> Result<Attempt, AccountError> {
        let attempt = self.throttle.attempt(guessed, origin.ip, None)?;
        let right = self.hasher.verify(password, Some(hash), known).await;
        if matches!(right, Err(AccountError::HashQueue)) {
            self.throttle.undo(&attempt);
        }
        if !right? {
            return Err(AccountError::WrongPassword);
        }
        Ok(attempt)
    }
}

/// The language of a user's mails.
pub(super) fn language_of(user: &row::Model) -> Language {
    let tag = user.language.as_deref().unwrap_or_default();
    Language::from_tag(tag).unwrap_or(Language::En)
}

/// Fails when the password was changed since it was looked at.
pub(super) async fn unchanged(write: &Write, user: &row::Model) -> Result<(), AccountError> {
    match by_id(write.db(), &user.user_id).await?.password_hash == user.password_hash {
        true => Ok(()),
        false => Err(AccountError::WrongPassword),
    }
}

pub(super) async fn set_password(
    write: &Write,
    user_id: &str,
    hash: String,
) -> Result<(), StoreError> {
    let set = row::Entity::update_many()
        .col_expr(row::Column::PasswordHash, Expr::value(hash))
        .filter(row::Column::UserId.eq(user_id))
        .exec(write.db())
        .await;
    set.doing("setting a password")?;
    tokens::forget_of_user(write, user_id, &OF_PASSWORD).await
}

/// Writes down an act of a user on the own account, and commits it.
pub(super) async fn record(
    write: Write,
    action: &'static str,
    user_id: &str,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<(), AccountError> {
    administration::record(write, action, user_id, json!({}), origin, now).await
}
