//! What is masked is masked in what is made of it: hashes, groups of metrics, kept answers, errors, bytes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Reply, Server, admin_key, folder, reply, run_ok, usage};

const SECRET: &str = "https://a-secret-referrer.example/";
const TABLES: [&str; 8] = [
    "usage_events",
    "usage_ledger",
    "billing_events",
    "activity_events",
    "organizations",
    "api_keys",
    "rated_usage_daily",
    "invoice_lines",
];

struct Lake {
    admin: Client,
    analyst: Client,
    member: Client,
    _server: Server,
    _dir: TempDir,
}

async fn lake() -> Lake {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let mut view = usage("org_a", "v1", json!({}));
    view["type"] = json!("activity.page_viewed");
    view["data"] = json!({"anonymous_id": "visitor", "path": "/", "referrer": SECRET, "country": "DE",
        "session_id": "483920"});
    let used = usage("org_a", "u1", json!({"user_id": "ada", "session_id": "483920"}));
    let (status, answer) = admin.send("application/x-ndjson", format!("{used}\n{view}")).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(2)), "{answer}");
    let key = |more: &[&str]| {
        let arguments = [&["key", "create", "--name", "k", "--scopes", "read"], more].concat();
        Client::new(&server, &run_ok(dir.path(), &arguments))
    };
    let (analyst, member) = (key(&[]), key(&["--organization", "org_a"]));
    Lake { admin, analyst, member, _server: server, _dir: dir }
}

async fn grant(admin: &Client, method: Method, role: &str) {
    let path = format!("/v1/person-grants/{role}");
    assert_eq!(reply(admin.request(method, &path)).await.status, 204);
}

async fn get(client: &Client, path: &str) -> Reply {
    reply(client.request(Method::GET, path)).await
}

#[tokio::test]
async fn a_hash_and_the_bytes_of_an_answer_hold_no_person() {
    let Lake { admin, analyst, member, .. } = &lake().await;
    let hashed = "select count(content_hash) as n from usage_events";
    let hash = admin.rows("select content_hash as h from usage_events").await[0]["h"].clone();
    assert!(hash.is_i64());
    for client in [analyst, member] {
        for table in TABLES {
            let sql = format!("select count(*) as n from {table} where content_hash is not null");
            let (status, refused) = client.query(&sql).await;
            assert_eq!(
                (status.as_u16(), &refused["code"]),
                (403, &json!("persons_hidden")),
                "{table}"
            );
            for format in ["arrow", "parquet", "csv"] {
                let body = json!({"sql": format!("select * from {table}"), "format": format});
                let answer = reply(client.request(Method::POST, "/v1/query").json(&body)).await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.status, 200, "{text}");
                for person in [SECRET, "483920", "\"u_", ",u_"] {
                    assert!(!text.contains(person), "{table} as {format} has {person}");
                }
            }
        }
        let guess = format!("select count(*) as n from usage_ledger where content_hash = {hash}");
        assert_eq!(client.query(&guess).await.1["code"], "persons_hidden");
    }
    for (client, role) in [(analyst, "analyst"), (member, "user")] {
        grant(admin, Method::PUT, role).await;
        assert_eq!(client.rows(hashed).await, [json!({"n": 1})]);
        grant(admin, Method::DELETE, role).await;
        assert_eq!(client.query(hashed).await.1["code"], "persons_hidden");
    }
}

#[tokio::test]
async fn a_metric_is_not_split_by_what_is_masked() {
    let Lake { admin, analyst, member, .. } = &lake().await;
    let window = "from=2020-01-01&to=2100-01-01";
    let path = |by: &str| format!("/v1/metrics/visitors?{window}{by}");
    let shows = async |client: &Client| {
        let answer = get(client, &path("&by=country,referrer")).await;
        let (status, text) = (answer.status.as_u16(), answer.text());
        assert_eq!(status == 200, text.contains(SECRET), "{text}");
        if status != 200 {
            assert_eq!((status, &answer.json()["code"]), (403, &json!("persons_hidden")), "{text}");
            assert!(text.contains("grant") && text.contains("country, device"), "{text}");
        }
        status == 200
    };
    // First by somebody who may: an answer that is kept is not for the others.
    assert!(shows(admin).await);
    for (client, role) in [(analyst, "analyst"), (member, "user")] {
        assert!(!shows(client).await);
        for by in ["", "&by=country", "&by=device,country"] {
            let answer = get(client, &path(by)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["rows"][0]["value"], 1, "persons are counted for everybody");
        }
        grant(admin, Method::PUT, role).await;
        assert!(shows(client).await);
        grant(admin, Method::DELETE, role).await;
        assert!(!shows(client).await);
    }
}

/// The id of a query in the background that is over, and how it ended.
async fn ran(client: &Client, sql: &str) -> (String, Value) {
    let begun = reply(client.request(Method::POST, "/v1/queries").json(&json!({"sql": sql}))).await;
    let id = begun.json()["query_id"].as_str().expect("an id").to_owned();
    for _ in 0..200 {
        let state = get(client, &format!("/v1/queries/{id}")).await.json();
        if state["status"] == "done" || state["status"] == "failed" {
            return (id, state);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql} is not done");
}

#[tokio::test]
async fn a_kept_answer_dies_with_the_grant() {
    let Lake { admin, analyst, member, .. } = &lake().await;
    // The key of the member is told to the lake too, when its turn comes.
    let sql = "select referrer, session_id from activity_events where event_id = 'v1'";
    for (client, role) in [(analyst, "analyst"), (member, "user")] {
        // What everybody sees is still theirs in the end.
        let all = "select * from activity_events where event_id = 'v1'";
        let (masked, _) = ran(client, all).await;
        grant(admin, Method::PUT, role).await;
        let (shown, _) = ran(client, sql).await;
        let result = async |client: &Client, id: &str| {
            get(client, &format!("/v1/queries/{id}/result?format=csv")).await
        };
        assert!(result(client, &shown).await.text().contains(SECRET));
        assert_eq!(client.rows(sql).await[0]["referrer"], SECRET);
        // The error quotes what could not be cast.
        let failing = "select cast(referrer as bigint) as n from activity_events";
        let (_, failed) = ran(client, failing).await;
        assert_eq!(failed["code"], "query_failed", "{failed}");

        grant(admin, Method::DELETE, role).await;
        let refused = result(client, &shown).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (404, &json!("not_found")));
        assert_eq!(client.query(sql).await.1["code"], "persons_hidden");
        let history = get(client, "/v1/queries").await.text();
        assert!(history.contains("query_failed") && !history.contains(SECRET), "{history}");
        // What was masked is still theirs, and an administrator sees what was not.
        assert_eq!(result(client, &masked).await.text().lines().count(), 2);
        assert!(result(admin, &shown).await.text().contains(SECRET));
    }
}
