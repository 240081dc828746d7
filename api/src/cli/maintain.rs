use anyhow::{Context, bail};
use clap::Args;
use indicatif::HumanBytes;
use ingest::Table;
use pipeline::upkeep::{Amount, Job, Report, TableReport};
use state::clock::Clock;

use super::{Folder, ReportFormat, say};
use crate::upkeep::{Assignment, perform, task};

#[derive(Debug, Args)]
pub(super) struct Maintain {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Only this table; may be given more than once
    #[arg(long = "table", value_name = "NAME", value_parser = table_name)]
    tables: Vec<String>,
    /// Compact what was written within this hour, too
    #[arg(long)]
    all: bool,
    /// List the folders for files that no log names
    #[arg(long)]
    full: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

impl Maintain {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        if !config.dir.is_dir() {
            bail!("there is no data folder {}", config.dir.display());
        }
        let jobs: Vec<Job> =
            Job::ALL.into_iter().filter(|job| self.full || *job != Job::FullVacuum).collect();
        let mut task = task(&config, &jobs)?;
        (task.tables, task.dry_run, task.all) = (self.tables, self.dry_run, self.all);
        let assignment = Assignment { dir: config.dir, task, erasure: None };
        let report = perform(&assignment, &Clock::system()).await?;
        match self.format {
            ReportFormat::Json => say(&format!("{}\n", serde_json::to_string(&report)?))?,
            ReportFormat::Text => say(&text(&report))?,
        }
        let failed = report.tables.iter().find_map(|table| Some((table, table.failures.first()?)));
        match failed {
            Some((table, failure)) => {
                bail!("{} of {}: {}", failure.job.name(), table.table, failure.reason)
            }
            None => Ok(()),
        }
    }
}

fn table_name(name: &str) -> anyhow::Result<String> {
    let names: Vec<_> = Table::ALL.iter().map(|table| table.name()).collect();
    Table::parse(name).with_context(|| format!("the tables are {}", names.join(", ")))?;
    Ok(name.to_owned())
}

fn text(report: &Report) -> String {
    if report.tables.is_empty() {
        return "There are no tables yet.\n".into();
    }
    report.tables.iter().map(|table| line(table, report.dry_run)).collect()
}

fn line(table: &TableReport, dry_run: bool) -> String {
    let mut parts = vec![format!("{} -> {}", amount(table.before), amount(table.after))];
    if table.expired.files > 0 {
        parts.push(format!("{} expired", amount(table.expired)));
    }
    if table.compacted.files > 0 && dry_run {
        parts.push(format!("{} would be compacted", amount(table.compacted)));
    } else if table.compacted.files > 0 {
        let (before, after) = (table.compacted.files, table.rewritten.files);
        parts.push(format!("{} became {after}", files(before)));
    }
    parts.extend(table.checkpoint.map(|version| format!("checkpoint at version {version}")));
    if table.log_entries_removed > 0 {
        parts.push(format!("{} log entries removed", table.log_entries_removed));
    }
    if table.vacuumed.files > 0 {
        parts.push(format!("{} vacuumed", amount(table.vacuumed)));
    }
    parts.extend(table.failures.iter().map(|f| format!("{} failed: {}", f.job.name(), f.reason)));
    format!("{:<16} {}\n", table.table, parts.join("; "))
}

fn amount(amount: Amount) -> String {
    format!("{} ({})", files(amount.files), HumanBytes(amount.bytes))
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".into() } else { format!("{count} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_done_and_no_more() {
        let of = |files, bytes| Amount { files, bytes, rows: 0 };
        let mut table = TableReport {
            table: "usage_ledger".into(),
            before: of(9, 4096),
            after: of(9, 4096),
            ..TableReport::default()
        };
        let quiet = "usage_ledger     9 files (4.00 KiB) -> 9 files (4.00 KiB)\n";
        assert_eq!(line(&table, false), quiet);
        table.compacted = of(9, 4096);
        let planned = line(&table, true);
        assert!(planned.ends_with("; 9 files (4.00 KiB) would be compacted\n"), "{planned}");
        (table.rewritten, table.after) = (of(1, 2048), of(1, 2048));
        (table.checkpoint, table.vacuumed) = (Some(7), of(2, 10));
        assert_eq!(
            line(&table, false),
            "usage_ledger     9 files (4.00 KiB) -> 1 file (2.00 KiB); 9 files became 1; \
             checkpoint at version 7; 2 files (10 B) vacuumed\n"
        );
    }
}
