//! A server that runs on a folder is found by `server.json` in it, readable for the owner only.

use std::{fs, path::Path, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use state::folder::{self, write_private};

use crate::{config::Config, integrity::ServerAccess, server::RunningServer};

/// Where a running server is, and the token that admits to it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServerFile {
    pub(super) url: String,
    pub(super) token: String,
}

impl ServerFile {
    pub(super) fn server(&self) -> ServerAccess {
        ServerAccess { url: self.url.clone(), token: self.token.clone() }
    }

    pub(super) fn write(config: &Config, running: &RunningServer) -> anyhow::Result<()> {
        let file = Self { url: running.url.clone(), token: running.system.local_token.clone() };
        write_private(&folder::SERVER.of(&config.dir), &serde_json::to_vec(&file)?)
            .context("writing server.json")
    }

    pub(super) fn remove(config: &Config) {
        let _ = fs::remove_file(folder::SERVER.of(&config.dir));
    }

    /// The server that runs on `dir`, if one answers.
    pub(super) async fn find(dir: &Path) -> Option<Self> {
        let file: Self = serde_json::from_slice(&fs::read(folder::SERVER.of(dir)).ok()?).ok()?;
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().ok()?;
        let alive = client.get(format!("{}/healthz", file.url)).send().await.ok()?;
        alive.status().is_success().then_some(file)
    }
}

/// The wish that the process stops: Ctrl-C, or SIGTERM. It is heard from the moment this is made.
#[derive(Debug)]
pub(super) struct StopSignal {
    #[cfg(unix)]
    streams: [tokio::signal::unix::Signal; 2],
    #[cfg(not(unix))]
    stream: tokio::signal::windows::CtrlC,
}

impl StopSignal {
    #[cfg(unix)]
    pub(super) fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("listening for the signal to stop");
        Ok(Self { streams: [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?] })
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> anyhow::Result<Self> {
        let stream = tokio::signal::windows::ctrl_c().context("listening for Ctrl-C")?;
        Ok(Self { stream })
    }

    /// Completes when somebody asks.
    pub(super) async fn asked(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate] = &mut self.streams;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        #[cfg(not(unix))]
        self.stream.recv().await;
    }
}

/// Serves until the process is asked to stop or the log breaks.
pub(super) async fn until_stopped(
    config: &Config,
    running: RunningServer,
    mut stop: StopSignal,
) -> anyhow::Result<()> {
    let broken = tokio::select! {
        () = stop.asked() => None,
        reason = running.broken() => Some(reason),
    };
    Box::pin(running.stop()).await;
    ServerFile::remove(config);
    match broken {
        Some(reason) => anyhow::bail!("{reason}; see the messages above"),
        None => Ok(()),
    }
}
