//! The second factor: codes of an authenticator app (RFC 6238: SHA-1, six digits, 30 seconds), and recovery codes.
//!
//! A code is taken one step early or late, and each step once. Of a recovery code only the SHA-256 is kept: it has 112 random
//! bits.

use chrono::{DateTime, Utc};
use qrcode::{EcLevel, QrCode, render::svg};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, digest, random_bytes},
    store::{Store, StoreContext, StoreError, Write},
};
use totp_rs::{Builder, Secret, Totp};

use super::{
    AccountError, Accounts, Email, SignedInSession, User,
    administration::not_oneself,
    code_row as code,
    mail::AccountMail,
    recovery::{language_of, record, unchanged},
    session,
    sign_in::Browser,
    throttle::LoginTarget,
    token_row,
    tokens::{self, NewToken, Purpose},
    user::by_id,
    user_row as row,
};

const ISSUER: &str = "AI Hub";
const SECRET_BYTES: usize = 20;
const RECOVERY_CODES: usize = 10;
/// 14 random bytes in base 62.
const RECOVERY_CODE_LENGTH: usize = 20;
/// Wrong codes that a challenge takes.
const TRIES: u32 = 3;

/// What an authenticator app needs.
#[derive(Clone)]
pub struct Enrolment {
    /// In base 32.
    pub secret: String,
    /// `otpauth://…`
    pub uri: String,
    /// The URI as a QR code.
    pub qr_svg: String,
}

/// Whether a second factor is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorState {
    /// It is.
    pub is_on: bool,
    /// Recovery codes that were not used.
    pub recovery_codes: u64,
}

/// Of whom the password was right.
#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    password_hash: String,
    tries: u32,
}

/// What a code was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Of the app, of this step.
    Step(i64),
    /// A recovery code, which is used up.
    Recovery,
}

impl Accounts {
    /// How the second factor of a user stands.
    pub async fn factor_state(&self, user_id: &str) -> Result<FactorState, AccountError> {
        let user = by_id(self.store.db(), user_id).await?;
        let codes = code::Entity::find()
            .filter(code::Column::UserId.eq(user_id))
            .count(self.store.db())
            .await
            .doing("counting recovery codes")?;
        Ok(FactorState { is_on: user.totp_confirmed_at.is_some(), recovery_codes: codes })
    }

