//! `aihub report`: dashboards as files, and the scheduled reports of a server.

mod scheduled;

use std::path::PathBuf;

use analytics::dashboards;
use anyhow::{Context, bail};
use clap::Subcommand;
use query::{RowAccess, metric::audience};
use reports::{Address, Language, Page, Selection, Window};

use super::{Folder, read::LocalLake, say};
use crate::{lake, private::write_for_user};
use scheduled::Reports;

#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// Render a dashboard as one self-contained HTML file
    Render {
        /// The dashboard, such as `business`
        name: String,
        /// The file to write; `-` is standard output
        #[arg(long)]
        out: PathBuf,
        /// How many complete days back
        #[arg(long, default_value = "30", conflicts_with_all = ["from", "to"])]
        days: u32,
        /// RFC 3339, or a date [default: 30 days before --to]
        #[arg(long)]
        from: Option<String>,
        /// Not included itself [default: the midnight that began today]
        #[arg(long)]
        to: Option<String>,
        /// `en` or `zh-CN`
        #[arg(long, default_value = "en")]
        lang: String,
    },
    /// List the scheduled reports of the server that runs on the folder
    List,
    /// Send a dashboard by schedule; shows the next times
    Schedule(scheduled::NewSchedule),
    /// Make a report now, and send it
    Send {
        /// The id of the report
        id: String,
    },
    /// Show the runs of a report, and to whom they went
    Runs {
        /// The id of the report
        id: String,
    },
}

impl Report {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let (name, out, days, from, to, lang) = match self {
            Self::Render { name, out, days, from, to, lang } => (name, out, days, from, to, lang),
            Self::List => return Reports::of(folder).await?.list().await,
            Self::Schedule(new) => return Reports::of(folder).await?.schedule(new).await,
            Self::Send { id } => return Reports::of(folder).await?.send(&id).await,
            Self::Runs { id } => return Reports::of(folder).await?.runs(&id).await,
        };
        let language =
            Language::from_tag(&lang).with_context(|| format!("`{lang}` is not en or zh-CN"))?;
        let reading = LocalLake::open(folder).await?;
        let dashboards = lake::dashboards(&reading.config, &reading.catalog)?;
        let Some(dashboard) = dashboards.get(&name) else {
            let known: Vec<_> = dashboards.titles().map(|(known, _)| known).collect();
            bail!("there is no dashboard `{name}`; there is: {}", known.join(", "));
        };
        let now = reading.clock.now();
        let window = if from.is_some() || to.is_some() {
            Window::parse(now, from.as_deref(), to.as_deref())?
        } else {
            Window::last_days(now, days)?
        };
        let page = Page {
            language,
            // With the goals of the catalog.
            selection: Selection::new(window).with_filters(
                &[],
                &reading.catalog,
                audience(&RowAccess::Staff),
            )?,
            generated_at: now,
            as_of: reading.cut.plain_token(),
            organization: None,
            user: None,
            asks_sql: false,
            definition: None,
            standalone: true,
            server: None,
            failures: Default::default(),
            annotations: Vec::new(),
            anomalies: Vec::new(),
            tabs: Vec::new(),
            may_change: false,
            address: Address::default(),
        };
        let deadline_ms = reading.deadline_ms();
        let html = dashboards::DashboardContext {
            engine: &reading.engine,
            catalog: &reading.catalog,
            reach: RowAccess::Staff,
            cut: reading.cut.clone(),
            persons: true,
            min_persons: None,
            now,
            deadline_ms,
            gives_way: false,
            lateness: reading.config.metrics.settings().lateness,
            system: Default::default(),
            queries: Default::default(),
            lenient: false,
        }
        .render(dashboard.clone(), page)
        .await?;
        if out.as_os_str() == "-" {
            return Ok(say(&html)?);
        }
        write_for_user(&out, html.as_bytes()).with_context(|| format!("writing {}", out.display()))
    }
}
