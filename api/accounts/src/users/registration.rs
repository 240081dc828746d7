//! Registration: an organization and its first user, once the address is verified; and invitations.

use chrono::{DateTime, Utc};
use pages::Language;
use rest::principal::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    outbox::{self, OwnEvent},
    revision,
    store::{Store, StoreError},
};

use super::{
    AccountError, Accounts, Email, Status, User, check_password,
    mail::AccountMail,
    throttle::LoginTarget,
    tokens::{self, NewToken, Purpose},
    user::{has_administrator, insert},
};
use crate::organizations::{self, Organization, OrganizationKind, OrganizationStatus};

/// The plan of who registers.
const FIRST_PLAN: &str = "free";
/// Of one organization, invitations that are not answered.
const INVITATIONS_MAX: usize = 100;

/// Who may come. In texts it is `open`, `invited` or `closed`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody.
    Open,
    /// Who is invited.
    #[default]
    Invited,
    /// Nobody: administrators create users.
    Closed,
}

/// Somebody who wants an account.
#[derive(Clone)]
pub struct NewRegistration {
    /// The address to sign in with.
    pub email: Email,
    /// The password, as plain text.
    pub password: String,
    /// The name of the organization.
    pub organization: String,
    /// Whether it is a person or a business.
    pub kind: OrganizationKind,
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Of the mail, and of the pages from then on.
    pub language: Language,
}

/// What waits for the address to be verified.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    password_hash: String,
    organization: String,
    kind: String,
    country: String,
    language: String,
}

/// What waits for an answer.
#[derive(Debug, Serialize, Deserialize)]
struct Invited {
    role: String,
    language: String,
}

/// An invitation, as those see it who invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// `token_…`
    pub invitation_id: String,
    /// Who is invited.
    pub email: String,
    /// As what.
    pub role: Role,
    /// By whom.
    pub created_by: String,
    /// When, in UTC.
    pub created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
}

impl Accounts {
    /// Whether everybody may register.
    pub fn is_open(&self) -> bool {
        self.settings.registration == Registration::Open && self.outgoing.sends_mail
    }

    /// Sends a mail with a token that completes the registration. Nothing tells whether the address has an account: who has
    /// one gets another mail.
    pub async fn register(
        &self,
        new: NewRegistration,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        if !self.is_open() {
            return Err(AccountError::RegistrationClosed);
        }
        check_password(&new.password, &new.email).map_err(AccountError::Password)?;
        pending_organization(&new.organization, new.kind, &new.country, now)?.check()?;
        // It is the subject of mails to whomever it invites.
        if ["://", "www."].iter().any(|link| new.organization.to_lowercase().contains(link)) {
            let reason = "must be a name without a link";
            return Err(AccountError::Invalid { field: "organization", reason });
        }
        self.mails.admit(&new.email, origin.ip)?;
        let password_hash = self.hasher.hash_of_stranger(&new.password).await?;
        let known = super::user::by_email(self.store.db(), &new.email).await?.is_some();
        let write = self.store.write().await?;
        let pending = Pending {
            password_hash,
            organization: new.organization.clone(),
            kind: new.kind.as_str().to_owned(),
            country: new.country,
            language: new.language.tag().to_owned(),
        };
        let token = NewToken {
            purpose: Purpose::Register,
            user_id: None,
            organization_id: None,
            email: new.email.as_str(),
            created_by: "anonymous",
        };
        // Made for everybody, so that it takes the same time.
        let (secret, token_id) = tokens::issue(&write, token, &pending, now).await?;
        let path = format!("/verify/{secret}");
        let mail = match known {
            false => AccountMail {
                words: "register",
                path: &path,
                organization: &new.organization,
                inviter: "",
            },
            true => AccountMail::of("known", "/sign-in"),
        };
        self.outgoing.send(&write, new.email.as_str(), new.language, mail, now).await?;
        let act = AuditAction {
            action: "user.registration_requested",
            target: token_id,
            detail: json!({}),
        };
        audit::append(&write, origin, act, now).await?;
        Ok(write.commit().await?)
    }

