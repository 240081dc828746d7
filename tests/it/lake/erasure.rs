//! 20 of 200 persons are erased: no file of the folder holds anything of them, whichever way it is read, and
//! everything of the other 180 is there. Sums stay, and nothing that comes later brings the 20 back.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use ingest::identity::Pseudonyms;
use parquet::file::reader::{FileReader, SerializedFileReader};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, ObjectStore, Server, admin_key, configure, flushed, folder, reply, rollup, run, run_ok,
    signal, until_rolled_up, usage,
};

const NDJSON: &str = "application/x-ndjson";
const PERSONS: u32 = 200;
const SUMS: &str = "select organization_id, event_date, count(*) as n, sum(input_tokens) as tokens, \
                    sum(cost) as cost from";

/// Takes many seconds.
const SLOW: &str = "select u.user_id, count(*) as n from usage_ledger u, unnest(range(0, 90000)) as more \
                    group by u.user_id";

fn id(person: u32) -> String {
    format!("person-{person:03}@example.com")
}

fn is_erased(person: &u32) -> bool {
    person % 10 == 3
}

/// What is in the files of a person: the id that a sender uses, and the pseudonym.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    ids: BTreeSet<u32>,
    pseudonyms: BTreeSet<String>,
}

impl Found {
    /// Searches every file below a folder, byte by byte, and Parquet files also page by page, decompressed:
    /// dictionaries and data. Statistics lie in the file's end as they are.
    fn in_folder(dir: &Path) -> Self {
        let mut found = Self::default();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let inner = Self::in_folder(&path);
                found.ids.extend(inner.ids);
                found.pseudonyms.extend(inner.pseudonyms);
                continue;
            }
            found.search(&fs::read(&path).unwrap());
            if path.extension().is_some_and(|extension| extension == "parquet") {
                found.search(&pages(&path));
            }
        }
        found
    }

    fn search(&mut self, bytes: &[u8]) {
        for at in 0..bytes.len() {
            let rest = &bytes[at..];
            if let Some(number) = rest.strip_prefix(b"person-").and_then(|rest| rest.get(..3)) {
                self.ids.extend(std::str::from_utf8(number).unwrap().parse::<u32>());
            }
            if let Some(hex) = rest.get(2..22)
                && (rest.starts_with(b"u_") || rest.starts_with(b"v_"))
                && hex.iter().all(|byte| byte.is_ascii_hexdigit())
            {
                self.pseudonyms.insert(String::from_utf8(rest[..22].to_vec()).unwrap());
            }
        }
    }
}

fn pages(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).unwrap();
        for column in 0..group.num_columns() {
            for page in group.get_column_page_reader(column).unwrap() {
                bytes.extend_from_slice(page.unwrap().buffer());
            }
        }
    }
    bytes
}

/// Users and visitors, as the tables name them.
fn pseudonyms(dir: &Path, persons: impl Iterator<Item = u32>) -> BTreeSet<String> {
    let key = fs::read(dir.join("pseudonym.key")).unwrap();
    let names = Pseudonyms::new(key.try_into().unwrap());
    persons.flat_map(|n| [names.user("org_a", &id(n)), names.visitor(&visitor(n))]).collect()
}

fn visitor(person: u32) -> String {
    format!("visitor-of-{}", id(person))
}

fn aged(mut event: Value, days: u32) -> Value {
    let at: DateTime<Utc> = event["time"].as_str().unwrap().parse().unwrap();
    event["time"] = (at - TimeDelta::days(days.into())).to_rfc3339().into();
    event
}

fn used(person: u32, event: &str) -> Value {
    let data = json!({
        "user_id": id(person), "session_id": format!("session of {}", id(person)), "mail": id(person),
        "input_tokens": person, "cost": format!("0.{person:03}"), "currency": "USD",
    });
    aged(usage("org_a", event, data), person % 4)
}

fn viewed(person: u32, event: &str, is_known: bool) -> Value {
    let mut view = usage("org_a", event, json!({}));
    view["type"] = "activity.page_view".into();
    view["data"] =
        json!({"anonymous_id": visitor(person), "path": format!("/home/{}", id(person))});
    if is_known {
        view["data"]["user_id"] = id(person).into();
    }
    aged(view, person % 4)
}

