//! `aihub import list` and `aihub import undo`.

use analytics::imports::ImportRecord;
use clap::Subcommand;

use super::target::Target;
use crate::cli::{Folder, ReportFormat, say, say_row};

#[derive(Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// List the imports of the data folder, the oldest first
    List {
        /// How to show them: lines of text, or of JSON
        #[arg(long, value_enum, default_value = "text")]
        format: ReportFormat,
    },
    /// Void all events of an import. They stay in the ledger, with a reversal each
    Undo {
        /// As `list` shows it
        id: String,
    },
}

impl ImportCommand {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let mut config = folder.load(&[])?;
        match self {
            Self::List { format } => list(&ImportRecord::list(&config.dir)?, format),
            Self::Undo { id } => {
                ImportRecord::get(&config.dir, &id)?;
                let target = Target::find(&mut config).await?;
                let mover = target.mover();
                let voided = target.undo(&config, &id).await?;
                mover.abort();
                target.close().await?;
                Ok(say(&format!("{voided} events voided; nothing of {id} counts\n"))?)
            }
        }
    }
}

fn list(records: &[ImportRecord], format: ReportFormat) -> anyhow::Result<()> {
    if format == ReportFormat::Json {
        for record in records {
            say(&format!("{}\n", serde_json::to_string(record)?))?;
        }
        return Ok(());
    }
    say_row(&["id", "started_at", "state", "accepted", "duplicate", "rejected", "source", "file"])?;
    for record in records {
        let state = match &record.replaced_by {
            Some(by) => format!("replaced by {by}"),
            None => record.state.as_str().to_owned(),
        };
        say_row(&[
            &record.id,
            &record.started_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            &state,
            &record.accepted.to_string(),
            &record.duplicate.to_string(),
            &record.rejected.to_string(),
            &record.source,
            &record.file.display().to_string(),
        ])?;
    }
    Ok(())
}
