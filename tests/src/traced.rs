//! A server whose system calls are watched.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use serde_json::Value;

use crate::aihub;

/// A server that runs under `strace`. Dropping it kills the server.
#[derive(Debug)]
pub struct Traced {
    strace: Child,
    pub url: String,
}

impl Traced {
    /// Starts a server with these options of `strace`, which writes to `trace`.
    ///
    /// # Errors
    /// How it ended when it was never ready: a fault that was injected came early.
    ///
    /// # Panics
    /// When `strace` does not start.
    pub fn start(dir: &Path, trace: &Path, options: &[&str]) -> Result<Self, ExitStatus> {
        let mut strace = traced(trace, options)
            .args(["serve", "--port", "0", "--format", "json", "--dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("strace does not start: {error}"));
        let mut line = String::new();
        if let Some(out) = strace.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let ready: Option<Value> = serde_json::from_str(&line).ok();
        match ready {
            Some(ready) => {
                let url = ready["url"].as_str().unwrap_or_default().to_owned();
                Ok(Self { strace, url })
            }
            None => Err(wait(&mut strace)),
        }
    }

    /// Ends the server, if it still runs, and waits for it.
    pub fn end(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        wait(&mut self.strace)
    }

    /// Sends a signal to the server; `strace` ends with it.
    fn signal(&self, signal: &str) {
        let id = self.strace.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args([signal, child]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal("-KILL");
        }
    }
}

/// `aihub` under `strace`; its arguments follow.
#[must_use]
pub fn traced(trace: &Path, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "--seccomp-bpf", "-o"]).arg(trace).args(options).arg(aihub());
    strace.stdin(Stdio::null());
    strace
}

fn wait(strace: &mut Child) -> ExitStatus {
    strace.wait().unwrap_or_else(|error| panic!("waiting for strace: {error}"))
}
