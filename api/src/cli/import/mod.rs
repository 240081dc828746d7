//! History from files: mapped to events, and sent through the intake like any other.

mod buckets;
mod csv_file;
mod lines;
mod parquet_file;
mod progress;
mod sniff;
mod source;
mod tally;
mod target;
mod undo;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use analytics::imports::ImportRecord;
use anyhow::{Context, bail, ensure};
use clap::Args;
use ingest::{
    Grant,
    decode::{Sender, decode_file, file_key},
    identity::Pseudonyms,
    mapping::{BUILT_IN, FileRows, Mapping},
    time::Window,
};
use state::clock::Clock;
use tokio::sync::mpsc;

use self::{
    buckets::Buckets,
    progress::{KeyFile, KeyRange},
    source::{Chunk, Fault, Format, RowPosition},
    tally::{RowName, Tally},
    target::{ImportJob, Target},
};
use super::{Folder, complain, say};

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct Import {
    #[command(subcommand)]
    other: Option<undo::ImportCommand>,
    /// A built-in mapping (azure-llm), or a mapping's TOML file
    #[arg(long, required_unless_present = "sniff")]
    map: Option<String>,
    /// Files named .csv, .ndjson, .jsonl or .parquet; the first three also with .gz or .zst
    #[arg(required_unless_present = "sniff")]
    files: Vec<PathBuf>,
    /// Read everything and say what would come of it; nothing is sent or written
    #[arg(long)]
    dry_run: bool,
    /// Print a first mapping for a file, made of its names and first rows
    #[arg(long, value_name = "FILE", conflicts_with_all = ["map", "files", "dry_run", "replace"])]
    sniff: Option<PathBuf>,
    /// Undo this import first, and import one file in its place. Events with the same ids count as they are now
    #[arg(long, value_name = "ID")]
    replace: Option<String>,
}

/// What is read of a file at once.
enum ImportBatch {
    Rows {
        rows: FileRows,
        places: Vec<RowPosition>,
        /// Where their identities are.
        kept: Option<KeyRange>,
    },
    /// Rows that cannot be read.
    Faults(Vec<Fault>),
}

impl Import {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        if let Some(other) = self.other {
            return other.run(folder).await;
        }
        if let Some(path) = &self.sniff {
            if !path.is_file() {
                bail!("there is no file {}", path.display());
            }
            return Ok(say(&sniff::sniff(path)?)?);
        }
        let (mapping, text) = mapping(&self.map.unwrap_or_default())?;
        let mapping = Arc::new(mapping);
        if self.replace.is_some() && self.files.len() > 1 {
            bail!("`--replace` takes one file, in the place of the one that was imported");
        }
        for file in &self.files {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
            Format::of(file)?.check(file, &mapping)?;
        }
        for (field, column) in mapping.doubtful_fields() {
            complain(&format!(
                "the field `{field}` becomes an attribute; `{column}` may be meant"
            ))?;
        }
        let mut tally = Tally::default();
        if self.dry_run {
            for file in &self.files {
                dry_run(
                    file,
                    &mapping,
                    Clock::system().now().timestamp_micros(),
                    &mut tally,
                    None,
                )?;
            }
            say(&tally.dry_run_summary())?;
            return complaint(&tally, true);
        }
        let mut config = folder.load(&[])?;
        if let Some(id) = &self.replace {
            ImportRecord::get(&config.dir, id)?;
        }
        let target = Target::find(&mut config).await?;
        let job = ImportJob { config, mapping, text, replaces: self.replace };
        let mover = target.mover();
        for file in &self.files {
            let (id, voided) = target.import(&job, file, &mut tally).await?;
            complain(&format!("{}: import {id}", file.display()))?;
            for (import, rows) in voided {
                tally.voided += rows;
                complain(&format!(
                    "{rows} rows are events of {import}, which was undone: they do not count. \
                     `--replace {import}` imports them again"
                ))?;
            }
        }
        mover.abort();
        target.close().await?;
        say(&tally.summary())?;
        complaint(&tally, false)?;
        ensure!(tally.voided == 0, "{} rows do not count", tally.voided);
        Ok(())
    }
}

