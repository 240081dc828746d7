//! The files in `tests/slt`, in the format of sqllogictest: what SQL means here, what functions give, and how
//! statements fail.
//!
//! `query` is followed by a statement, `----`, and the rows: values separated by spaces, null as NULL, an empty
//! text as (empty). `query rowsort` sorts them. `statement error CODE` must fail with this code.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder};

const RECORDS_MIN: usize = 100;

/// One record of a file.
#[derive(Debug)]
struct Record {
    place: String,
    sql: String,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Rows { rows: Vec<String>, sorted: bool },
    Code(String),
}

fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).expect("the file");
    let lines: Vec<&str> = text.lines().collect();
    let blocks = lines.split(|line| line.trim().is_empty());
    let mut line = 1;
    let mut records = Vec::new();
    for block in blocks {
        let place = format!("{}:{line}", path.file_name().unwrap().to_string_lossy());
        line += block.len() + 1;
        let mut rest = block.iter().copied().skip_while(|line| line.starts_with('#'));
        let Some(head) = rest.next() else { continue };
        let body: Vec<&str> = rest.collect();
        let (sql, expected) = match head.strip_prefix("statement error ") {
            Some(code) => (body.join("\n"), Expected::Code(code.trim().to_owned())),
            None => {
                assert!(head.starts_with("query"), "{place}: `{head}` begins no record");
                let end = body.iter().position(|line| *line == "----");
                let end = end.unwrap_or_else(|| panic!("{place}: the rows are missing"));
                let rows = body[end + 1..].iter().map(|&row| row.to_owned()).collect();
                let sorted = head.contains("rowsort");
                (body[..end].join("\n"), Expected::Rows { rows, sorted })
            }
        };
        records.push(Record { place, sql, expected });
    }
    records
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) if text.is_empty() => "(empty)".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Record {
    /// What is wrong with the answer, if something is.
    async fn fault(&self, client: &Client) -> Option<String> {
        let (status, answer) = client.query_with(json!({"sql": self.sql})).await;
        let fault = |found: String| Some(format!("{}\n{}\n{found}\n", self.place, self.sql));
        match &self.expected {
            Expected::Code(code) if answer["code"] == code.as_str() => None,
            Expected::Code(code) => fault(format!("expected {code}, found {status} {answer}")),
            Expected::Rows { .. } if status != 200 => fault(answer.to_string()),
            Expected::Rows { rows, sorted } => {
                let columns = answer["columns"].as_array().expect("columns");
                let row = |row: &Value| {
                    let values = columns
                        .iter()
                        .map(|column| shown(&row[column["name"].as_str().unwrap_or_default()]));
                    values.collect::<Vec<_>>().join(" ")
                };
                let mut found: Vec<_> =
                    answer["rows"].as_array().expect("rows").iter().map(row).collect();
                if *sorted {
                    found.sort();
                }
                (found != *rows).then(|| fault(found.join("\n"))).flatten()
            }
        }
    }
}

/// Six events of two organizations, with what a table may hold: nulls, money, zones, attributes.
fn events() -> String {
    let event = |id: i64, organization: &str, time: &str, data: Value| {
        let event = json!({
            "specversion": "1.0", "id": format!("t{id}"), "source": "/test", "type": "usage.request",
            "subject": organization, "time": time, "data": data,
        });
        event.to_string()
    };
    [
        event(
            1,
            "org_a",
            "2026-03-29T00:30:00Z",
            json!({"model": "m1", "input_tokens": 10, "cost": "0.10", "currency": "USD"}),
        ),
        event(
            2,
            "org_a",
            "2026-03-29T01:30:00Z",
            json!({"model": "m1", "input_tokens": 20, "cost": "0.20", "currency": "USD"}),
        ),
        event(
            3,
            "org_a",
            "2026-03-30T00:00:00Z",
            json!({"model": "m2", "input_tokens": 30, "attributes": {"team": "blue", "n": 3}}),
        ),
        event(
            4,
            "org_b",
            "2026-03-30T12:00:00.000001Z",
            json!({"model": "m2", "output_tokens": 7, "cost": "0.000000000001", "currency": "EUR"}),
        ),
        event(
            5,
            "org_b",
            "2026-03-31T23:59:59.999999Z",
            json!({"model": "m3", "status_code": 500, "error_code": "upstream"}),
        ),
        event(
            6,
            "org_b",
            "2026-04-01T00:00:00Z",
            json!({"model": "m1", "cache_hit": true, "latency_ms": 5}),
        ),
    ]
    .join("\n")
}

#[tokio::test]
async fn sql_means_what_the_files_say() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let (status, answer) = client.send("application/x-ndjson", events()).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(6)), "{answer}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let (mut faults, mut count) = (Vec::new(), 0);
    for file in fs::read_dir(folder).expect("the folder") {
        for record in records(&file.expect("a file").path()) {
            count += 1;
            faults.extend(record.fault(&client).await);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count >= RECORDS_MIN, "only {count} records");
}
