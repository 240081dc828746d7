use std::net::IpAddr;

use clap::Args;
use serde_json::json;
use state::clock::Clock;
use toml::Value;

use super::{
    Folder, ReportFormat,
    running::{ServerFile, StopSignal, until_stopped},
    say,
};
use crate::server::System;

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The port; 0 takes any free one [default: 7700]
    #[arg(long)]
    port: Option<u16>,
    /// The address to listen on [default: 127.0.0.1]
    #[arg(long)]
    bind: Option<IpAddr>,
    /// How to say that the server is ready
    #[arg(long, value_enum, default_value = "text")]
    format: ReportFormat,
}

impl Serve {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let mut flags = Vec::new();
        if let Some(port) = self.port {
            flags.push(("server", "port", Value::Integer(port.into())));
        }
        if let Some(bind) = self.bind {
            flags.push(("server", "bind", Value::String(bind.to_string())));
        }
        let config = folder.load(&flags)?;
        let program = std::env::current_exe()?;
        let system = System::open(config.clone(), Clock::system(), program).await?;
        let stop = StopSignal::listen()?;
        let running = system.start()?;
        ServerFile::write(&config, &running)?;
        match self.format {
            ReportFormat::Json => say(&format!("{}\n", json!({"url": running.url})))?,
            ReportFormat::Text => {
                say(&format!("Serving {} at {}\n", config.dir.display(), running.url))?
            }
        }
        Box::pin(until_stopped(&config, running, stop)).await
    }
}
