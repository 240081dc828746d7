//! `aihub analyze`: funnels, retention, lifecycle, sessions and paths.

use analytics::{
    analyses::{AnalysisContext, AnalysisKind},
    metrics,
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::{
    Folder, WindowArguments, metrics::shown, query::RemoteServer, read::LocalLake, say, say_row,
};

#[derive(Debug, Subcommand)]
pub(super) enum Analyze {
    /// How many do one thing after another
    Funnel(AnalysisCommand<Funnel>),
    /// Of those who started in a period, how many return in the periods after it
    Retention(AnalysisCommand<Retention>),
    /// How many are new, returning, resurrecting and dormant in each period
    Lifecycle(AnalysisCommand<Lifecycle>),
    /// Visits: acts without a long pause between them
    Sessions(AnalysisCommand<Sessions>),
    /// What comes next after a step
    Paths(AnalysisCommand<Paths>),
}

/// What stands below the help of each.
const EVENTS: &str = "Events are types such as activity.page_viewed, activity.* or usage.request. A filter follows after \
                      a colon: activity.page_viewed:country=DE;device=mobile";

/// A question, and how it is answered.
#[derive(Debug, Args)]
#[command(after_help = EVENTS)]
pub(super) struct AnalysisCommand<Q: Args> {
    #[command(flatten)]
    question: Q,
    #[command(flatten)]
    who: Who,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Ask a server instead of reading a folder [default URL: AIHUB_URL]
    #[arg(long, value_name = "URL")]
    server: Option<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Args, Serialize)]
struct Who {
    /// Who is counted: visitor, user or organization [default: visitor]
    #[arg(long)]
    unit: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    window: WindowArguments,
}

#[derive(Debug, Args, Serialize)]
pub(super) struct Funnel {
    /// An event; 2 to 10 of them, in their order
    #[arg(long = "step", value_name = "EVENT", required = true)]
    steps: Vec<String>,
    /// The time from the first step to the last, such as 30m, 12h, 14d [default: 14d]
    #[arg(long)]
    within: Option<String>,
    /// Whoever does this between the steps is not in the funnel
    #[arg(long = "exclude", value_name = "EVENT")]
    exclusions: Vec<String>,
    /// A dimension of the first step to split by
    #[arg(long)]
    by: Option<String>,
    /// How many groups are shown [default: 10]
    #[arg(long)]
    limit: Option<usize>,
}

#[derive(Debug, Args, Serialize)]
pub(super) struct Retention {
    /// What begins it
    #[arg(long, value_name = "EVENT")]
    start: String,
    /// What is a return
    #[arg(long, value_name = "EVENT")]
    r#return: String,
    /// day, week, month, quarter or year [default: week]
    #[arg(long)]
    period: Option<String>,
    /// How many periods after the first [default: 12]
    #[arg(long)]
    periods: Option<u32>,
    /// on: a return counts in its period; on_or_after: and in those before [default: on]
    #[arg(long)]
    mode: Option<String>,
    /// first: by the first start ever; recurring: by every start [default: first]
    #[arg(long)]
    cohort: Option<String>,
    /// So many returns count as one [default: 1]
    #[arg(long)]
    at_least: Option<u32>,
    /// Add up list_price of usage.request, or amount of billing events
    #[arg(long)]
    value: Option<String>,
}

#[derive(Debug, Args, Serialize)]
pub(super) struct Lifecycle {
    /// What makes somebody active; any of them [default: activity.*]
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// day, week, month, quarter or year [default: week]
    #[arg(long)]
    period: Option<String>,
}

#[derive(Debug, Args, Serialize)]
pub(super) struct Sessions {
    /// What is an act; any of them [default: activity.*]
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// A session ends after so long without an act [default: 30m]
    #[arg(long)]
    timeout: Option<String>,
    /// hour, day, week, month, quarter or year of the beginnings [default: one row]
    #[arg(long)]
    grain: Option<String>,
}

