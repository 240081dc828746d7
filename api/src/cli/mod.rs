//! The command line. Every command names its data folder with `--dir` or `--config`.
//!
//! Exit codes: 0 done, 1 failed, 2 not started (wrong arguments, a damaged configuration, a folder or a port
//! that cannot be used).

mod analyze;
mod audit;
mod backup;
mod billing;
mod check;
mod churn;
mod demo;
mod erase;
mod generate;
mod import;
mod key;
mod maintain;
mod metrics;
mod organization;
mod panel;
mod prompt;
mod query;
mod read;
mod report;
mod running;
mod sdk;
mod serve;
mod user;

use std::{
    borrow::Cow,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::PathBuf,
    process::ExitCode,
};

use ::query::metric::CatalogError;
use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ingest::control;
use serde::Serialize;
use tokio::{net::unix::pipe, runtime::Builder};
use toml::Value;
use tracing_subscriber::filter::{EnvFilter, ParseError};

use crate::{
    allocator,
    config::{Config, ConfigError},
    integrity,
    lake::{self, OpenError},
    private::{self, PrivacyError},
    server::StartError,
    upkeep,
};

/// Analytics of an AI API's usage and billing events: ingest, SQL, metrics, forecasts, dashboards.
#[derive(Debug, Parser)]
#[command(name = "aihub", version, about)]
struct Cli {
    #[command(flatten)]
    folder: Folder,
    #[command(subcommand)]
    command: Command,
}

/// Where the data is.
#[derive(Debug, Clone, Args)]
struct Folder {
    /// The data folder [default: .aihub, or the folder of --config if it is one already]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// A configuration file [default: DIR/aihub.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// When a question is about.
#[derive(Debug, Clone, Args, Serialize)]
struct WindowArguments {
    /// RFC 3339, or a date [default: 30 days before --to]
    #[arg(long)]
    from: Option<String>,
    /// Not included itself [default: the midnight that began today]
    #[arg(long)]
    to: Option<String>,
    /// A range instead: today, last_7_days, month_to_date, previous_quarter and the like
    #[arg(long, conflicts_with_all = ["from", "to"])]
    range: Option<String>,
    /// End with today, as far as it is
    #[arg(long)]
    today: bool,
    /// The time zone of dates and periods [default: the setting metrics.zone]
    #[arg(long)]
    tz: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make up an AI-API business, load it through the real intake, and serve it
    Demo(demo::Demo),
    /// Run the server
    Serve(serve::Serve),
    /// Load a file of history: CSV, NDJSON or Parquet
    Import(import::Import),
    /// Run SQL on a data folder or on a server, once or interactively
    Query(query::Query),
    /// Read a metric, or list the metrics
    Metrics(Box<metrics::Metrics>),
    /// Funnels, retention, lifecycle, sessions and paths
    #[command(subcommand)]
    Analyze(Box<analyze::Analyze>),
    /// Forecast a metric, or any series of a file
    Forecast(read::Forecast),
    /// Say how unusual each value of a file is
    Anomalies(panel::Anomalies),
    Churn(churn::Churn),
    /// Render a dashboard as one self-contained HTML file
    #[command(subcommand)]
    Report(report::Report),
    /// Keep the tables in order: fewer files, checkpoints, retention, vacuum
    Maintain(maintain::Maintain),
    /// Prove that log, tables, index and counters agree
    Check(check::Check),
    /// Copy a data folder at one cut
    Backup(backup::Backup),
    /// Make a data folder from a backup
    Restore(backup::Restore),
    /// Erase persons from tables, log and dead letters, for good
    Erase(erase::Erase),
    /// Prices, bills, and billing runs
    #[command(subcommand)]
    Billing(billing::Billing),
    /// Manage API keys
    #[command(subcommand)]
    Key(key::Key),
    /// Manage organizations
    #[command(subcommand)]
    Organization(organization::Organization),
    /// Manage users
    #[command(subcommand)]
    User(user::User),
    /// Read and verify the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Write made-up events to files, with the true answers
    Generate(generate::Generate),
    Sdk(sdk::Sdk),
    /// Serve one query at a time on standard input (started by the server)
    #[command(hide = true)]
    QueryWorker,
    /// Keep the tables in order once, as told on standard input (started by the server)
    #[command(hide = true)]
    UpkeepWorker,
    /// Check once, as told on standard input (started by the server)
    #[command(hide = true)]
    CheckWorker,
}

impl Command {
    /// How the allocator is set for commands that read or write events by the million.
    fn allocator(&self) -> Option<allocator::Settings> {
        match self {
            Self::Import(_) => Some(allocator::FAST),
            Self::Serve(_)
            | Self::Demo(_)
            | Self::Maintain(_)
            | Self::Check(_)
            | Self::Erase(_) => Some(allocator::LEAN),
            Self::Query(_) => Some(allocator::QUERIES),
            _ => None,
        }
    }

    /// Whether it does what can wait, beside a server: on one core, and in little memory.
    fn is_upkeep(&self) -> bool {
        matches!(self, Self::Maintain(_) | Self::UpkeepWorker | Self::CheckWorker)
    }
}

/// Files are read and written on these, and rows encoded. What one of them frees that another allocated stays with
/// that one for a while, so that many would hold much: a server that had read a few dozen commits at once kept 48.
const BLOCKING: usize = 8;
const UPKEEP_BLOCKING: usize = 2;

/// How a command says what it did, or that its server is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For a person
    Text,
    /// One line of JSON, for a script
    Json,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Its files are the user's own.
    if !matches!(cli.command, Command::Generate(_) | Command::Sdk(_)) {
        private::begin();
    }
    if matches!(cli.command, Command::QueryWorker) {
        return query_worker();
    }
    if let Some(settings) = cli.command.allocator() {
        allocator::begin(settings);
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "aihub: {}", control::shown(&line(&error)));
            let start = error.downcast_ref::<StartError>().is_some()
                || error.downcast_ref::<ConfigError>().is_some()
                || error.downcast_ref::<OpenError>().is_some()
                || error.downcast_ref::<PrivacyError>().is_some()
                || error.downcast_ref::<CatalogError>().is_some();
            ExitCode::from(if start { 2 } else { 1 })
        }
    }
}

