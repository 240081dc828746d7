//! `aihub query`: its forms, on a folder and on a server, and its interactive mode.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Server, admin_key, aihub, folder, run, usage};

const EVENTS: i64 = 1_200;

struct Lake {
    server: Server,
    key: String,
    dir: TempDir,
}

async fn lake() -> Lake {
    let dir = folder();
    let server = Server::serve(dir.path());
    let key = admin_key(dir.path());
    let client = Client::new(&server, &key);
    let lines: Vec<_> = (0..EVENTS)
        .map(|i| usage("org_a", &format!("c{i}"), json!({"input_tokens": i})).to_string())
        .collect();
    let (status, _) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200);
    Lake { server, key: key.trim().to_owned(), dir }
}

/// Asks the folder, and the server: both must say the same.
fn both(lake: &Lake, arguments: &[&str]) -> Output {
    let folder = run(lake.dir.path(), &[&["query"], arguments].concat());
    let asked = Command::new(aihub())
        .arg("query")
        .args(arguments)
        .args(["--server", &lake.server.ready.url])
        .env("AIHUB_API_KEY", &lake.key)
        .stdin(Stdio::null())
        .output()
        .expect("aihub starts");
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(folder.status, asked.status, "{arguments:?}: {} {}", text(&folder), text(&asked));
    if !arguments.contains(&"parquet") {
        let texts = [&folder, &asked].map(|output| String::from_utf8_lossy(&output.stdout));
        assert_eq!(texts[0], texts[1], "{arguments:?}");
        assert_eq!(text(&folder), text(&asked), "{arguments:?}");
    }
    folder
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_folder_and_a_server_answer_alike() {
    let lake = lake().await;
    let sql = "select input_tokens as t from usage_events where input_tokens < $n order by t";
    let csv = both(&lake, &[sql, "--param", "n=3"]);
    assert_eq!(printed(&csv), "t\n0\n1\n2\n");
    let ndjson = both(&lake, &[sql, "--param", "n=2", "--format", "ndjson"]);
    assert_eq!(printed(&ndjson), "{\"t\":0}\n{\"t\":1}\n");
    let json = both(&lake, &[sql, "--param", "n=2", "--format", "json"]);
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap(), json!([{"t": 0}, {"t": 1}]));
    let parquet = both(&lake, &[sql, "--param", "n=500", "--format", "parquet"]);
    let file = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(parquet.stdout)).unwrap();
    let rows: usize = file.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
    assert_eq!(rows, 500);
    let arrow = both(&lake, &[sql, "--param", "n=500", "--format", "arrow"]);
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.stdout[..], None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 500);
    let table = printed(&both(&lake, &[sql, "--param", "n=1200", "--format", "table"]));
    assert!(table.contains("| 999 ") && !table.contains("| 1000 "), "a table has 1,000 rows");
    assert!(table.ends_with("the first 1000 rows; --max-rows shows more\n"), "{table}");
    let whole = printed(&both(&lake, &[sql, "--param", "n=1000", "--format", "table"]));
    assert!(!whole.contains("shows more"), "there are no more than these 1,000");
    let day = "select date_trunc('day', max(occurred_at)) as d from usage_events";
    let zoned = printed(&both(&lake, &[day, "--tz", "+05:00"]));
    assert!(zoned.ends_with("T00:00:00+05:00\n"), "{zoned}");
    let plan = printed(&both(&lake, &[sql, "--param", "n=3", "--explain"]));
    assert!(plan.contains("SortExec") && plan.contains("reads at most 0 files"), "{plan}");
    // Errors are one line, with their place.
    for arguments in [
        &["select 1 frm x y"][..],
        &["select nothing from usage_events"],
        &[sql],
        &[sql, "--param", "n=3", "--param", "m=4"],
        &["drop table usage_events"],
        &[sql, "--param", "n=1000", "--max-rows", "10"],
    ] {
        let refused = both(&lake, arguments);
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&refused.stderr).lines().count(), 1, "{arguments:?}");
    }
}

#[tokio::test]
async fn statements_come_from_files_and_standard_input() {
    let lake = lake().await;
    let file = lake.dir.path().join("count.sql");
    std::fs::write(&file, "select count(*) as n\nfrom usage_events").unwrap();
    let from_file = both(&lake, &[&format!("@{}", file.display())]);
    assert_eq!(printed(&from_file), format!("n\n{EVENTS}\n"));
    let mut child = Command::new(aihub())
        .args(["query", "-", "--dir"])
        .arg(lake.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"select 5 as five").unwrap();
    assert_eq!(printed(&child.wait_with_output().unwrap()), "five\n5\n");
    let without = run(lake.dir.path(), &["query"]);
    assert_eq!(without.status.code(), Some(1), "without a terminal there must be a statement");
}

/// Types lines into the program in a terminal, each when what came before is answered, and gives what the
/// terminal shows.
fn typed(dir: &Path, lines: &[&str]) -> String {
    let command = format!("{} query --dir {}", aihub().display(), dir.display());
    let mut child = Command::new("script")
        .args(["-qfec", &command, "/dev/null"])
        .env("HOME", dir)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of util-linux, starts");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let shown = Arc::new(Mutex::new(Vec::new()));
    let reading = Arc::clone(&shown);
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = screen.read(&mut buffer) {
            reading.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    });
    for line in lines {
        let (mut before, mut same) = (0, 0);
        for _ in 0..200 {
            thread::sleep(Duration::from_millis(50));
            let now = shown.lock().unwrap().len();
            same = if now == before && now > 0 { same + 1 } else { 0 };
            before = now;
            if same == 8 {
                break;
            }
        }
        keys.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    assert!(child.wait().unwrap().success());
    reader.join().unwrap();
    let shown = shown.lock().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[tokio::test]
async fn a_prompt_takes_one_statement_after_the_other() {
    let lake = lake().await;
    let shown = typed(
        lake.dir.path(),
        &[
            "\\d usage_events",
            "select count(*) as n",
            "from usage_events;",
            "select nothing;",
            "\\format csv",
            "select 6*7 as answer;",
            "\\explain select 1 as n;",
            "\\nonsense",
            "\\?",
            "\\q",
        ],
    );
    for expected in [
        "list_price                 decimal",
        &format!("| {EVENTS} |"),
        "error: ",
        "answer\r\n42\r\n",
        "PlaceholderRowExec",
        "there is no \\nonsense",
        "Tab completes names",
    ] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
    let history = std::fs::read_to_string(lake.dir.path().join(".aihub_history")).unwrap();
    assert!(history.contains("select 6*7 as answer;"), "{history}");
}
