//! History from files: mapped to events, and sent through the intake like any other.

mod buckets;
mod csv_file;
mod lines;
mod parquet_file;
mod progress_note;
mod source;
mod tally;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt, stream};
use ingest::{
    Grant,
    decode::{Sender, decode_file, file_event},
    identity::Pseudonyms,
    mapping::{BUILT_IN, FileRows, Mapping},
    time::Window,
};
use pipeline::{FileDelivery, Lakehouse, Outcome};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    buckets::Buckets,
    progress_note::ProgressNote,
    source::{Chunk, Fault, Format, Place, Survey},
    tally::{RowName, Tally},
};
use super::{Folder, complain, demo::progress, running::ServerFile, say};
use crate::{clock::Clock, config::Config, lake};

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A built-in mapping (azure-llm), or a mapping's TOML file
    #[arg(long)]
    map: String,
    /// Files named .csv, .ndjson, .jsonl or .parquet; the first three also with .gz or .zst
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Read everything and say what would come of it; nothing is sent or written
    #[arg(long)]
    dry_run: bool,
}

/// Where events go: to the server that runs on the folder, or straight into its log.
#[derive(Clone)]
enum Target {
    Server { client: reqwest::Client, file: Arc<ServerFile> },
    Folder(Lakehouse),
}

/// What is read of a file at once.
enum Part {
    Rows(FileRows, Vec<Place>),
    /// Rows that cannot be read.
    Faults(Vec<Fault>),
}

/// A server that is busy is asked so often.
const ATTEMPTS: u32 = 60;
/// Chunks of rows that are read ahead, and that are on their way to the log at once.
const UNDER_WAY: usize = 4;
/// What a server takes in one request: below 10,000 events and 10 MiB.
const REQUEST_EVENTS: usize = 5_000;
const REQUEST_BYTES: usize = 8 << 20;

impl Import {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let (mapping, text) = mapping(&self.map)?;
        let mapping = Arc::new(mapping);
        for file in &self.files {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
            Format::of(file)?.check(file, &mapping)?;
        }
        if self.dry_run {
            let mut tally = Tally::default();
            for file in &self.files {
                dry_run(file, &mapping, Clock::system().now().timestamp_micros(), &mut tally)?;
            }
            say(&tally.dry_run_summary())?;
            return complaint(&tally, true);
        }
        let mut config = folder.load(&[])?;
        let target = match ServerFile::find(&config.dir).await {
            Some(file) => Target::Server { client: reqwest::Client::new(), file: Arc::new(file) },
            None => Target::Folder(lake::open_for_bulk(&mut config).await?),
        };
        let mover = target.mover();
        let mut tally = Tally::default();
        for file in &self.files {
            target.import(&config, &mapping, &text, file, &mut tally).await?;
        }
        mover.abort();
        if let Target::Folder(lakehouse) = &target {
            lakehouse.close().await?;
        }
        say(&tally.summary())?;
        complaint(&tally, false)
    }
}

/// Tells what was rejected.
fn complaint(tally: &Tally, is_dry_run: bool) -> anyhow::Result<()> {
    let Some(complaint) = tally.complaint(is_dry_run) else { return Ok(()) };
    let (details, total) = complaint.rsplit_once('\n').unwrap_or_default();
    complain(details)?;
    bail!("{total}")
}

/// Judges the rows of a file as the intake would, but for what it knows already.
fn dry_run(path: &Path, mapping: &Mapping, now: i64, tally: &mut Tally) -> anyhow::Result<()> {
    let format = Format::of(path)?;
    let reading = || format!("reading {}", path.display());
    // Persons have some pseudonym: none is shown.
    let pseudonyms = Pseudonyms::new([0; 32]);
    let window = Window::at(now).with_history();
    let sender = Sender { organization: None, grant: &Grant::ALL, pseudonyms: &pseudonyms, window };
    for chunk in source::chunks(format, path, mapping, mapping.columns())? {
        let chunk = chunk.with_context(reading)?;
        let name = |number| RowName { file: path, unit: format.unit(), number };
        chunk.faults.iter().for_each(|f| tally.unreadable(name(f.line), &f.reason));
        let rows = chunk.rows(format, mapping).with_context(reading)?;
        let decoded = decode_file(mapping, &rows, "", &sender, now)?;
        let names: Vec<_> = chunk.places.iter().map(|place| name(place.line)).collect();
        tally.judged(&names, decoded.rejected);
    }
    Ok(())
}

/// A file that is read beside its sending.
struct Reading {
    format: Format,
    path: PathBuf,
    mapping: Arc<Mapping>,
    /// Where its rows are sorted by date first, if they are.
    scattered_in: Option<PathBuf>,
    /// Rows that were sent before.
    done: u64,
}

