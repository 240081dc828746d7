//! Commands that only read. They need no lock, so they work beside a running server too.

use anyhow::{Context, bail};
use chrono::{DateTime, Days, NaiveTime, Utc};
use clap::{Args, ValueEnum};
use query::{
    Asking, Engine, Reach,
    metric::{Catalog, Grain, MetricAnswer, MetricRequest},
};
use reports::outlook;
use serde_json::json;

use super::{Folder, say, say_row};
use crate::{clock::Clock, config::Config, figures, lake};

#[derive(Debug, Args)]
pub(super) struct Metrics {
    /// The metric; without it, all are listed
    name: Option<String>,
    /// RFC 3339, or a date [default: 30 days before --to]
    #[arg(long)]
    from: Option<String>,
    /// Not included itself [default: the midnight that began today]
    #[arg(long)]
    to: Option<String>,
    /// minute, hour, day, week or month
    #[arg(long)]
    grain: Option<String>,
    /// Dimensions to split by, separated by commas
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    #[arg(long, value_enum, default_value = "table")]
    format: Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Forecast {
    metric: String,
    /// hour, day or week
    #[arg(long, default_value = "day")]
    grain: String,
    /// How many of them ahead
    #[arg(long, default_value = "14", value_parser = clap::value_parser!(u16).range(1..=168))]
    horizon: u16,
    #[arg(long, value_enum, default_value = "table")]
    format: Rows,
}

/// A lake that a command reads by itself.
pub(super) struct Reading {
    pub(super) config: Config,
    pub(super) engine: Engine,
    pub(super) catalog: Catalog,
    pub(super) cut: pipeline::Cut,
    pub(super) clock: Clock,
}

impl Reading {
    pub(super) async fn open(folder: &Folder) -> anyhow::Result<Self> {
        let config = folder.load(&[])?;
        if !config.dir.is_dir() {
            bail!("there is no data folder {}", config.dir.display());
        }
        let engine = Engine::here(&lake::handshake(&config, std::env::temp_dir())?)?;
        let cut = engine.newest().await?;
        Ok(Self { config, engine, catalog: Catalog::built_in()?, cut, clock: Clock::system() })
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.config.query.deadline_seconds * 1_000
    }

    async fn metric(&self, request: MetricRequest) -> anyhow::Result<MetricAnswer> {
        let asking = Asking {
            catalog: &self.catalog,
            reach: &Reach::Admin,
            cut: &self.cut,
            persons: true,
            now: self.clock.now().timestamp_micros(),
            deadline_ms: self.deadline_ms(),
            gives_way: false,
        };
        let answers = self.engine.metrics(&[request], asking).await?;
        answers.into_iter().next().context("the metric has no answer")
    }
}

impl Metrics {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let Some(name) = self.name else {
            for metric in Catalog::built_in()?.metrics() {
                say(&format!("{:<26} {}\n", metric.name, metric.description))?;
            }
            return Ok(());
        };
        let reading = Reading::open(folder).await?;
        let today = reading.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
        let to = asked_time("to", &self.to)?.unwrap_or(today);
        let from = asked_time("from", &self.from)?.unwrap_or(to - Days::new(30));
        let grain = self.grain.as_deref().map(parse_grain).transpose()?;
        let request = MetricRequest { metric: name, from, to, grain, by: self.by };
        let answer = reading.metric(request).await?;
        if self.format == Rows::Json {
            let mut json = serde_json::to_value(&answer)?;
            json["as_of"] = json!(reading.cut.plain_token());
            return Ok(say(&format!("{json}\n"))?);
        }
        for row in &answer.rows {
            let mut line = Vec::new();
            line.extend(row.at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)));
            line.extend(row.group.iter().map(|group| group.clone().unwrap_or_else(|| "-".into())));
            line.extend(row.currency.clone());
            line.push(row.value.map_or_else(|| "-".into(), |value| value.to_string()));
            say_row(&line.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

impl Forecast {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let reading = Reading::open(folder).await?;
        let grain = parse_grain(&self.grain)?;
        let today = reading.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
        let request = outlook::history(&self.metric, grain, grain.start(today));
        let answer = reading.metric(request).await?;
        let ahead = outlook::look_ahead(&answer, usize::from(self.horizon))?;
        if self.format == Rows::Json {
            let json = json!({
                "metric": self.metric, "model": ahead.model, "mase": ahead.mase,
                "points": ahead.points, "as_of": reading.cut.plain_token(),
            });
            return Ok(say(&format!("{json}\n"))?);
        }
        for point in &ahead.points {
            let at = point.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            let band = point.intervals.last();
            let band = band.map(|band| format!("\t{:.3}\t{:.3}", band.lower, band.upper));
            say(&format!("{at}\t{:.3}{}\n", point.value, band.unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// A time given as a flag.
pub(super) fn asked_time(
    name: &str,
    text: &Option<String>,
) -> anyhow::Result<Option<DateTime<Utc>>> {
    let at = text.as_deref().map(|text| figures::instant(name, text)).transpose();
    at.map_err(|problem| anyhow::anyhow!(problem.detail.unwrap_or_default()))
}

fn parse_grain(text: &str) -> anyhow::Result<Grain> {
    figures::grain(text).map_err(|problem| anyhow::anyhow!(problem.detail.unwrap_or_default()))
}
