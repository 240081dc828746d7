//! History from files: mapped to events, and sent through the intake like any other.

mod buckets;
mod progress_note;
mod source;

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
    Verdict,
    decode::file_event,
    mapping::{BUILT_IN, Mapping},
};
use pipeline::{FileDelivery, Lakehouse, Outcome};
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle};

use self::{
    buckets::Buckets,
    progress_note::ProgressNote,
    source::{Chunk, Format, Survey},
};
use super::{Folder, demo::progress, running::ServerFile, say};
use crate::{config::Config, lake};

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A built-in mapping (azure-llm), or a mapping's TOML file
    #[arg(long)]
    map: String,
    /// Files named .csv, .ndjson, .jsonl or .parquet
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Where events go: to the server that runs on the folder, or straight into its log.
#[derive(Clone)]
enum Target {
    Server { client: reqwest::Client, file: Arc<ServerFile> },
    Folder(Lakehouse),
}

#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    first_rejection: Option<String>,
    /// Rows that an earlier run of the same import had sent.
    earlier: u64,
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
        let mut config = folder.load(&[])?;
        for file in &self.files {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
            Format::of(file)?.check(file, &mapping)?;
        }
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
        let earlier = match tally.earlier {
            0 => String::new(),
            rows => format!("; an earlier run had sent {rows} rows"),
        };
        say(&format!(
            "{} accepted, {} duplicate, {} rejected{earlier}\n",
            tally.accepted, tally.duplicate, tally.rejected
        ))?;
        if let Some(first) = tally.first_rejection {
            bail!(
                "{} events were rejected and kept as dead letters; the first: {first}",
                tally.rejected
            );
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
        let reading = {
            let (mapping, path) = (Arc::clone(mapping), path.to_owned());
            let (is_scattered, folder) = (survey.is_scattered, note.folder());
            tokio::task::spawn_blocking(move || {
                let chunks = || source::chunks(format, &path, mapping.columns());
                let dates = |chunk: Chunk| Ok(mapping.dates(&chunk.rows(format, &mapping)?));
                let buckets =
                    is_scattered.then(|| Buckets::fill(folder, chunks()?, dates)).transpose()?;
                let chunks = match &buckets {
                    Some(buckets) => buckets.chunks(),
                    None => chunks()?,
                };
                for chunk in source::skip(chunks, done) {
                    let rows = chunk.and_then(|chunk| chunk.rows(format, &mapping));
                    if sender.blocking_send(rows).is_err() {
                        break;
                    }
                }
                anyhow::Ok(())
            })
        };
        let file: Arc<str> = survey.hash.into();
        let sent = stream::unfold(chunks, |mut chunks| async {
            chunks.recv().await.map(|chunk| (chunk, chunks))
        })
        .map(|rows| {
            let (mapping, file) = (Arc::clone(mapping), Arc::clone(&file));
            async move {
                let rows = rows.with_context(|| format!("reading {}", path.display()))?;
                let count = rows.len() as u64;
                anyhow::Ok((count, self.send(FileDelivery { mapping, file, rows }).await?))
            }
        })
        .buffered(UNDER_WAY);
        let mut sent = std::pin::pin!(sent);
        while let Some(chunk) = sent.next().await {
            let (rows, settled) = chunk?;
            tally.add(settled);
            note.add(rows)?;
            bar.inc(rows);
        }
        reading.await??;
        note.remove()?;
        bar.finish_and_clear();
        Ok(())
    }

    async fn send(&self, delivery: FileDelivery) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        match self {
            Self::Folder(lakehouse) => {
                lakehouse.room().await;
                let place = lakehouse.admit().map_err(|refused| anyhow!("{refused}"))?;
                match lakehouse.take_in_file(place, delivery).await? {
                    Outcome::Settled(verdicts) => verdicts.iter().for_each(|v| tally.verdict(v)),
                    Outcome::Malformed(malformed) => bail!("{malformed}"),
                    Outcome::Refused(refused) => bail!("{refused}; run the import again"),
                }
            }
            Self::Server { client, file } => {
                let FileDelivery { mapping, file: hash, rows } = delivery;
                let (mut body, mut events) = (Vec::new(), 0);
                for row in 0..rows.len() {
                    body.extend_from_slice(file_event(&mapping, &rows, &hash, row).as_bytes());
                    body.push(b'\n');
                    events += 1;
                    if events == REQUEST_EVENTS || body.len() > REQUEST_BYTES {
                        post(client, file, std::mem::take(&mut body), &mut tally).await?;
                        events = 0;
                    }
                }
                if events > 0 {
                    post(client, file, body, &mut tally).await?;
                }
            }
        }
        Ok(tally)
    }
}

async fn post(
    client: &reqwest::Client,
    file: &ServerFile,
    body: Vec<u8>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
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
    let answer: Value = answer.json().await.context("reading the server's answer")?;
    let Some(results) = answer["results"].as_array() else {
        bail!("the server answered {status}: {}", answer["detail"]);
    };
    results.iter().for_each(|result| tally.result(result));
    Ok(())
}

/// How long to wait when the server is busy.
fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    if !matches!(answer.status().as_u16(), 429 | 503) {
        return None;
    }
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        if self.first_rejection.is_none() {
            self.first_rejection = other.first_rejection;
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Rejected(why) => {
                self.reject(format!("{} ({}): {}", why.code.as_str(), why.pointer, why.reason))
            }
        }
    }

    fn result(&mut self, result: &Value) {
        match result["status"].as_str() {
            Some("accepted") => self.accepted += 1,
            Some("duplicate") => self.duplicate += 1,
            _ => self.reject(format!(
                "{} ({}): {}",
                result["code"], result["pointer"], result["reason"]
            )),
        }
    }

    fn reject(&mut self, why: String) {
        self.rejected += 1;
        self.first_rejection.get_or_insert(why);
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
