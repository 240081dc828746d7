//! What the cross-crate tests share: the real `aihub` binary, started on a folder of its own and a free port,
//! spoken to as its users do, over HTTP and on the command line, and ended by its process id. Nothing here
//! replaces a part of the system.

pub mod browser;
mod event;
mod mail;
mod processes;
mod rollup;
mod traced;

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use event::{days_ago, own_source, own_usage, tomorrow, unix_seconds, usage, usage_today};
pub use mail::MailServer;
pub use processes::signal;
pub use rollup::{rollup, until_rolled_up};
pub use traced::{Traced, traced};

/// How long a server may take to say that it is ready, in a debug build on a busy machine.
const READY: Duration = Duration::from_secs(400);

/// What a server prints when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub url: String,
    /// Only a demo has these.
    #[serde(default)]
    pub api_key: String,
    #[serde(default)]
    pub users: Vec<User>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub role: String,
    pub email: String,
    pub password: String,
}

/// A running `aihub`. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    pub ready: Ready,
    child: Child,
}

/// The program under test: `AIHUB_TEST_BIN`, or what `tests/run` (or `cargo build`) built before the tests.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn aihub() -> PathBuf {
    let found = named("AIHUB_TEST_BIN").or_else(|| made("aihub"));
    found.unwrap_or_else(|| panic!("the binary `aihub` is not built: run `cargo build` first"))
}

/// A path that the environment names.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::vars_os().find(|(name, _)| name == variable).map(|(_, path)| path.into())
}

/// A file that was made for the tests, in a folder above theirs.
#[must_use]
pub fn made(path: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().skip(1).map(|dir| dir.join(path)).find(|path| path.is_file())
}

/// A new empty folder, gone when dropped.
///
/// # Panics
/// When there is no room for one.
#[must_use]
pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("aihub does not start: {error}"))
}

/// Runs a command that must succeed, and gives what it printed.
///
/// # Panics
/// When it fails.
pub fn run_ok(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "aihub {arguments:?}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(aihub());
    command.args(arguments).arg("--dir").arg(dir);
    command
}

impl Server {
    /// Starts `aihub serve` on a folder.
    #[must_use]
    pub fn serve(dir: &Path) -> Self {
        Self::start(dir, &["serve", "--port", "0", "--format", "json"])
    }

    /// Starts a small `aihub demo`.
    #[must_use]
    pub fn demo(dir: &Path, days: u32, organizations: u32) -> Self {
        let (days, organizations) = (days.to_string(), organizations.to_string());
        let sizes = ["--days", &days, "--organizations", &organizations];
        Self::start(dir, &[&["demo", "--port", "0", "--format", "json"], &sizes[..]].concat())
    }

    /// Starts a command that prints a line of JSON when it is ready.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    #[must_use]
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut child = command(dir, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("aihub does not start: {error}"));
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let line = lines.recv_timeout(READY).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("aihub {arguments:?} did not say that it is ready")
        });
        let ready = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("`{line}` is no ready line: {error}"));
        Self { ready, child }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.ready.url)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process as a crash would: no handler runs.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to stop, as Ctrl-C does, and waits for its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        let status = self.child.wait().unwrap_or_else(|error| panic!("waiting for aihub: {error}"));
        assert!(status.success(), "aihub ended with {status}");
    }
}

