//! Metrics of a deployment's own: files in a folder, checked before they count.

use std::fs;

use serde_json::json;
use tests::{Client, Server, admin_key, configure, folder, run, run_ok, usage};

/// A metric with a member that is another.
fn metric(name: &str, members: &str) -> String {
    let defaults = [
        ("title", "{en: Title, zh-CN: 标题}"),
        ("description", "{en: What it is., zh-CN: 说明。}"),
        ("unit", "count"),
        ("kind", "aggregate"),
        ("source", "usage_events"),
        ("value", "count(*)"),
        ("formula", "Ours."),
    ];
    let mut text = format!("- name: {name}\n");
    for (key, value) in defaults {
        let is_given = members.lines().any(|line| line.starts_with(&format!("{key}:")));
        if !is_given {
            text += &format!("  {key}: {value}\n");
        }
    }
    members.lines().for_each(|line| text += &format!("  {line}\n"));
    text
}

#[tokio::test]
async fn a_deployment_adds_and_replaces_metrics() {
    let dir = folder();
    let files = folder();
    let files = files.path();
    let slow =
        metric("slow_requests", "value: count(*)\nfilter: latency_ms > 1000\ndirection: down");
    let tokens =
        metric("tokens", "value: sum(input_tokens)\ndescription: {en: Ours., zh-CN: 我们的。}");
    fs::write(files.join("ours.yaml"), format!("# Ours.\n{slow}{tokens}")).expect("a file");
    fs::write(files.join("notes.txt"), "no metrics").expect("a file");
    configure(dir.path(), &format!("[metrics]\ndir = {:?}\n", files.display().to_string()));
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for (id, latency) in [("1", 10), ("2", 2_000), ("3", 3_000)] {
        let event = usage(
            "org_a",
            id,
            json!({"latency_ms": latency, "input_tokens": 5, "output_tokens": 7}),
        );
        assert_eq!(client.send("application/json", event.to_string()).await.0, 200);
    }
    let value = async |name: &str| {
        let (status, answer) = client.get(&format!("/v1/metrics/{name}?today=true")).await;
        assert_eq!(status, 200, "{answer}");
        answer["rows"][0]["value"].clone()
    };
    assert_eq!((value("slow_requests").await, value("tokens").await), (json!(2), json!(15)));
    let shown = run_ok(dir.path(), &["metrics", "slow_requests", "--today"]);
    assert_eq!(shown, "value\n2\n");
    assert!(run_ok(dir.path(), &["metrics"]).contains("slow_requests"));
    // The rows behind a value are those that count.
    let (status, rows) = client.get("/v1/metrics/slow_requests/rows?today=true").await;
    assert_eq!(status, 200, "{rows}");
    let found = rows["rows"].as_array().expect("rows").iter();
    let mut latencies: Vec<_> = found.filter_map(|row| row["latency_ms"].as_i64()).collect();
    latencies.sort_unstable();
    assert_eq!(latencies, [2_000, 3_000]);
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    let (dir, files) = (folder(), folder());
    let file = files.path().join("wrong.yaml");
    let name = file.display().to_string();
    let twice = format!("{}{}", metric("a", ""), metric("a", ""));
    for (text, line, expected) in [
        (metric("a", "value: sum(no_column)"), 1, "no_column"),
        (format!("{}{}", metric("a", ""), metric("b", "unit: gallons")), 9, "gallons"),
        (twice, 9, "line 1"),
        (metric("a", "source: nowhere"), 1, "`nowhere`"),
        (metric("a", "value: (select count(*) from users)"), 1, "a subquery"),
        (metric("a", "value: count(*) over ()"), 1, "a window"),
        (metric("a", "value: count(*) from users"), 1, "too much"),
        (metric("a", "value: random()"), 1, "random"),
        (metric("a", "value: max(user_id)"), 1, "user_id"),
        (metric("a", "value: sum(cost)"), 1, "cost"),
        (metric("a", "kind: ratio\nunit: ratio"), 1, "`over`"),
        (metric("A b", ""), 1, "name"),
        (metric("summary", ""), 1, "stands for something else"),
        (
            metric("a", "value: sum(input_tokens) + sum(output_tokens)\nfilter: status_code = 200"),
            1,
            "one aggregate",
        ),
        (metric("a", "kind: percentile\nvalue: latency_ms\npercentile: 95"), 1, "`percentile`"),
        ("[{name: a}]".to_owned(), 1, "`- name:`"),
        (metric("a", "value: max(model)"), 1, "not a number"),
        (metric("a", "color: red"), 1, "color"),
        ("- name: [".to_owned(), 1, "wrong.yaml"),
        ("a: b".to_owned(), 1, "wrong.yaml"),
    ] {
        fs::write(&file, &text).expect("a file");
        let refused = run(dir.path(), &["metrics", "check", &name]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(expected), "{text}: {told}");
        assert!(told.contains(&format!("{name}:{line}:")) || line == 1, "{told}");
    }
    // A server does not start with it.
    fs::write(&file, metric("a", "value: sum(no_column)")).expect("a file");
    configure(dir.path(), &format!("[metrics]\ndir = {:?}\n", files.path().display().to_string()));
    let refused = run(dir.path(), &["serve", "--port", "0"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("wrong.yaml:1: ") && told.contains("no_column"), "{told}");
    // What only staff may see is for staff.
    fs::write(&file, metric("a", "value: sum(cost)\naudience: staff\nunit: money"))
        .expect("a file");
    assert_eq!(run_ok(dir.path(), &["metrics", "check", &name]), "nothing is wrong\n");
    let persons = metric("a", "kind: distinct\nvalue: user_id");
    fs::write(&file, persons).expect("a file");
    assert_eq!(run_ok(dir.path(), &["metrics", "check", &name]), "nothing is wrong\n");
}
