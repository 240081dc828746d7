//! Where events go: to the server that runs on the folder, or straight into its log.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use analytics::imports::{self, ImportRecord, ImportState, UndoContext, Undone};
use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, stream};
use ingest::{Verdict, decode::file_event, log::Lsn, mapping::Mapping};
use pipeline::{FileDelivery, Lakehouse, Outcome, ReplacedImport};
use query::Engine;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use state::{audit::AuditOrigin, clock::Clock};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    ImportBatch, ImportFile,
    progress::{ImportStart, Progress},
    source::{Format, Survey},
    tally::{RowName, Tally},
};
use crate::{
    cli::{demo::progress, running::ServerFile},
    config::Config,
    features, lake,
};

#[derive(Clone)]
pub(super) enum Target {
    Server { client: Client, file: Arc<ServerFile> },
    Folder(Lakehouse),
}

/// What all files of a command have in common.
#[derive(Debug)]
pub(super) struct ImportJob {
    pub(super) config: Config,
    pub(super) mapping: Arc<Mapping>,
    /// The mapping's own.
    pub(super) text: String,
    /// The import in whose place this one comes.
    pub(super) replaces: Option<String>,
}

impl ImportJob {
    async fn survey(&self, format: Format, path: &Path) -> anyhow::Result<Survey> {
        let (mapping, path) = (Arc::clone(&self.mapping), path.to_owned());
        let flush_rows = self.config.ingest.flush_rows;
        let survey = move || Survey::of(format, &path, &mapping, flush_rows);
        tokio::task::spawn_blocking(survey).await?
    }
}

/// A server that is busy is asked so often.
const ATTEMPTS: u32 = 60;
/// Chunks of rows that are read ahead, and that are on their way to the log at once.
const UNDER_WAY: usize = 4;
/// What a server takes in one request: below 10,000 events and 10 MiB.
const REQUEST_EVENTS: usize = 5_000;
const REQUEST_BYTES: usize = 8 << 20;

impl Target {
    /// The server that runs on the folder, or the folder itself.
    pub(super) async fn find(config: &mut Config) -> anyhow::Result<Self> {
        let target = match ServerFile::find(&config.dir).await {
            Some(file) => Self::Server { client: Client::new(), file: Arc::new(file) },
            None => Self::Folder(lake::open_for_bulk(config).await?),
        };
        ImportRecord::record_interrupted(&config.dir, target.newest().await?)?;
        Ok(target)
    }

    /// Moves rows to the tables while others come in; a server does that by itself.
    pub(super) fn mover(&self) -> JoinHandle<()> {
        let target = self.clone();
        tokio::spawn(async move {
            if let Self::Folder(lakehouse) = target {
                lakehouse.run().await;
            }
        })
    }

    pub(super) async fn close(&self) -> anyhow::Result<()> {
        if let Self::Folder(lakehouse) = self {
            lakehouse.close().await?;
        }
        Ok(())
    }

