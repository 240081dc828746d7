//! Commands that only read. They need no lock, so they work beside a running server too.

use std::path::PathBuf;

use analytics::metrics::{self, ForecastView};
use anyhow::{Context, bail};
use chrono::NaiveTime;
use clap::{Args, ValueEnum};
use query::{
    Engine, MetricContext, RowAccess, Zone,
    metric::{Catalog, MetricAnswer, MetricRequest, read_catalog},
};
use reports::metric_forecast;
use serde_json::Value;
use state::clock::Clock;

use super::{Folder, metrics::shown, panel::PanelForecast, query::RemoteServer, say, say_row};
use crate::{config::Config, lake};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rows {
    Table,
    Json,
}

/// Buckets ahead of a metric.
const HORIZON_MAX: u16 = 168;

#[derive(Debug, Args)]
pub(super) struct Forecast {
    #[arg(required_unless_present = "panel", conflicts_with = "panel")]
    metric: Option<String>,
    /// hour, day or week
    #[arg(long, default_value = "day")]
    grain: String,
    /// How many of them ahead: up to 168, of a panel up to 10000
    #[arg(long, default_value = "14", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    horizon: u16,
    /// A CSV or Parquet file with `unique_id`, `ds` (a time or an integer) and `y`, instead of a metric
    #[arg(long, requires = "out")]
    panel: Option<PathBuf>,
    /// Of a panel: values after which a series repeats itself, such as 24 for hours
    #[arg(long, default_value = "1", requires = "panel")]
    period: usize,
    /// Of a panel: the prediction intervals, in percent
    #[arg(long, value_delimiter = ',', default_value = "80,95", requires = "panel")]
    level: Vec<f64>,
    /// Of a panel: the CSV file to write, `unique_id,ds,yhat,lo-80,hi-80,…`; `-` is standard output
    #[arg(long, requires = "panel")]
    out: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "table")]
    format: Rows,
    /// Ask a server instead of reading a folder [default URL: AIHUB_URL]
    #[arg(long, value_name = "URL")]
    server: Option<Option<String>>,
}

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

    async fn metric(&self, request: MetricRequest) -> anyhow::Result<MetricAnswer> {
        let answers = self.engine.metrics(&[request], self.context()).await?;
        answers.into_iter().next().context("the metric has no answer")
    }
}

impl Forecast {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        if let (Some(panel), Some(out)) = (&self.panel, &self.out) {
            let (horizon, levels) = (usize::from(self.horizon), &self.level[..]);
            return PanelForecast { panel, horizon, period: self.period, levels, out }.run();
        }
        if self.horizon > HORIZON_MAX {
            bail!("--horizon is up to {HORIZON_MAX} for a metric");
        }
        let metric = self.metric.as_deref().unwrap_or_default();
        let answer = match &self.server {
            Some(url) => {
                let asked = [
                    ("grain".to_owned(), self.grain.clone()),
                    ("horizon".to_owned(), self.horizon.to_string()),
                ];
                RemoteServer::new(url.clone())?.read(&["v1", "forecasts", metric], &asked).await?
            }
            None => self.read(folder, metric).await?,
        };
        if self.format == Rows::Json {
            return Ok(say(&format!("{answer}\n"))?);
        }
        say_row(&["at", "value", "lower", "upper"])?;
        for point in answer["points"].as_array().into_iter().flatten() {
            let number = |value: &Value| value.as_f64().map_or("-".into(), |n| format!("{n:.3}"));
            let widest = point["intervals"].as_array().and_then(|bands| bands.last());
            let band = |end: &str| widest.map_or("-".into(), |band| number(&band[end]));
            let cells =
                [shown(&point["at"]), number(&point["value"]), band("lower"), band("upper")];
            say_row(&cells.each_ref().map(String::as_str))?;
        }
        Ok(())
    }

    /// The answer as a server gives it.
    async fn read(&self, folder: &Folder, metric: &str) -> anyhow::Result<Value> {
        let reading = LocalLake::open(folder).await?;
        let grain = metrics::grain(&self.grain)?;
        let today = reading.clock.now().date_naive().and_time(NaiveTime::MIN).and_utc();
        let request = metric_forecast::history(metric, grain, grain.start(today, Zone::UTC));
        let from = request.to;
        let answer = reading.metric(request).await?;
        let ahead =
            metric_forecast::forecast_metric(&answer, usize::from(self.horizon), Zone::UTC)?;
        let as_of = reading.cut.plain_token();
        let view = ForecastView::new(metric.to_owned(), grain, ahead, from, as_of);
        Ok(serde_json::to_value(view)?)
    }
}
