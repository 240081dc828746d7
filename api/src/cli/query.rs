//! `aihub query`: SQL on a folder or on a server, once or line by line.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
};

use ::query::{
    AnswerFormat, AnswerStream, Author, Encoder, Parameters, QueryError, QueryMode, QueryOptions,
    QuerySummary, Reason, Request, RowAccess, Zone, engine, format, functions, pool::WorkerMessage,
    schema,
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use ingest::control;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::{Folder, prompt, read::LocalLake, say};
use crate::config;

/// Runs SQL. Without a statement, in a terminal, it asks for one after the other; `\?` helps there.
///
/// A folder is read as it is, as an administrator, beside a running server or without one. With `--server` a
/// server is asked, with the key in AIHUB_API_KEY.
#[derive(Debug, Args)]
pub(super) struct Query {
    /// The SQL; `@FILE` reads a file, `-` standard input
    sql: Option<String>,
    /// [default: table in a terminal, else csv]
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Show how the statement would run, and what it would read
    #[arg(long)]
    explain: bool,
    /// A value for `$NAME` or `$1`: JSON, or else text; may be given more than once
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, Value)>,
    /// The zone in which times are shown and cut into days
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Rows at most [default: 1,000 in a table, else all]
    #[arg(long, value_name = "ROWS")]
    max_rows: Option<u64>,
    /// Ask a server instead of reading a folder [default URL: AIHUB_URL]
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    server: Option<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    Table,
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

/// What is asked: a statement, and what it is asked with.
#[derive(Debug, Clone)]
pub(super) struct QueryInput {
    pub(super) parameters: Map<String, Value>,
    pub(super) tz: Option<String>,
    pub(super) max_rows: Option<u64>,
}

/// Who answers.
pub(super) enum QueryTarget {
    Folder(Box<LocalLake>),
    Server(RemoteServer),
}

/// A server, and the key that is shown to it.
pub(super) struct RemoteServer {
    http: Client,
    url: String,
    key: String,
}

/// Rows of a table in a terminal, unless more are asked for.
const TABLE_ROWS: u64 = 1_000;
const PIECES: usize = 4;

impl Query {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let source = match &self.server {
            Some(url) => QueryTarget::Server(RemoteServer::new(url.clone())?),
            None => QueryTarget::Folder(Box::new(LocalLake::open(folder).await?)),
        };
        let asked = QueryInput {
            parameters: self.parameters.into_iter().collect(),
            tz: self.tz,
            max_rows: self.max_rows,
        };
        let Some(sql) = self.sql else {
            if !io::stdin().is_terminal() {
                bail!("say the SQL, `@FILE`, or `-` for standard input");
            }
            return prompt::run(source, asked, self.format.unwrap_or(OutputFormat::Table)).await;
        };
        let sql = match sql.strip_prefix('@') {
            _ if sql == "-" => {
                let mut sql = String::new();
                io::stdin().read_to_string(&mut sql)?;
                sql
            }
            Some(file) => fs::read_to_string(file).with_context(|| format!("reading {file}"))?,
            None => sql,
        };
        if self.explain {
            return Ok(say(&source.explain(&sql, &asked).await?)?);
        }
        let shape = match self.format {
            Some(shape) => shape,
            None if io::stdout().is_terminal() => OutputFormat::Table,
            None => OutputFormat::Csv,
        };
        source.print(&sql, &asked, shape).await.map(drop)
    }
}

/// `NAME=VALUE`, where a value that is not JSON is text.
fn parameter(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

impl RemoteServer {
    pub(super) fn new(url: Option<String>) -> anyhow::Result<Self> {
        let client = config::client();
        let url = url.or(client.url).context("say the URL after --server, or in AIHUB_URL")?;
        let key = client.api_key.context("put the API key into AIHUB_API_KEY")?;
        let key = key.trim().to_owned();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http: Client::new(), url, key })
    }

    /// Reads what lies at a path.
    pub(super) async fn read(
        &self,
        path: &[&str],
        asked: &[(String, String)],
    ) -> anyhow::Result<Value> {
        Ok(self.get(path, asked).await?.json().await?)
    }

    /// Sends a question to a path, and reads the answer.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(self.address(path)?).bearer_auth(&self.key).json(body);
        Ok(answered(request).await?.json().await?)
    }

    /// The same, as it is written.
    pub(super) async fn text(
        &self,
        path: &[&str],
        asked: &[(String, String)],
    ) -> anyhow::Result<String> {
        Ok(self.get(path, asked).await?.text().await?)
    }

    fn address(&self, path: &[&str]) -> anyhow::Result<url::Url> {
        let mut url = url::Url::parse(&self.url).context("the URL of the server")?;
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("the URL of the server"))?
            .extend(path);
        Ok(url)
    }

    async fn get(&self, path: &[&str], asked: &[(String, String)]) -> anyhow::Result<Response> {
        let mut url = self.address(path)?;
        for (name, value) in asked {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self.http.get(url).bearer_auth(&self.key);
        answered(request).await
    }
}

