//! `aihub report list|schedule|send|runs`: the scheduled reports of the server that runs on a folder.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::{Folder, running::OwnServer, say};

/// A new report and its schedule.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewSchedule {
    /// The dashboard, such as `business`
    dashboard: String,
    /// The subject of the mails
    #[arg(long)]
    title: String,
    /// `yesterday`, `last_7_days`, `previous_week`, `previous_month` and their like
    #[arg(long, default_value = "last_7_days")]
    period: String,
    /// `day`, `weekday`, `week` or `month`
    #[arg(long, required_unless_present = "cron", conflicts_with = "cron")]
    every: Option<String>,
    /// Of a week its day; of a month 1 to 31, `last_day` or `first_weekday`
    #[arg(long)]
    on: Option<String>,
    /// The time of day
    #[arg(long, default_value = "08:00")]
    at: String,
    /// Five fields instead: minute, hour, day of the month, month, day of the week
    #[arg(long)]
    cron: Option<String>,
    /// The time zone [default: the setting `metrics.zone`]
    #[arg(long)]
    tz: Option<String>,
    /// A mail address that gets it; may be given more than once
    #[arg(long = "to", value_name = "ADDRESS")]
    mail: Vec<String>,
    /// A webhook that gets it
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// A folder of the archive that gets it
    #[arg(long = "folder", value_name = "FOLDER")]
    archive: Vec<String>,
    /// A condition such as `model=gpt-4o`; may be given more than once
    #[arg(long = "filter", value_name = "CONDITION")]
    filters: Vec<String>,
    /// Add the values as CSV
    #[arg(long)]
    csv: bool,
    /// `en` or `zh-CN`
    #[arg(long, default_value = "en")]
    lang: String,
}

/// The scheduled reports of the server that runs on a folder.
pub(super) struct Reports(OwnServer);

impl Reports {
    pub(super) async fn of(folder: &Folder) -> anyhow::Result<Self> {
        OwnServer::of(folder).await.map(Self)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.0.ask(method, path, body).await
    }

    /// A line for each report.
    pub(super) async fn list(&self) -> anyhow::Result<()> {
        let answer = self.ask(Method::GET, "/v1/reports", None).await?;
        for report in answer["reports"].as_array().into_iter().flatten() {
            let schedules = report["schedules"].as_array().into_iter().flatten();
            let mut next: Vec<_> = schedules.filter_map(|one| one["next"][0].as_str()).collect();
            next.sort_unstable();
            let next = match (report["paused"] == true, next.first()) {
                (true, _) => "paused",
                (false, Some(at)) => at,
                (false, None) => "by hand",
            };
            let [id, title, dashboard, period] =
                ["id", "title", "dashboard", "period"].map(|name| text(&report[name]));
            say(&format!("{id}  {title}  {dashboard} {period}  next: {next}\n"))?;
        }
        Ok(())
    }

    /// A line for each run, and one for each of its deliveries.
    pub(super) async fn runs(&self, id: &str) -> anyhow::Result<()> {
        let answer = self.ask(Method::GET, &format!("/v1/reports/{id}/runs"), None).await?;
        for run in answer["runs"].as_array().into_iter().flatten() {
            let [id, status, from, to] =
                ["id", "status", "from", "to"].map(|name| text(&run[name]));
            let reason = run["reason"].as_str().map(|text| format!("  {text}")).unwrap_or_default();
            say(&format!("{id}  {status}  {from} to {to}{reason}\n"))?;
            for delivery in run["deliveries"].as_array().into_iter().flatten() {
                let [channel, address, state] =
                    ["channel", "address", "state"].map(|name| text(&delivery[name]));
                let uncertain = if delivery["uncertain"] == true { " (uncertain)" } else { "" };
                let error = delivery["error"].as_str().map(|text| format!("  {text}"));
                say(&format!(
                    "  {channel} {address}  {state}{uncertain}{}\n",
                    error.unwrap_or_default()
                ))?;
            }
        }
        Ok(())
    }

    /// Makes a report now, and sends it.
    pub(super) async fn send(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("/v1/reports/{id}/run");
        let run = self.ask(Method::POST, &path, Some(&json!({}))).await?;
        Ok(say(&format!("{}\n", text(&run["id"])))?)
    }

    /// Adds a report with its schedule, and shows the next times.
    pub(super) async fn schedule(&self, new: NewSchedule) -> anyhow::Result<()> {
        let to = |channel: &str, addresses: Vec<String>| {
            let recipient = |address| json!({"channel": channel, "address": address});
            addresses.into_iter().map(recipient).collect::<Vec<_>>()
        };
        let recipients =
            [to("mail", new.mail), to("webhook", new.webhook), to("folder", new.archive)].concat();
        let formats = if new.csv { vec!["html", "csv"] } else { vec!["html"] };
        let recurrence = match &new.cron {
            Some(cron) => json!({"cron": cron, "tz": new.tz}),
            None => json!({"every": new.every, "on": new.on, "at": new.at, "tz": new.tz}),
        };
        // What is no schedule is refused before the report is there.
        self.ask(Method::POST, "/v1/schedules/next", Some(&recurrence)).await?;
        let report = json!({
            "title": new.title, "dashboard": new.dashboard, "period": new.period, "tz": new.tz,
            "filters": new.filters, "language": new.lang, "recipients": recipients, "formats": formats,
        });
        let report = self.ask(Method::POST, "/v1/reports", Some(&report)).await?;
        let mut schedule = recurrence;
        schedule["report_id"] = report["id"].clone();
        if let Some(members) = schedule.as_object_mut() {
            members.remove("tz");
        }
        let schedule = self.ask(Method::POST, "/v1/schedules", Some(&schedule)).await?;
        say(&format!("{}\n", text(&report["id"])))?;
        for at in schedule["next"].as_array().into_iter().flatten() {
            say(&format!("  {}\n", text(at)))?;
        }
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
