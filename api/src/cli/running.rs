//! A server that runs on a folder is found by `server.json` in it, readable for the owner only.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use reqwest::{Client, Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use state::folder::{self, write_private};

use super::Folder;
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

/// The server that runs on a folder, asked as one of its own.
#[derive(Debug)]
pub(super) struct OwnServer {
    http: Client,
    file: ServerFile,
}

impl OwnServer {
    pub(super) async fn of(folder: &Folder) -> anyhow::Result<Self> {
        let config = folder.load(&[])?;
        let Some(file) = ServerFile::find(&config.dir).await else {
            bail!("no server runs on {}: `aihub serve` starts one", config.dir.display());
        };
        Ok(Self { http: Client::new(), file })
    }

    /// Asks for JSON, with a body in JSON.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let request = self.request(method, path);
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.file.url));
        request.bearer_auth(&self.file.token)
    }

    /// The answer, or what the server refused.
    pub(super) async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await.context("asking the server")?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        match answer["detail"].as_str() {
            Some(detail) => bail!("{detail}"),
            None => bail!("the server answered {status}"),
        }
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