impl QueryTarget {
    /// Runs a statement and writes its answer to the standard output. Gives the number of rows.
    pub(super) async fn print(
        &self,
        sql: &str,
        asked: &QueryInput,
        shape: OutputFormat,
    ) -> anyhow::Result<u64> {
        let mut asked = asked.clone();
        let is_table = shape == OutputFormat::Table;
        if is_table {
            asked.max_rows.get_or_insert(TABLE_ROWS);
        }
        let pieces = self.rows(sql, &asked, is_table).await?;
        match shape {
            OutputFormat::Table | OutputFormat::Json => {
                let answer = engine::gather(pieces).await.map_err(told)?;
                let rows: usize = answer.batches.iter().map(|batch| batch.num_rows()).sum();
                if is_table {
                    say(&format!("{}\n", format::table(&answer)?))?;
                    if answer.ended.truncated {
                        say(&format!("the first {rows} rows; --max-rows shows more\n"))?;
                    }
                } else {
                    let mut out = io::stdout().lock();
                    if out.is_terminal() {
                        let mut json = Vec::new();
                        format::json_array(&answer.batches, false, &mut json)?;
                        let json = String::from_utf8_lossy(&json);
                        out.write_all(control::shown_lines(&json).as_bytes())?;
                    } else {
                        format::json_array(&answer.batches, false, &mut out)?;
                    }
                    writeln!(out)?;
                    out.flush()?;
                }
                Ok(rows as u64)
            }
            OutputFormat::Arrow | OutputFormat::Parquet if io::stdout().is_terminal() => {
                bail!("a terminal does not show this format: write it to a file with `> FILE`")
            }
            OutputFormat::Ndjson => stream(pieces, AnswerFormat::Ndjson).await,
            OutputFormat::Csv => stream(pieces, AnswerFormat::Csv).await,
            OutputFormat::Arrow => stream(pieces, AnswerFormat::Arrow).await,
            OutputFormat::Parquet => stream(pieces, AnswerFormat::Parquet).await,
        }
    }

    /// Runs a statement. `truncate`: what is beyond the most rows is cut off rather than refused.
    async fn rows(
        &self,
        sql: &str,
        asked: &QueryInput,
        truncate: bool,
    ) -> anyhow::Result<AnswerStream> {
        match self {
            Self::Folder(reading) => {
                let mut request = reading.request(sql, asked, QueryMode::Rows)?;
                request.truncate = truncate;
                reading.engine.stream(request).await.map_err(told)
            }
            Self::Server(RemoteServer { http, url, key }) => {
                let mut body = asked.body(sql);
                body.insert("format".into(), json!("arrow"));
                body.insert("max_rows".into(), json!(asked.max_rows));
                body.insert("truncate".into(), json!(truncate));
                let response =
                    answered(http.post(format!("{url}/v1/query")).bearer_auth(key).json(&body))
                        .await?;
                Ok(pieces(response).into())
            }
        }
    }

    /// How a statement would run.
    pub(super) async fn explain(&self, sql: &str, asked: &QueryInput) -> anyhow::Result<String> {
        let planned = match self {
            Self::Folder(reading) => {
                let request = reading.request(sql, asked, QueryMode::Explain)?;
                json!(reading.engine.planned(request).await.map_err(told)?)
            }
            Self::Server(RemoteServer { http, url, key }) => {
                let explain = http.post(format!("{url}/v1/query/explain")).bearer_auth(key);
                answered(explain.json(&asked.body(sql))).await?.json().await?
            }
        };
        let mut text = planned["plan"].as_str().unwrap_or_default().to_owned();
        if let Some(scan) = planned["scan"].as_object() {
            let number = |name: &str| scan.get(name).and_then(Value::as_u64).unwrap_or_default();
            let (files, bytes, rows) = (number("files"), number("bytes"), number("rows"));
            text.push_str(&format!("reads at most {files} files, {bytes} bytes, {rows} rows\n"));
        }
        Ok(text)
    }