fn unread(person: u32, event: &str) -> Value {
    usage("org_a", event, json!({"user_id": id(person), "input_tokens": "many"}))
}

async fn send(client: &Client, events: impl Iterator<Item = Value>) -> [u64; 3] {
    let lines: String = events.map(|event| format!("{event}\n")).collect();
    let (_, answer) = client.send(NDJSON, lines).await;
    ["accepted", "duplicate", "rejected"].map(|name| answer[name].as_u64().unwrap_or(u64::MAX))
}

/// The folder of a server that has seen everybody: in files that were compacted and in others, in corrections,
/// in dead letters, in a backup, and in the log alone.
struct Planted {
    dir: tempfile::TempDir,
    backup: tempfile::TempDir,
    key: String,
    sums: Vec<Value>,
}

const QUIET: &str = "[maintain]\nenabled = false\n[query]\ndeadline_seconds = 1\n";

fn all() -> impl Iterator<Item = u32> {
    0..PERSONS
}

async fn planted() -> (Planted, Server) {
    let (dir, backup) = (folder(), folder());
    configure(dir.path(), &format!("{QUIET}[ingest]\nflush_seconds = 1\n"));
    let key = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    for (round, half) in [0..100, 100..PERSONS].into_iter().enumerate() {
        let known = half.clone().map(|n| used(n, &format!("used-{n}")));
        let seen = half.map(|n| viewed(n, &format!("seen-{n}"), true));
        assert_eq!(send(&client, known.chain(seen)).await, [200, 0, 0], "round {round}");
        flushed(&client).await;
    }
    run_ok(dir.path(), &["maintain", "--all"]);
    let letters = all().map(|n| unread(n, &format!("unread-{n}")));
    assert_eq!(send(&client, letters).await, [0, 0, 200]);
    let later = all().map(|n| viewed(n, &format!("anonymous-{n}"), false));
    assert_eq!(send(&client, later).await, [200, 0, 0]);
    for (path, person, data) in [
        ("void", 3, None),
        ("void", 4, None),
        ("correct", 13, Some(json!({"input_tokens": 7}))),
        ("correct", 14, Some(json!({"input_tokens": 7}))),
    ] {
        let mut body =
            json!({"organization": "org_a", "source": "/test", "id": format!("used-{person}")});
        data.into_iter().for_each(|data| body["data"] = data);
        let request = client.request(Method::POST, &format!("/v1/events/{path}")).json(&body);
        let answer = reply(request).await.json();
        assert_eq!(answer["status"], "accepted", "{answer}");
    }
    flushed(&client).await;
    run_ok(dir.path(), &["backup", "--to", &backup.path().display().to_string()]);
    server.stop();

    // Who was there is summed up in a rollup, too, but for the two whose only event was taken back.
    let settings = "[ingest]\nflush_seconds = 3600\n[metrics]\nrollup_seconds = 1\n";
    configure(dir.path(), &format!("{QUIET}{settings}"));
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let logged = all().map(|n| used(n, &format!("logged-{n}")));
    assert_eq!(send(&client, logged).await, [200, 0, 0]);
    until_rolled_up(&client, "monthly_active_users?range=last_30_days").await;
    assert_eq!(Found::in_folder(&rollup(dir.path(), "users_daily")).pseudonyms.len(), 198);
    let sums = sums(&client).await;
    (Planted { dir, backup, key, sums }, server)
}

async fn sums(client: &Client) -> Vec<Value> {
    let mut sums = Vec::new();
    for table in ["usage_ledger", "usage_events"] {
        let sql = format!("{SUMS} {table} group by 1, 2 order by 1, 2");
        sums.push(client.rows(&sql).await.into());
    }
    let others = "select (select count(*) from activity_events where source <> '/aihub/audit') as seen, \
                  (select count(*) from dead_letter) as letters";
    sums.push(client.rows(others).await.into());
    sums
}

