//! Who asks, what they may do and whose data they may see.
//!
//! A handler says what it needs in its type, `Authorized<RunSql>`, and gets a [`Principal`] or is never called.

mod authenticator;
mod extract;
mod gate;
mod permission;
mod proxies;
mod restriction;
mod role;
mod same_origin;
mod scope;

pub use authenticator::Authenticator;
pub use extract::{Authorized, caller};
pub(crate) use gate::ChosenLanguage;
pub use gate::{Gate, SESSION_COOKIE, bearer_token};
pub use permission::{
    Administer, ManageBilling, ManageKeys, ManageMembers, Permission, ReadMetrics, RunSql,
    SendEvents, SignedIn, VerifyKeys, ViewDashboard,
};
pub use proxies::{TrustedProxies, client_ip, network_of};
pub use restriction::Restriction;
pub use role::{Role, UnknownRole};
pub use same_origin::refuse_cross_site;
pub use scope::{Scope, Scopes, UnknownScope};

use actix_web::HttpRequest;
use ingest::Grant;
use pages::Language;

use crate::problem::{Code, Problem};

/// Whoever makes a request, after the credentials were found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `user_…`, `key_…` or `local`.
    pub id: String,
    /// A user's e-mail address, a key's name.
    pub name: String,
    /// The kind of its credentials, and what they allow: the role of a user, the scopes of a key.
    pub kind: PrincipalKind,
    /// The organizations whose rows it sees.
    pub reach: Tenancy,
    /// What it may write, as far as its key was narrowed.
    pub grant: Grant,
    /// The session of a user who makes requests.
    pub session_id: Option<String>,
    /// What takes abilities of a user away.
    pub restriction: Option<Restriction>,
    /// Whether a user gave the password too long ago for acts that ask for it again.
    pub needs_confirmation: bool,
    /// The language of a user's pages, where the user chose one.
    pub language: Option<Language>,
}

/// The kind of a principal's credentials, and what they allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// A person with a session, in this role.
    User(Role),
    /// A program with an API key, with these scopes.
    Key(Scopes),
    /// A command on the server's machine that could read the server's own token.
    LocalProcess,
}

/// Whose rows a principal sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// The rows of every organization.
    All,
    /// The rows of the organization with this id.
    Organization(String),
}

/// What can be permitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// To send events.
    SendEvents,
    /// To send events of any age.
    Backfill,
    /// To run SQL over the rows in reach.
    RunSql,
    /// To read metrics over the rows in reach.
    ReadMetrics,
    /// To see dashboards over the rows in reach.
    ViewDashboard,
    /// To manage keys, users and the system.
    Administer,
    /// To verify the keys of customers.
    VerifyKeys,
    /// To manage the keys of the organizations in reach.
    ManageKeys,
    /// To manage the members of the organizations in reach.
    ManageMembers,
    /// To manage the subscription and the payments of the organizations in reach.
    ManageBilling,
}

impl Ability {
    /// Every ability, in the order in which `GET /v1/me` lists them.
    pub const ALL: [Self; 10] = [
        Self::SendEvents,
        Self::Backfill,
        Self::RunSql,
        Self::ReadMetrics,
        Self::ViewDashboard,
        Self::Administer,
        Self::VerifyKeys,
        Self::ManageKeys,
        Self::ManageMembers,
        Self::ManageBilling,
    ];

    /// The text in answers, such as `run_sql`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendEvents => "send_events",
            Self::Backfill => "backfill",
            Self::RunSql => "run_sql",
            Self::ReadMetrics => "read_metrics",
            Self::ViewDashboard => "view_dashboard",
            Self::Administer => "administer",
            Self::VerifyKeys => "verify_keys",
            Self::ManageKeys => "manage_keys",
            Self::ManageMembers => "manage_members",
            Self::ManageBilling => "manage_billing",
        }
    }
}

impl Ability {
    /// Whether who changes something by it gives the password again, if it was given long ago.
    pub const fn is_sensitive(self) -> bool {
        matches!(
            self,
            Self::Administer | Self::ManageKeys | Self::ManageMembers | Self::ManageBilling
        )
    }
}

impl Principal {
    /// The principal of a command on the server's machine. It may do everything, over all organizations.
    pub fn local_process() -> Self {
        Self {
            id: "local".to_owned(),
            name: "local process".to_owned(),
            kind: PrincipalKind::LocalProcess,
            reach: Tenancy::All,
            grant: Grant::ALL,
            session_id: None,
            restriction: None,
            needs_confirmation: false,
            language: None,
        }
    }

    /// The role that it acts in, one of [`Role::SHARED`]: what is granted to roles holds for keys too.
    pub fn role(&self) -> Role {
        match (self.kind, &self.reach) {
            (PrincipalKind::User(role), _) if role.is_of_organization() => Role::User,
            (PrincipalKind::User(role), _) => role,
            _ if self.may(Ability::Administer) => Role::Admin,
            (_, Tenancy::All) => Role::Analyst,
            (_, Tenancy::Organization(_)) => Role::User,
        }
    }

    /// Whether the role or the scopes hold the ability. Only who sees every organization administers.
    pub fn may(&self, ability: Ability) -> bool {
        let held = match self.kind {
            PrincipalKind::User(role) => role.abilities().contains(&ability),
            // What manages everything is no scope of one organization's key.
            PrincipalKind::Key(scopes) => scopes.iter().any(|scope| {
                let fits = scope != Scope::Admin || self.reach == Tenancy::All;
                fits && scope.abilities().contains(&ability)
            }),
            PrincipalKind::LocalProcess => true,
        };
        // A program asks whether a key works, and never a person.
        let fits = ability != Ability::VerifyKeys || matches!(self.kind, PrincipalKind::Key(_));
        let reads = matches!(ability, Ability::ReadMetrics | Ability::ViewDashboard);
        match self.restriction {
            None => {}
            Some(Restriction::Suspended | Restriction::View) if reads => {}
            // Who is suspended since an invoice is not paid can pay it.
            Some(Restriction::Suspended) if ability == Ability::ManageBilling => {}
            Some(_) => return false,
        }
        let of_all = matches!(ability, Ability::Administer | Ability::VerifyKeys);
        held && fits && (!of_all || self.reach == Tenancy::All)
    }

    /// 403 for a request that changes something, where the password was given too long ago.
    pub(crate) fn require_confirmation(&self, request: &HttpRequest) -> Result<(), Problem> {
        if !self.needs_confirmation || request.method().is_safe() {
            return Ok(());
        }
        let detail = "give your password again: POST /v1/auth/confirm";
        Err(Problem::forbidden(Code::ConfirmationRequired, detail))
    }

    /// 403 for a request that changes something, where a restriction keeps the principal from it.
    fn require_unrestricted(self, request: &HttpRequest) -> Result<Self, Problem> {
        self.restriction.map_or(Ok(()), |restriction| restriction.require(request))?;
        Ok(self)
    }
}

impl Tenancy {
    /// The id of the only organization in reach; `None` when all are in reach.
    pub fn organization_id(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Organization(id) => Some(id),
        }
    }
}

impl From<Option<String>> for Tenancy {
    fn from(organization_id: Option<String>) -> Self {
        organization_id.map_or(Self::All, Self::Organization)
    }
}
