//! A made-up business, loaded through the real intake.

use std::{fs, io::IsTerminal, path::Path, sync::Arc, time::Duration};

use accounts::{
    Accounts, Email, NewUser,
    keys::{self, KeyLimits, KeyPurpose, NewKey},
    made_up_password,
    organizations::{self, Organization},
};
use analytics::reporting;
use anyhow::{Context, bail};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::Args;
use datasets::{Business, GENERATION, Profile};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ingest::Verdict;
use pipeline::{Delivery, Lakehouse, Outcome};
use rest::principal::{Authenticator, Role, Scopes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::AuditOrigin,
    clock::Clock,
    folder::{self, write_private},
};
use tokio::{sync::mpsc, task::JoinSet};
use toml::Value;

use super::{
    Folder, ReportFormat,
    running::{ServerFile, StopSignal, until_stopped},
    say,
};
use crate::{config::Config, relay, server::System};

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Remove an earlier demo's data first
    #[arg(long)]
    fresh: bool,
    /// How many days of history, up to yesterday [default: 120]
    #[arg(long)]
    days: Option<u32>,
    /// How many organizations [default: 300]
    #[arg(long)]
    organizations: Option<u32>,
    /// Another seed is another business [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// The port; 0 takes any free one [default: 7700]
    #[arg(long)]
    port: Option<u16>,
    /// How to say that the server is ready
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

/// `demo.json`: what was generated, and how to get in. Readable for its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct DemoFile {
    /// Of the generator: before it was counted, the first.
    #[serde(default = "first")]
    generation: u32,
    seed: u64,
    organizations: u32,
    start: NaiveDate,
    /// The first day that is not loaded yet.
    loaded_to: NaiveDate,
    api_key: String,
    users: Vec<DemoUser>,
}

fn first() -> u32 {
    1
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DemoUser {
    role: String,
    email: String,
    password: String,
}

/// Events of one request to the intake.
const CHUNK_EVENTS: usize = 5_000;
/// Requests under way at once.
const UNDER_WAY: usize = 4;

impl Demo {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let flags: Vec<_> = self
            .port
            .map(|port| ("server", "port", Value::Integer(port.into())))
            .into_iter()
            .collect();
        let config = folder.load(&flags)?;
        if let Some(server) = ServerFile::find(&config.dir).await {
            bail!("a server runs on {} already, at {}", config.dir.display(), server.url);
        }
        if self.fresh {
            remove(&config.dir)?;
        }
        let clock = Clock::system();
        let mut demo = self.plan(&config, clock.now())?;
        let system = System::open(config.clone(), clock, std::env::current_exe()?).await?;
        let mut stop = StopSignal::listen()?;
        let loaded = tokio::select! {
            loaded = load(&system, &mut demo) => loaded,
            () = stop.asked() => {
                Box::pin(system.close()).await?;
                bail!("stopped; the next run goes on with what was loaded");
            }
        };
        if loaded? {
            Box::pin(system.close()).await?;
            return Err(again().into());
        }
        let running = system.start()?;
        ServerFile::write(&config, &running)?;
        say(&match self.format {
            ReportFormat::Json => {
                let line =
                    json!({"url": running.url, "api_key": demo.api_key, "users": demo.users});
                format!("{line}\n")
            }
            ReportFormat::Text => welcome(&running.url, &demo),
        })?;
        Box::pin(until_stopped(&config, running, stop)).await
    }

    /// The demo that is in the folder, or a new one as asked.
    fn plan(&self, config: &Config, now: DateTime<Utc>) -> anyhow::Result<DemoFile> {
        let path = folder::DEMO.of(&config.dir);
        if let Ok(text) = fs::read(&path) {
            let demo: DemoFile = serde_json::from_slice(&text).with_context(|| {
                format!("{} is damaged; start over with --fresh", path.display())
            })?;
            let same = self.seed.is_none_or(|seed| seed == demo.seed)
                && self.organizations.is_none_or(|n| n == demo.organizations);
            if !same {
                bail!(
                    "{} holds another demo; start over with --fresh, or use another --dir",
                    config.dir.display()
                );
            }
            return Ok(demo);
        }
        if folder::LOG.of(&config.dir).exists() {
            bail!("{} holds data that is not a demo; use another --dir", config.dir.display());
        }
        let (seed, organizations) = (self.seed.unwrap_or(1), self.organizations.unwrap_or(300));
        let profile =
            Profile::ending(seed, organizations, self.days.unwrap_or(120), now.date_naive())?;
        let start = profile.start;
        Ok(DemoFile {
            generation: GENERATION,
            seed,
            organizations,
            start,
            loaded_to: start,
            api_key: String::new(),
            users: Vec::new(),
        })
    }
}

/// Begins this process anew, to serve what was loaded: loading leaves memory behind that serving does not need.
/// Only returns when that fails.
fn again() -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--fresh");
    std::os::unix::process::CommandExt::exec(std::process::Command::new(program).args(arguments))
}

