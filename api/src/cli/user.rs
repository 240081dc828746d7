use std::io::{self, BufRead, IsTerminal};

use clap::{Subcommand, ValueEnum};

use super::{Folder, say};
use crate::{
    accounts::{self, Accounts, Email, NewUser},
    audit::Origin,
    clock::Clock,
    lake,
    store::Store,
};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Create a user. The password is read from standard input when something is piped in, else one is made up
    /// and printed, once
    Create {
        #[arg(long)]
        email: String,
        #[arg(long, value_enum)]
        role: Role,
        /// The organization of a member
        #[arg(long)]
        organization: Option<String>,
    },
    /// List the users
    List,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    Admin,
    Analyst,
    Manager,
    Member,
}

impl User {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        lake::prepare(&config)?;
        let clock = Clock::system();
        let store = Store::open(&config.dir.join("state.db")).await?;
        match self {
            Self::Create { email, role, organization } => {
                let (password, made_up) = password()?;
                let new = NewUser {
                    email: Email::parse(&email)?,
                    password: password.clone(),
                    role: match role {
                        Role::Admin => accounts::Role::Admin,
                        Role::Analyst => accounts::Role::Analyst,
                        Role::Manager => accounts::Role::Manager,
                        Role::Member => accounts::Role::Member,
                    },
                    organization_id: organization,
                };
                let origin = Origin::local("command-line");
                Accounts::new(store, &clock).create_user(new, &origin, clock.now()).await?;
                if made_up {
                    say(&format!("{password}\n"))?;
                }
            }
            Self::List => {
                for user in accounts::list_users(&store).await? {
                    let owner = user.organization_id.as_deref().unwrap_or("-");
                    let line =
                        [user.email.as_str(), user.role.as_str(), user.status.as_str(), owner];
                    say(&format!("{}\n", line.join("\t")))?;
                }
            }
        }
        Ok(())
    }
}

fn password() -> io::Result<(String, bool)> {
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        let line = line.trim_end_matches(['\r', '\n']);
        if !line.is_empty() {
            return Ok((line.to_owned(), false));
        }
    }
    Ok((made_up_password(), true))
}

/// 20 characters that are not mistaken for each other: 100 bits and more.
pub(super) fn made_up_password() -> String {
    use rand::Rng;
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut random = rand::rng();
    (0..20).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}
