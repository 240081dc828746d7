use accounts::organizations::{self, OrganizationStatus};
use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use state::{audit::AuditOrigin, clock::Clock};

use super::{Folder, say_row};
use crate::{features, lake};

#[derive(Debug, Subcommand)]
pub(super) enum Organization {
    /// Register an organization, or change what is known about it. Events do not need it; keys and members do
    Create {
        /// Its id, as events name it
        id: String,
        #[arg(long)]
        name: String,
        #[arg(long, value_enum, default_value = "business")]
        kind: Kind,
        #[arg(long, default_value = "free")]
        plan: String,
        /// ISO 3166 code
        #[arg(long)]
        country: String,
        /// RFC 3339 [default: now]
        #[arg(long)]
        signed_up_at: Option<DateTime<Utc>>,
    },
    /// Change whether an organization may use the platform
    Status {
        /// Its id
        id: String,
        #[arg(value_enum)]
        status: Status,
    },
    /// List the organizations
    List,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Status {
    /// Its keys work, and its members sign in
    Active,
    /// Its members sign in; its keys do not work
    Suspended,
    /// Neither
    Disabled,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Individual,
    Business,
}

impl Organization {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        lake::prepare(&config)?;
        let store = features::open_store(&config).await?;
        let now = Clock::system().now();
        match self {
            Self::Create { id, name, kind, plan, country, signed_up_at } => {
                let organization = organizations::Organization {
                    organization_id: id,
                    name,
                    kind: match kind {
                        Kind::Individual => organizations::OrganizationKind::Individual,
                        Kind::Business => organizations::OrganizationKind::Business,
                    },
                    plan,
                    country,
                    signed_up_at: signed_up_at.unwrap_or(now),
                };
                organizations::upsert_many(&store, &[organization], now).await?;
            }
            Self::Status { id, status } => {
                let status = match status {
                    Status::Active => OrganizationStatus::Active,
                    Status::Suspended => OrganizationStatus::Suspended,
                    Status::Disabled => OrganizationStatus::Disabled,
                };
                let origin = AuditOrigin::local("command-line");
                organizations::set_status(&store, &id, status, &origin, now).await?;
            }
            Self::List => {
                say_row(&["id", "kind", "plan", "country", "status", "name"])?;
                for found in organizations::search(&store, "", u64::MAX).await? {
                    let (row, status) = (found.organization, found.status.as_str());
                    let line = [
                        &row.organization_id,
                        row.kind.as_str(),
                        &row.plan,
                        &row.country,
                        status,
                        &row.name,
                    ];
                    say_row(&line)?;
                }
            }
        }
        Ok(())
    }
}
