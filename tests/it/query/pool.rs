//! The workers: replaced when they are lost, and shared among organizations.

use std::{fs, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Client, Reply, Server, admin_key, anew, configure, folder, reply, run_ok, signal, usage,
};
use tokio::task::JoinSet;

const EVENTS: i64 = 300;
const COUNT: &str = "select count(*) as n from usage_events";
/// Some seconds of work, and one row after it.
const LONG: &str = "select count(*) as n from usage_events a, usage_events b, usage_events c \
     where a.input_tokens + b.input_tokens + c.input_tokens >= 0";
/// More work than any deadline allows, in little memory.
const ENDLESS: &str = "select max(x) as n from (select unnest(range(1, 1000)) as x \
     from usage_events a, usage_events b, usage_events c)";
/// How often something is looked for that comes within seconds.
const LOOKS: usize = 600;

async fn lake() -> (Server, Client, TempDir) {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for organization in ["org_a", "org_b", "org_c"] {
        let line =
            |i| usage(organization, &format!("p{i}"), json!({"input_tokens": i})).to_string();
        let lines: Vec<_> = (0..EVENTS).map(line).collect();
        let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
        assert_eq!(status, 200, "{answer}");
    }
    (server, client, dir)
}

/// An organization's own key.
pub(crate) fn own(server: &Server, dir: &TempDir, organization: &str) -> Client {
    let create = ["organization", "create", organization, "--name", organization];
    run_ok(dir.path(), &[&create[..], &["--country", "DE"]].concat());
    let arguments = ["key", "create", "--name", "own", "--organization", organization];
    Client::new(server, &run_ok(dir.path(), &arguments))
}

async fn ask(client: Client, sql: &str, timeout_ms: u64) -> Reply {
    let body = json!({"sql": sql, "timeout_ms": timeout_ms});
    reply(client.request(Method::POST, "/v1/query").json(&body)).await
}

/// Kills the worker that computes, once it has begun.
async fn kill_the_busy_worker(server: &Server, spare: Option<u32>) -> u32 {
    let id = server.busy_child(spare).await;
    signal(id, "KILL");
    id
}

#[tokio::test]
async fn a_query_whose_worker_is_killed_is_asked_once_more() {
    let (server, client, dir) = lake().await;
    let one = own(&server, &dir, "org_a");
    assert_eq!(one.rows(COUNT).await, [json!({"n": EVENTS})]);

    let answer = tokio::spawn(ask(one.clone(), LONG, 30_000));
    let first = kill_the_busy_worker(&server, None).await;
    let answer = answer.await.expect("the request ends");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["rows"], json!([{"n": EVENTS.pow(3)}]));

    // Once, not again and again.
    let answer = tokio::spawn(ask(one.clone(), ENDLESS, 30_000));
    let first = kill_the_busy_worker(&server, Some(first)).await;
    kill_the_busy_worker(&server, Some(first)).await;
    let answer = answer.await.expect("the request ends");
    let found = (answer.status.as_u16(), answer.json()["code"].clone());
    assert_eq!(found, (422, "query_lost".into()), "{}", answer.text());

    // Workers that die while they are idle take no query along.
    for id in server.children() {
        signal(id, "KILL");
    }
    assert_eq!(client.rows(COUNT).await, [json!({"n": 3 * EVENTS})]);
    assert_eq!(client.get("/v1/metrics/requests").await.0, 200);
}

