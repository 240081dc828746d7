//! Commands that only read. They need no lock, so they work beside a running server too.

use std::path::PathBuf;

use analytics::metrics::ForecastParameters;
use anyhow::bail;
use clap::{Args, ValueEnum};
use query::{
    Engine, MetricContext, RowAccess,
    metric::{Audience, Catalog, read_catalog},
};
use serde_json::Value;
use state::clock::Clock;

use super::{
    Folder,
    metrics::{pairs, shown},
    panel::PanelForecast,
    query::RemoteServer,
    say, say_row,
};
use crate::{config::Config, lake};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Forecast {
    #[arg(required_unless_present = "panel", conflicts_with = "panel")]
    metric: Option<String>,
    /// hour, day, week or month
    #[arg(long, default_value = "day")]
    grain: String,
    /// How many of them ahead: at most 168 hours, 90 days, 26 weeks or 12 months; of a panel up to 10000 [default: 14]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    horizon: Option<u16>,
    /// The prediction intervals, in percent
    #[arg(long, value_delimiter = ',', default_value = "80,95")]
    level: Vec<f64>,
    /// A dimension to split by; the forecasts of its values add up to that of everything
    #[arg(long, conflicts_with = "panel")]
    by: Option<String>,
    /// How many values are shown separately; all others are one
    #[arg(long, requires = "by")]
    limit: Option<usize>,
    /// model=gpt-4o, region=eu,us and the like; all must hold
    #[arg(long, conflicts_with = "panel")]
    filter: Vec<String>,
    /// The time zone of the buckets, such as Europe/Berlin
    #[arg(long, conflicts_with = "panel")]
    tz: Option<String>,
    /// Say when this amount is reached: by the sum since the start of the month, or by a balance
    #[arg(long, conflicts_with = "panel", allow_hyphen_values = true)]
    reach: Option<f64>,
    /// A CSV or Parquet file with `unique_id`, `ds` (a time or an integer) and `y`, instead of a metric
    #[arg(long, requires = "out")]
    panel: Option<PathBuf>,
    /// Of a panel: values after which a series repeats itself, and a longer rhythm, such as 24,168 for hours
    #[arg(long, value_delimiter = ',', default_value = "1", requires = "panel")]
    period: Vec<usize>,
    /// Of a panel: the CSV file to write, `unique_id,ds,yhat,lo-80,hi-80,…`; `-` is standard output
    #[arg(long, requires = "panel")]
    out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    format: Rows,
    /// Ask a server instead of reading a folder [default URL: AIHUB_URL]
    #[arg(long, value_name = "URL")]
    server: Option<Option<String>>,
}

/// Values ahead, where nobody says how many.
const HORIZON: u16 = 14;

/// A lake that a command reads by itself.
pub(super) struct LocalLake {
    pub(super) config: Config,
    pub(super) engine: Engine,
    pub(super) catalog: Catalog,
    pub(super) cut: pipeline::Cut,
    pub(super) clock: Clock,
}

impl LocalLake {
    pub(super) async fn open(folder: &Folder) -> anyhow::Result<Self> {
        let config = folder.load(&[])?;
        if !config.dir.is_dir() {
            bail!("there is no data folder {}", config.dir.display());
        }
        let engine = Engine::here(&lake::handshake(&config, std::env::temp_dir())?)?;
        let cut = engine.newest().await?;
        let catalog = read_catalog(config.metrics.dir()).await?;
        Ok(Self { config, engine, catalog, cut, clock: Clock::system() })
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.config.query.deadline_seconds * 1_000
    }

    /// What metrics are computed with: who reads the folder sees all of it.
    pub(super) fn context(&self) -> MetricContext<'_> {
        MetricContext {
            catalog: &self.catalog,
            reach: &RowAccess::Admin,
            cut: &self.cut,
            persons: true,
            min_persons: None,
            now: self.clock.now().timestamp_micros(),
            deadline_ms: self.deadline_ms(),
            gives_way: false,
        }
    }
}

impl Forecast {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        if let (Some(panel), Some(out)) = (&self.panel, &self.out) {
            let horizon = usize::from(self.horizon.unwrap_or(HORIZON));
            let (period, levels) = (&self.period[..], &self.level[..]);
            return PanelForecast { panel, horizon, period, levels, out }.run();
        }
        let metric = self.metric.as_deref().unwrap_or_default();
        let answer = match &self.server {
            Some(url) => {
                let asked = pairs(&self.parameters())?;
                RemoteServer::new(url.clone())?.read(&["v1", "forecasts", metric], &asked).await?
            }
            None => self.read(folder, metric).await?,
        };
        match self.format {
            Rows::Json => Ok(say(&format!("{answer}\n"))?),
            Rows::Table => table(&answer),
        }
    }

    fn parameters(&self) -> ForecastParameters {
        let levels: Vec<String> = self.level.iter().map(f64::to_string).collect();
        ForecastParameters {
            grain: Some(self.grain.clone()),
            horizon: self.horizon.map(usize::from),
            level: Some(levels.join(",")),
            by: self.by.clone(),
            limit: self.limit,
            filter: Some(self.filter.join(";")).filter(|text| !text.is_empty()),
            tz: self.tz.clone(),
            reach: self.reach,
        }
    }

    /// The answer as a server gives it.
    async fn read(&self, folder: &Folder, metric: &str) -> anyhow::Result<Value> {
        let reading = LocalLake::open(folder).await?;
        let metric = reading.catalog.get(metric, Audience::Staff)?;
        let settings = reading.config.metrics.settings();
        let question = self.parameters().question(metric, &settings, reading.clock.now())?;
        let history = question.read(&reading.engine, reading.context()).await?;
        let view = question.forecast(metric, &history, reading.cut.plain_token())?;
        Ok(serde_json::to_value(view)?)
    }
}

/// Prints the points, those of each group, and what the forecast says of itself.
fn table(answer: &Value) -> anyhow::Result<()> {
    let groups = answer["groups"].as_array();
    let mut head = vec!["at", "value", "lower", "upper"];
    if groups.is_some() {
        head.insert(0, "group");
    }
    say_row(&head)?;
    let row = |group: Option<&str>, point: &Value| {
        let number = |value: &Value| value.as_f64().map_or("-".into(), |n| format!("{n:.3}"));
        let widest = point["intervals"].as_array().and_then(|bands| bands.last());
        let band = |end: &str| widest.map_or("-".into(), |band| number(&band[end]));
        let mut cells =
            vec![shown(&point["at"]), number(&point["value"]), band("lower"), band("upper")];
        if let Some(group) = group {
            cells.insert(0, group.to_owned());
        }
        say_row(&cells.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let points = |of: &Value| of["points"].as_array().cloned().unwrap_or_default();
    for point in points(answer) {
        row(groups.map(|_| "(all)"), &point)?;
    }
    for group in groups.into_iter().flatten() {
        let name = match group["other"] == true {
            true => "(other)".to_owned(),
            false => shown(&group["value"]),
        };
        for point in points(group) {
            row(Some(&name), &point)?;
        }
    }
    for name in ["month_end", "reached", "peak"] {
        if answer[name].is_object() {
            say(&format!("{name}: {}\n", answer[name]))?;
        }
    }
    let said = answer["explanation"]["said"]["en"].as_array().into_iter().flatten();
    said.filter_map(Value::as_str).try_for_each(|sentence| Ok(say(&format!("{sentence}\n"))?))
}
