//! A disk that is really full: the data folder lies on a small file system in memory.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Reply, Server, admin_key, configure, flushed, folder, reply, run_ok, usage};

/// Set where the tests may mount something.
const INSIDE: &str = "AIHUB_TEST_INSIDE";

/// Runs a test again as a root who has a view of the file system of his own: what is mounted there goes with him.
/// `false` when it is so already.
fn runs_inside(test: &str) -> bool {
    if std::env::vars().any(|(name, _)| name == INSIDE) {
        return false;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is not installed (util-linux)");
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "root or user namespaces are needed: {}", said.concat());
    assert!(said[0].contains("1 passed"), "there is no test {test}");
    true
}

/// A small file system in memory.
struct SmallDisk {
    mounted: TempDir,
}

impl SmallDisk {
    fn mount() -> Self {
        let mounted = folder();
        let mount = ["-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs"];
        let status = Command::new("mount").args(mount).arg(mounted.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "no tmpfs can be mounted");
        Self { mounted }
    }

    fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Leaves about so many bytes free.
    fn fill(&self, free: u64) {
        let path = self.path().join("ballast");
        let mut ballast = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        loop {
            match ballast.write_all(&[1; 16 << 10]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
        let length = ballast.metadata().unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - free).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// What was sent so far, and what of it was acknowledged: all but the batch that is sent again.
struct Sender {
    client: Client,
    acknowledged: usize,
    refused: usize,
}

const BATCH: usize = 50;

impl Sender {
    /// Sends the next batch, which is sent again until it is acknowledged. Gives whether it was.
    async fn send(&mut self) -> bool {
        let event = |n: usize| usage("org_a", &format!("e{n}"), json!({"input_tokens": n % 97}));
        let numbers = self.acknowledged..self.acknowledged + BATCH;
        let body: String = numbers.map(|n| format!("{}\n", event(n))).collect();
        let request = self.client.request(Method::POST, "/v1/events");
        let request = request.header("Content-Type", "application/x-ndjson").body(body);
        let answer = reply(request).await;
        if answer.status == StatusCode::OK {
            // A refused batch was not stored in part, nor is it taken for a duplicate.
            assert_eq!(answer.json()["accepted"], BATCH, "{}", answer.text());
            self.acknowledged += BATCH;
        } else {
            Self::is_clear(&answer);
            self.refused += 1;
        }
        answer.status == StatusCode::OK
    }

    fn is_clear(answer: &Reply) {
        let problem = answer.json();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
        assert_eq!(
            (&problem["code"], &problem["reason"]),
            (&json!("unavailable"), &json!("disk_full"))
        );
        assert!(problem["detail"].as_str().unwrap().contains("disk is full"), "{problem}");
        assert!(!answer.header("retry-after").is_empty());
    }

    /// Sends until this many batches were refused in a row: there is no room for another.
    async fn send_until_full(&mut self) {
        let mut in_a_row = 0;
        while in_a_row < 5 {
            in_a_row = if self.send().await { 0 } else { in_a_row + 1 };
            assert!(self.acknowledged < 100_000, "the disk does not fill");
        }
    }

    /// Sends until a batch goes through.
    async fn send_until_accepted(&mut self) {
        let begun = Instant::now();
        while !self.send().await {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not recover");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn totals(&self) -> Value {
        let tokens: usize = (0..self.acknowledged).map(|n| n % 97).sum();
        json!({"n": self.acknowledged, "ids": self.acknowledged, "tokens": tokens})
    }

    async fn check(&self) {
        let sql = "select count(*) as n, count(distinct event_id) as ids, sum(input_tokens) as tokens \
                   from usage_events";
        assert_eq!(self.client.rows(sql).await[0], self.totals());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_room_ends_it() {
    if runs_inside("lake::full_disk::a_full_disk_loses_nothing_and_room_ends_it") {
        return;
    }
    let disk = SmallDisk::mount();
    let dir = disk.path();
    configure(
        dir,
        "[ingest]\nflush_seconds = 1\n[maintain]\nenabled = false\n[check]\nnightly = false\n",
    );
    let key = admin_key(dir);
    let mut server = Server::serve(dir);
    let mut sender = Sender { client: Client::new(&server, &key), acknowledged: 0, refused: 0 };
    for free in [300 << 10, 100 << 10] {
        for _ in 0..4 {
            assert!(sender.send().await);
        }
        disk.fill(free);
        sender.send_until_full().await;
        // Rows do not move to the tables either, and what was acknowledged is read as before.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        sender.check().await;
        disk.free();
        sender.send_until_accepted().await;
        flushed(&sender.client).await;
        sender.check().await;
    }
    // The process goes while there is no room; the next one finds room.
    disk.fill(200 << 10);
    sender.send_until_full().await;
    server.kill();
    disk.free();
    server = Server::serve(dir);
    sender.client = Client::new(&server, &key);
    sender.check().await;
    sender.send_until_accepted().await;
    sender.check().await;
    assert!(sender.refused >= 15, "{} refusals", sender.refused);
    server.stop();
    run_ok(dir, &["check"]);
}
