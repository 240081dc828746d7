//! Saved queries: versions, typed parameters, and who may run and change them.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Reply, Server, admin_key, folder, reply, run_ok, usage};

async fn save(client: &Client, body: Value) -> Reply {
    reply(client.request(Method::POST, "/v1/saved-queries").json(&body)).await
}

fn above(shared_with: &[&str]) -> Value {
    json!({
        "name": "above",
        "description": "Requests above a size",
        "sql": "select count(*) as n from usage_events where input_tokens > $least and model = $model",
        "parameters": {
            "least": {"type": "integer"},
            "model": {"type": "text", "default": "gpt-5.1"},
        },
        "shared_with": shared_with,
    })
}

async fn code(client: &Client, path: &str) -> (u16, Value) {
    let (status, answer) = client.get(path).await;
    (status.as_u16(), answer["code"].clone())
}

#[tokio::test]
async fn a_saved_query_is_run_by_its_name() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let lines: Vec<_> = (0..10)
        .map(|i| {
            let model = if i < 6 { "gpt-5.1" } else { "other" };
            let data = json!({"input_tokens": i, "model": model});
            usage("org_a", &format!("s{i}"), data).to_string()
        })
        .collect();
    client.send("application/x-ndjson", lines.join("\n")).await;
    let saved = save(&client, above(&[])).await;
    assert_eq!(
        (saved.status.as_u16(), &saved.json()["version"]),
        (201, &json!(1)),
        "{}",
        saved.text()
    );
    let run = "/v1/saved-queries/above/rows";
    let (_, answer) = client.get(&format!("{run}?p.least=2")).await;
    assert_eq!(answer["rows"], json!([{"n": 3}]), "the default is taken: {answer}");
    let (_, answer) = client.get(&format!("{run}?p.least=2&p.model=other")).await;
    assert_eq!(answer["rows"], json!([{"n": 4}]));
    let csv = reply(client.request(Method::GET, &format!("{run}?p.least=-1&format=csv"))).await;
    assert_eq!(
        (csv.text().as_str(), csv.header("content-type")),
        ("n\n6\n", "text/csv; charset=utf-8")
    );

    for (query, says) in [
        ("", "`least`"),
        ("?p.least=many", "`least`"),
        ("?p.least=1&p.most=2", "`most`"),
        ("?p.least=1&p.least=2", "two values"),
        ("?least=1", "`least=1`"),
        ("?p.least=1&format=xml", "`format=xml`"),
        ("?p.least=1&max_rows=x", "`max_rows=x`"),
    ] {
        let (status, answer) = client.get(&format!("{run}{query}")).await;
        let found = (status.as_u16(), &answer["code"]);
        assert_eq!(found, (400, &json!("invalid_parameters")), "{query}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{answer}");
    }

    // Another version takes its place; the one before can still be run.
    let next = json!({"name": "above", "sql": "select 7 as n"});
    assert_eq!(save(&client, next).await.json()["version"], 2);
    assert_eq!(client.get(run).await.1["rows"], json!([{"n": 7}]));
    let (_, first) = client.get(&format!("{run}?version=1&p.least=2")).await;
    assert_eq!(first["rows"], json!([{"n": 3}]));
    assert_eq!(code(&client, "/v1/saved-queries/above?version=3").await, (404, json!("not_found")));
    let (_, list) = client.get("/v1/saved-queries").await;
    assert_eq!(list["saved_queries"].as_array().map(Vec::len), Some(1), "{list}");
    let removed = reply(client.request(Method::DELETE, "/v1/saved-queries/above")).await;
    assert_eq!(removed.status, 204);
    assert_eq!(code(&client, run).await, (404, json!("not_found")));
}

#[tokio::test]
async fn what_could_not_run_is_not_saved() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let query =
        |sql: &str, parameters: Value| json!({"name": "q", "sql": sql, "parameters": parameters});
    let date = json!({"d": {"type": "date", "default": "soon"}});
    for (body, code, says) in [
        (query("selec 1", json!({})), "syntax_error", "selec"),
        (query("select nothing from usage_events", json!({})), "invalid_query", "nothing"),
        (query("select $a", json!({})), "invalid_parameters", "`$a`"),
        (query("select 1", json!({"a": {"type": "text"}})), "invalid_parameters", "`$a`"),
        (query("select $d", date), "invalid_parameters", "`d`"),
        (query("select $d", json!({"d": {"type": "blob"}})), "invalid_json", ""),
        (json!({"name": "Q 1", "sql": "select 1"}), "invalid_field", "`name`"),
        (json!({"name": "q", "sql": "select 1", "shared_with": ["boss"]}), "invalid_field", "boss"),
    ] {
        let answer = save(&client, body.clone()).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &problem["code"]),
            (400, &json!(code)),
            "{body}: {problem}"
        );
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(says), "{body}: {detail}");
    }
    let forbidden = save(&client, json!({"name": "q", "sql": "drop table usage_events"})).await;
    assert_eq!(forbidden.status, 403);
    assert_eq!(client.get("/v1/saved-queries").await.1["saved_queries"], json!([]));
}

