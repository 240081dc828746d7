use accounts::{
    keys::{self, KeyLimits, KeyPurpose, NewKey},
    plans::Limits,
};
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use rest::principal::{self, Scopes};
use state::{audit::AuditOrigin, clock::Clock};

use super::{Folder, say, say_row};
use crate::{features, lake};

#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Create a key and print its secret, once
    Create(NewKeyArguments),
    /// List the keys: id, state, organization, scopes, sources and types where narrowed, start of the secret, name
    List,
    /// Change what a key may write; without sources and types there is no limit
    Grant {
        /// The key's id, `key_…`
        id: String,
        /// Of a platform key: beginnings of the sources that it may send under, such as /gateway/
        #[arg(long, value_delimiter = ',')]
        sources: Vec<String>,
        /// The types that it may send, such as usage.request or billing.*
        #[arg(long, value_delimiter = ',')]
        types: Vec<String>,
    },
    /// Change the models and networks that a key is for, and what it may use; what is left out has no limit
    Limit {
        /// The key's id, `key_…`
        id: String,
        /// Names or globs such as gpt-4*
        #[arg(long, value_delimiter = ',')]
        models: Vec<String>,
        /// Addresses or networks such as 10.0.0.0/8
        #[arg(long, value_delimiter = ',')]
        networks: Vec<String>,
        /// What it may call and use, as JSON: {"requests_per_minute": 60, "monthly": {"tokens": {"limit": 1000000}}}
        #[arg(long, value_parser = limits, default_value = "{}", hide_default_value = true)]
        budget: Limits,
    },
    /// Create a key that may do the same as another, print its secret, once, and end the other after the overlap
    Rotate {
        /// The key's id, `key_…`
        id: String,
        /// How long both work
        #[arg(long, default_value_t = 86_400)]
        overlap_seconds: u32,
    },
    /// Revoke a key; a running server refuses it within a second
    Revoke {
        /// The key's id, `key_…`
        id: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewKeyArguments {
    /// What the key is for
    #[arg(long)]
    name: String,
    /// The organization it belongs to; without it, a key of the platform, which acts for all
    #[arg(long)]
    organization: Option<String>,
    /// What it may do
    #[arg(long, value_enum, value_delimiter = ',', default_value = "read,write")]
    scopes: Vec<Scope>,
    /// Of a platform key: beginnings of the sources that it may send under, such as /gateway/
    #[arg(long, value_delimiter = ',')]
    sources: Vec<String>,
    /// The types that it may send, such as usage.request or billing.*
    #[arg(long, value_delimiter = ',')]
    types: Vec<String>,
    /// The models that it is for: names or globs such as gpt-4*
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    /// The addresses that it may be used from, such as 10.0.0.0/8
    #[arg(long, value_delimiter = ',')]
    networks: Vec<String>,
    /// What it may call and use, as JSON: {"requests_per_minute": 60, "monthly": {"tokens": {"limit": 1000000}}}
    #[arg(long, value_parser = limits, default_value = "{}", hide_default_value = true)]
    budget: Limits,
    /// It ends after so many days; without it, it does not end by itself
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=3650))]
    expires_days: Option<u16>,
    /// The project that its use is counted for
    #[arg(long)]
    project: Option<String>,
    /// What else is worth knowing about it
    #[arg(long)]
    notes: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Scope {
    /// Run SQL, read metrics, forecasts and dashboards
    Read,
    /// Send events, and void or correct them
    Write,
    /// Send events older than 35 days, too; beside write
    Backfill,
    /// Manage keys, users and dead letters
    Admin,
    /// Verify the keys of customers
    Verify,
}

fn limits(json: &str) -> Result<Limits, serde_json::Error> {
    serde_json::from_str(json)
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Backfill => "backfill",
            Self::Admin => "admin",
            Self::Verify => "verify",
        }
    }
}

impl NewKeyArguments {
    fn new_key(self, now: DateTime<Utc>) -> anyhow::Result<NewKey> {
        Ok(NewKey {
            scopes: Scopes::of(self.scopes.into_iter().map(Scope::name))?,
            grant: keys::grant(self.sources, self.types)?,
            limits: KeyLimits::new(&self.models, &self.networks)?.with_budget(self.budget)?,
            purpose: KeyPurpose::new(self.project, self.notes)?,
            expires_at: self.expires_days.map(|days| now + TimeDelta::days(days.into())),
            organization_id: self.organization,
            name: self.name,
        })
    }
}

impl Key {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        lake::prepare(&config)?;
        let store = features::open_store(&config).await?;
        let (now, origin) = (Clock::system().now(), AuditOrigin::local("command-line"));
        match self {
            Self::Create(arguments) => {
                let (key, secret) =
                    keys::create(&store, arguments.new_key(now)?, &origin, now).await?;
                say(&format!("{}\n", secret.reveal()))?;
                tracing::info!(id = key.api_key_id, "created a key");
            }
            Self::List => {
                say_row(&["id", "state", "organization", "scopes", "grant", "start", "name"])?;
                for key in keys::list(&store).await? {
                    let state = if key.revoked_at.is_some() { "revoked" } else { "active" };
                    let owner = key.organization_id.as_deref().unwrap_or("(platform)");
                    let scopes: Vec<_> = key.scopes.iter().map(principal::Scope::as_str).collect();
                    let entries = key.grant.sources().iter().chain(key.grant.types());
                    let grant: Vec<_> = entries.map(String::as_str).collect();
                    let grant = if grant.is_empty() { "-".into() } else { grant.join(",") };
                    let (id, scopes) = (&key.api_key_id, scopes.join(","));
                    let line = [id, state, owner, &scopes, &grant, &key.start, &key.name];
                    say_row(&line)?;
                }
            }
            Self::Grant { id, sources, types } => {
                let grant = keys::grant(sources, types)?;
                keys::set_grant(&store, &id, grant, &origin, now).await?;
            }
            Self::Limit { id, models, networks, budget } => {
                let limits = KeyLimits::new(&models, &networks)?.with_budget(budget)?;
                keys::set_limits(&store, &id, limits, &origin, now).await?;
            }
            Self::Rotate { id, overlap_seconds } => {
                let overlap = TimeDelta::seconds(overlap_seconds.into());
                let (key, secret) = keys::rotate(&store, &id, overlap, &origin, now).await?;
                say(&format!("{}\n", secret.reveal()))?;
                tracing::info!(id = key.api_key_id, "created a key");
            }
            Self::Revoke { id } => keys::revoke(&store, &id, &origin, now).await?,
        }
        Ok(())
    }
}