#[derive(Debug, Args, Serialize)]
pub(super) struct Paths {
    /// The step that paths go from
    #[arg(long, value_name = "EVENT")]
    start: String,
    /// What may be next; any of them [default: activity.*]
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// A dimension that next steps are told apart by, such as feature
    #[arg(long)]
    by: Option<String>,
    /// What comes later is not next [default: 30m]
    #[arg(long)]
    timeout: Option<String>,
    /// How many next steps are shown [default: 20]
    #[arg(long)]
    limit: Option<usize>,
}

impl Analyze {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        match self {
            Self::Funnel(command) => command.run(AnalysisKind::Funnel, funnel, folder).await,
            Self::Retention(command) => {
                command.run(AnalysisKind::Retention, retention, folder).await
            }
            Self::Lifecycle(command) => {
                command.run(AnalysisKind::Lifecycle, lifecycle, folder).await
            }
            Self::Sessions(command) => command.run(AnalysisKind::Sessions, sessions, folder).await,
            Self::Paths(command) => command.run(AnalysisKind::Paths, paths, folder).await,
        }
    }
}

impl<Q: Args + Serialize> AnalysisCommand<Q> {
    async fn run(
        self,
        kind: AnalysisKind,
        table: fn(&Value) -> anyhow::Result<()>,
        folder: &Folder,
    ) -> anyhow::Result<()> {
        let body = self.body()?;
        let answer = match &self.server {
            Some(url) => {
                RemoteServer::new(url.clone())?
                    .post(&["v1", "analyses", kind.into()], &body)
                    .await?
            }
            None => {
                let lake = LocalLake::open(folder).await?;
                let metrics::Settings { zone, lateness, .. } = lake.config.metrics.settings();
                let context = AnalysisContext {
                    engine: &lake.engine,
                    metrics: lake.context(),
                    zone,
                    lateness,
                };
                context.ask(kind, body, lake.cut.plain_token()).await?
            }
        };
        match self.format {
            Format::Json => Ok(say(&format!("{answer}\n"))?),
            Format::Table => table(&answer),
        }
    }