/// One line, whatever lies behind it. Some libraries tell their causes themselves: those are not told twice.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string().replace('\n', " ");
        if line.is_empty() {
            line = text;
        } else if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let folder = cli.folder;
    let mut threads = match cli.command.is_upkeep() {
        true => Builder::new_current_thread(),
        false => Builder::new_multi_thread(),
    };
    threads.max_blocking_threads(if cli.command.is_upkeep() { UPKEEP_BLOCKING } else { BLOCKING });
    let runtime =
        threads.thread_name("lake").enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::Demo(demo) => Box::pin(demo.run(&folder)).await,
            Command::Serve(serve) => Box::pin(serve.run(&folder)).await,
            Command::Import(import) => import.run(&folder).await,
            Command::Query(query) => query.run(&folder).await,
            Command::Metrics(metrics) => metrics.run(&folder).await,
            Command::Analyze(analyze) => analyze.run(&folder).await,
            Command::Forecast(forecast) => forecast.run(&folder).await,
            Command::Anomalies(anomalies) => anomalies.run(),
            Command::Churn(churn) => churn.run(),
            Command::Report(report) => Box::pin(report.run(&folder)).await,
            Command::Billing(billing) => billing.run(&folder).await,
            Command::Key(key) => key.run(&folder).await,
            Command::Organization(organization) => organization.run(&folder).await,
            Command::Sdk(sdk) => Box::pin(sdk.run()).await,
            Command::User(user) => user.run(&folder).await,
            Command::Audit(audit) => audit.run(&folder).await,
            Command::Maintain(maintain) => maintain.run(&folder).await,
            Command::Generate(generate) => generate.run(),
            Command::UpkeepWorker => upkeep_worker().await,
            Command::Erase(erase) => erase.run(&folder).await,
            Command::Backup(backup) => backup.run(&folder).await,
            Command::Restore(restore) => restore.run(&folder).await,
            Command::Check(check) => check.run(&folder).await,
            Command::CheckWorker => integrity::worker().await,
            Command::QueryWorker => Ok(()),
        }
    })
}

/// The other side of the pipe that the server holds.
fn query_worker() -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .try_init();
    let runtime = Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return ExitCode::FAILURE };
    let served = runtime.block_on(async {
        let (input, output) = pipes().map_err(|error| error.to_string())?;
        ::query::worker::serve(input, output).await
    });
    // At once: a query that nobody waits for may be in the middle of a long step.
    std::process::exit(i32::from(served.is_err()))
}

/// The other side of the pipe of a server that keeps its tables in order.
async fn upkeep_worker() -> anyhow::Result<()> {
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(filter("warn")?)
        .try_init();
    let (input, output) = pipes()?;
    Ok(upkeep::work(input, output).await?)
}

/// Standard input and output as the pipes that the server made them.
fn pipes() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((
        pipe::Receiver::from_file(File::from(input))?,
        pipe::Sender::from_file(File::from(output))?,
    ))
}

impl Folder {
    /// The settings, with logging set up by them. A folder of ours that others can read is closed, or refused.
    fn load(&self, flags: &[(&str, &str, Value)]) -> anyhow::Result<Config> {
        let config = self.settings(flags)?;
        lake::close(&config)?;
        Ok(config)
    }

    fn settings(&self, flags: &[(&str, &str, Value)]) -> Result<Config, ConfigError> {
        let config =
            Config::load(self.dir.as_deref(), self.config.as_deref(), std::env::vars(), flags)?;
        let filter = filter(&config.log.filter)
            .map_err(|error| ConfigError::Value(format!("log.filter: {error}")))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
        // The first command of a process decides; tests load settings several times.
        let _ = match config.log.format.as_str() {
            "json" => log.json().try_init(),
            "text" => log.with_ansi(io::stderr().is_terminal()).try_init(),
            other => {
                return Err(ConfigError::Value(format!(
                    "log.format: `{other}` is not text or json"
                )));
            }
        };
        Ok(config)
    }
}

/// Which messages are shown. The Delta library is loud about each race for a version, which two writers of a table
/// have all the time; what comes of it, we say ourselves. The HTTP library calls it an error of ours when a stranger sends
/// what is no request.
fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    Ok(EnvFilter::try_new(text)?
        .add_directive("deltalake_core::kernel::transaction=off".parse()?)
        .add_directive("actix_http::h1::dispatcher=off".parse()?))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Writes to standard output, which may be closed. A terminal gets no controls but tabs and line ends.
fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { control::shown_lines(text) } else { Cow::Borrowed(text) };
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes lines that tell what is wrong to standard error.
fn complain(lines: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{}", control::shown_lines(lines))
}

/// Writes a row of a list for people. No cell goes beyond its place.
fn say_row(cells: &[&str]) -> io::Result<()> {
    let cells: Vec<_> = cells.iter().map(|cell| control::shown(cell)).collect();
    say(&format!("{}\n", cells.join("\t")))
}
