//! A mail server that keeps what it is sent: `tests/mail_server.py`, by aiosmtpd.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// A running mail server. Dropping it ends the process.
#[derive(Debug)]
pub struct MailServer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl MailServer {
    /// `plan` says what happens to each mail: see the script.
    ///
    /// # Panics
    /// When Python or aiosmtpd is missing.
    #[must_use]
    pub fn start(plan: &str) -> Self {
        let python = crate::made("notebooks-venv/bin/python");
        let python = python.unwrap_or_else(|| panic!("the Python packages are missing: tests/run"));
        let folder = crate::folder();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("mail_server.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(folder.path())
            .arg(plan)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("the mail server does not start: {error}"));
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| panic!("the mail server does not say its port: {line}"));
        Self { child, folder, port }
    }

    /// The settings that make a server send its mail here.
    #[must_use]
    pub fn configuration(&self) -> String {
        format!(
            "[smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"reports@example.com\"\n\
             timeout_seconds = 2\n",
            self.port
        )
    }

    /// What came so far, in its order.
    #[must_use]
    pub fn mails(&self) -> Vec<Value> {
        let Ok(files) = std::fs::read_dir(self.folder.path()) else { return Vec::new() };
        let paths = files.flatten().map(|file| file.path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        paths.sort();
        let read = |path| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        paths.into_iter().filter_map(read).collect()
    }

    /// The token after `path` in the newest mail to an address, once so many mails came.
    ///
    /// # Panics
    /// When there is none within 60 seconds.
    pub async fn token(&self, count: usize, to: &str, path: &str) -> String {
        let mails = self.wait_for(count).await;
        let mail = mails.iter().rev().find(|mail| mail.to_string().contains(to));
        let text = mail.unwrap_or_else(|| panic!("no mail to {to}: {mails:?}")).to_string();
        let at = text.find(path).unwrap_or_else(|| panic!("no {path} in {text}")) + path.len();
        text[at..].chars().take_while(char::is_ascii_alphanumeric).collect()
    }

    /// Waits until so many mails came.
    ///
    /// # Panics
    /// When they do not come within 60 seconds.
    pub async fn wait_for(&self, count: usize) -> Vec<Value> {
        for _ in 0..600 {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} of {count} mails came", self.mails().len());
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
