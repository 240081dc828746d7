//! A server that runs on a folder is found by `server.json` in it, readable for the owner only.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{config::Config, lake::write_private, server::Running};

/// Where a running server is, and the token that admits to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServerFile {
    pub(super) url: String,
    pub(super) token: String,
}

impl ServerFile {
    pub(super) fn write(config: &Config, running: &Running) -> anyhow::Result<()> {
        let file = Self { url: running.url.clone(), token: running.state.local_token.clone() };
        write_private(&config.dir.join("server.json"), &serde_json::to_vec(&file)?)
            .context("writing server.json")
    }

    pub(super) fn remove(config: &Config) {
        let _ = fs::remove_file(config.dir.join("server.json"));
    }

    /// The server that runs on `dir`, if one answers.
    pub(super) async fn find(dir: &Path) -> Option<Self> {
        let file: Self = serde_json::from_slice(&fs::read(dir.join("server.json")).ok()?).ok()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().ok()?;
        let alive = client.get(format!("{}/healthz", file.url)).send().await.ok()?;
        alive.status().is_success().then_some(file)
    }
}

/// Completes when the process is asked to stop.
pub(super) async fn asked_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Serves until the process is asked to stop or the log breaks.
pub(super) async fn until_stopped(config: &Config, running: Running) -> anyhow::Result<()> {
    let broken = tokio::select! {
        () = asked_to_stop() => false,
        () = running.broken() => true,
    };
    running.stop().await;
    ServerFile::remove(config);
    anyhow::ensure!(!broken, "the log could not be written; see the messages above");
    Ok(())
}