/// Tells what was rejected.
fn complaint(tally: &Tally, is_dry_run: bool) -> anyhow::Result<()> {
    let Some(complaint) = tally.complaint(is_dry_run) else { return Ok(()) };
    let (details, total) = complaint.rsplit_once('\n').unwrap_or_default();
    complain(details)?;
    bail!("{total}")
}

/// Judges the rows of a file, or the first ones, as the intake would, but for what it knows already.
fn dry_run(
    path: &Path,
    mapping: &Mapping,
    now: i64,
    tally: &mut Tally,
    rows_max: Option<usize>,
) -> anyhow::Result<()> {
    let format = Format::of(path)?;
    let reading = || format!("reading {}", path.display());
    // Persons have some pseudonym: none is shown.
    let pseudonyms = Pseudonyms::new([0; 32]);
    let window = Window::at(now).with_history();
    let sender = Sender {
        organization: None,
        grant: &Grant::ALL,
        pseudonyms: &pseudonyms,
        window,
        is_strict: false,
    };
    let mut left = rows_max.unwrap_or(usize::MAX);
    for chunk in source::chunks(format, path, mapping, mapping.columns())? {
        let chunk = chunk.with_context(reading)?.first(left);
        left -= chunk.places.len();
        let name = |number| RowName { file: path, unit: format.unit(), number };
        chunk.faults.iter().for_each(|f| tally.unreadable(name(f.line), &f.reason));
        let rows = chunk.rows(format, mapping).with_context(reading)?;
        let decoded = decode_file(mapping, &rows, "", &sender, now)?;
        let names: Vec<_> = chunk.places.iter().map(|place| name(place.line)).collect();
        tally.judged(&names, decoded.rejected);
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// A file that is read beside its sending.
struct ImportFile {
    format: Format,
    path: PathBuf,
    mapping: Arc<Mapping>,
    /// Where its rows are sorted by date first, if they are.
    scattered_in: Option<PathBuf>,
    /// Rows that were sent before.
    done: u64,
    /// Names the file in the ids of rows that have none.
    file: Arc<str>,
    keys: Option<KeyFile>,
}

impl ImportFile {
    /// Reads all, or until nobody receives: the import has ended by an error then.
    fn run(self, parts: &mpsc::Sender<anyhow::Result<ImportBatch>>) -> anyhow::Result<()> {
        let Self { format, path, mapping, scattered_in, done, file, mut keys } = self;
        let report = |faults: Vec<Fault>| {
            if !faults.is_empty() {
                let _ = parts.blocking_send(Ok(ImportBatch::Faults(faults)));
            }
        };
        let chunks = || source::chunks(format, &path, &mapping, mapping.columns());
        let dates = |chunk: &Chunk| Ok(mapping.dates(&chunk.rows(format, &mapping)?));
        let buckets = scattered_in
            .map(|folder| Buckets::fill(folder, chunks()?, dates, report))
            .transpose()?;
        let chunks = match &buckets {
            Some(buckets) => buckets.chunks(),
            None => chunks()?,
        };
        for chunk in source::skip(chunks, done) {
            let part = chunk.and_then(|mut chunk| {
                report(std::mem::take(&mut chunk.faults));
                let rows = chunk.rows(format, &mapping)?;
                let own = |row| file_key(&mapping, &rows, &file, row);
                let keep =
                    |keys: &mut KeyFile| keys.append(&(0..rows.len()).map(own).collect::<Vec<_>>());
                let kept = keys.as_mut().map(keep).transpose()?;
                Ok(ImportBatch::Rows { rows, places: chunk.places, kept })
            });
            if parts.blocking_send(part).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// A mapping, and its text.
fn mapping(name: &str) -> anyhow::Result<(Mapping, String)> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return Ok((Mapping::parse(text)?, (*text).to_owned()));
    }
    let text = fs::read_to_string(name).with_context(|| {
        let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        format!("`{name}` is neither a built-in mapping ({}) nor a file", known.join(", "))
    })?;
    Ok((Mapping::parse(&text)?, text))
}
