//! An organization's key reaches its own rows, and nothing tells it about another's.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Reply, Server, admin_key, configure, flushed, folder, own_source, reply, run_ok, usage,
};

const TABLES: [(&str, &str); 9] = [
    ("usage_events", "occurred_at"),
    ("usage_ledger", "occurred_at"),
    ("billing_events", "occurred_at"),
    ("activity_events", "occurred_at"),
    ("mrr_movements", "occurred_at"),
    ("organizations", "changed_at"),
    ("api_keys", "changed_at"),
    ("rated_usage_daily", "occurred_at"),
    ("invoice_lines", "occurred_at"),
];

/// The two organizations with the most requests.
async fn two_organizations(admin: &Client) -> [String; 2] {
    let sql = "select organization_id as id, count(*) as n from usage_events group by 1 \
               order by n desc, id limit 2";
    let rows = admin.rows(sql).await;
    [0, 1].map(|i: usize| rows[i]["id"].as_str().expect("an organization").to_owned())
}

fn key_of(dir: &std::path::Path, organization: &str, name: &str) -> String {
    run_ok(dir, &["key", "create", "--name", name, "--organization", organization])
}

#[tokio::test]
async fn a_key_sees_its_own_rows_only() {
    let dir = folder();
    let server = Server::demo(dir.path(), 12, 8);
    let admin = Client::new(&server, &admin_key(dir.path()));
    let organizations = two_organizations(&admin).await;
    let clients =
        organizations.each_ref().map(|id| Client::new(&server, &key_of(dir.path(), id, "own")));
    for (own, client) in organizations.iter().zip(&clients) {
        for (table, time) in TABLES {
            let bare =
                format!("select count(*) as n, min({time}) as a, max({time}) as b from {table}");
            let found = client.rows(&bare).await;
            let expected = admin.rows(&format!("{bare} where organization_id = '{own}'")).await;
            if table != "api_keys" {
                assert_eq!(found, expected, "{table}");
            }
            for aggregate in ["count(*)", "count(organization_id)", &format!("max({time})")] {
                let one = format!("select {aggregate} as v from {table}");
                let filtered = format!("{one} where organization_id = '{own}'");
                let (one, filtered) = (client.rows(&one).await, client.rows(&filtered).await);
                assert_eq!(one, filtered, "{aggregate} of {table}");
            }
            let seen =
                client.rows(&format!("select distinct organization_id as id from {table}")).await;
            assert!(seen.iter().all(|row| row["id"] == *own), "{table}: {seen:?}");
            let sql = format!(
                "select count(*) as n from {table} where organization_id <> '{own}' \
                 or organization_id is null"
            );
            assert_eq!(client.rows(&sql).await, [json!({"n": 0})], "{table}");
        }
        assert_eq!(client.rows("select organization_id as id from organizations").await.len(), 1);
        let joined = "select count(*) as n, count(distinct o.organization_id) as o from \
             usage_events u full outer join organizations o on u.organization_id = o.organization_id";
        let all = client.rows("select count(*) as n, 1 as o from usage_events").await;
        assert_eq!(client.rows(joined).await, all);
        let metric = "/v1/metrics/requests?by=organization_id";
        let (_, answer) = client.get(metric).await;
        let rows = answer["rows"].as_array().expect("rows");
        assert_eq!(rows.len(), 1, "{answer}");
        assert_eq!((&rows[0]["group"], &rows[0]["value"]), (&json!([own]), &all[0]["n"]));
    }
    hidden_from(&clients[0], &organizations[1], &admin).await;
}

