//! Texts that would fill the server's state.

use std::{fs, path::Path};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tests::{Client, Server, admin_key, anew, folder, organization_key, reply};

/// Bytes of the relational state.
fn state_bytes(dir: &Path) -> u64 {
    let files = ["state.db", "state.db-wal"].map(|name| fs::metadata(dir.join(name)));
    files.into_iter().flatten().map(|file| file.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_statements_are_counted_and_long_ones_are_cut() {
    const EACH: usize = 60;
    let dir = folder();
    let admin = admin_key(dir.path());
    let [flood, other] = ["org_a", "org_b"].map(|id| organization_key(dir.path(), id, "read"));
    let server = Server::serve(dir.path());
    let [admin, flood, other] = [admin, flood, other].map(|key| Client::new(&server, &key));
    other.rows("select 'kept' as mine").await;
    let before = state_bytes(dir.path());
    for n in 0..EACH {
        let long = format!("select '{}' as n", "x".repeat(240_000));
        assert_eq!(flood.query(&long).await.0, StatusCode::BAD_REQUEST);
        let wrong = format!("select no_such_column_{n} -- {}", "x".repeat(60_000));
        assert_eq!(flood.query(&wrong).await.0, StatusCode::BAD_REQUEST);
        let right = format!("select {n} -- {}", "x".repeat(60_000));
        assert_eq!(flood.query(&anew(&right)).await.0, StatusCode::OK);
    }
    // Both are written to the history when it is asked for.
    let (_, own) = flood.get("/v1/queries?limit=1000").await;
    let kept = own["queries"].as_array().unwrap();
    assert_eq!(kept.len(), EACH, "what was refused is not kept");
    assert!(kept.iter().all(|query| query["sql"].as_str().unwrap().len() < 10_000));
    let (_, others) = other.get("/v1/queries").await;
    assert_eq!(others["queries"].as_array().unwrap().len(), 1, "{others}");
    let grown = state_bytes(dir.path()) - before;
    assert!(grown < 8 << 20, "the state grew by {grown} bytes");
    let measured = reply(admin.request(Method::GET, "/metrics")).await.text();
    for code in ["too_complex", "invalid_query"] {
        let line = format!("query_refusals_total{{code=\"{code}\"}} {EACH}");
        assert!(measured.contains(&line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_queries_have_room_for_their_bytes() {
    let dir = folder();
    let admin = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin);
    let sql = format!("select 1 -- {}", "x".repeat(60_000));
    let mut saved = 0;
    let refused = loop {
        let body = json!({"name": "long", "sql": sql});
        let answer = reply(client.request(Method::POST, "/v1/saved-queries").json(&body)).await;
        if !answer.status.is_success() {
            break answer;
        }
        saved += 1;
        assert!(saved < 200, "there is no end");
    };
    assert_eq!(refused.json()["code"], "too_many_saved_queries", "{}", refused.text());
    assert_eq!(saved, (8 << 20) / sql.len());
}
