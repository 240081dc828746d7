//! A worker process as its parent sees it.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    process::{self, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Launch, WorkerMessage, scheduler::Tenant};
use crate::{
    QueryError, Reason, Request,
    worker::{ENDED, FAILED, Handshake, PROGRESS, ROWS, WorkerRequest, read_frame, write_frame},
};

/// A running worker. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    input: ChildStdin,
    output: ChildStdout,
    /// Below the process, which is killed first.
    spill: Spill,
    /// Who asked it last.
    last: Option<Tenant>,
    /// Since when nobody asks it.
    idle_since: Instant,
    /// How long the answer to its last question waited for its reader, and since when it waits now.
    unread: Duration,
    unread_since: Option<Instant>,
}

/// How a worker stands after a question. All but the first mean that it is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Ready,
    /// Its process ended, for no reason that lies in the query, before any row.
    Vanished,
    /// Its process ended.
    Lost,
    Overdue,
    Outgrown,
    /// Nobody reads the answer any more.
    Unread,
}

/// How long an idle worker may take to end, and one that closed its output.
const END: Duration = Duration::from_secs(2);
/// Rows come in small frames; a plan in words is one frame.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// SIGILL, SIGABRT, SIGBUS on Linux and macOS, SIGSEGV: what a process does to itself, as at a stack that overflows.
const OWN_SIGNALS: [i32; 5] = [4, 6, 7, 10, 11];

impl Fate {
    pub(super) fn error(self, request: &Request) -> QueryError {
        let (reason, message) = match self {
            Self::Ready | Self::Vanished | Self::Lost => {
                (Reason::Lost, "the query ended its worker; it may need too much".into())
            }
            Self::Overdue => {
                let message = format!("the query did not end within {} ms", request.deadline_ms);
                (Reason::Deadline, message)
            }
            Self::Outgrown => {
                (Reason::Memory, "the query needs more memory than it may use".to_owned())
            }
            Self::Unread => (Reason::Lost, "nobody waits for the answer".into()),
        };
        QueryError::new(reason, message)
    }
}

