use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::ProgressBar;
use query::Engine;
use reqwest::{StatusCode, header};
use serde_json::Value;
use state::{audit::AuditOrigin, clock::Clock};

use super::{Folder, ReportFormat, running::ServerFile, say};
use crate::{
    erasure::{Erasing, ErasureContext, Persons, grace},
    features,
    integrity::ServerAccess,
    lake,
};

/// Erases persons from tables, log and dead letters, and keeps them out of what is sent, replayed or restored
/// later. What they used is still counted, as nobody's. It works beside a running server too, and ends when
/// nothing of them is left, at the earliest when the longest query is over.
///
/// Without any person it completes an erasure that was broken off.
#[derive(Debug, Args)]
pub(super) struct Erase {
    /// Whose users they are
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// What the sender calls a user (`user_id`); may be given more than once
    #[arg(long = "user", value_name = "USER", requires = "organization")]
    users: Vec<String>,
    /// A file with one user per line
    #[arg(long, value_name = "FILE", requires = "organization")]
    users_from: Option<PathBuf>,
    /// What the sender calls a visitor (`anonymous_id`); may be given more than once
    #[arg(long = "anonymous-id", value_name = "VISITOR")]
    anonymous_ids: Vec<String>,
    /// A user or visitor as queries show them; may be given more than once
    #[arg(long = "pseudonym", value_name = "PSEUDONYM")]
    pseudonyms: Vec<String>,
    /// Say how many rows would change, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for queries of other commands on the folder; not beside a server
    #[arg(long)]
    now: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

/// How often a terminal sees that work goes on.
const TICK: Duration = Duration::from_millis(100);

impl Erase {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        ensure!(config.dir.is_dir(), "there is no data folder {}", config.dir.display());
        let (format, now) = (self.format, self.now);
        let persons = self.persons()?;
        let waiting = ProgressBar::new_spinner();
        waiting.set_message("erasing; queries that are under way are waited for");
        waiting.enable_steady_tick(TICK);
        let done = match ServerFile::find(&config.dir).await {
            Some(_) if now => bail!("a server runs on the folder: its queries are waited for"),
            Some(server) => ask(&server.server(), &persons).await?,
            None => {
                let lakehouse = lake::open(&config).await?;
                let engine = Engine::here(&lake::handshake(&config, lake::spill_dir(&config)?)?)?;
                let (clock, program) = (Clock::system(), std::env::current_exe()?);
                let grace = if now { Duration::ZERO } else { grace(&config) };
                let site = ErasureContext {
                    config: &config,
                    clock: &clock,
                    lakehouse: &lakehouse,
                    engine: &engine,
                    program: &program,
                    grace,
                };
                let resolved = persons.resolve(lakehouse.pseudonyms())?;
                let done = if persons.dry_run {
                    site.rehearse(&resolved).await
                } else {
                    let store = features::open_store(&config).await?;
                    site.erase(&resolved, &store, &AuditOrigin::local("command-line")).await
                };
                lakehouse.close().await?;
                done?
            }
        };
        waiting.finish_and_clear();
        match format {
            ReportFormat::Json => say(&format!("{}\n", serde_json::to_string(&done)?))?,
            ReportFormat::Text => say(&text(&done))?,
        }
        Ok(())
    }

    fn persons(self) -> anyhow::Result<Persons> {
        let mut users = self.users;
        if let Some(path) = &self.users_from {
            let lines =
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            users.extend(lines.lines().filter(|line| !line.is_empty()).map(ToOwned::to_owned));
        }
        Ok(Persons {
            organization: self.organization,
            users,
            anonymous_ids: self.anonymous_ids,
            pseudonyms: self.pseudonyms,
            dry_run: self.dry_run,
        })
    }
}

/// How often the job of a server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Has the server of the folder do it.
async fn ask(server: &ServerAccess, persons: &Persons) -> anyhow::Result<Erasing> {
    let request = reqwest::Client::new().post(format!("{}/v1/erasures", server.url));
    let answer = request.bearer_auth(&server.token).json(persons).send().await;
    let answer = answer.context("asking the server")?;
    let status = answer.status();
    if status == StatusCode::ACCEPTED {
        let place = answer.headers().get(header::LOCATION).and_then(|place| place.to_str().ok());
        let url = format!("{}{}", server.url, place.context("the server says no place to look")?);
        return followed(server, &url).await;
    }
    if status.is_success() {
        return Ok(answer.json().await?);
    }
    let problem: Value = answer.json().await.unwrap_or_default();
    bail!("the server answers {status}: {}", problem["detail"].as_str().unwrap_or_default())
}

/// Waits for the end of the job of an erasure.
async fn followed(server: &ServerAccess, url: &str) -> anyhow::Result<Erasing> {
    let client = reqwest::Client::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let answer = client.get(url).bearer_auth(&server.token).send().await;
        let job: Value = answer.context("asking the server")?.json().await?;
        match job["state"].as_str() {
            Some("done") => return Ok(serde_json::from_value(job["result"].clone())?),
            Some("queued" | "running") => {}
            _ => bail!("the erasure failed: {}", job["error"].as_str().unwrap_or_default()),
        }
    }
}

fn text(done: &Erasing) -> String {
    let verb = if done.dry_run { "would change" } else { "changed" };
    let mut lines: Vec<_> = done
        .tables
        .iter()
        .map(|table| {
            format!("{}: {} rows in {} files {verb}", table.table, table.rows, table.files)
        })
        .collect();
    let persons = done.persons;
    let is_found = done.tables.iter().any(|table| table.rows > 0);
    lines.push(match (is_found, done.dry_run) {
        _ if persons == 0 => format!("{} files removed", done.files_removed),
        (false, true) => format!("no row of the {persons} persons named is there: are the organization and the names right?"),
        (false, false) => format!(
            "no row of the {persons} persons named was there: are the organization and the names right? What is sent of \
             them from now on is kept without them"
        ),
        (true, true) => format!("{persons} persons would be erased"),
        (true, false) => format!("{persons} persons erased, {} files removed", done.files_removed),
    });
    lines.join("\n") + "\n"
}
