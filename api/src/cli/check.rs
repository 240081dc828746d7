use anyhow::bail;
use clap::Args;
use ingest::control;
use state::clock::Clock;

use super::{Folder, ReportFormat, running::ServerFile, say};
use crate::integrity::{self, CheckReport};

/// Reads the whole folder at one cut and compares the log, the tables and the index with each other, and the
/// sums of the data files with those of queries and rollups. It changes nothing, and works beside a running server.
///
/// Exit codes: 0 no difference, 1 at least one, 2 not started.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

impl Check {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        if !config.dir.is_dir() {
            bail!("there is no data folder {}", config.dir.display());
        }
        let server = ServerFile::find(&config.dir).await.map(|file| file.server());
        let checked = integrity::prove(&config, server.as_ref(), &Clock::system()).await?;
        match self.format {
            ReportFormat::Json => say(&format!("{}\n", serde_json::to_string(&checked)?))?,
            ReportFormat::Text => say(&control::shown_lines(&text(&checked)))?,
        }
        match checked.proof.count {
            0 => Ok(()),
            1 => bail!("1 difference"),
            count => bail!("{count} differences"),
        }
    }
}

fn text(checked: &CheckReport) -> String {
    let proof = &checked.proof;
    let mut lines = Vec::new();
    for (table, counted) in &proof.tables {
        lines.push(format!(
            "{table}: {} rows in {} files, {} in the log",
            counted.rows, counted.files, counted.log_rows
        ));
    }
    lines.push(format!(
        "identities: {}, {} sums by organization and day",
        proof.identities, checked.sums
    ));
    if checked.rollups.compared > 0 {
        lines.push(format!("rollups: {} days", checked.rollups.compared));
    }
    if let Some(quotas) = &checked.quotas {
        lines.push(format!("counters of quotas: {}", quotas.compared));
    }
    if let Some(accepted) = checked.accepted_events {
        lines.push(format!("accepted since the server started: {accepted}"));
    }
    if proof.removed_rows > 0 {
        lines.push(format!("removed on purpose: {} rows", proof.removed_rows));
    }
    lines.extend(proof.differences.iter().map(ToString::to_string));
    let listed = proof.differences.len() as u64;
    if proof.count > listed {
        lines.push(format!("and {} more", proof.count - listed));
    }
    lines.push(format!("{} differences at {}", proof.count, proof.as_of));
    lines.join("\n") + "\n"
}
