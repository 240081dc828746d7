use std::io::{self, BufRead};

use accounts::{self, Accounts, Email, NewUser};
use analytics::persons;
use clap::{Subcommand, ValueEnum};
use state::{
    audit::AuditOrigin,
    clock::Clock,
    store::{Store, rfc3339},
};

use super::{Folder, say, say_row};
use crate::{features, lake};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Create a user. A password is made up and printed, once
    Create {
        #[arg(long)]
        email: String,
        #[arg(long, value_enum)]
        role: Role,
        /// The organization of a user or enterprise
        #[arg(long)]
        organization: Option<String>,
        /// Read the password from the first line of standard input instead
        #[arg(long)]
        password_stdin: bool,
    },
    /// List the users: e-mail address, role, status, organization, id
    List,
    /// Disable a user: end the user's sessions and running queries, and let no new session begin
    Disable {
        /// The e-mail address or the id, `user_…`
        user: String,
    },
    /// Let a disabled user sign in again
    Enable {
        /// The e-mail address or the id, `user_…`
        user: String,
    },
    /// Give a user another password and end the user's sessions. It is made up and printed, once
    ResetPassword {
        /// The e-mail address or the id, `user_…`
        user: String,
        /// Read the password from the first line of standard input instead
        #[arg(long)]
        password_stdin: bool,
    },
    /// End all sessions of a user
    SignOut {
        /// The e-mail address or the id, `user_…`
        user: String,
    },
    /// Show a role what says something of a person in SQL; administrators see it anyway
    GrantPersons {
        #[arg(value_enum)]
        role: Role,
    },
    /// Hide it from a role again
    RevokePersons {
        #[arg(value_enum)]
        role: Role,
    },
    /// List the roles that see persons
    PersonGrants,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Admin,
    Analyst,
    Manager,
    /// Of a customer
    User,
    /// Of a customer, with the members of the organization
    Enterprise,
}

impl From<Role> for rest::principal::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Analyst => Self::Analyst,
            Role::Manager => Self::Manager,
            Role::User => Self::User,
            Role::Enterprise => Self::Enterprise,
        }
    }
}

impl User {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        lake::prepare(&config)?;
        let clock = Clock::system();
        let store = features::open_store(&config).await?;
        let (origin, now) = (AuditOrigin::local("command-line"), clock.now());
        let accounts = Accounts::new(store.clone(), &clock);
        match self {
            Self::Create { email, role, organization, password_stdin } => {
                let password = password(password_stdin)?;
                let new = NewUser {
                    email: Email::parse(&email)?,
                    password: password.clone(),
                    role: role.into(),
                    organization_id: organization,
                };
                accounts.create_user(new, &origin, now).await?;
                if !password_stdin {
                    say(&format!("{password}\n"))?;
                }
            }
            Self::Disable { user } => {
                let id = accounts::find_user(&store, &user).await?.user_id;
                accounts.set_status(&id, accounts::Status::Disabled, &origin, now).await?;
            }
            Self::Enable { user } => {
                let id = accounts::find_user(&store, &user).await?.user_id;
                accounts.set_status(&id, accounts::Status::Active, &origin, now).await?;
            }
            Self::ResetPassword { user, password_stdin } => {
                let user = accounts::find_user(&store, &user).await?;
                let password = password(password_stdin)?;
                accounts.reset_password(&user, &password, &origin, now).await?;
                if !password_stdin {
                    say(&format!("{password}\n"))?;
                }
            }
            Self::SignOut { user } => {
                let id = accounts::find_user(&store, &user).await?.user_id;
                accounts.end_sessions(&id, &origin, now).await?;
            }
            Self::GrantPersons { role } => show_persons(&store, role, true, &clock).await?,
            Self::RevokePersons { role } => show_persons(&store, role, false, &clock).await?,
            Self::PersonGrants => {
                say_row(&["role", "granted_by", "granted_at"])?;
                for grant in persons::grants(&store).await? {
                    let at = rfc3339(grant.granted_at);
                    say_row(&[&grant.role, &grant.granted_by, &at])?;
                }
            }
            Self::List => {
                say_row(&["email", "role", "status", "organization", "id"])?;
                for user in accounts::list_users(&store).await? {
                    let owner = user.organization_id.as_deref().unwrap_or("-");
                    let (role, status) = (user.role.as_str(), user.status.as_str());
                    let line = [user.email.as_str(), role, status, owner, &user.user_id];
                    say_row(&line)?;
                }
            }
        }
        Ok(())
    }
}

async fn show_persons(store: &Store, role: Role, shown: bool, clock: &Clock) -> anyhow::Result<()> {
    let role = persons::grantable(role.into())?;
    let origin = AuditOrigin::local("command-line");
    Ok(persons::show(store, role, shown, &origin, clock.now()).await?)
}

/// Standard input is read only when that was asked for: in a loop over a list, it is the list.
fn password(from_stdin: bool) -> io::Result<String> {
    if !from_stdin {
        return Ok(accounts::made_up_password());
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
