use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context;
use chrono::NaiveDate;
use clap::Args;
use datasets::{Business, Profile};

/// The end of the period when none is named: fixed, so that the same arguments give the same bytes.
const END: &str = "2026-01-01";

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The folder to write events.ndjson, organizations.ndjson and truth.json to
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value = "120")]
    days: u32,
    #[arg(long, default_value = "300")]
    organizations: u32,
    #[arg(long, default_value = "1")]
    seed: u64,
    /// The first day after the period
    #[arg(long, default_value = END)]
    end: NaiveDate,
}

impl Generate {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let profile = Profile::ending(self.seed, self.organizations, self.days, self.end)?;
        let business = Business::new(profile);
        fs::create_dir_all(&self.out)
            .with_context(|| format!("creating {}", self.out.display()))?;
        let mut events = self.create("events.ndjson")?;
        let progress = super::demo::progress(u64::from(self.days), "generating days");
        let mut tally = business.tally();
        for day in business.days() {
            events.write_all(&day.ndjson)?;
            tally.add(&day.facts);
            progress.inc(1);
        }
        events.flush()?;
        progress.finish_and_clear();
        let mut organizations = self.create("organizations.ndjson")?;
        for organization in business.organizations() {
            let line = serde_json::to_string(organization)?;
            writeln!(organizations, "{line}")?;
        }
        organizations.flush()?;
        let truth = serde_json::to_vec_pretty(&tally.truth())?;
        fs::write(self.out.join("truth.json"), truth).context("writing truth.json")
    }

    fn create(&self, name: &str) -> anyhow::Result<BufWriter<File>> {
        let path = self.out.join(name);
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(BufWriter::new(file))
    }
}