    /// Imports a file, and gives the id of the import.
    pub(super) async fn import(
        &self,
        job: &ImportJob,
        path: &Path,
        tally: &mut Tally,
    ) -> anyhow::Result<(String, BTreeMap<String, u64>)> {
        let format = Format::of(path)?;
        let dir = &job.config.dir;
        let survey = job.survey(format, path).await?;
        let replaces = job.replaces.as_deref();
        let begun = ImportStart {
            file: path,
            sha256: &survey.hash,
            rows: survey.rows,
            mapping: &job.text,
            source: job.mapping.source(),
            replaces,
            since: self.newest().await?,
        };
        if let Some(id) = replaces {
            self.make_room(&job.config, id, &begun.id()).await?;
        }
        let (mut note, keys) = Progress::open(dir, &begun)?;
        let replaced = replaces.map(|id| take_place(dir, id, &begun.id())).transpose()?;
        let done = note.rows();
        tally.earlier += done;
        let bar = progress(survey.rows, "importing rows");
        bar.inc(done);
        let hash: Arc<str> = survey.hash.as_str().into();
        let (sender, parts) = mpsc::channel(UNDER_WAY);
        let reading = ImportFile {
            format,
            path: path.to_owned(),
            mapping: Arc::clone(&job.mapping),
            scattered_in: survey.is_scattered.then(|| note.folder()),
            done,
            file: Arc::clone(&hash),
            keys,
        };
        let reading = tokio::task::spawn_blocking(move || reading.run(&sender));
        let sent = stream::unfold(parts, |mut parts| async {
            parts.recv().await.map(|part| (part, parts))
        })
        .map(|part| {
            let (mapping, file) = (Arc::clone(&job.mapping), Arc::clone(&hash));
            let replaced = replaced.clone();
            let name = |number| RowName { file: path, unit: format.unit(), number };
            async move {
                let mut tally = Tally::default();
                match part.with_context(|| format!("reading {}", path.display()))? {
                    ImportBatch::Rows { rows, places, kept } => {
                        let delivery = FileDelivery { mapping, file, rows, replaced };
                        let names: Vec<_> = places.iter().map(|place| name(place.line)).collect();
                        let accepted = self.send(delivery, &names, &mut tally).await?;
                        anyhow::Ok((accepted, kept, tally))
                    }
                    ImportBatch::Faults(faults) => {
                        faults.iter().for_each(|f| tally.unreadable(name(f.line), &f.reason));
                        Ok((Vec::new(), None, tally))
                    }
                }
            }
        })
        .buffered(UNDER_WAY);
        let mut sent = std::pin::pin!(sent);
        while let Some(part) = sent.next().await {
            let (accepted, kept, settled) = part?;
            note.settled(&accepted, kept, &settled)?;
            bar.inc(accepted.len() as u64);
            tally.add(settled);
        }
        reading.await??;
        bar.finish_and_clear();
        note.finish()
    }

    /// The newest row there is.
    async fn newest(&self) -> anyhow::Result<Lsn> {
        Ok(match self {
            Self::Server { file, .. } => file.server().standing().await?.cut.lsn,
            Self::Folder(lakehouse) => lakehouse.cut().lsn,
        })
    }

    /// Takes an import back, so that the import `by` can come in its place.
    async fn make_room(&self, config: &Config, id: &str, by: &str) -> anyhow::Result<()> {
        let record = ImportRecord::get(&config.dir, id)?;
        match record.replaced_by {
            Some(other) if other == by => return Ok(()),
            Some(other) => bail!("{id} was replaced by {other}: replace that one"),
            None => {}
        }
        if record.state != ImportState::Undone {
            self.undo(config, id).await?;
        }
        Ok(())
    }

    /// Takes an import back, and gives the number of events that were voided.
    pub(super) async fn undo(&self, config: &Config, id: &str) -> anyhow::Result<u64> {
        match self {
            Self::Server { client, file } => {
                let url = format!("{}/v1/imports/{id}/undo", file.url);
                in_steps(async || {
                    let answer = asked(|| client.post(&url).bearer_auth(&file.token)).await?;
                    let status = answer.status();
                    if !status.is_success() {
                        let problem: Value = answer.json().await.unwrap_or_default();
                        bail!("the server answers {status}: {}", text(&problem, "detail"));
                    }
                    answer.json().await.context("reading the server's answer")
                })
                .await
            }
            Self::Folder(lakehouse) => {
                let undoing = UndoContext {
                    dir: &config.dir,
                    engine: &Engine::here(&lake::handshake(config, std::env::temp_dir())?)?,
                    lakehouse,
                    clock: &Clock::system(),
                    store: &features::open_store(config).await?,
                    origin: &AuditOrigin::local("command-line"),
                    deadline_ms: config.query.deadline_seconds * 1_000,
                };
                in_steps(async || {
                    lakehouse.room().await;
                    Ok(undoing.step(id).await?)
                })
                .await
            }
        }
    }

