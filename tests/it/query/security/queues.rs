//! Who asks as much as they can, beside others who ask a little.

use std::{fs, path::Path, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Reply, Server, admin_key, anew, configure, folder, reply, usage};
use tokio::task::JoinSet;

use crate::query::pool::own;

/// More work than any deadline allows, in little memory.
const ENDLESS: &str = "select max(x) as n from (select unnest(range(1, 1000)) as x \
     from usage_events a, usage_events b, usage_events c)";
const EVENTS: usize = 300;

async fn lake() -> (tempfile::TempDir, Server, [Client; 3]) {
    lake_in(folder()).await
}

async fn lake_in(dir: tempfile::TempDir) -> (tempfile::TempDir, Server, [Client; 3]) {
    let server = Server::serve(dir.path());
    let staff = Client::new(&server, &admin_key(dir.path()));
    for organization in ["org_a", "org_b"] {
        let event = |i| usage(organization, &format!("q{i}"), json!({"latency_ms": i})).to_string();
        let lines: Vec<_> = (0..EVENTS).map(event).collect();
        let (status, answer) = staff.send("application/x-ndjson", lines.join("\n")).await;
        assert_eq!(status, 200, "{answer}");
    }
    let [hostile, honest] = ["org_a", "org_b"].map(|id| own(&server, &dir, id));
    (dir, server, [staff, hostile, honest])
}

/// Of a request that is refused because one asks too much.
fn is_told_to_wait(answer: &Reply, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (429, Some(code)));
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
}

#[tokio::test]
async fn a_flood_of_metrics_leaves_metrics_and_lookups_to_others() {
    let (_dir, _server, [staff, hostile, honest]) = lake().await;
    let mut flood = JoinSet::new();
    for n in 0..45 {
        let client = hostile.clone();
        flood.spawn(async move {
            let path = format!(
                "/v1/metrics/p95_latency?grain=minute&from=2026-01-{:02}&to=2026-01-{:02}",
                1 + n / 5,
                10 + n % 5
            );
            reply(client.request(Method::GET, &path)).await
        });
    }
    // Those beyond what one may have waiting come back first.
    let first = flood.join_next().await.expect("an answer").expect("it ends");
    if first.status != StatusCode::OK {
        is_told_to_wait(&first, "too_many_queries");
    }
    for n in 0..4 {
        let (status, answer) = honest.get(&format!("/v1/events?source=/test&id=q{n}")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let path = format!("/v1/metrics/requests?from=2026-01-0{}&to=2026-01-20", n + 1);
        let (status, answer) = staff.get(&path).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert!(!flood.is_empty(), "the flood is still there");
    let mut refused = 0;
    while let Some(answer) = flood.join_next().await {
        let answer = answer.expect("it ends");
        if answer.status != StatusCode::OK {
            is_told_to_wait(&answer, "too_many_queries");
            refused += 1;
        }
    }
    assert!(refused >= 20, "{refused}");
}

#[tokio::test]
async fn one_organization_does_not_take_all_places_in_the_background() {
    let (_dir, _server, [staff, hostile, honest]) = lake().await;
    let ask = async |client: &Client, sql: &str| {
        let body = json!({"sql": anew(sql)});
        reply(client.request(Method::POST, "/v1/queries").json(&body)).await
    };
    // One runs, and twenty wait.
    for n in 0..24 {
        let answer = ask(&hostile, ENDLESS).await;
        if n < 21 {
            assert_eq!(answer.status, 202, "{}", answer.text());
        } else {
            is_told_to_wait(&answer, "too_many_queries");
        }
    }
    let mut others = Vec::new();
    for client in [&honest, &staff] {
        let answer = ask(client, "select count(*) as n from usage_events").await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        others
            .push((client, format!("/v1/queries/{}", answer.json()["query_id"].as_str().unwrap())));
    }
    // Once what runs is stopped, it is the turn of those who wait with nothing running.
    let (_, mine) = hostile.get("/v1/queries?status=running").await;
    for query in mine["queries"].as_array().expect("a list") {
        let path = format!("/v1/queries/{}", query["query_id"].as_str().expect("an id"));
        assert_eq!(reply(hostile.request(Method::DELETE, &path)).await.status, 204);
    }
    for (client, path) in others {
        let mut state = Value::Null;
        for _ in 0..200 {
            state = client.get(&path).await.1;
            if state["status"] == "done" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(state["status"], "done", "{state}");
    }
}

/// Of the files in a folder, and below it.
fn bytes_in(folder: &Path) -> u64 {
    let inside = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = inside.map(|one| match one.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&one.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// A worker that is stopped is killed, and does not tidy up.
#[tokio::test]
async fn what_a_stopped_query_spilled_is_removed() {
    let dir = folder();
    configure(dir.path(), "[query]\nmemory_mib = 64\n");
    let (dir, _server, [_, hostile, honest]) = lake_in(dir).await;
    let spill = dir.path().join("spill");
    let spilled = || bytes_in(&spill);
    let sql = "select a.event_id || b.event_id || c.event_id as x \
               from usage_events a, usage_events b, usage_events c order by x";
    let asked = hostile.request(Method::POST, "/v1/query").json(&json!({"sql": sql}));
    let asked = tokio::spawn(reply(asked));
    let soon = async |is_so: &dyn Fn() -> bool| {
        for _ in 0..400 {
            if is_so() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        false
    };
    assert!(soon(&|| spilled() > 1 << 20).await, "nothing is spilled");
    let (_, mine) = hostile.get("/v1/queries?status=running").await;
    for query in mine["queries"].as_array().expect("a list") {
        let path = format!("/v1/queries/{}", query["query_id"].as_str().expect("an id"));
        assert_eq!(reply(hostile.request(Method::DELETE, &path)).await.status, 204);
    }
    assert_eq!(asked.await.expect("it ends").status, 422);
    assert!(soon(&|| spilled() == 0).await, "{} bytes are left", spilled());
    let count = anew("select count(*) as n from usage_events");
    assert_eq!(honest.rows(&count).await, [json!({"n": EVENTS})]);
}