#[tokio::test]
async fn it_is_run_by_those_it_is_shared_with_over_their_own_rows() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for organization in ["org_a", "org_b"] {
        let event = usage(organization, organization, json!({"input_tokens": 9})).to_string();
        client.send("application/x-ndjson", event).await;
        let name = &["organization", "create", organization, "--name", "X", "--country", "DE"];
        run_ok(dir.path(), name);
    }
    let key = |name: &str, more: &[&str]| {
        let mut arguments = vec!["key", "create", "--name", name, "--scopes", "read"];
        arguments.extend(more);
        Client::new(&server, &run_ok(dir.path(), &arguments))
    };
    let (analyst, other) = (key("analyst", &[]), key("other", &[]));
    let own = key("own", &["--organization", "org_a"]);
    let run = "/v1/saved-queries/above/rows?p.least=1&p.model=gpt-5.1";
    assert_eq!(save(&analyst, above(&[])).await.status, 201);
    assert_eq!(code(&other, run).await, (404, json!("not_found")), "it is not shared");
    assert_eq!(save(&analyst, above(&["analyst", "user"])).await.status, 201);
    assert_eq!(other.get(run).await.0, 200);
    // Not theirs to change, and the administrator's version stays the analyst's.
    assert_eq!(save(&other, above(&[])).await.json()["code"], "name_taken");
    let removed = reply(other.request(Method::DELETE, "/v1/saved-queries/above")).await;
    assert_eq!(removed.status, 403);
    assert_eq!(save(&client, above(&["analyst"])).await.json()["version"], 3);
    assert_eq!(save(&analyst, above(&["analyst"])).await.json()["version"], 4);

    // An organization has names of its own, and its own rows.
    assert_eq!(code(&own, run).await, (404, json!("not_found")));
    let mut all = above(&["user"]);
    all["sql"] = json!(
        "select count(*) as n from usage_events where input_tokens > $least and model <> $model"
    );
    assert_eq!(save(&own, all.clone()).await.status, 201);
    let everything = "/v1/saved-queries/above/rows?p.least=1&p.model=none";
    assert_eq!(own.get(everything).await.1["rows"], json!([{"n": 1}]));
    all["name"] = json!("all");
    assert_eq!(save(&analyst, all).await.status, 201);
    let path = "/v1/saved-queries/all/rows?p.least=1&p.model=none";
    assert_eq!(analyst.get(path).await.1["rows"], json!([{"n": 2}]));
    assert_eq!(code(&own, path).await, (404, json!("not_found")));
}

#[tokio::test]
async fn versions_without_end_are_not_saved() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let one = json!({"name": "one", "sql": "select 1 as one"});
    assert_eq!(save(&client, one.clone()).await.status, 201);
    // 9,998 more, written at once.
    let script = r#"
import sqlite3, sys
state = sqlite3.connect(sys.argv[1], timeout=30)
versions = 'with recursive n(v) as (select 1 union all select v + 1 from n where v < 9998) select v from n'
columns = "scope, 'many', v, description, sql, parameters, shared_with, owner_id, created_by, created_at"
state.execute(f'insert into saved_queries select {columns} from saved_queries, ({versions})')
state.commit()"#;
    let filled =
        Command::new("python3").args(["-c", script]).arg(dir.path().join("state.db")).status();
    assert!(filled.expect("python3 starts").success());
    assert_eq!(save(&client, one.clone()).await.status, 201);
    let refused = save(&client, one.clone()).await;
    let found = (refused.status.as_u16(), refused.json()["code"].clone());
    assert_eq!(found, (409, json!("too_many_saved_queries")), "{}", refused.text());
    // There is room again when one is gone.
    let removed = reply(client.request(Method::DELETE, "/v1/saved-queries/many")).await;
    assert_eq!(removed.status, 204);
    assert_eq!(save(&client, one).await.json()["version"], 3);
}