/// What an organization's key gets of what is not its own.
async fn hidden_from(client: &Client, other: &str, admin: &Client) {
    for (sql, status, code) in [
        ("select * from dead_letter", 400, "invalid_query"),
        ("explain select * from usage_events", 403, "not_allowed"),
        ("explain analyze select * from usage_events", 403, "not_allowed"),
        ("explain verbose select * from usage_events", 403, "not_allowed"),
    ] {
        let (found, answer) = client.query(sql).await;
        assert_eq!((found.as_u16(), &answer["code"]), (status, &json!(code)), "{sql}: {answer}");
    }
    let event = usage(other, "stray", json!({})).to_string();
    let (status, answer) = client.send("application/json", event).await;
    assert_eq!(status, 400);
    assert_eq!(answer["results"][0]["code"], "wrong_organization");
    let mut own = usage("", "implied", json!({}));
    let (_, me) = client.get("/v1/me").await;
    own["source"] = own_source(me["organization_id"].as_str().expect("an id")).into();
    own.as_object_mut().expect("an object").remove("subject");
    let (status, answer) = client.send("application/json", own.to_string()).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(1)), "{answer}");
    let rows =
        client.rows("select count(*) as n from usage_events where event_id = 'implied'").await;
    assert_eq!(rows, [json!({"n": 1})]);
    let sql = format!("select name from organizations where organization_id = '{other}'");
    let name = admin.rows(&sql).await[0]["name"].as_str().expect("a name").to_owned();
    let page = reply(client.request(Method::GET, "/dashboards/business")).await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(!text.contains(other) && !text.contains(&name), "another organization is on the page");
}

/// Each fails on a planted row, if it ever gets to see one.
const PROBES: [&str; 8] = [
    "select count(*) as n from usage_events where cast(case when feature like 'SECRET%' \
     then feature else '1' end as bigint) > 0",
    "select count(*) as n from usage_events where 1 / (case when feature like 'SECRET%' then 0 \
     else 1 end) = 1",
    "select count(*) as n from usage_events where case when attributes like '%SECRET%' \
     then cast(attributes as bigint) else 1 end = 1",
    "select sum(1 / (case when feature like 'SECRET%' then 0 else 1 end)) as n from usage_events",
    "select count(*) as n from (select 1 / (latency_ms - 777777) as x from usage_events \
     where latency_ms = 777777 or latency_ms is null) where x is null",
    "select count(cast(case when a.feature like 'SECRET%' then a.feature else '1' end as bigint)) \
     as n from usage_events a left join organizations o on o.organization_id = a.organization_id",
    "select count(*) as n from usage_ledger where arrow_cast(case when feature like 'SECRET%' \
     then feature else '2026-01-01T00:00:00' end, 'Timestamp(Second, None)') is not null",
    "select count(*) as n from usage_events where coalesce(feature, '') not like 'SECRET%' \
     or 9223372036854775807 + input_tokens > 0",
];

const LOOKS: [&str; 6] = [
    "select min(feature) as a, max(feature) as b, min(attributes) as c, max(attributes) as d \
     from usage_events",
    "select array_agg(distinct feature) as a from usage_events",
    "select feature, attributes, event_id from usage_events order by feature desc limit 3",
    "select string_agg(attributes, ',') as a from usage_ledger",
    "select max(latency_ms) as a, approx_distinct(organization_id) as b from usage_events",
    "select count(*) as n from usage_events where feature like 'SECRET%' or latency_ms = 777777",
];

/// Fail on the asker's own rows: the message names no value.
const FAILURES: [&str; 3] = [
    "select sum(cast(model as bigint)) from usage_events",
    "select sum(1 / (input_tokens - input_tokens)) from usage_events",
    "select to_timestamp(feature || 'x' || coalesce(attributes, '')) from usage_events",
];

async fn probe(client: &Client, share: &str) {
    let own = client.rows("select count(*) as n from usage_events").await[0]["n"].clone();
    assert!(own.as_u64() > Some(0));
    for sql in PROBES {
        let (status, answer) = client.query(sql).await;
        assert_eq!(status, 200, "at {share}: {sql}: {answer}");
        assert!(!answer.to_string().contains("SECRET"), "at {share}: {sql}: {answer}");
    }
    for sql in LOOKS {
        let (status, answer) = client.query(sql).await;
        let text = answer["rows"].to_string();
        assert_eq!(status, 200, "at {share}: {sql}: {answer}");
        assert!(!text.contains("SECRET") && !text.contains("777777"), "{sql}: {text}");
    }
    let hits = client.rows(LOOKS[5]).await;
    assert_eq!(hits, [json!({"n": 0})]);
    for sql in FAILURES {
        let (status, answer) = client.query(sql).await;
        assert_eq!(status, 422, "at {share}: {sql}: {answer}");
        let text = answer.to_string();
        for value in ["SECRET", "own-model", "own-feature"] {
            assert!(!text.contains(value), "at {share}: {sql}: {text}");
        }
    }
}