    /// Makes a secret for an app. It counts when the first code of it comes.
    pub async fn enrol(
        &self,
        user_id: &str,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<Enrolment, AccountError> {
        let user = self.confirmed(user_id, password, origin).await?;
        if user.totp_confirmed_at.is_some() {
            return Err(AccountError::FactorIsOn);
        }
        let secret = random_bytes::<SECRET_BYTES>()?;
        let totp = totp(&secret, &user.email)?;
        let sealed = self.vault.seal(user_id, &secret)?;
        let write = self.store.write().await?;
        unchanged(&write, &user).await?;
        if by_id(write.db(), user_id).await?.totp_confirmed_at.is_some() {
            return Err(AccountError::FactorIsOn);
        }
        let kept = row::Entity::update_many()
            .col_expr(row::Column::Totp, Expr::value(sealed))
            .filter(row::Column::UserId.eq(user_id))
            .exec(write.db())
            .await;
        kept.doing("keeping a second factor")?;
        record(write, "user.second_factor_begun", user_id, origin, now).await?;
        let uri = totp.to_url().map_err(|_| factor_failed())?;
        let qr =
            QrCode::with_error_correction_level(&uri, EcLevel::M).map_err(|_| factor_failed())?;
        let qr_svg = qr.render::<svg::Color<'_>>().min_dimensions(200, 200).build();
        Ok(Enrolment { secret: totp.secret().to_base32(), uri, qr_svg })
    }

    /// Turns the second factor on by its first code. Gives recovery codes, which cannot be had again.
    pub async fn confirm_factor(
        &self,
        user_id: &str,
        session_id: Option<&str>,
        given: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, AccountError> {
        let known = by_id(self.store.db(), user_id).await?;
        if known.totp_confirmed_at.is_some() {
            return Err(AccountError::FactorIsOn);
        }
        let guessed = LoginTarget { email: Email::stored(&known.email)?, epoch: Some(known.epoch) };
        let attempt = self.throttle.attempt(&guessed, origin.ip, None)?;
        let write = self.store.write().await?;
        let user = by_id(write.db(), user_id).await?;
        if user.totp_confirmed_at.is_some() {
            return Err(AccountError::FactorIsOn);
        }
        let step = self.step_of(&user, given, now).ok_or(AccountError::WrongCode)?;
        self.throttle.succeeded(&attempt);
        row::Entity::update_many()
            .col_expr(row::Column::TotpConfirmedAt, Expr::value(now.timestamp_micros()))
            .col_expr(row::Column::TotpStep, Expr::value(step))
            .filter(row::Column::UserId.eq(user_id))
            .exec(write.db())
            .await
            .doing("turning a second factor on")?;
        let codes = renew_codes(&write, user_id).await?;
        // What began without it ends.
        session::end_others(&write, user_id, session_id).await?;
        let mail = AccountMail::of("factor_on", "/sign-in");
        self.outgoing.send(&write, &user.email, language_of(&user), mail, now).await?;
        record(write, "user.second_factor_on", user_id, origin, now).await?;
        Ok(codes)
    }

    /// Makes new recovery codes; the former ones are useless.
    pub async fn renew_recovery_codes(
        &self,
        user_id: &str,
        proofs: (&str, &str),
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, AccountError> {
        let (write, _) = self.proven(user_id, proofs, origin, now).await?;
        let codes = renew_codes(&write, user_id).await?;
        record(write, "user.recovery_codes_renewed", user_id, origin, now).await?;
        Ok(codes)
    }

    /// Turns the second factor off, by who knows the password and has a code of it.
    pub async fn remove_factor(
        &self,
        user_id: &str,
        proofs: (&str, &str),
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let (write, user) = self.proven(user_id, proofs, origin, now).await?;
        self.clear_factor(write, &user, "user.second_factor_off", origin, now).await
    }

    /// The user who gave the password and a code, with the transaction that used the code up. As at sign-in, an attempt counts
    /// as a failure until both are right.
    async fn proven(
        &self,
        user_id: &str,
        (password, given): (&str, &str),
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(Write, row::Model), AccountError> {
        let known = by_id(self.store.db(), user_id).await?;
        let guessed = LoginTarget { email: Email::stored(&known.email)?, epoch: Some(known.epoch) };
        let given_password = (password, known.password_hash.as_str());
        let attempt = self.attempt_password(&guessed, given_password, true, origin).await?;
        let write = self.store.write().await?;
        unchanged(&write, &known).await?;
        let user = by_id(write.db(), user_id).await?;
        if user.totp_confirmed_at.is_none() {
            return Err(AccountError::FactorIsOff);
        }
        match self.proof(&write, &user, given, now).await? {
            None => {
                record(write, "user.code_refused", user_id, origin, now).await?;
                return Err(AccountError::WrongCode);
            }
            Some(Proof::Step(step)) => note_step(&write, user_id, step).await?,
            Some(Proof::Recovery) => {}
        }
        self.throttle.succeeded(&attempt);
        Ok((write, user))
    }

    /// Turns the second factor of somebody else off.
    pub async fn reset_factor(
        &self,
        user_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        not_oneself(user_id, origin)?;
        let write = self.store.write().await?;
        let user = by_id(write.db(), user_id).await?;
        self.clear_factor(write, &user, "user.second_factor_reset", origin, now).await
    }

    async fn clear_factor(
        &self,
        write: Write,
        user: &row::Model,
        action: &'static str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        row::Entity::update_many()
            .col_expr(row::Column::Totp, Expr::value(None::<String>))
            .col_expr(row::Column::TotpConfirmedAt, Expr::value(None::<i64>))
            .col_expr(row::Column::TotpStep, Expr::value(None::<i64>))
            .filter(row::Column::UserId.eq(user.user_id.as_str()))
            .exec(write.db())
            .await
            .doing("turning a second factor off")?;
        forget_codes(&write, &user.user_id).await?;
        let mail = AccountMail::of("factor_off", "/forgot");
        self.outgoing.send(&write, &user.email, language_of(user), mail, now).await?;
        record(write, action, &user.user_id, origin, now).await
    }

    /// The password was right: what is to come back with the code.
    pub(super) async fn challenge(
        &self,
        user: &User,
        hash: &str,
        now: DateTime<Utc>,
    ) -> Result<String, AccountError> {
        let write = self.store.write().await?;
        let token = NewToken {
            purpose: Purpose::Challenge,
            user_id: Some(&user.user_id),
            organization_id: None,
            email: user.email.as_str(),
            created_by: "anonymous",
        };
        let payload = Challenge { password_hash: hash.to_owned(), tries: 0 };
        let (secret, _) = tokens::issue(&write, token, &payload, now).await?;
        write.commit().await?;
        Ok(secret)
    }

    /// Begins the session of who gave the right password before, and the right code now.
    pub async fn answer_challenge(
        &self,
        challenge: &str,
        given: &str,
        browser: Browser<'_>,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<SignedInSession, AccountError> {
        let found = tokens::find(&self.store, Purpose::Challenge, challenge, now).await?;
        let found = found.ok_or(AccountError::WrongToken)?;
        let user_id = found.user_id.clone().unwrap_or_default();
        let known = row::Entity::find_by_id(&user_id).one(self.store.db()).await;
        let known = known.doing("reading a user")?.ok_or(AccountError::WrongToken)?;
        let guessed = LoginTarget { email: Email::stored(&known.email)?, epoch: Some(known.epoch) };
        let device = browser.mark.and_then(|mark| self.devices.recognize(mark, &guessed));
        let attempt = self.throttle.attempt(&guessed, origin.ip, device)?;
        let write = self.store.write().await?;
        let (token, asked) =
            tokens::take::<Challenge>(&write, Purpose::Challenge, challenge, now).await?;
        let model = by_id(write.db(), &user_id).await?;
        let user = User::try_from(model.clone())?;
        let proof = match model.password_hash == asked.password_hash {
            true => self.proof(&write, &model, given, now).await?,
            false => None,
        };
        let Some(proof) = proof else {
            if asked.tries + 1 < TRIES {
                put_back(&write, token, asked).await?;
            }
            let detail = json!({"reason": "wrong_code"});
            let act = AuditAction { action: "user.sign_in_refused", target: user_id, detail };
            audit::append(&write, origin, act, now).await?;
            write.commit().await?;
            return Err(AccountError::WrongCode);
        };
        if let Proof::Step(step) = proof {
            note_step(&write, &user.user_id, step).await?;
        }
        write.commit().await?;
        let begun = self.begin(user, &model.password_hash, guessed, browser, origin, now).await?;
        self.throttle.succeeded(&attempt);
        Ok(begun)
    }

    /// What a code proves. A recovery code is used up.
    async fn proof(
        &self,
        write: &Write,
        user: &row::Model,
        given: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Proof>, AccountError> {
        if let Some(step) = self.step_of(user, given, now) {
            return Ok(Some(Proof::Step(step)));
        }
        let hash = digest(&plain(given)).to_vec();
        let used = code::Entity::delete_by_id((user.user_id.clone(), hash)).exec(write.db()).await;
        let used = used.doing("using a recovery code up")?;
        Ok((used.rows_affected > 0).then_some(Proof::Recovery))
    }

    /// The step of a code of the app, if it is right and no later one was used.
    fn step_of(&self, user: &row::Model, given: &str, now: DateTime<Utc>) -> Option<i64> {
        let secret = self.vault.open(&user.user_id, user.totp.as_deref()?)?;
        let totp = totp(&secret, &user.email).ok()?;
        let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
        let step = totp.check(&given, now.timestamp().unsigned_abs())?;
        let step = i64::try_from(step).ok()?;
        user.totp_step.is_none_or(|used| used < step).then_some(step)
    }
}

/// A step is used once.
async fn note_step(write: &Write, user_id: &str, step: i64) -> Result<(), StoreError> {
    let noted = row::Entity::update_many()
        .col_expr(row::Column::TotpStep, Expr::value(step))
        .filter(row::Column::UserId.eq(user_id))
        .exec(write.db())
        .await;
    noted.map(drop).doing("noting a step")
}

fn totp(secret: &[u8], email: &str) -> Result<Totp, AccountError> {
    // A colon ends the issuer.
    let account = email.replace(':', "_");
    Builder::new()
        .with_secret(Secret::new(secret.into()))
        .with_account_name(account)
        .with_issuer(Some(ISSUER))
        .build()
        .map_err(|_| factor_failed())
}

fn factor_failed() -> AccountError {
    AccountError::Hash { reason: "a second factor could not be made".to_owned() }
}

/// A recovery code as it is kept: without what people add when they type it.
fn plain(given: &str) -> String {
    given.chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}

async fn put_back(
    write: &Write,
    token: token_row::Model,
    asked: Challenge,
) -> Result<(), AccountError> {
    let damaged = |_| StoreError::Damaged { table: "account_tokens", what: "no JSON" };
    let asked = Challenge { tries: asked.tries + 1, ..asked };
    let payload = serde_json::to_string(&asked).map_err(damaged)?;
    let token = token_row::ActiveModel {
        token_hash: Set(token.token_hash),
        token_id: Set(token.token_id),
        purpose: Set(token.purpose),
        user_id: Set(token.user_id),
        organization_id: Set(token.organization_id),
        email: Set(token.email),
        payload: Set(payload),
        created_by: Set(token.created_by),
        created_at: Set(token.created_at),
        expires_at: Set(token.expires_at),
    };
    let kept = token_row::Entity::insert(token).exec_without_returning(write.db()).await;
    Ok(kept.map(drop).doing("keeping a challenge")?)
}

async fn renew_codes(write: &Write, user_id: &str) -> Result<Vec<String>, AccountError> {
    forget_codes(write, user_id).await?;
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let code = base62(&random_bytes::<14>()?, RECOVERY_CODE_LENGTH);
        let kept = code::ActiveModel {
            user_id: Set(user_id.to_owned()),
            code_hash: Set(digest(&code).to_vec()),
        };
        let kept = code::Entity::insert(kept).exec_without_returning(write.db()).await;
        kept.doing("keeping a recovery code")?;
        // In groups, to be typed.
        let groups: Vec<&str> = (0..4).map(|at| &code[at * 5..at * 5 + 5]).collect();
        codes.push(groups.join("-"));
    }
    Ok(codes)
}

pub(super) async fn forget_codes(write: &Write, user_id: &str) -> Result<(), StoreError> {
    let forgotten =
        code::Entity::delete_many().filter(code::Column::UserId.eq(user_id)).exec(write.db()).await;
    forgotten.map(drop).doing("forgetting recovery codes")
}

/// Whether a user has a second factor.
pub(super) async fn is_on(store: &Store, user_id: &str) -> Result<bool, AccountError> {
    Ok(by_id(store.db(), user_id).await?.totp_confirmed_at.is_some())
}

#[cfg(test)]
mod tests {
    use totp_rs::Algorithm;

    use super::*;

    /// RFC 6238, appendix B.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = |length: usize| {
            let digits = b"1234567890".iter().cycle().take(length).copied();
            Secret::new(digits.collect::<Vec<u8>>().into())
        };
        let totp = |algorithm, length| {
            Builder::new()
                .with_algorithm(algorithm)
                .with_digits(8)
                .with_secret(secret(length))
                .with_account_name("a")
                .build()
                .unwrap()
        };
        let all =
            [totp(Algorithm::SHA1, 20), totp(Algorithm::SHA256, 32), totp(Algorithm::SHA512, 64)];
        for (time, codes) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for (totp, code) in all.iter().zip(codes) {
                assert_eq!(totp.generate(time).to_string(), code, "{time}");
            }
        }
    }

    #[test]
    fn a_recovery_code_is_typed_as_one_likes() {
        assert_eq!(plain(" AB1cd-EF2gh "), "AB1cdEF2gh");
    }
}