    /// The question as a server is asked it, without what was not said.
    fn body(&self) -> anyhow::Result<Value> {
        let mut body = serde_json::to_value(&self.question)?;
        let mut who = serde_json::to_value(&self.who)?;
        if let (Value::Object(members), Value::Object(who)) = (&mut body, &mut who) {
            members.append(who);
            members.retain(|_, value| !value.is_null() && value.as_array() != Some(&Vec::new()));
        }
        Ok(body)
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Cells as a row.
fn row(cells: Vec<String>) -> anyhow::Result<()> {
    Ok(say_row(&cells.iter().map(String::as_str).collect::<Vec<_>>())?)
}

fn share(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// A length of time, in the largest unit that it has.
fn time(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_f64() else { return "-".into() };
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    let (length, unit) = unit.unwrap_or((1.0, "s"));
    format!("{:.1} {unit}", seconds / length)
}

/// The date of a period.
fn date(at: &Value) -> String {
    let text = shown(at);
    text.strip_suffix("T00:00:00Z").map_or_else(|| text.clone(), str::to_owned)
}

fn marked(text: String, row: &Value) -> String {
    if row["incomplete"] == true { format!("{text}*") } else { text }
}

fn say_incomplete(answer: &Value, rows: &str) -> anyhow::Result<()> {
    let is_incomplete = |row: &Value| row["incomplete"] == true;
    let any = is_incomplete(answer)
        || list(answer, rows)
            .iter()
            .any(|row| is_incomplete(row) || list(row, "cells").iter().any(is_incomplete));
    if any {
        say("* incomplete: more may come\n")?;
    }
    Ok(())
}

fn funnel(answer: &Value) -> anyhow::Result<()> {
    let groups = list(answer, "groups");
    let by = !groups.is_empty();
    let head = ["step", "count", "of the first", "of the one before", "median time"];
    say_row(&if by { [&["group"], head.as_slice()].concat() } else { head.to_vec() })?;
    let total = by.then_some("(all)".to_owned());
    let groups = groups.iter().map(|group| {
        let name = if group["other"] == true { "(other)".into() } else { shown(&group["group"]) };
        (Some(name), list(group, "steps"))
    });
    for (group, steps) in std::iter::once((total, list(answer, "steps"))).chain(groups) {
        for step in steps {
            let cells = [
                shown(&step["event"]),
                shown(&step["count"]),
                share(&step["conversion"]),
                share(&step["step_conversion"]),
                time(&step["median_seconds"]),
            ];
            row(group.iter().cloned().chain(cells).collect())?;
        }
    }
    say_incomplete(answer, "groups")
}

/// The share of a cell: of the units, or by currency of what they paid.
fn retained(cell: &Value) -> String {
    match cell["value_share"].as_object() {
        Some(shares) => {
            let shares: Vec<_> = shares
                .iter()
                .map(|(currency, value)| format!("{currency} {}", share(value)))
                .collect();
            if shares.is_empty() { "-".into() } else { shares.join(", ") }
        }
        None => share(&cell["share"]),
    }
}

fn retention(answer: &Value) -> anyhow::Result<()> {
    let mean = list(answer, "mean");
    let periods = mean.iter().map(|cell| shown(&cell["k"]));
    row(["cohort".to_owned(), "size".to_owned()].into_iter().chain(periods).collect())?;
    for cohort in list(answer, "cohorts") {
        let cells = list(cohort, "cells").iter().map(|cell| marked(retained(cell), cell));
        row([date(&cohort["at"]), shown(&cohort["size"])].into_iter().chain(cells).collect())?;
    }
    let mean = mean.iter().map(|cell| share(&cell["share"]));
    row(["mean".to_owned(), String::new()].into_iter().chain(mean).collect())?;
    say_incomplete(answer, "cohorts")
}

fn lifecycle(answer: &Value) -> anyhow::Result<()> {
    const NUMBERS: [&str; 5] = ["active", "new", "returning", "resurrecting", "dormant"];
    say_row(&[["at"].as_slice(), &NUMBERS].concat())?;
    for period in list(answer, "rows") {
        let numbers = NUMBERS.map(|name| shown(&period[name]));
        row([marked(date(&period["at"]), period)].into_iter().chain(numbers).collect())?;
    }
    say_incomplete(answer, "rows")
}

fn sessions(answer: &Value) -> anyhow::Result<()> {
    let head =
        ["at", "sessions", "units", "acts per session", "bounce rate", "mean time", "median time"];
    say_row(&head)?;
    for bucket in list(answer, "rows") {
        let acts = bucket["acts_per_session"].as_f64();
        row(vec![
            marked(date(&bucket["at"]), bucket),
            shown(&bucket["sessions"]),
            shown(&bucket["units"]),
            acts.map_or_else(|| "-".into(), |acts| format!("{acts:.1}")),
            share(&bucket["bounce_rate"]),
            time(&bucket["mean_seconds"]),
            time(&bucket["median_seconds"]),
        ])?;
    }
    say_incomplete(answer, "rows")
}

fn paths(answer: &Value) -> anyhow::Result<()> {
    say_row(&["next", "count", "share", "units"])?;
    for next in list(answer, "next") {
        let name = match (next["other"] == true, next["event"].as_str(), next["value"].as_str()) {
            (true, ..) => "(other)".to_owned(),
            (_, None, _) => "(nothing)".to_owned(),
            (_, Some(event), Some(value)) => format!("{event} {value}"),
            (_, Some(event), None) => event.to_owned(),
        };
        row(vec![name, shown(&next["count"]), share(&next["share"]), shown(&next["units"])])?;
    }
    Ok(())
}
