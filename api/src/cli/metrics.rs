//! `aihub metrics`: the list of metrics, and the values of one.

use std::path::PathBuf;

use analytics::metrics::{MetricDefinition, MetricParameters, MetricView};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use ingest::control;
use query::{
    AnswerFormat,
    metric::{Audience, Catalog, MetricTable, add_files, read_catalog},
};
use serde::Serialize;
use serde_json::Value;

use super::{Folder, WindowArguments, query::RemoteServer, read::LocalLake, say, say_row};

#[derive(Debug, Args)]
pub(super) struct Metrics {
    /// The metric; without it, all are listed. `check FILE…` says whether files of metrics are right
    name: Option<String>,
    #[arg(value_name = "FILE", requires = "name")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    window: WindowArguments,
    /// minute, hour, day, week, month, quarter or year
    #[arg(long)]
    grain: Option<String>,
    /// Dimensions to split by, separated by commas
    #[arg(long, value_delimiter = ',')]
    by: Vec<String>,
    /// model=gpt-4o, model!=gpt-4o, region=eu,us, model~gpt (contains), error_code= (no value); all must hold
    #[arg(long)]
    filter: Vec<String>,
    /// Show each value beside that of previous_period or previous_year
    #[arg(long, value_name = "WINDOW", num_args = 0..=1, default_missing_value = "previous_period")]
    compare: Option<String>,
    /// How many groups are shown separately; all others are one row
    #[arg(long)]
    limit: Option<usize>,
    /// What rows are ordered by: the metric, a dimension, or at; with a - before it, the largest first
    #[arg(long, allow_hyphen_values = true)]
    order: Option<String>,
    /// What stands in buckets without events: zero, null or none
    #[arg(long)]
    fill: Option<String>,
    /// An option of the metric, such as window=12M
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,
    #[arg(long, value_enum, default_value = "table")]
    format: MetricFormat,
    /// Ask a server instead of reading a folder [default URL: AIHUB_URL]
    #[arg(long, value_name = "URL")]
    server: Option<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricFormat {
    Table,
    Json,
    Csv,
    /// Bars: one for each bucket or group
    Chart,
}

impl Metrics {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let Some(name) = &self.name else {
            return list(self.server.as_ref(), folder).await;
        };
        if name == "check" {
            return check(&self.files).await;
        }
        if let Some(file) = self.files.first() {
            bail!("`{}` is one too many: one metric at a time", file.display());
        }
        let json = match (self.format, &self.server) {
            (MetricFormat::Csv, Some(url)) => {
                let asked =
                    MetricParameters { format: Some(AnswerFormat::Csv), ..self.parameters() };
                let server = RemoteServer::new(url.clone())?;
                return Ok(say(&server.text(&["v1", "metrics", name], &pairs(&asked)?).await?)?);
            }
            (MetricFormat::Csv, None) => {
                let (table, _) = self.read(name, folder).await?;
                return Ok(say(&String::from_utf8(table.encode(AnswerFormat::Csv, false)?)?)?);
            }
            (_, Some(url)) => {
                let server = RemoteServer::new(url.clone())?;
                server.read(&["v1", "metrics", name], &pairs(&self.parameters())?).await?
            }
            (_, None) => {
                let (table, as_of) = self.read(name, folder).await?;
                let view = MetricView::new(table, as_of).context("the metric has no answer")?;
                serde_json::to_value(view)?
            }
        };
        match self.format {
            MetricFormat::Chart => chart(&json),
            MetricFormat::Table => table(&json),
            MetricFormat::Json | MetricFormat::Csv => Ok(say(&format!("{json}\n"))?),
        }
    }

    /// The question, as a server is asked it.
    fn parameters(&self) -> MetricParameters {
        let window = &self.window;
        let joined =
            |parts: &[String], with: &str| Some(parts.join(with)).filter(|text| !text.is_empty());
        MetricParameters {
            from: window.from.clone(),
            to: window.to.clone(),
            range: window.range.clone(),
            today: window.today,
            tz: window.tz.clone(),
            grain: self.grain.clone(),
            by: joined(&self.by, ","),
            filter: joined(&self.filter, ";"),
            compare: self.compare.clone(),
            limit: self.limit,
            order: self.order.clone(),
            fill: self.fill.clone(),
            options: joined(&self.options, ";"),
            ..MetricParameters::default()
        }
    }

    /// The answer as a server gives it.
    async fn read(&self, name: &str, folder: &Folder) -> anyhow::Result<(MetricTable, String)> {
        let lake = LocalLake::open(folder).await?;
        let settings = lake.config.metrics.settings();
        let body = self.parameters().into_body(vec![name.to_owned()])?;
        let query = body.resolve(settings.zone, lake.clock.now())?;
        let table = lake.engine.metric_table(&query, settings.lateness, lake.context()).await?;
        Ok((table, lake.cut.plain_token()))
    }
}