impl Child {
    pub(super) async fn start(launch: &Launch) -> Result<Self, QueryError> {
        let lost = |error: std::io::Error| {
            tracing::error!(%error, program = %launch.program.display(), "starting a query worker");
            QueryError::new(Reason::Lost, "a query worker could not be started")
        };
        let spill = Spill::new(&launch.handshake.spill_dir).map_err(lost)?;
        let mut process = Command::new(&launch.program)
            .arg(launch.argument)
            .env_clear()
            .envs(launch.environment.iter().copied())
            // Where a build that measures coverage writes what ran.
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            // Ctrl-C in a terminal is for the server, which ends its workers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(lost)?;
        let (Some(mut input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(QueryError::new(Reason::Lost, "a query worker has no pipes"));
        };
        let handshake = Handshake { spill_dir: spill.dir.clone(), ..launch.handshake.clone() };
        let handshake = serde_json::to_vec(&handshake).map_err(|e| lost(e.into()))?;
        write_frame(&mut input, ROWS, &handshake).await.map_err(lost)?;
        Ok(Self {
            process,
            input,
            output,
            spill,
            last: None,
            idle_since: Instant::now(),
            unread: Duration::ZERO,
            unread_since: None,
        })
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub(super) fn memory(&self) -> ProcessMemory {
        ProcessMemory { process: self.process.id() }
    }

    /// What it holds; 0 where the operating system does not tell.
    pub(super) fn held_bytes(&self) -> usize {
        self.memory().bytes().unwrap_or(0)
    }

    /// Without what it shares with others; 0 where the operating system does not tell.
    pub(super) fn own_bytes(&self) -> usize {
        self.memory().own_bytes().unwrap_or(0)
    }

    /// What all its threads computed since it started. `None` where the operating system does not tell.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()?)).ok()?;
        cpu_time(&text, rustix::param::clock_ticks_per_second())
    }

    /// How long the answer to its last question waited for its reader.
    pub(super) fn unread(&self) -> Duration {
        self.unread + self.unread_since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// From now on nobody asks it.
    pub(super) fn rests(mut self) -> Self {
        self.idle_since = Instant::now();
        self
    }

    pub(super) fn idle_for(&self) -> Duration {
        self.idle_since.elapsed()
    }

    pub(super) async fn kill(&mut self) {
        let _ = self.process.kill().await;
    }

    /// Lets an idle worker end by itself, as it does when its input ends.
    pub(super) async fn end(self) {
        let Self { mut process, input, output, spill: _spill, .. } = self;
        drop((input, output));
        if timeout(END, process.wait()).await.is_err() {
            let _ = process.kill().await;
        }
    }

    /// How well it suits a tenant. One that it asked before has the tables and footers that it asks for at hand; one
    /// that is new takes nothing from others.
    pub(super) fn suits(&self, tenant: &Tenant) -> u8 {
        match &self.last {
            Some(last) if last == tenant => 2,
            None => 1,
            Some(_) => 0,
        }
    }

    /// Asks one question and passes the answer on.
    pub(super) async fn ask(
        &mut self,
        question: &WorkerRequest<&Request>,
        deadline: Instant,
        pieces: &mpsc::Sender<WorkerMessage>,
    ) -> Fate {
        let Ok(text) = serde_json::to_vec(question) else { return Fate::Lost };
        self.last = Some(Tenant::of(&question.request.reach));
        (self.unread, self.unread_since) = (Duration::ZERO, None);
        if write_frame(&mut self.input, ROWS, &text).await.is_err() {
            return self.fate(false).await;
        }
        let mut passed_on = false;
        loop {
            let reading = read_frame(&mut self.output, FRAME_BYTES_MAX);
            let Ok(frame) = timeout_at(deadline, reading).await else { return Fate::Overdue };
            let piece = match frame {
                Ok(Some((ROWS, body))) => Some(WorkerMessage::Rows(body.into())),
                Ok(Some((PROGRESS, body))) => {
                    serde_json::from_slice(&body).ok().map(WorkerMessage::Progress)
                }
                Ok(Some((ENDED, body))) => {
                    serde_json::from_slice(&body).ok().map(WorkerMessage::Ended)
                }
                Ok(Some((FAILED, body))) => {
                    serde_json::from_slice(&body).ok().map(WorkerMessage::Failed)
                }
                Ok(Some(_)) => None,
                Ok(None) | Err(_) => return self.fate(passed_on).await,
            };
            let Some(piece) = piece else { return Fate::Lost };
            let last = !matches!(piece, WorkerMessage::Rows(_) | WorkerMessage::Progress(_));
            passed_on |= matches!(piece, WorkerMessage::Rows(_));
            self.unread_since = Some(Instant::now());
            let is_gone = pieces.send(piece).await.is_err();
            self.unread = self.unread();
            self.unread_since = None;
            if is_gone && !last {
                return Fate::Unread;
            }
            if last {
                return Fate::Ready;
            }
        }
    }

    /// Why it says no more.
    async fn fate(&mut self, passed_on: bool) -> Fate {
        let status = timeout(END, self.process.wait()).await.ok().and_then(Result::ok);
        match status {
            Some(status) if !passed_on && !is_own_doing(status) => Fate::Vanished,
            _ => Fate::Lost,
        }
    }
}

/// The folder where one worker spills. A worker that is killed leaves its files; they go with this.
#[derive(Debug)]
struct Spill {
    dir: PathBuf,
}

impl Spill {
    fn new(within: &Path) -> std::io::Result<Self> {
        // Several pools share the folder.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = within.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let dir = std::mem::take(&mut self.dir);
        let remove = move || {
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::warn!(%error, "the files of a query worker could not be removed");
            }
        };
        // Gigabytes take a while.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// The time of all threads, in user mode and in the kernel, of a line of `/proc/PID/stat` (proc_pid_stat(5): `utime`,
/// `stime`). The second field is a name that may hold anything.
fn cpu_time(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let both = ticks.next()?.ok()? + ticks.next()?.ok()?;
    Some(Duration::from_millis(both.checked_mul(1000)?.checked_div(ticks_per_second)?))
}

fn is_own_doing(status: ExitStatus) -> bool {
    status.signal().is_none_or(|signal| OWN_SIGNALS.contains(&signal))
}

/// What the operating system says that a process holds. The memory pool of the engine counts only some of what a
/// query allocates.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessMemory {
    process: Option<u32>,
}

impl ProcessMemory {
    fn bytes(self) -> Option<usize> {
        self.resident().map(|(all, _)| all)
    }

    /// Without what it shares with others: its program, above all.
    fn own_bytes(self) -> Option<usize> {
        self.resident().map(|(all, shared)| all.saturating_sub(shared))
    }

    fn resident(self) -> Option<(usize, usize)> {
        const PAGE: usize = 4096;
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.process?)).ok()?;
        let mut fields = text.split(' ').skip(1).map(|pages| pages.parse::<usize>().ok());
        Some((fields.next()?? * PAGE, fields.next()?? * PAGE))
    }

    /// Completes when the process holds more. Where the operating system does not tell, this never does.
    pub(super) async fn exceeds(self, bytes_max: usize) {
        loop {
            match self.bytes() {
                Some(bytes) if bytes > bytes_max => return,
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_killed_is_not_at_fault() {
        let raw = ExitStatus::from_raw;
        for (status, own) in [(9, false), (15, false), (6, true), (11, true), (1 << 8, true)] {
            assert_eq!(is_own_doing(raw(status)), own, "{status}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_worker_spilled_goes_with_it() {
        let within = tempfile::tempdir().unwrap();
        let [one, other] = [0, 1].map(|_| Spill::new(within.path()).unwrap());
        assert_ne!(one.dir, other.dir);
        fs::write(one.dir.join("rows"), "many").unwrap();
        drop(one);
        let left = || fs::read_dir(within.path()).unwrap().count();
        while left() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(other.dir.is_dir());
    }

    #[test]
    fn the_time_of_a_process_is_read() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 31 19 5 6 20 0 9 0 1 2 3";
        assert_eq!(cpu_time(line, 100), Some(Duration::from_millis(500)));
        for (line, ticks) in [(line, 0), ("7 (a) S 1 7", 100), ("", 100)] {
            assert_eq!(cpu_time(line, ticks), None, "{line}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_a_process_holds_is_known() {
        let memory = ProcessMemory { process: Some(std::process::id()) };
        assert!(memory.bytes() > Some(1 << 20));
        assert!(memory.own_bytes() > Some(1 << 16) && memory.own_bytes() < memory.bytes());
        memory.exceeds(1 << 20).await;
        assert_eq!(ProcessMemory { process: None }.bytes(), None);
    }
}