/// The probes are worth something: with a condition in place of the barrier, which an optimizer may move and mix
/// with the asker's own, some of them fail on rows that the condition leaves out.
async fn probes_tell_without_a_barrier(admin: &Client, own: &str, share: &str) {
    let mut telling = Vec::new();
    for sql in PROBES {
        let sql = sql.replace("usage_events", "own").replace("usage_ledger", "own");
        let filtered = format!("select * from usage_events where organization_id = '{own}'");
        let (status, answer) = admin.query(&format!("with own as ({filtered}) {sql}")).await;
        match status.as_u16() {
            200 => assert!(!answer.to_string().contains("SECRET"), "{sql}: {answer}"),
            422 => telling.push(sql),
            _ => panic!("at {share}: {sql}: {status} {answer}"),
        }
    }
    assert!(telling.len() >= 2, "at {share} only these tell: {telling:?}");
}

fn rows_of(organization: &str, prefix: &str, count: usize, data: &Value) -> String {
    let lines =
        (0..count).map(|i| usage(organization, &format!("{prefix}{i}"), data.clone()).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn no_error_and_no_statistic_tells_of_another_organization() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let server = Server::demo(dir.path(), 2, 6);
    let admin = Client::new(&server, &admin_key(dir.path()));
    let sql = "select organization_id as id from organizations order by id limit 1";
    let own = admin.rows(sql).await[0]["id"].as_str().expect("an organization").to_owned();
    let client = Client::new(&server, &key_of(dir.path(), &own, "own"));
    let secret = json!({"feature": "SECRET-9f3", "latency_ms": 777_777, "hidden": "SECRET-attribute",
        "model": "SECRET-model"});
    let plain = json!({"feature": "own-feature", "model": "own-model", "latency_ms": 5, "x": "y"});
    // Beside 90 rows of its own another has 10, then 90, then 810.
    let body = rows_of(&own, "own", 90, &plain);
    assert_eq!(admin.send("application/x-ndjson", body).await.0, 200);
    for (round, (count, share)) in
        [(10, "10 %"), (80, "50 %"), (720, "90 %")].into_iter().enumerate()
    {
        let body = rows_of("org_planted", &format!("planted{round}-"), count, &secret);
        let (status, answer) = admin.send("application/x-ndjson", body).await;
        assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(count)), "{answer}");
        probe(&client, &format!("{share}, in the log")).await;
        flushed(&admin).await;
        let share = format!("{share}, in the table");
        probe(&client, &share).await;
        probes_tell_without_a_barrier(&admin, &own, &share).await;
    }
    let planted = admin.rows(LOOKS[5]).await;
    assert_eq!(planted, [json!({"n": 810})], "what is hidden was there");
}

async fn send_json(client: &Client, method: Method, path: &str, body: &Value) -> Reply {
    reply(client.request(method, path).json(body)).await
}

