//! History from a file: mapped to events, and sent through the intake like any other.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use arrow::json::{LineDelimitedWriter, WriterBuilder, writer::LineDelimited};
use bytes::Bytes;
use clap::Args;
use ingest::{
    Verdict,
    mapping::{BUILT_IN, Mapping},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::{Delivery, Lakehouse, Outcome};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Folder, demo::progress, running::ServerFile, say};
use crate::lake;

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
enum Target {
    Server { client: reqwest::Client, file: ServerFile },
    Folder(Lakehouse),
}

#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    first_rejection: Option<String>,
}

/// A server that is busy is asked so often.
const ATTEMPTS: u32 = 60;
const CHUNK_EVENTS: usize = 5_000;
/// Below the 10 MiB that a server takes.
const CHUNK_BYTES: usize = 8 << 20;

type Rows = Box<dyn Iterator<Item = anyhow::Result<Map<String, Value>>> + Send>;

impl Import {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let mapping = mapping(&self.map)?;
        let config = folder.load(&[])?;
        for file in &self.files {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
        }
        let target = match ServerFile::find(&config.dir).await {
            Some(file) => Target::Server { client: reqwest::Client::new(), file },
            None => Target::Folder(lake::open(&config).await?),
        };
        let mut tally = Tally::default();
        for file in &self.files {
            target.import(&mapping, file, &mut tally).await?;
        }
        if let Target::Folder(lakehouse) = &target {
            lakehouse.close().await?;
        }
        say(&format!(
            "{} accepted, {} duplicate, {} rejected\n",
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
    async fn import(
        &self,
        mapping: &Mapping,
        file: &Path,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let hash = hash(file)?;
        let bar = progress(0, "importing rows");
        let (mut body, mut events) = (Vec::new(), 0);
        for (row, values) in (1u64..).zip(rows(file)?) {
            let values = values.with_context(|| format!("{}, row {row}", file.display()))?;
            serde_json::to_writer(&mut body, &mapping.event(&values, &format!("{hash}:{row}")))?;
            body.push(b'\n');
            events += 1;
            if events == CHUNK_EVENTS || body.len() > CHUNK_BYTES {
                bar.inc_length(events as u64);
                self.send(std::mem::take(&mut body), tally).await?;
                bar.inc(events as u64);
                events = 0;
            }
        }
        if events > 0 {
            self.send(body, tally).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn send(&self, body: Vec<u8>, tally: &mut Tally) -> anyhow::Result<()> {
        match self {
            Self::Folder(lakehouse) => {
                lakehouse.room().await;
                let place = lakehouse.admit().map_err(|refused| anyhow!("{refused}"))?;
                let outcome = lakehouse.take_in(place, Delivery::of_history(body.into())).await?;
                // Bulk rows need not wait for a timer.
                lakehouse.flush().await?;
                match outcome {
                    Outcome::Settled(verdicts) => verdicts.into_iter().for_each(|v| tally.add(v)),
                    Outcome::Malformed(malformed) => bail!("{malformed}"),
                    Outcome::Refused(refused) => bail!("{refused}; run the import again"),
                }
            }
            Self::Server { client, file } => {
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
                results.iter().for_each(|result| tally.add_result(result));
            }
        }
        Ok(())
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

impl Tally {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Rejected(why) => {
                self.reject(format!("{} ({}): {}", why.code.as_str(), why.pointer, why.reason))
            }
        }
    }

    fn add_result(&mut self, result: &Value) {
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

fn mapping(name: &str) -> anyhow::Result<Mapping> {
    if let Some(mapping) = Mapping::built_in(name) {
        return Ok(mapping?);
    }
    let text = fs::read_to_string(name).with_context(|| {
        let known: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        format!("`{name}` is neither a built-in mapping ({}) nor a file", known.join(", "))
    })?;
    Ok(Mapping::parse(&text)?)
}

/// Names a file by its content: the identity of rows that have no id of their own.
fn hash(path: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).with_context(reading)?;
        if read == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..read]);
    }
}

fn rows(path: &Path) -> anyhow::Result<Rows> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv_rows(file),
        Some("ndjson" | "jsonl") => Ok(Box::new(
            BufReader::new(file)
                .lines()
                .filter(|line| !line.as_ref().is_ok_and(|line| line.trim().is_empty()))
                .map(|line| Ok(serde_json::from_str(&line?)?)),
        )),
        Some("parquet") => parquet_rows(file),
        _ => bail!("{} is not named .csv, .ndjson, .jsonl or .parquet", path.display()),
    }
}

fn csv_rows(file: File) -> anyhow::Result<Rows> {
    // A short row is a bad event among good ones, not the end of the import.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let header: Vec<_> = reader.headers()?.iter().map(str::to_owned).collect();
    Ok(Box::new(reader.into_records().map(move |record| {
        let record = record?;
        let fields = record.iter().map(Value::from);
        Ok(header.iter().cloned().zip(fields).collect())
    })))
}

fn parquet_rows(file: File) -> anyhow::Result<Rows> {
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(1024).build()?;
    Ok(Box::new(batches.flat_map(|batch| {
        let rows = batch.map_err(anyhow::Error::from).and_then(|batch| {
            let mut writer: LineDelimitedWriter<_> =
                WriterBuilder::new().build::<_, LineDelimited>(Vec::new());
            writer.write(&batch)?;
            writer.finish()?;
            let lines = String::from_utf8(writer.into_inner())?;
            lines
                .lines()
                .map(|line| Ok(serde_json::from_str(line)?))
                .collect::<anyhow::Result<Vec<_>>>()
        });
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        }
    })))
}