#[tokio::test]
async fn an_idle_worker_gives_back_what_it_holds() {
    let (server, client, _dir) = lake().await;
    let held_mib = |id: u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = anonymous.and_then(|text| text.split_whitespace().next()?.parse().ok());
        number.unwrap_or(0) / 1024
    };
    let most = || server.children().into_iter().map(held_mib).max().unwrap_or(0);
    let large = "select count(*) as n from (select distinct a.event_id || b.event_id || \
                 repeat(a.organization_id || b.organization_id, 16) from usage_events a, usage_events b)";
    assert_eq!(client.rows(large).await, [json!({"n": (3 * EVENTS).pow(2)})]);
    assert!(most() > 96_u64, "the question is not large enough: {} MiB", most());
    for _ in 0..LOOKS {
        if most() <= 96 {
            assert_eq!(client.rows(&anew(COUNT)).await, [json!({"n": 3 * EVENTS})]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a worker still holds {} MiB", most());
}

/// Sends queries all at once; those that are refused come back, the others run or wait.
async fn flood(client: &Client, queries: usize, refused: usize) -> JoinSet<Reply> {
    let mut all = JoinSet::new();
    for _ in 0..queries {
        all.spawn(ask(client.clone(), ENDLESS, 12_000));
    }
    for _ in 0..refused {
        let answer = all.join_next().await.expect("an answer").expect("the request ends");
        let found = (answer.status.as_u16(), answer.json()["code"].clone());
        assert_eq!(found, (429, "too_many_queries".into()), "{}", answer.text());
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    }
    all
}

#[tokio::test]
async fn one_organization_cannot_take_all_workers() {
    let (server, _, dir) = lake().await;
    let [a, b] = ["org_a", "org_b"].map(|id| own(&server, &dir, id));
    assert_eq!(b.rows(&anew(COUNT)).await, [json!({"n": EVENTS})]);
    // Two of three workers run something short-lived, and eight for each of the three may wait.
    let mut first = JoinSet::new();
    for _ in 0..2 {
        first.spawn(ask(a.clone(), ENDLESS, 3_000));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut floods = vec![flood(&a, 24 + 3, 3).await];
    // The other's query came after all of these, and waits for none: one worker is left for it.
    assert_eq!(b.rows(&anew(COUNT)).await, [json!({"n": EVENTS})]);
    assert!(floods[0].try_join_next().is_none(), "the flood is still there");

    while let Some(answer) = first.join_next().await {
        let answer = answer.expect("the request ends");
        assert_eq!(answer.status, 504, "{}", answer.text());
    }
    // Now two of the flood run, so that two more may wait. Three more floods fill the line.
    floods.push(flood(&a, 2 + 1, 1).await);
    for (id, runs) in [("org_c", 1), ("org_d", 0), ("org_e", 0)] {
        floods.push(flood(&own(&server, &dir, id), runs + 24 + 2, 2).await);
    }
    let answer = ask(b.clone(), &anew(COUNT), 5_000).await;
    let found = (answer.status.as_u16(), answer.json()["code"].clone());
    assert_eq!(found, (503, "unavailable".into()), "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));

    // Who goes away gives their place back.
    for mut flood in floods {
        flood.abort_all();
    }
    let mut found = Value::Null;
    for _ in 0..LOOKS {
        let answer = ask(b.clone(), &anew(COUNT), 5_000).await;
        found = answer.json()["rows"].clone();
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(found, json!([{"n": EVENTS}]));
}

#[tokio::test]
async fn who_waits_for_the_cores_still_asks_short_questions() {
    let (server, _, dir) = lake().await;
    let [a, b, c] = ["org_a", "org_b", "org_c"].map(|id| own(&server, &dir, id));
    // Enough for all the credit there is.
    for _ in 0..64 {
        assert_eq!(a.rows(&anew(COUNT)).await, [json!({"n": EVENTS})]);
    }
    // A process that is stopped gets nothing of the cores. So many questions that take long would cost all of it.
    for _ in 0..4 {
        let workers = server.children();
        workers.iter().for_each(|id| signal(*id, "STOP"));
        let client = a.clone();
        let answer = tokio::spawn(async move { ask(client, &anew(COUNT), 30_000).await });
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(!answer.is_finished());
        workers.iter().for_each(|id| signal(*id, "CONT"));
        assert_eq!(answer.await.expect("the request ends").status, 200);
    }
    // Others have all workers but the last, and somebody with too little credit would wait for them.
    let mut long = JoinSet::new();
    for other in [b, c] {
        long.spawn(ask(other, ENDLESS, 12_000));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let answer = ask(a, &anew(COUNT), 8_000).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(long.try_join_next().is_none(), "the long ones are still there");
}

#[tokio::test]
async fn a_worker_that_keeps_much_memory_is_replaced() {
    let dir = folder();
    configure(dir.path(), "[query]\nmemory_mib = 64\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    assert_eq!(client.rows(&anew(COUNT)).await, [json!({"n": 0})]);
    let before = server.children();
    assert_eq!(client.rows(&anew(COUNT)).await, [json!({"n": 0})]);
    assert_eq!(server.children(), before, "an ordinary query leaves its worker as it is");
    let much = "select length(string_agg(x, '')) as n from \
                (select repeat('x', 1000) as x from (select unnest(range(0, 36000))))";
    assert_eq!(client.rows(much).await, [json!({"n": 36_000_000})]);
    let mut after = server.children();
    for _ in 0..LOOKS {
        if after.len() == before.len() && after != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = server.children();
    }
    let kept: Vec<_> = after.iter().filter(|id| before.contains(id)).collect();
    assert_eq!((after.len(), kept.len()), (before.len(), before.len() - 1), "one is new");
    assert_eq!(client.rows(&anew(COUNT)).await, [json!({"n": 0})]);
}