/// The parameters of an address.
pub(super) fn pairs(parameters: &impl Serialize) -> anyhow::Result<Vec<(String, String)>> {
    let Value::Object(members) = serde_json::to_value(parameters)? else { return Ok(Vec::new()) };
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    Ok(given.map(|(name, value)| (name, shown(&value))).collect())
}

/// Prints the rows of an answer.
fn table(answer: &Value) -> anyhow::Result<()> {
    let rows = answer["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_at = !answer["grain"].is_null();
    let has_currency =
        answer["unit"] == "money" || rows.iter().any(|row| !row["currency"].is_null());
    let is_compared = !answer["compare"].is_null();
    let by = answer["by"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut head: Vec<&str> = has_at.then_some("at").into_iter().collect();
    head.extend(by.iter().filter_map(Value::as_str));
    head.extend(has_currency.then_some("currency"));
    head.push("value");
    if is_compared {
        head.extend(["before", "change"]);
    }
    say_row(&head)?;
    for row in rows {
        let mut cells: Vec<String> = has_at.then(|| shown(&row["at"])).into_iter().collect();
        match row["other"] == true {
            true => cells.extend(by.iter().map(|_| "(other)".to_owned())),
            false => cells.extend(row["group"].as_array().into_iter().flatten().map(shown)),
        }
        cells.extend(has_currency.then(|| shown(&row["currency"])));
        cells.push(value_of(row, "value", "suppressed"));
        if is_compared {
            let change = row["change"].as_f64().map(|change| format!("{:+.1} %", 100.0 * change));
            let before = value_of(row, "before", "before_suppressed");
            cells.extend([before, change.unwrap_or_else(|| "-".into())]);
        }
        say_row(&cells.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// The width of the longest bar.
const BAR: f64 = 40.0;

/// Draws a bar for each row.
fn chart(answer: &Value) -> anyhow::Result<()> {
    let rows = answer["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |row: &Value| -> Option<f64> {
        row["value"].as_f64().or_else(|| row["value"].as_str()?.parse().ok())
    };
    let largest = rows.iter().filter_map(number).map(f64::abs).fold(0.0, f64::max);
    let labels: Vec<String> = rows.iter().map(label).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    for (row, label) in rows.iter().zip(&labels) {
        let share = number(row).map_or(0.0, |value| value.abs() / largest.max(f64::MIN_POSITIVE));
        let value = value_of(row, "value", "suppressed");
        say(&format!("{label:<width$} {:<40} {value}\n", bar(share)))?;
    }
    Ok(())
}

/// What stands before a bar: the bucket, the group, the currency.
fn label(row: &Value) -> String {
    let at = row["at"]
        .as_str()
        .map(|at| at.trim_end_matches(":00Z").trim_end_matches("T00:00").to_owned());
    let group = match row["other"] == true {
        true => vec!["(other)".to_owned()],
        false => row["group"].as_array().into_iter().flatten().map(shown).collect(),
    };
    let currency = row["currency"].as_str().map(str::to_owned);
    let parts: Vec<_> = at.into_iter().chain(group).chain(currency).collect();
    control::shown(&parts.join(" ")).into_owned()
}

/// A bar of blocks, to an eighth of a letter.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * BAR * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// Says whether files of metrics are right, each added to those before it.
async fn check(files: &[PathBuf]) -> anyhow::Result<()> {
    if files.is_empty() {
        bail!("`aihub metrics check` needs the files to check");
    }
    add_files(Catalog::built_in()?, files).await?;
    Ok(say("nothing is wrong\n")?)
}

/// Lists the metrics of a server, or those of the folder's configuration.
async fn list(server: Option<&Option<String>>, folder: &Folder) -> anyhow::Result<()> {
    let metrics = match server {
        Some(url) => {
            RemoteServer::new(url.clone())?.read(&["v1", "metrics"], &[]).await?["metrics"].take()
        }
        None => {
            let catalog = read_catalog(folder.load(&[])?.metrics.dir()).await?;
            let metrics = catalog.metrics(Audience::Staff);
            let metrics =
                metrics.map(|metric| MetricDefinition::new(metric, &catalog, Audience::Staff));
            serde_json::to_value(metrics.collect::<Vec<_>>())?
        }
    };
    for metric in metrics.as_array().into_iter().flatten() {
        let (name, description) = (shown(&metric["name"]), shown(&metric["description"]));
        say(&format!("{name:<26} {description}\n"))?;
    }
    Ok(())
}

/// A value, or why there is none.
fn value_of(row: &Value, value: &str, suppressed: &str) -> String {
    match row[suppressed] == true {
        true => "(few persons)".into(),
        false => shown(&row[value]),
    }
}

/// A value of an answer in a table.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