impl Drop for Server {
    /// In order, so that what ran is known where coverage is measured; by force after a failure.
    fn drop(&mut self) {
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if ended(&mut self.child) {
            return;
        }
        if !std::thread::panicking() {
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args(["-INT", &id]).status();
            let started = std::time::Instant::now();
            while started.elapsed() < READY && !ended(&mut self.child) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who speaks to a server with a key.
#[derive(Debug, Clone)]
pub struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    #[must_use]
    pub fn new(server: &Server, key: &str) -> Self {
        Self::at(&server.ready.url, key)
    }

    /// For a server that something else started.
    #[must_use]
    pub fn at(url: &str, key: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap_or_default();
        Self { url: url.to_owned(), key: key.trim().to_owned(), http }
    }

    /// Sends a body to `/v1/events` and gives the status and the answer.
    pub async fn send(&self, media_type: &str, body: String) -> (StatusCode, Value) {
        let request = self.http.post(format!("{}/v1/events", self.url));
        self.answer(request.header("Content-Type", media_type).body(body)).await
    }

    /// Runs SQL and gives the status and the JSON answer.
    /// Sends events that are taken, each of them.
    pub async fn store(&self, events: &[Value]) {
        let (status, answer) = self.send("application/json", json!(events).to_string()).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn query(&self, sql: &str) -> (StatusCode, Value) {
        self.query_with(json!({"sql": sql})).await
    }

    pub async fn query_with(&self, body: Value) -> (StatusCode, Value) {
        self.answer(self.http.post(format!("{}/v1/query", self.url)).json(&body)).await
    }

    /// Runs SQL that must succeed, and gives its rows.
    ///
    /// # Panics
    /// When it does not.
    pub async fn rows(&self, sql: &str) -> Vec<Value> {
        let (status, answer) = self.query(sql).await;
        assert_eq!(status, StatusCode::OK, "{sql}: {answer}");
        answer["rows"].as_array().cloned().unwrap_or_default()
    }

    /// The secret, for a request that is written by hand.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A request with the key, for what the other methods do not say.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        if self.key.is_empty() { request } else { request.bearer_auth(&self.key) }
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.answer(self.http.get(format!("{}{path}", self.url))).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let request = if self.key.is_empty() { request } else { request.bearer_auth(&self.key) };
        match request.send().await {
            Ok(response) => {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
            }
            // The server went away: a test that kills it expects that.
            Err(error) => (StatusCode::BAD_GATEWAY, json!({"error": error.to_string()})),
        }
    }
}

/// What came back, as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    /// A header's value, empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends a request that must be answered, whatever the answer.
///
/// # Panics
/// When it is not.
pub async fn reply(request: RequestBuilder) -> Reply {
    let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error}"));
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap_or_else(|error| panic!("cut off: {error}"));
    Reply { status, headers, body: body.to_vec() }
}

/// A client that sends no key, and the cookie of a user of this role.
pub async fn signed_in(server: &Server, dir: &Path, role: &str) -> (Client, String) {
    let email = format!("{role}@example.com");
    let told = run_ok(dir, &["user", "create", "--email", &email, "--role", role]);
    let password = told.split_whitespace().last().expect("a password").to_owned();
    let client = Client::new(server, "");
    let body = format!("email={role}%40example.com&password={password}&next=%2F");
    let request = client.request(Method::POST, "/sign-in");
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = reply(request).await;
    let cookie = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| {
        cookie.to_str().ok()?.split(';').next().filter(|pair| pair.starts_with("aihub_session"))
    });
    let cookie = cookie.map(ToOwned::to_owned).next().expect("a session");
    (client, cookie)
}

/// Creates a key that may do everything, and gives its secret.
#[must_use]
pub fn admin_key(dir: &Path) -> String {
    run_ok(dir, &["key", "create", "--name", "test", "--scopes", "admin,read,write,backfill"])
}

/// Creates an organization with a key of its own, and gives the secret.
#[must_use]
pub fn organization_key(dir: &Path, organization: &str, scopes: &str) -> String {
    let named = ["--name", organization, "--country", "DE"];
    run_ok(dir, &[&["organization", "create", organization], &named[..]].concat());
    let of = ["--organization", organization, "--scopes", scopes];
    run_ok(dir, &[&["key", "create", "--name", organization], &of[..]].concat())
}

/// An S3 server on loopback, which can be made to fail. Dropping it ends it.
#[derive(Debug)]
pub struct ObjectStore {
    pub url: String,
    child: Child,
}