/// A query in the background, when it is over.
async fn ended(client: &Client, query: &str) -> Value {
    for _ in 0..600 {
        let (_, found) = client.get(query).await;
        if !["queued", "running"].iter().any(|status| found["status"] == *status) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{query} does not end");
}

impl Planted {
    /// Erases the 20, as users and as visitors.
    fn erase(&self, more: &[&str]) -> Value {
        let list = self.backup.path().with_extension("txt");
        let users: Vec<_> = all().filter(is_erased).map(id).collect();
        fs::write(&list, users[1..].join("\n")).unwrap();
        let list = list.display().to_string();
        let mut arguments = vec!["erase", "--organization", "org_a", "--user", &users[0]];
        arguments.extend(["--users-from", &list, "--format", "json"]);
        let visitors: Vec<_> = all().filter(is_erased).map(visitor).collect();
        arguments.extend(visitors.iter().flat_map(|visitor| ["--anonymous-id", visitor]));
        arguments.extend(more);
        let said = run_ok(self.dir.path(), &arguments);
        fs::remove_file(&list).unwrap();
        serde_json::from_str(&said).unwrap()
    }

    fn assert_gone(&self, dir: &Path) {
        let found = Found::in_folder(dir);
        let others = || all().filter(|n| !is_erased(n));
        assert_eq!(found.ids, others().collect());
        assert_eq!(found.pseudonyms, pseudonyms(self.dir.path(), others()));
    }

    fn assert_there(&self, dir: &Path) {
        let found = Found::in_folder(dir);
        assert_eq!(found.ids, all().collect());
        assert_eq!(found.pseudonyms, pseudonyms(self.dir.path(), all()));
    }

    /// The rows by table: 40 of usage and 2 of corrections are reversals, one is a re-entry.
    fn assert_told(&self, answer: &Value) {
        let rows = |table: &str| {
            let tables = answer["tables"].as_array().unwrap();
            tables.iter().find(|told| told["table"] == table).unwrap()["rows"].as_u64().unwrap()
        };
        assert_eq!(answer["persons"], 40);
        assert_eq!(["usage_ledger", "activity_events", "dead_letter"].map(rows), [43, 40, 20]);
    }

    /// What the 20 did before and is sent now, under known names and new ones, is nobody's.
    async fn assert_stays_gone(&self, client: &Client) {
        let gone = || all().filter(is_erased);
        let known =
            ["used", "logged"].map(|kind| gone().map(move |n| used(n, &format!("{kind}-{n}"))));
        assert_eq!(send(client, known.into_iter().flatten()).await, [0, 40, 0]);
        assert_eq!(sums(client).await, self.sums);
        let fresh = gone().map(|n| used(n, &format!("fresh-{n}")));
        assert_eq!(send(client, fresh).await, [20, 0, 0]);
        let letters = gone().map(|n| unread(n, &format!("again-{n}")));
        assert_eq!(send(client, letters).await, [0, 0, 20]);
        let conflicts = gone().map(|n| used(n + 1, &format!("used-{n}")));
        assert_eq!(send(client, conflicts).await, [0, 0, 20]);
    }
}

#[tokio::test]
async fn persons_are_erased_beside_a_running_server() {
    let (planted, server) = planted().await;
    let dir = planted.dir.path();
    let client = Client::new(&server, &planted.key);
    planted.assert_there(dir);
    run_ok(dir, &["check"]);
    let delta_log = dir.join("lake/usage_ledger/_delta_log");
    assert_eq!(Found::in_folder(&delta_log), Found::default(), "no statistics of persons");

    planted.assert_told(&planted.erase(&["--dry-run"]));
    planted.assert_there(dir);
    let refused = run(dir, &["erase", "--now"]);
    assert_eq!(refused.status.code(), Some(1));

    // It has read everything, and then it stands still until after the erasure.
    let now = json!({"sql": "select count(*) as n from usage_ledger"});
    let now = reply(client.request(Method::POST, "/v1/query").json(&now)).await.json();
    let body = json!({"sql": SLOW, "as_of": now["as_of"]});
    let begun = reply(client.request(Method::POST, "/v1/queries").json(&body)).await.json();
    let slow = format!("/v1/queries/{}", begun["query_id"].as_str().expect("an id"));
    // A job of the server computes as well, but for no longer than the deadline.
    let worker = server.child_that_computes(300, None).await;
    signal(worker, "STOP");

    let answer = planted.erase(&[]);
    planted.assert_told(&answer);
    // The client hears that its connection was closed meanwhile.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (_, found) = client.get(&slow).await;
    assert_eq!(found["status"], "running", "{found}");
    signal(worker, "CONT");
    assert_eq!(ended(&client, &slow).await["status"], "done");
    let (_, kept) = client.get(&format!("{slow}/result?format=json")).await;
    let named =
        kept["rows"].as_array().expect("rows").iter().filter(|row| !row["user_id"].is_null());
    assert_eq!(named.count(), 180, "nobody who is erased");
    assert!(answer["files_removed"].as_u64() > Some(0), "{answer}");
    planted.assert_gone(dir);
    run_ok(dir, &["check"]);
    // The connection was idle meanwhile, and may just be closed.
    let client = Client::new(&server, &planted.key);
    assert_eq!(sums(&client).await, planted.sums);
    let persons = client.rows("select count(distinct user_id) as n from usage_ledger").await;
    assert_eq!(persons[0]["n"], 180);
    let (_, letters) = client.get("/v1/dead-letters?limit=1000").await;
    let letters = letters["dead_letters"].as_array().unwrap();
    assert_eq!(letters.iter().filter(|letter| letter["raw"].is_null()).count(), 20);

    planted.assert_stays_gone(&client).await;
    planted.assert_gone(dir);
    server.stop();
    planted.assert_gone(dir);
    run_ok(dir, &["check"]);
    let state: Vec<u8> = ["state.db", "state.db-wal"]
        .iter()
        .flat_map(|name| fs::read(dir.join(name)).unwrap_or_default())
        .collect();
    let audited = String::from_utf8_lossy(&state).matches("persons.erased").count();
    assert!(audited >= 2, "one act for the users, one for the visitors");
}

#[tokio::test]
async fn persons_are_erased_from_a_folder_and_from_what_is_restored() {
    let (planted, server) = planted().await;
    let dir = planted.dir.path();
    // What the log alone holds stays there.
    server.kill();
    // Nobody is on the list before it is noted that an erasure is under way: it would not be completed.
    fs::create_dir(dir.join("erased.index")).unwrap();
    let refused = run(dir, &["erase", "--organization", "org_a", "--user", "x", "--now"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!dir.join("erased.json").exists());
    fs::remove_dir(dir.join("erased.index")).unwrap();

    planted.assert_told(&planted.erase(&["--now"]));
    planted.assert_gone(dir);
    run_ok(dir, &["check"]);
    let again = planted.erase(&["--now"]);
    assert!(again["tables"].as_array().unwrap().iter().all(|table| table["rows"] == 0), "{again}");

    let server = Server::serve(dir);
    let client = Client::new(&server, &planted.key);
    assert_eq!(sums(&client).await, planted.sums);
    planted.assert_stays_gone(&client).await;
    server.stop();
    planted.assert_gone(dir);
    run_ok(dir, &["check"]);

    // An erasure that was broken off once its list was written is completed at the next start.
    let (from, list) = (planted.backup.path().display().to_string(), dir.join("erased.json"));
    let old = folder();
    run_ok(old.path(), &["restore", "--from", &from]);
    planted.assert_there(old.path());
    fs::copy(&list, old.path().join("erased.json")).unwrap();
    fs::write(old.path().join("erased.index"), b"a part").unwrap();
    configure(old.path(), QUIET);
    let server = Server::serve(old.path());
    completed(old.path()).await;
    server.stop();
    planted.assert_gone(old.path());
    run_ok(old.path(), &["check"]);

    // A backup from before holds them, and one from now does not.
    let new = folder();
    let list = list.display().to_string();
    let other = folder();
    let other = other.path().join("erased.json");
    let mut altered: Value = serde_json::from_str(&fs::read_to_string(&list).unwrap()).unwrap();
    altered["key"] = "0".repeat(altered["key"].as_str().unwrap().len()).into();
    fs::write(&other, altered.to_string()).unwrap();
    let other = other.display().to_string();
    let refused = run(new.path(), &["restore", "--from", &from, "--erased", &other]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && error.contains("another pseudonym.key"), "{error}");
    assert_eq!(fs::read_dir(new.path()).unwrap().count(), 0, "something was restored first");
    let said = run_ok(new.path(), &["restore", "--from", &from, "--erased", &list]);
    assert!(said.contains("0 differences"), "{said}");
    planted.assert_gone(new.path());
    run_ok(dir, &["backup", "--to", &from]);
    planted.assert_gone(planted.backup.path());
}

/// Waits until no erasure is left undone.
async fn completed(dir: &Path) {
    for _ in 0..600 {
        if !dir.join("erased.index").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the erasure is not completed");
}

/// Sends the past of the 20 again and again, until the server is gone or it is told to stop.
async fn insist(client: Client, round: u32, stop: Arc<AtomicBool>) -> u32 {
    for turn in 0.. {
        let gone = || all().filter(is_erased);
        let fresh = gone().map(|n| used(n, &format!("fresh-{round}-{turn}-{n}")));
        let letters = gone().map(|n| unread(n, &format!("bad-{round}-{turn}-{n}")));
        let [accepted, _, rejected] = send(&client, fresh.chain(letters)).await;
        if stop.load(Ordering::Acquire) || (accepted, rejected) != (20, 20) {
            return turn;
        }
    }
    0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_kill_nor_what_is_under_way_brings_a_person_back() {
    let (planted, server) = planted().await;
    let dir = planted.dir.path();
    let mut body = json!({"organization": "org_a"});
    body["users"] = all().filter(is_erased).map(id).collect();
    body["anonymous_ids"] = all().filter(is_erased).map(visitor).collect();
    let erase = |client: &Client| client.request(Method::POST, "/v1/erasures").json(&body).send();
    let stop = Arc::new(AtomicBool::new(false));

    // In its first step, or while it waits for queries: the next start goes on.
    let client = Client::new(&server, &planted.key);
    let insisting = tokio::spawn(insist(client.clone(), 0, Arc::clone(&stop)));
    let erasing = tokio::spawn(erase(&client));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.kill();
    assert!(erasing.await.unwrap().is_err());
    assert!(insisting.await.unwrap() > 0);
    let server = Server::serve(dir);
    completed(dir).await;

    let client = Client::new(&server, &planted.key);
    let insisting = tokio::spawn(insist(client.clone(), 1, Arc::clone(&stop)));
    // The one that went on after the start may hold its lock for a moment more.
    let mut told = erase(&client).await.unwrap();
    for _ in 0..30 {
        if told.status() == 503 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            told = erase(&client).await.unwrap();
        }
    }
    assert_eq!(told.status(), 200, "{told:?}");
    stop.store(true, Ordering::Release);
    assert!(insisting.await.unwrap() > 0);
    planted.assert_gone(dir);
    server.stop();
    planted.assert_gone(dir);
    run_ok(dir, &["check"]);
}

#[tokio::test]
async fn persons_are_erased_from_an_object_store() {
    let (dir, store, copy) = (folder(), ObjectStore::start().await, folder());
    configure(dir.path(), &format!("{}{QUIET}", store.configuration("lake")));
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let events = (0..20).map(|n| used(n, &format!("used-{n}")));
    assert_eq!(send(&client, events).await, [20, 0, 0]);
    let said = run_ok(
        dir.path(),
        &["erase", "--organization", "org_a", "--user", &id(3), "--user", &id(13)],
    );
    assert!(said.contains("usage_ledger: 2 rows in 2 files changed\n"), "{said}");
    let listing = store.request(Method::GET, "lake?list-type=2&prefix=tables/");
    let listing = listing.send().await.unwrap().text().await.unwrap();
    let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    for (n, key) in keys.enumerate() {
        let object = store.request(Method::GET, &format!("lake/{key}")).send().await.unwrap();
        let name = key.rsplit('/').next().unwrap();
        fs::write(copy.path().join(format!("{n}-{name}")), object.bytes().await.unwrap()).unwrap();
    }
    let left: BTreeSet<_> = (0..20).filter(|n| !is_erased(n)).collect();
    assert_eq!(Found::in_folder(copy.path()).ids, left);
    run_ok(dir.path(), &["check"]);
}