impl Reading {
    /// Reads all, or until nobody receives: the import has ended by an error then.
    fn run(self, parts: &mpsc::Sender<anyhow::Result<Part>>) -> anyhow::Result<()> {
        let Self { format, path, mapping, scattered_in, done } = self;
        let report = |faults: Vec<Fault>| {
            if !faults.is_empty() {
                let _ = parts.blocking_send(Ok(Part::Faults(faults)));
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
                Ok(Part::Rows(chunk.rows(format, &mapping)?, chunk.places))
            });
            if parts.blocking_send(part).is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Target {
    /// Moves rows to the tables while others come in; a server does that by itself.
    fn mover(&self) -> JoinHandle<()> {
        let target = self.clone();
        tokio::spawn(async move {
            if let Self::Folder(lakehouse) = target {
                lakehouse.run().await;
            }
        })
    }

    async fn import(
        &self,
        config: &Config,
        mapping: &Arc<Mapping>,
        text: &str,
        path: &Path,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let format = Format::of(path)?;
        let survey = {
            let (mapping, path) = (Arc::clone(mapping), path.to_owned());
            let flush_rows = config.ingest.flush_rows;
            let survey = move || Survey::of(format, &path, &mapping, flush_rows);
            tokio::task::spawn_blocking(survey).await??
        };
        let mut note = ProgressNote::open(&config.dir, path, &survey.hash, text)?;
        let done = note.rows();
        tally.earlier += done;
        let bar = progress(survey.rows, "importing rows");
        bar.inc(done);
        let (sender, chunks) = mpsc::channel(UNDER_WAY);
        let reading = Reading {
            format,
            path: path.to_owned(),
            mapping: Arc::clone(mapping),
            scattered_in: survey.is_scattered.then(|| note.folder()),
            done,
        };
        let reading = tokio::task::spawn_blocking(move || reading.run(&sender));
        let hash: Arc<str> = survey.hash.into();
        let sent = stream::unfold(chunks, |mut chunks| async {
            chunks.recv().await.map(|chunk| (chunk, chunks))
        })
        .map(|part| {
            let (mapping, hash) = (Arc::clone(mapping), Arc::clone(&hash));
            let name = |number| RowName { file: path, unit: format.unit(), number };
            async move {
                let mut tally = Tally::default();
                match part.with_context(|| format!("reading {}", path.display()))? {
                    Part::Rows(rows, places) => {
                        let delivery = FileDelivery { mapping, file: hash, rows };
                        let names: Vec<_> = places.iter().map(|place| name(place.line)).collect();
                        self.send(delivery, &names, &mut tally).await?;
                        anyhow::Ok((places.len() as u64, tally))
                    }
                    Part::Faults(faults) => {
                        faults.iter().for_each(|f| tally.unreadable(name(f.line), &f.reason));
                        Ok((0, tally))
                    }
                }
            }
        })
        .buffered(UNDER_WAY);
        let mut sent = std::pin::pin!(sent);
        while let Some(part) = sent.next().await {
            let (rows, settled) = part?;
            tally.add(settled);
            if rows > 0 {
                note.add(rows)?;
                bar.inc(rows);
            }
        }
        reading.await??;
        note.remove()?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Sends rows, which have these names.
    async fn send(
        &self,
        delivery: FileDelivery,
        names: &[RowName<'_>],
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        match self {
            Self::Folder(lakehouse) => {
                lakehouse.room().await;
                let place = lakehouse.admit().map_err(|refused| anyhow!("{refused}"))?;
                match lakehouse.take_in_file(place, delivery).await? {
                    Outcome::Settled(verdicts) => {
                        let verdicts = names.iter().zip(&verdicts);
                        verdicts.for_each(|(name, verdict)| tally.verdict(*name, verdict));
                    }
                    Outcome::Malformed(malformed) => bail!("{malformed}"),
                    Outcome::Refused(refused) => bail!("{refused}; run the import again"),
                }
            }
            Self::Server { client, file } => {
                let FileDelivery { mapping, file: hash, rows } = delivery;
                let (mut body, mut first) = (Vec::new(), 0);
                for row in 0..rows.len() {
                    body.extend_from_slice(file_event(&mapping, &rows, &hash, row).as_bytes());
                    body.push(b'\n');
                    let events = row + 1 - first;
                    let is_full = events == REQUEST_EVENTS || body.len() > REQUEST_BYTES;
                    if is_full || row + 1 == rows.len() {
                        let results = post(client, file, std::mem::take(&mut body)).await?;
                        if results.len() != events {
                            bail!("the server judged {} of {events} events", results.len());
                        }
                        let results = names[first..=row].iter().zip(&results);
                        results.for_each(|(name, result)| tally.result(*name, result));
                        first = row + 1;
                    }
                }
            }
        }
        Ok(())
    }
}

async fn post(
    client: &reqwest::Client,
    file: &ServerFile,
    body: Vec<u8>,
) -> anyhow::Result<Vec<Value>> {
    let body = Bytes::from(body);
    let mut attempts = 0;
    let answer = loop {
        let answer = client
            .post(format!("{}/v1/events", file.url))
            .bearer_auth(&file.token)
            .header("Content-Type", "application/x-ndjson")
            .body(body.clone())
            .send()
            .await
            .context("sending events to the server")?;
        attempts += 1;
        match retry_after(&answer) {
            Some(wait) if attempts < ATTEMPTS => tokio::time::sleep(wait).await,
            _ => break answer,
        }
    };
    let status = answer.status();
    let mut answer: Value = answer.json().await.context("reading the server's answer")?;
    match answer["results"].take() {
        Value::Array(results) => Ok(results),
        _ => bail!("the server answered {status}: {}", answer["detail"]),
    }
}

/// How long to wait when the server is busy.
fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    if !matches!(answer.status().as_u16(), 429 | 503) {
        return None;
    }
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
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