impl ObjectStore {
    /// Starts the server with an empty bucket `lake`. `tests/run` makes the Python that it runs on; elsewhere
    /// `AIHUB_TEST_PYTHON` names one.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let python = named("AIHUB_TEST_PYTHON").or_else(|| made("object-store-venv/bin/python"));
        let python = python.unwrap_or_default();
        let mut child = Command::new(&python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/object_store/server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", python.display()));
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("`{line}` is no ready line: {error}"));
        let store = Self { url: ready["url"].as_str().unwrap_or_default().into(), child };
        let bucket = store.request(Method::PUT, "lake").send().await;
        assert!(bucket.is_ok_and(|answer| answer.status().is_success()), "no bucket was made");
        store
    }

    /// A request to it, as somebody it knows.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=none";
        let url = format!("{}/{path}", self.url);
        reqwest::Client::new().request(method, url).header("Authorization", signed)
    }

    /// Makes a share of the requests from now on fail, in the ways that `seed` tells. Gives how many did so far.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn fail(&self, seed: u64, share: f64) -> Value {
        self.fail_as(&json!({"seed": seed, "share": share})).await
    }

    /// The same with a plan that may name the ways (see `object_store/server.py`).
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn fail_as(&self, plan: &Value) -> Value {
        let made = self.faults().await;
        reply(self.request(Method::PUT, "-/faults").body(plan.to_string())).await;
        made
    }

    /// Which requests failed since the plan, by the way.
    ///
    /// # Panics
    /// When the server is gone.
    pub async fn faults(&self) -> Value {
        reply(self.request(Method::GET, "-/faults")).await.json()
    }

    /// The configuration of a folder whose tables are in this store.
    #[must_use]
    pub fn configuration(&self, bucket: &str) -> String {
        format!(
            "[lake]\nurl = \"s3://{bucket}/tables\"\n[lake.options]\naws_endpoint = \"{}\"\n\
             aws_allow_http = \"true\"\naws_region = \"us-east-1\"\naws_access_key_id = \"test\"\n\
             aws_secret_access_key = \"test\"\n",
            self.url
        )
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the folder's configuration, before a server is started on it.
///
/// # Panics
/// When it cannot be written.
pub fn configure(dir: &Path, text: &str) {
    std::fs::write(dir.join("aihub.toml"), text)
        .unwrap_or_else(|error| panic!("the configuration cannot be written: {error}"));
}

/// Waits until every row of the log is in the tables.
///
/// # Panics
/// When none went there for half a minute.
pub async fn flushed(client: &Client) {
    let (mut least, mut patience) = (u64::MAX, 300);
    while patience > 0 {
        let measured = reply(client.request(Method::GET, "/metrics")).await.text();
        let lag = measured.lines().find_map(|line| line.strip_prefix("ingest_lag_rows "));
        let lag = lag.and_then(|rows| rows.parse().ok()).unwrap_or(u64::MAX);
        if lag == 0 {
            return;
        }
        (least, patience) = if lag < least { (lag, 300) } else { (least, patience - 1) };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{least} rows stay in the log");
}

/// Compresses with a program of the system: `gzip` or `zstd`.
///
/// # Panics
/// When it cannot.
#[must_use]
pub fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let spawned = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    let (input, bytes) = (child.stdin.take(), bytes.to_vec());
    let writing = std::thread::spawn(move || input.map(|mut input| input.write_all(&bytes)));
    let output = child.wait_with_output();
    let written = writing.join().ok().flatten().is_some_and(|written| written.is_ok());
    assert!(written, "{program} did not read its input");
    output.unwrap_or_else(|error| panic!("{program} does not end: {error}")).stdout
}

/// A statement in words that nobody used before: no kept answer is given for it.
pub fn anew(sql: &str) -> String {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    format!("{sql} -- {}", ASKED.fetch_add(1, Ordering::Relaxed))
}
