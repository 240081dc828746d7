//! A Chromium that tests drive, over WebDriver.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The script of axe-core, which tells faults of accessibility.
///
/// # Panics
/// When `tests/run` did not install it.
#[must_use]
pub fn axe_script() -> String {
    let python = crate::made("axe-venv/bin/python").expect("axe-core: `tests/run` installs it");
    let say = "import axe_core_python, pathlib; print(pathlib.Path(axe_core_python.__file__).with_name('axe.min.js').read_text())";
    let said = Command::new(python).args(["-c", say]).output().expect("python starts");
    assert!(said.status.success(), "axe-core: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// A browser window. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    session: String,
    http: reqwest::Client,
    _profile: TempDir,
}

impl Browser {
    /// Opens a window of this size. `arguments` are Chromium's own.
    ///
    /// # Panics
    /// When ChromeDriver or Chromium is missing.
    pub async fn open(width: u32, height: u32, arguments: &[&str]) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver does not start: {error}"));
        let output = driver.stdout.take().map(BufReader::new);
        let port = output
            .into_iter()
            .flat_map(|lines| lines.lines().map_while(Result::ok))
            .find_map(|line| {
                let port = line.split_once("successfully on port ")?.1;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .unwrap_or_else(|| panic!("chromedriver does not say its port"));
        let profile = crate::folder();
        let mut all = vec![
            "--headless".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--hide-scrollbars".into(),
            "--disable-background-networking".into(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},{height}"),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let mut options = json!({"args": all});
        // A window is not narrower than this; a telephone is.
        if width < 500 {
            options["mobileEmulation"] =
                json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1}});
        }
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
        }}});
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build();
        let http = http.unwrap_or_default();
        let url = format!("http://127.0.0.1:{port}/session");
        let opened = ask(&http, Method::POST, &url, Some(capabilities)).await;
        let id = opened["sessionId"].as_str().unwrap_or_default().to_owned();
        Self { driver, session: format!("{url}/{id}"), http, _profile: profile }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        ask(&self.http, Method::POST, &format!("{}/{path}", self.session), Some(body)).await
    }

    pub async fn go(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    /// Sets a cookie for the page that is open.
    pub async fn cookie(&self, name: &str, value: &str) {
        self.post("cookie", json!({"cookie": {"name": name, "value": value, "path": "/"}})).await;
    }

    /// Runs the body of a function in the page and gives what it returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn until(&self, expression: &str) {
        for _ in 0..200 {
            if self.run(&format!("return Boolean({expression})")).await == json!(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not come to {expression}");
    }

    /// Types keys into what has the focus. `\u{e009}` holds Ctrl until `\u{e000}`.
    pub async fn keys(&self, keys: &str) {
        let active =
            ask(&self.http, Method::GET, &format!("{}/element/active", self.session), None).await;
        let id = active.as_object().and_then(|o| o.values().next()?.as_str().map(str::to_owned));
        let path = format!("element/{}/value", id.unwrap_or_default());
        self.post(&path, json!({"text": keys})).await;
    }

    /// The window as a PNG, in base 64.
    pub async fn picture(&self) -> String {
        let url = format!("{}/screenshot", self.session);
        let picture = ask(&self.http, Method::GET, &url, None).await;
        picture.as_str().unwrap_or_default().to_owned()
    }

    /// Ends the browser.
    pub async fn close(self) {
        let _ = self.http.delete(&self.session).send().await;
    }
}

impl Drop for Browser {
    /// A test that failed leaves the browser open: it is of the driver's process group.
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}

/// Sends a command and gives its value.
async fn ask(http: &reqwest::Client, method: Method, url: &str, body: Option<Value>) -> Value {
    let mut request = http.request(method, url);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap_or_else(|error| panic!("WebDriver: {error}"));
    let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap_or_default());
    assert!(status.is_success(), "WebDriver {url}: {answer}");
    answer["value"].clone()
}