/// What another organization asked, keeps and runs is not there, and no plan, header or kept answer tells of it.
#[tokio::test]
async fn nothing_beside_the_rows_tells_of_another_organization() {
    let dir = folder();
    let server = Server::demo(dir.path(), 2, 6);
    let admin = Client::new(&server, &admin_key(dir.path()));
    let organizations = two_organizations(&admin).await;
    let [own, other] =
        organizations.each_ref().map(|id| Client::new(&server, &key_of(dir.path(), id, "own")));
    let sql = json!({"sql": "select count(*) as their_secret from usage_events"});

    // A query of theirs that is saved, one that was answered, one that is kept, and one that runs.
    let saved = json!({"name": "their-secret", "sql": sql["sql"], "shared_with": ["user"]});
    let saved = send_json(&other, Method::POST, "/v1/saved-queries", &saved).await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    for path in ["/v1/saved-queries/their-secret", "/v1/saved-queries/their-secret/rows"] {
        let (status, answer) = own.get(path).await;
        assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("not_found")), "{path}");
    }
    let answered = send_json(&other, Method::POST, "/v1/query", &sql).await;
    let kept = send_json(&other, Method::POST, "/v1/queries", &sql).await;
    let endless = json!({"sql": "select max(secret) from (select unnest(range(1, 1000)) as secret from \
        usage_events a, usage_events b, usage_events c)", "timeout_ms": 20_000});
    let runs = send_json(&other, Method::POST, "/v1/queries", &endless).await;
    assert_eq!((kept.status.as_u16(), runs.status.as_u16()), (202, 202));
    let ids = [kept.json()["query_id"].clone(), runs.json()["query_id"].clone()];
    for id in ids.each_ref().map(|id| id.as_str().expect("an id")) {
        for (method, path) in [
            (Method::GET, format!("/v1/queries/{id}")),
            (Method::GET, format!("/v1/queries/{id}/result")),
            (Method::DELETE, format!("/v1/queries/{id}")),
        ] {
            let answer = send_json(&own, method, &path, &Value::Null).await;
            let (status, code) = (answer.status.as_u16(), answer.json()["code"].clone());
            assert_eq!((status, code), (404, json!("not_found")), "{path}");
        }
    }
    for path in ["/v1/queries", "/v1/queries?status=running", "/v1/saved-queries"] {
        let (status, list) = own.get(path).await;
        assert!(status == 200 && !list.to_string().contains("secret"), "{path}: {list}");
        let theirs = other.get(path).await.1;
        assert!(theirs.to_string().contains("secret"), "{path}: {theirs}");
    }
    let (_, state) = other.get(&format!("/v1/queries/{}", ids[1].as_str().expect("an id"))).await;
    assert!(state["status"] == "running" || state["status"] == "queued", "{state}");

    // The same words are another question when another asks them.
    let mine = send_json(&own, Method::POST, "/v1/query", &sql).await;
    assert_eq!((mine.header("x-cache"), answered.header("x-cache")), ("", ""));
    assert_ne!(mine.json()["rows"], answered.json()["rows"]);
    // Names and plans are those of the tables, whoever has how many rows in them.
    for sql in [
        "select * from information_schema.tables order by 1, 2, 3",
        "select * from information_schema.columns order by 1, 2, 3, 4",
    ] {
        assert_eq!(own.rows(sql).await, other.rows(sql).await, "{sql}");
    }
    assert_eq!(own.get("/v1/schema").await.1, other.get("/v1/schema").await.1);
    assert!(!own.get("/v1/schema").await.1.to_string().contains("dead_letter"));
    for path in ["/v1/query/explain", "/v1/query/validate"] {
        let [a, b] = [
            send_json(&own, Method::POST, path, &sql).await,
            send_json(&other, Method::POST, path, &sql).await,
        ];
        assert_eq!(a.status, 200, "{}", a.text());
        assert_eq!(
            a.text().replace(&organizations[0], "?"),
            b.text().replace(&organizations[1], "?")
        );
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &run_ok(dir.path(), &["key", "create", "--name", "short"]));
    assert_eq!(client.query("select 1 as one").await.0, 200);
    let list = run_ok(dir.path(), &["key", "list"]);
    let line = list.lines().find(|line| line.contains("short")).expect("the key is listed");
    let id = line.split('\t').next().expect("its id");
    run_ok(dir.path(), &["key", "revoke", id]);
    let mut status = client.query("select 1 as one").await.0;
    for _ in 0..14 {
        if status == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        status = client.query("select 1 as one").await.0;
    }
    assert_eq!(status, 401, "7 seconds after it was revoked");
}