    /// Sends rows, which have these names. Says of each whether it was accepted.
    async fn send(
        &self,
        delivery: FileDelivery,
        names: &[RowName<'_>],
        tally: &mut Tally,
    ) -> anyhow::Result<Vec<bool>> {
        match self {
            Self::Folder(lakehouse) => {
                lakehouse.room().await;
                let place = lakehouse.admit().map_err(|refused| anyhow!("{refused}"))?;
                match lakehouse.take_in_file(place, delivery).await? {
                    Outcome::Settled(verdicts, _) => {
                        let settled = names.iter().zip(&verdicts);
                        settled.for_each(|(name, verdict)| tally.verdict(*name, verdict));
                        Ok(verdicts.iter().map(|verdict| *verdict == Verdict::Accepted).collect())
                    }
                    Outcome::Malformed(malformed) => bail!("{malformed}"),
                    Outcome::Refused(refused) => bail!("{refused}; run the import again"),
                }
            }
            Self::Server { client, file } => {
                let FileDelivery { mapping, file: hash, rows, replaced } = delivery;
                let replaces = replaced.map(|replaced| replaced.import);
                let (mut body, mut first) = (Vec::new(), 0);
                let mut accepted = Vec::with_capacity(rows.len());
                for row in 0..rows.len() {
                    body.extend_from_slice(file_event(&mapping, &rows, &hash, row).as_bytes());
                    body.push(b'\n');
                    let events = row + 1 - first;
                    let is_full = events == REQUEST_EVENTS || body.len() > REQUEST_BYTES;
                    if is_full || row + 1 == rows.len() {
                        let body = Bytes::from(std::mem::take(&mut body));
                        let results = post(client, file, body, replaces.as_deref()).await?;
                        let judged = results.len();
                        ensure!(judged == events, "the server judged {judged} of {events} events");
                        for (name, result) in names[first..=row].iter().zip(&results) {
                            tally.result(*name, result);
                            accepted.push(text(result, "status") == "accepted");
                        }
                        first = row + 1;
                    }
                }
                Ok(accepted)
            }
        }
    }
}

/// Says of an import that was undone that `by` comes in its place. The record of `by` is there already.
fn take_place(dir: &Path, id: &str, by: &str) -> anyhow::Result<ReplacedImport> {
    let mut record = ImportRecord::get(dir, id)?;
    if record.replaced_by.is_none() {
        record.replaced_by = Some(by.to_owned());
        record.write(dir)?;
    }
    Ok(imports::undone(dir, id)?)
}

/// Takes steps until nothing is left, and gives the number of events that they voided.
async fn in_steps(step: impl AsyncFn() -> anyhow::Result<Undone>) -> anyhow::Result<u64> {
    let bar = progress(0, "voiding events");
    let mut voided = 0;
    loop {
        let Undone { voided: more, left } = step().await?;
        voided += more;
        bar.set_length(voided + left);
        bar.set_position(voided);
        if left == 0 {
            bar.finish_and_clear();
            return Ok(voided);
        }
    }
}

async fn post(
    client: &Client,
    file: &ServerFile,
    body: Bytes,
    replaces: Option<&str>,
) -> anyhow::Result<Vec<Value>> {
    let request = || {
        client
            .post(format!("{}/v1/events", file.url))
            .query(&replaces.map(|id| ("replaces", id)).as_slice())
            .bearer_auth(&file.token)
            .header("Content-Type", "application/x-ndjson")
            .body(body.clone())
    };
    let answer = asked(request).await?;
    let status = answer.status();
    let mut answer: Value = answer.json().await.context("reading the server's answer")?;
    match answer["results"].take() {
        Value::Array(results) => Ok(results),
        _ => bail!("the server answered {status}: {}", answer["detail"]),
    }
}

/// Asks a server, again and again while it is busy.
async fn asked(request: impl Fn() -> RequestBuilder) -> anyhow::Result<Response> {
    let mut attempts = 0;
    loop {
        let answer = request().send().await.context("asking the server")?;
        attempts += 1;
        match retry_after(&answer) {
            Some(wait) if attempts < ATTEMPTS => tokio::time::sleep(wait).await,
            _ => return Ok(answer),
        }
    }
}

/// How long to wait when the server is busy.
fn retry_after(answer: &Response) -> Option<Duration> {
    if !matches!(answer.status().as_u16(), 429 | 503) {
        return None;
    }
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