    /// The tables with their columns, as `GET /v1/schema` gives them.
    pub(super) async fn schema(&self) -> anyhow::Result<Vec<Value>> {
        let schema = match self {
            Self::Folder(_) => json!({"tables": schema::tables(&RowAccess::Admin)?}),
            Self::Server(RemoteServer { http, url, key }) => {
                let asked = http.get(format!("{url}/v1/schema")).bearer_auth(key);
                answered(asked).await?.json().await?
            }
        };
        Ok(schema["tables"].as_array().cloned().unwrap_or_default())
    }

    /// The names of the functions that a statement may use.
    pub(super) fn functions() -> Vec<String> {
        functions().into_iter().map(|function| function.name).collect()
    }
}

impl QueryInput {
    fn body(&self, sql: &str) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("sql".into(), json!(sql));
        body.insert("params".into(), self.params());
        if let Some(tz) = &self.tz {
            body.insert("tz".into(), json!(tz));
        }
        body
    }

    fn params(&self) -> Value {
        if self.parameters.is_empty() { Value::Null } else { json!(self.parameters) }
    }
}

impl LocalLake {
    fn request(&self, sql: &str, asked: &QueryInput, task: QueryMode) -> anyhow::Result<Request> {
        let zone = asked.tz.as_deref().map(str::parse::<Zone>).transpose()?.unwrap_or_default();
        let parameters = Parameters::from_json(&asked.params())?;
        Ok(Request {
            author: Author::Stranger,
            sql: sql.to_owned(),
            reach: RowAccess::Admin,
            cut: self.cut.clone(),
            now: self.clock.now().timestamp_micros(),
            deadline_ms: self.deadline_ms(),
            max_rows: asked.max_rows,
            truncate: false,
            gives_way: false,
            terms: QueryOptions { parameters, zone, persons: true, task },
        })
    }
}

/// Writes an answer while it comes.
async fn stream(mut pieces: AnswerStream, form: AnswerFormat) -> anyhow::Result<u64> {
    let mut encoder = Encoder::new(form, String::new());
    let mut out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    while let Some(piece) = pieces.recv().await {
        match piece {
            WorkerMessage::Rows(rows) if is_terminal => {
                let mut lines = Vec::new();
                encoder.rows(rows, &mut lines)?;
                out.write_all(control::shown_lines(&String::from_utf8_lossy(&lines)).as_bytes())?;
            }
            WorkerMessage::Rows(rows) => encoder.rows(rows, &mut out)?,
            WorkerMessage::Progress(_) => {}
            WorkerMessage::Failed(error) => return Err(told(error)),
            WorkerMessage::Ended(ended) => {
                // A pipe has an end of its own.
                if form != AnswerFormat::Ndjson {
                    encoder.end(&ended, &mut out)?;
                }
                out.flush()?;
                return Ok(encoder.row_count());
            }
        }
    }
    bail!("the answer was cut off")
}

/// The answer of a server as a worker would give it.
fn pieces(response: Response) -> mpsc::Receiver<WorkerMessage> {
    let (pieces, receiver) = mpsc::channel(PIECES);
    let truncated = response.headers().get("x-truncated").is_some_and(|value| value == "true");
    tokio::spawn(async move {
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let piece = match chunk {
                Ok(bytes) => WorkerMessage::Rows(bytes),
                Err(_) => {
                    WorkerMessage::Failed(QueryError::new(Reason::Lost, "the answer was cut off"))
                }
            };
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
        let _ = pieces
            .send(WorkerMessage::Ended(QuerySummary { truncated, ..QuerySummary::default() }))
            .await;
    });
    receiver
}

/// Sends a request; a problem becomes the error.
async fn answered(request: RequestBuilder) -> anyhow::Result<Response> {
    let response = request.send().await.context("the server does not answer")?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let problem: Value = response.json().await.unwrap_or_default();
    let detail = problem["detail"].as_str().or(problem["title"].as_str());
    let detail = detail.map_or_else(|| status.to_string(), str::to_owned);
    let number = |name: &str| problem["position"][name].as_u64();
    let position = number("line").zip(number("column"));
    Err(sentence(&detail, position, problem["hint"].as_str()))
}

fn told(error: QueryError) -> anyhow::Error {
    sentence(&error.message, error.position, error.hint.as_deref())
}

/// What is wrong, where, and what may have been meant.
fn sentence(detail: &str, position: Option<(u64, u64)>, hint: Option<&str>) -> anyhow::Error {
    let place = position.map(|(line, column)| format!("line {line}, column {column}: "));
    let hint = hint.map(|hint| format!("; {hint}"));
    anyhow::anyhow!("{}{detail}{}", place.unwrap_or_default(), hint.unwrap_or_default())
}
