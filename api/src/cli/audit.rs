use accounts::audit::AuditView;
use anyhow::bail;
use clap::Subcommand;
use state::audit::{self, AuditFilter, ChainHead, ChainState};

use super::{Folder, ReportFormat, say, say_row};
use crate::{features, lake};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List what was done, newest first: place, time, actor, action, target, network address, detail
    List {
        /// The most rows
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        limit: u64,
        /// Only rows older than the one with this place
        #[arg(long, value_name = "SEQ")]
        before: Option<i64>,
        /// Only acts of this principal: an id, `anonymous` or `command-line`
        #[arg(long)]
        actor: Option<String>,
        /// Only acts of this kind, such as `user.disabled`
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this id
        #[arg(long)]
        target: Option<String>,
        /// How to show them: lines of text, or of JSON
        #[arg(long, value_enum, default_value = "text")]
        format: ReportFormat,
    },
    /// Verify that no row was edited or removed. Exit code 1 if one was
    Verify {
        /// What an earlier run printed: rows that are missing at the end, and a log that was written anew as a whole,
        /// are noticed only with it
        #[arg(long, value_name = "SEQ:HASH")]
        head: Option<String>,
    },
}

impl Audit {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        lake::prepare(&config)?;
        let store = features::open_store(&config).await?;
        match self {
            Self::List { limit, before, actor, action, target, format } => {
                let filter =
                    AuditFilter { actor, action, target, before, ..AuditFilter::default() };
                if matches!(format, ReportFormat::Text) {
                    say_row(&["seq", "at", "actor", "action", "target", "ip", "detail"])?;
                }
                for record in audit::list(&store, &filter, limit).await? {
                    let view = AuditView::from(record);
                    match format {
                        ReportFormat::Json => say(&format!("{}\n", serde_json::to_string(&view)?))?,
                        ReportFormat::Text => {
                            let place = view.seq.to_string();
                            let ip = view.ip.as_deref().unwrap_or("-");
                            let detail = view.detail.to_string();
                            let line = [
                                &place,
                                &view.at,
                                &view.actor,
                                &view.action,
                                &view.target,
                                ip,
                                &detail,
                            ];
                            say_row(&line)?;
                        }
                    }
                }
                Ok(())
            }
            Self::Verify { head } => {
                let kept = head.map(|text| {
                    ChainHead::parse(&text)
                        .ok_or_else(|| anyhow::anyhow!("`{text}` is not SEQ:HASH"))
                });
                let newest = audit::head(&store).await?;
                match audit::verify_against(&store, kept.transpose()?).await? {
                    ChainState::Intact { rows } => {
                        let head = newest.map_or_else(|| "-".to_owned(), |head| head.to_string());
                        Ok(say(&format!("{rows} rows, all as they were written\nhead {head}\n"))?)
                    }
                    ChainState::Broken { seq } => {
                        bail!("row {seq} of the audit log is missing, or not what was written")
                    }
                }
            }
        }
    }
}
