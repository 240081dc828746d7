//! `/v1/queries`: queries in the background, their kept answers, the history, and who may see them.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Client, ObjectStore, Reply, Server, admin_key, configure, folder, reply, run_ok, usage,
};

const EVENTS: i64 = 200;
const HEAVY: &str = "select count(*) from usage_events a, usage_events b, usage_events c, \
     usage_events d, usage_events e where a.input_tokens + b.input_tokens + c.input_tokens + \
     d.input_tokens + e.input_tokens < 0";

struct Lake {
    server: Server,
    client: Client,
    dir: TempDir,
}

async fn lake(dir: TempDir) -> Lake {
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let lines: Vec<_> = (0..EVENTS)
        .map(|i| usage("org_a", &format!("b{i}"), json!({"input_tokens": i})).to_string())
        .collect();
    let (status, answer) = client.send("application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    Lake { server, client, dir }
}

/// Starts a query and gives its id.
async fn start(client: &Client, body: Value) -> String {
    let begun = reply(client.request(Method::POST, "/v1/queries").json(&body)).await;
    assert_eq!(begun.status, 202, "{}", begun.text());
    let id = begun.json()["query_id"].as_str().expect("an id").to_owned();
    assert_eq!(begun.header("location"), format!("/v1/queries/{id}"));
    id
}

async fn state(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/queries/{id}")).await.1
}

/// Waits until a query has one of the states.
async fn reaches(client: &Client, id: &str, states: &[&str]) -> Value {
    for _ in 0..300 {
        let found = state(client, id).await;
        if states.iter().any(|state| found["status"] == *state) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} is {}", state(client, id).await);
}

async fn result(client: &Client, id: &str, format: &str) -> Reply {
    let path = format!("/v1/queries/{id}/result?format={format}");
    reply(client.request(Method::GET, &path)).await
}

async fn delete(client: &Client, id: &str) -> u16 {
    let path = format!("/v1/queries/{id}");
    reply(client.request(Method::DELETE, &path)).await.status.as_u16()
}

#[tokio::test]
async fn an_answer_is_fetched_later_in_any_form() {
    let Lake { client, .. } = &lake(folder()).await;
    fetched_later(client).await;
}

#[tokio::test]
async fn answers_are_kept_on_the_object_store() {
    let store = ObjectStore::start().await;
    let dir = folder();
    configure(dir.path(), &store.configuration("lake"));
    let Lake { client, .. } = &lake(dir).await;
    fetched_later(client).await;
}

async fn fetched_later(client: &Client) {
    let sql = "select input_tokens as t from usage_events where input_tokens >= $1 order by t";
    let id = start(client, json!({"sql": sql, "params": [50]})).await;
    let done = reaches(client, &id, &["done", "failed"]).await;
    assert_eq!((&done["status"], &done["rows"]), (&json!("done"), &json!(150)), "{done}");
    assert!(done["kept_until"].is_string() && done["rows_scanned"] == EVENTS, "{done}");
    let json = result(client, &id, "json").await.json();
    assert_eq!((&json["row_count"], &json["rows"][0]), (&json!(150), &json!({"t": 50})));
    assert_eq!(json["as_of"], done["as_of"]);
    assert_eq!(result(client, &id, "csv").await.text().lines().count(), 151);
    assert_eq!(result(client, &id, "ndjson").await.text().lines().count(), 151);
    assert_eq!(&result(client, &id, "parquet").await.body[..4], b"PAR1");
    let arrow = result(client, &id, "arrow").await;
    let reader = arrow::ipc::reader::StreamReader::try_new(&arrow.body[..], None).expect("Arrow");
    assert_eq!(reader.map(|batch| batch.expect("rows").num_rows()).sum::<usize>(), 150);
    assert_eq!(delete(client, &id).await, 204);
    assert_eq!(result(client, &id, "json").await.status, 404);
    assert_eq!(state(client, &id).await["kept_until"], Value::Null);
}

#[tokio::test]
async fn a_query_in_the_background_can_be_stopped_and_can_fail() {
    let Lake { client, .. } = &lake(folder()).await;
    let heavy = start(client, json!({"sql": HEAVY})).await;
    reaches(client, &heavy, &["running"]).await;
    let early = result(client, &heavy, "json").await;
    assert_eq!((early.status.as_u16(), &early.json()["code"]), (409, &json!("query_not_done")));
    // The next one waits for it, and can be stopped as well.
    let waiting = start(client, json!({"sql": HEAVY})).await;
    assert_eq!(state(client, &waiting).await["status"], "queued");
    assert_eq!(delete(client, &waiting).await, 204);
    reaches(client, &waiting, &["canceled"]).await;
    assert_eq!(state(client, &heavy).await["status"], "running");
    assert_eq!(delete(client, &heavy).await, 204);
    let stopped = reaches(client, &heavy, &["canceled", "failed"]).await;
    assert_eq!(stopped["code"], "query_canceled", "{stopped}");
    assert_eq!(result(client, &heavy, "json").await.status, 409);

    let wrong = start(client, json!({"sql": "select nothing from usage_events"})).await;
    let failed = reaches(client, &wrong, &["failed"]).await;
    assert_eq!(failed["code"], "invalid_query", "{failed}");
    let result = result(client, &wrong, "json").await.json();
    assert_eq!(
        (&result["code"], &result["query_code"]),
        (&json!("query_failed"), &json!("invalid_query"))
    );
    let late = start(client, json!({"sql": HEAVY, "timeout_ms": 300})).await;
    assert_eq!(reaches(client, &late, &["failed"]).await["code"], "deadline_exceeded");
    let bad = reply(client.request(Method::POST, "/v1/queries").json(&json!({"sql": 1}))).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn everybody_sees_their_own_queries_and_administrators_all() {
    let Lake { client, server, dir } = &lake(folder()).await;
    let key = run_ok(dir.path(), &["key", "create", "--name", "analyst", "--scopes", "read"]);
    let analyst = Client::new(server, &key);
    analyst.rows("select 1 as mine").await;
    client.rows("select 2 as theirs").await;
    // What is refused never ran.
    assert_eq!(analyst.query("select nothing").await.0, 400);
    assert_eq!(analyst.query("select 1 / 0").await.0, 422);
    let statements = async |client: &Client| {
        let (_, list) = client.get("/v1/queries").await;
        let queries = list["queries"].as_array().expect("queries").clone();
        queries.iter().map(|q| q["sql"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(statements(&analyst).await, ["select 1 / 0", "select 1 as mine"]);
    let all = statements(client).await;
    assert_eq!(all[..3], ["select 1 / 0", "select 2 as theirs", "select 1 as mine"]);
    let (_, list) = client.get("/v1/queries?limit=1").await;
    let failed = &list["queries"][0];
    assert_eq!((&failed["status"], &failed["code"]), (&json!("failed"), &json!("query_failed")));
    assert_eq!(failed["principal"], "analyst");
    let next = list["next"].as_str().expect("there are more");
    let (_, list) = client.get(&format!("/v1/queries?limit=1&cursor={next}")).await;
    assert_eq!(list["queries"][0]["sql"], "select 2 as theirs");

    // Somebody else's query is not there for an analyst, and an administrator stops anybody's.
    let theirs = list["queries"][0]["query_id"].as_str().expect("an id");
    assert_eq!(state(&analyst, theirs).await["code"], "not_found");
    assert_eq!(delete(&analyst, theirs).await, 404);
    let running = {
        let analyst = analyst.clone();
        tokio::spawn(async move { analyst.query(HEAVY).await })
    };
    let id = loop {
        let (_, list) = client.get("/v1/queries?status=running").await;
        if let Some(id) = list["queries"][0]["query_id"].as_str() {
            break id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(delete(client, &id).await, 204);
    let (status, answer) = running.await.expect("an answer");
    assert_eq!((status.as_u16(), &answer["code"]), (422, &json!("query_canceled")), "{answer}");
    assert_eq!(answer["query_id"], id.as_str());
}

#[tokio::test]
async fn the_history_outlives_the_server() {
    let Lake { client, server, dir } = lake(folder()).await;
    client.rows("select 3 as before").await;
    let id = start(&client, json!({"sql": "select 4 as kept"})).await;
    reaches(&client, &id, &["done"]).await;
    let heavy = start(&client, json!({"sql": HEAVY})).await;
    reaches(&client, &heavy, &["running"]).await;
    let workers = server.children();
    assert!(!workers.is_empty(), "queries run in processes of their own");
    server.kill();
    let alive = |id: &u32| Path::new("/proc").join(id.to_string()).join("exe").read_link().is_ok();
    for _ in 0..100 {
        if !workers.iter().any(alive) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!workers.iter().any(alive), "a worker outlives its server");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, client.key());
    let kept = result(&client, &id, "json").await.json();
    assert_eq!(kept["rows"], json!([{"kept": 4}]), "{kept}");
    let lost = reaches(&client, &heavy, &["failed"]).await;
    assert_eq!(lost["code"], "query_lost");
}