    /// Completes a registration: creates the organization, and the user who manages its members. The password is asked
    /// for: whoever reads the mail of an address that somebody else registered does not know it.
    pub async fn complete_registration(
        &self,
        token: &str,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<User, AccountError> {
        self.require_registrant(token, password, origin, now).await?;
        let write = self.store.write().await?;
        let (row, pending) = tokens::take::<Pending>(&write, Purpose::Register, token, now).await?;
        let damaged = StoreError::Damaged { table: "account_tokens", what: "an unknown kind" };
        let kind = OrganizationKind::parse(&pending.kind).ok_or(damaged)?;
        let organization =
            pending_organization(&pending.organization, kind, &pending.country, now)?;
        organizations::insert(&write, &organization, now).await?;
        revision::bump(&write).await?;
        let user = User {
            user_id: new_id()?,
            email: Email::stored(&row.email)?,
            role: Role::Enterprise,
            organization_id: Some(organization.organization_id.clone()),
            status: Status::Active,
            language: Language::from_tag(&pending.language),
            created_at: now,
        };
        insert(&write, &user, &pending.password_hash).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        let detail = json!({"organization_id": organization.organization_id});
        let act = AuditAction { action: "user.registered", target: user.user_id.clone(), detail };
        audit::append(&write, &origin, act, now).await?;
        outbox::append_event(&write, signed_up(&organization), now).await?;
        write.commit().await?;
        Ok(user)
    }

    /// Fails unless the password is the one of the registration. Guesses are counted as at sign-in.
    async fn require_registrant(
        &self,
        token: &str,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let found = tokens::find(&self.store, Purpose::Register, token, now).await?;
        let found = found.ok_or(AccountError::WrongToken)?;
        let damaged =
            |_| StoreError::Damaged { table: "account_tokens", what: "an unknown payload" };
        let pending: Pending = serde_json::from_str(&found.payload).map_err(damaged)?;
        let guessed = LoginTarget { email: Email::stored(&found.email)?, epoch: None };
        self.require_password(&guessed, (password, &pending.password_hash), false, origin).await
    }

    /// Invites somebody to an organization, or to staff.
    pub async fn invite(
        &self,
        organization_id: Option<&str>,
        (email, role): (&Email, Role),
        inviter: &str,
        language: Language,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<Invitation, AccountError> {
        if self.settings.registration == Registration::Closed || !self.outgoing.sends_mail {
            return Err(AccountError::RegistrationClosed);
        }
        if role.is_of_organization() != organization_id.is_some() {
            let reason =
                "must be user or enterprise for an organization, and a role of staff without one";
            return Err(AccountError::Invalid { field: "role", reason });
        }
        if let Some(id) = organization_id {
            self.mails.admit_of_organization(id)?;
        }
        self.mails.admit(email, None)?;
        let name = match organization_id {
            Some(id) => {
                let found = organizations::get(&self.store, id).await?;
                let unknown =
                    || AccountError::UnknownOrganization { organization_id: id.to_owned() };
                found.ok_or_else(unknown)?.name
            }
            None => "AI Hub Analytics".to_owned(),
        };
        if tokens::invitations(&self.store, organization_id, now).await?.len() >= INVITATIONS_MAX {
            let reason = "has 100 invitations that are not answered: take some back";
            return Err(AccountError::Invalid { field: "organization_id", reason });
        }
        let write = self.store.write().await?;
        let token = NewToken {
            purpose: Purpose::Invitation,
            user_id: None,
            organization_id,
            email: email.as_str(),
            created_by: &origin.actor,
        };
        let payload =
            Invited { role: role.as_str().to_owned(), language: language.tag().to_owned() };
        let (secret, token_id) = tokens::issue(&write, token, &payload, now).await?;
        let path = format!("/invitations/{secret}");
        let mail = AccountMail { words: "invitation", path: &path, organization: &name, inviter };
        self.outgoing.send(&write, email.as_str(), language, mail, now).await?;
        let detail = json!({"organization_id": organization_id, "role": role.as_str()});
        let act = AuditAction { action: "user.invited", target: token_id.clone(), detail };
        audit::append(&write, origin, act, now).await?;
        write.commit().await?;
        Ok(Invitation {
            invitation_id: token_id,
            email: email.to_string(),
            role,
            created_by: origin.actor.clone(),
            created_at: now,
            expires_at: now + Purpose::Invitation.lifetime(),
        })
    }

    /// Takes an invitation back.
    pub async fn revoke_invitation(
        &self,
        organization_id: Option<&str>,
        invitation_id: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), AccountError> {
        let write = self.store.write().await?;
        if !tokens::revoke_invitation(&write, organization_id, invitation_id).await? {
            return Err(AccountError::UnknownInvitation);
        }
        let target = invitation_id.to_owned();
        let act = AuditAction { action: "user.invitation_revoked", target, detail: json!({}) };
        audit::append(&write, origin, act, now).await?;
        Ok(write.commit().await?)
    }

    /// The name of the organization that an invitation is to, and who is invited.
    pub async fn invited_to(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<(Option<String>, String), AccountError> {
        let found = tokens::find(&self.store, Purpose::Invitation, token, now).await?;
        let found = found.ok_or(AccountError::WrongToken)?;
        let organization = match &found.organization_id {
            Some(id) => organizations::get(&self.store, id).await?.map(|found| found.name),
            None => None,
        };
        Ok((organization, found.email))
    }

    /// Where no user can administer, makes an invitation for the first one who will. Gives the path of its page.
    pub async fn invite_first_administrator(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Option<String>, AccountError> {
        let write = self.store.write().await?;
        if has_administrator(&write).await? {
            return Ok(None);
        }
        tokens::forget_first_invitation(&write).await?;
        let token = NewToken {
            purpose: Purpose::Invitation,
            user_id: None,
            organization_id: None,
            email: "",
            created_by: "server",
        };
        let payload = Invited {
            role: Role::Admin.as_str().to_owned(),
            language: Language::En.tag().to_owned(),
        };
        let (secret, _) = tokens::issue(&write, token, &payload, now).await?;
        write.commit().await?;
        Ok(Some(format!("/invitations/{secret}")))
    }

    /// Creates the user who was invited.
    pub async fn accept_invitation(
        &self,
        token: &str,
        email: Option<Email>,
        password: &str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<User, AccountError> {
        let found = tokens::find(&self.store, Purpose::Invitation, token, now).await?;
        let invited = found.ok_or(AccountError::WrongToken)?.email;
        let email = match (invited.as_str(), email) {
            ("", None) => {
                let reason = "must be said: the invitation names none";
                return Err(AccountError::Invalid { field: "email", reason });
            }
            ("", Some(email)) => email,
            (invited, _) => Email::stored(invited)?,
        };
        check_password(password, &email).map_err(AccountError::Password)?;
        let password_hash = self.hasher.hash_of_stranger(password).await?;
        let write = self.store.write().await?;
        let (row, invited) =
            tokens::take::<Invited>(&write, Purpose::Invitation, token, now).await?;
        // The first administrator is invited by whoever reads the log, as long as there is none.
        if row.email.is_empty() && has_administrator(&write).await? {
            return Err(AccountError::WrongToken);
        }
        if let Some(id) = &row.organization_id
            && organizations::status_of(write.db(), id).await? != Some(OrganizationStatus::Active)
        {
            return Err(AccountError::WrongToken);
        }
        let damaged = |_| StoreError::Damaged { table: "account_tokens", what: "an unknown role" };
        let user = User {
            user_id: new_id()?,
            email,
            role: Role::parse(&invited.role).map_err(damaged)?,
            organization_id: row.organization_id,
            status: Status::Active,
            language: Language::from_tag(&invited.language),
            created_at: now,
        };
        insert(&write, &user, &password_hash).await?;
        let origin = origin.by(&user.user_id, user.organization_id.as_deref());
        let detail = json!({
            "organization_id": user.organization_id, "role": user.role.as_str(), "invited_by": row.created_by,
        });
        let act = AuditAction { action: "user.joined", target: user.user_id.clone(), detail };
        audit::append(&write, &origin, act, now).await?;
        write.commit().await?;
        Ok(user)
    }
}

/// The invitations of an organization, or of staff, that are not answered.
pub async fn invitations(
    store: &Store,
    organization_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Vec<Invitation>, AccountError> {
    let rows = tokens::invitations(store, organization_id, now).await?;
    let invitation = |row: super::token_row::Model| {
        let table = "account_tokens";
        let damaged = |_| StoreError::Damaged { table, what: "an unknown invitation" };
        let invited: Invited = serde_json::from_str(&row.payload)
            .map_err(|_| StoreError::Damaged { table, what: "an unknown payload" })?;
        Ok(Invitation {
            invitation_id: row.token_id,
            email: row.email,
            role: Role::parse(&invited.role).map_err(damaged)?,
            created_by: row.created_by,
            created_at: state::store::time_of(table, row.created_at)?,
            expires_at: state::store::time_of(table, row.expires_at)?,
        })
    };
    rows.into_iter().map(invitation).collect()
}

pub(super) fn new_id() -> Result<String, StoreError> {
    Ok(format!("user_{}", base62(&random_bytes::<16>()?, 22)))
}

/// The first fact of an organization's commercial life.
fn signed_up(organization: &Organization) -> OwnEvent<'_> {
    OwnEvent {
        id: &organization.organization_id,
        source: "/aihub/accounts",
        event_type: "billing.signed_up",
        organization_id: Some(&organization.organization_id),
        data: json!({"plan": organization.plan}),
    }
}

fn pending_organization(
    name: &str,
    kind: OrganizationKind,
    country: &str,
    now: DateTime<Utc>,
) -> Result<Organization, StoreError> {
    Ok(Organization {
        organization_id: format!("org_{}", base62(&random_bytes::<16>()?, 22)),
        name: name.trim().to_owned(),
        kind,
        plan: FIRST_PLAN.to_owned(),
        country: country.to_owned(),
        signed_up_at: now,
    })
}