/// Removes what a demo made, and only if it was a demo.
fn remove(dir: &Path) -> anyhow::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    if !folder::DEMO.of(dir).exists() && folder::LOG.of(dir).exists() {
        bail!("{} holds data that is not a demo: nothing was removed", dir.display());
    }
    for name in folder::MADE {
        let path = dir.join(name);
        let removed = match path.symlink_metadata() {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// Loads what is missing up to yesterday, and makes the ways in. Done again, it changes nothing. Says whether
/// there were events to load.
async fn load(system: &System, demo: &mut DemoFile) -> anyhow::Result<bool> {
    let file = folder::DEMO.of(&system.config.dir);
    let save = |demo: &DemoFile| -> anyhow::Result<()> {
        Ok(write_private(&file, &serde_json::to_vec_pretty(demo)?)?)
    };
    save(demo)?;
    let today = system.state.clock.now().date_naive();
    let days =
        u32::try_from((today - demo.start).num_days()).context("the demo lies in the future")?;
    let missing = demo.loaded_to < today;
    if missing && demo.generation != GENERATION {
        bail!(
            "{} holds a demo of an earlier version, which cannot be continued; start over with --fresh",
            system.config.dir.display()
        );
    }
    if missing {
        let profile = Profile::ending(demo.seed, demo.organizations, days, today)?;
        let business = Arc::new(Business::new(profile));
        store_organizations(system, &business).await?;
        let skip = u32::try_from((demo.loaded_to - demo.start).num_days()).unwrap_or(0);
        let truth = store_events(&system.lake.lakehouse, &business, days, skip).await?;
        write_private(&folder::TRUTH.of(&system.config.dir), &serde_json::to_vec_pretty(&truth)?)?;
        system.lake.lakehouse.flush().await?;
        demo.loaded_to = today;
    }
    if demo.users.is_empty() {
        make_ways_in(system, demo).await?;
    }
    relay::drain(&system.state.store, &system.lake.lakehouse).await?;
    system.lake.lakehouse.flush().await?;
    save(demo)?;
    Ok(missing)
}

async fn store_organizations(system: &System, business: &Business) -> anyhow::Result<()> {
    let rows: Vec<_> = business
        .organizations()
        .iter()
        .map(|organization| Organization {
            organization_id: organization.organization_id.clone(),
            name: organization.name.clone(),
            kind: match organization.kind {
                datasets::OrganizationKind::Individual => {
                    organizations::OrganizationKind::Individual
                }
                datasets::OrganizationKind::Business => organizations::OrganizationKind::Business,
            },
            plan: organization.plan.clone(),
            country: organization.country.clone(),
            signed_up_at: organization.signed_up_at,
        })
        .collect();
    organizations::upsert_many(&system.state.store, &rows, system.state.clock.now()).await?;
    Ok(())
}

/// Generates day by day and sends each day to the intake, while the next one is generated.
async fn store_events(
    lakehouse: &Lakehouse,
    business: &Arc<Business>,
    days: u32,
    skip: u32,
) -> anyhow::Result<datasets::Truth> {
    let (sender, mut generated) = mpsc::channel::<Bytes>(4);
    let generating = {
        let business = Arc::clone(business);
        tokio::task::spawn_blocking(move || {
            let mut tally = business.tally();
            (0..skip).filter_map(|day| business.facts(day)).for_each(|facts| tally.add(&facts));
            for day in business.days_from(skip) {
                tally.add(&day.facts);
                if sender.blocking_send(day.ndjson.into()).is_err() {
                    break;
                }
            }
            tally.truth()
        })
    };
    let progress = progress(u64::from(days - skip), "loading days");
    let mover = lakehouse.clone();
    let moving = tokio::spawn(async move { mover.run().await });
    let mut requests = JoinSet::new();
    while let Some(day) = generated.recv().await {
        for chunk in chunks(&day) {
            lakehouse.room().await;
            while requests.len() >= UNDER_WAY {
                accepted(requests.join_next().await)?;
            }
            let lakehouse = lakehouse.clone();
            requests.spawn(async move {
                match lakehouse.admit() {
                    Ok(place) => lakehouse.take_in(place, Delivery::of_history(chunk)).await,
                    Err(refused) => Ok(Outcome::Refused(refused)),
                }
            });
        }
        progress.inc(1);
    }
    while let Some(done) = requests.join_next().await {
        accepted(Some(done))?;
    }
    moving.abort();
    progress.finish_and_clear();
    Ok(generating.await?)
}

/// Splits a day into requests of whole lines.
fn chunks(day: &Bytes) -> impl Iterator<Item = Bytes> + use<> {
    let mut ends = vec![0];
    let lines = day.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.extend(lines.skip(CHUNK_EVENTS - 1).step_by(CHUNK_EVENTS));
    if ends.last() != Some(&day.len()) {
        ends.push(day.len());
    }
    let day = day.clone();
    (1..ends.len()).map(move |i| day.slice(ends[i - 1]..ends[i]))
}

type Done = Result<Result<Outcome, pipeline::Error>, tokio::task::JoinError>;

fn accepted(done: Option<Done>) -> anyhow::Result<()> {
    let Some(done) = done else { return Ok(()) };
    match done?? {
        Outcome::Settled(verdicts, _) => {
            let rejected = verdicts.iter().find_map(|verdict| match verdict {
                Verdict::Rejected(why) => Some(why),
                _ => None,
            });
            match rejected {
                Some(why) => {
                    bail!("a generated event was rejected: {} at {}", why.reason, why.pointer)
                }
                None => Ok(()),
            }
        }
        Outcome::Malformed(malformed) => bail!("a generated day is not readable: {malformed}"),
        Outcome::Refused(refused) => bail!("the intake refused events: {refused}"),
    }
}

async fn make_ways_in(system: &System, demo: &mut DemoFile) -> anyhow::Result<()> {
    let accounts = Accounts::new(system.state.store.clone(), &system.state.clock);
    let (now, origin) = (system.state.clock.now(), AuditOrigin::local("demo"));
    for role in [Role::Admin, Role::Analyst, Role::Manager] {
        let (email, password) = (format!("{}@demo.example", role.as_str()), made_up_password());
        let new = NewUser {
            email: Email::parse(&email)?,
            password: password.clone(),
            role,
            organization_id: None,
        };
        accounts.create_user(new, &origin, now).await?;
        demo.users.push(DemoUser { role: role.as_str().to_owned(), email, password });
    }
    let new = NewKey {
        name: "demo".into(),
        organization_id: None,
        scopes: Scopes::of(["read", "write", "backfill"])?,
        grant: ingest::Grant::ALL,
        limits: KeyLimits::default(),
        purpose: KeyPurpose::default(),
        expires_at: None,
    };
    let (_, secret) = keys::create(&system.state.store, new, &origin, now).await?;
    demo.api_key = secret.reveal().to_owned();
    schedule_reports(system).await
}

/// Three reports of the manager, each with a finished run to look at. Nobody gets mail.
async fn schedule_reports(system: &System) -> anyhow::Result<()> {
    let manager = system.directory.by_email("manager@demo.example").await?;
    let manager = manager.context("the demo has no manager")?;
    for (title, period, language, schedule) in [
        ("Daily numbers", "yesterday", "en", json!({"every": "day", "at": "07:00"})),
        (
            "Weekly business",
            "last_7_days",
            "en",
            json!({"every": "week", "on": "monday", "at": "08:00"}),
        ),
        (
            "月度经营报告",
            "last_30_days",
            "zh-CN",
            json!({"every": "month", "on": "first_weekday", "at": "08:00"}),
        ),
    ] {
        let new = json!({
            "title": title, "dashboard": "business", "period": period, "language": language,
            "formats": ["html", "csv"],
        });
        let (new, schedule) = (serde_json::from_value(new)?, serde_json::from_value(schedule)?);
        let origin = AuditOrigin::local("demo");
        reporting::schedule_and_run(&system.lake, &manager, &origin, new, schedule).await?;
    }
    Ok(())
}

/// A progress bar on standard error; nothing when that is not a terminal.
pub(super) fn progress(length: u64, what: &'static str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed} (left: {eta})");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn welcome(url: &str, demo: &DemoFile) -> String {
    let key = &demo.api_key;
    let end = demo.loaded_to.and_time(NaiveTime::MIN).and_utc().format("%Y-%m-%dT%H:%M:%SZ");
    let mut text = format!("\nThe dashboard: {url}/dashboards/business\n\nSign in as\n",);
    for user in &demo.users {
        text += &format!("  {:<8} {}  {}\n", user.role, user.email, user.password);
    }
    text += &format!(
        "\nAPI key: {key}\n\n\
         Send an event:\n  \
         curl -s {url}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
         -d '{{\"specversion\":\"1.0\",\"id\":\"my-first\",\"source\":\"/curl\",\"type\":\"usage.request\",\
         \"subject\":\"org_mine\",\"time\":\"{end}\",\
         \"data\":{{\"model\":\"my-model\",\"input_tokens\":12,\"output_tokens\":34}}}}'\n\n\
         Run SQL:\n  \
         curl -s {url}/v1/query -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \
         -d '{{\"sql\":\"select model, count(*) as requests from usage_events group by model order by requests desc\"}}'\n\n\
         Ask for a metric:\n  \
         curl -s '{url}/v1/metrics/active_organizations?grain=day' -H 'Authorization: Bearer {key}'\n\n\
         Ctrl-C stops.\n",
    );
    text
}
