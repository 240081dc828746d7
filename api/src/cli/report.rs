use std::{fs, path::PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use query::Reach;
use reports::{Dashboard, Language, Page, Window};

use super::{Folder, read::Reading, say};
use crate::dashboards;

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
        #[arg(long, default_value = "30")]
        days: u32,
        /// `en` or `zh-CN`
        #[arg(long, default_value = "en")]
        lang: String,
    },
}

impl Report {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let Self::Render { name, out, days, lang } = self;
        let Some(dashboard) = Dashboard::built_in(&name) else {
            let known: Vec<_> = Dashboard::built_in_names().collect();
            bail!("there is no dashboard `{name}`; there is: {}", known.join(", "));
        };
        let language =
            Language::from_tag(&lang).with_context(|| format!("`{lang}` is not en or zh-CN"))?;
        let reading = Reading::open(folder).await?;
        let now = reading.clock.now();
        let page = Page {
            language,
            window: Window::last_days(now, days)?,
            generated_at: now,
            as_of: reading.cut.token(),
            organization: None,
            user: None,
            standalone: true,
        };
        let deadline_ms = reading.deadline_ms();
        let html = dashboards::Reading {
            engine: &reading.engine,
            catalog: &reading.catalog,
            reach: Reach::Staff,
            cut: reading.cut.clone(),
            now,
            deadline_ms,
        }
        .render(dashboard?, page)
        .await?;
        if out.as_os_str() == "-" {
            return Ok(say(&html)?);
        }
        fs::write(&out, html).with_context(|| format!("writing {}", out.display()))
    }
}
