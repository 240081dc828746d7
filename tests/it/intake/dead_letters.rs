//! Rejected events: listed for administrators, and taken in again once what was wrong is right.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, flushed, folder, own_source, reply, run_ok, usage};

const NDJSON: &str = "application/x-ndjson";
const COUNT: &str = "select count(*) as n from dead_letter";

async fn list(client: &Client, question: &str) -> (Vec<Value>, Value) {
    let (status, answer) = client.get(&format!("/v1/dead-letters{question}")).await;
    assert_eq!(status, 200, "{question}: {answer}");
    (answer["dead_letters"].as_array().cloned().unwrap_or_default(), answer["next"].clone())
}

async fn replay(client: &Client, body: Value) -> (StatusCode, Value) {
    let request = client.request(Method::POST, "/v1/dead-letters/replay").json(&body);
    let answer = reply(request).await;
    (answer.status, answer.json())
}

fn counts(answer: &Value) -> [u64; 5] {
    ["accepted", "duplicate", "rejected", "not_replayable", "not_found"]
        .map(|name| answer[name].as_u64().unwrap_or(u64::MAX))
}

fn aged(organization: &str, id: &str, days: i64) -> Value {
    let mut event = usage(organization, id, json!({}));
    let recent: DateTime<Utc> =
        event["time"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    event["time"] = (recent - TimeDelta::days(days)).to_rfc3339().into();
    event
}

fn own_aged(organization: &str, id: &str, days: i64) -> Value {
    let mut event = aged(organization, id, days);
    event["source"] = own_source(organization).into();
    event
}

/// A server on which ten events were rejected: four too old, two without a model, one in conflict, one that is no
/// JSON, one that is too long, and one for another organization.
struct Rejected {
    server: Server,
    admin: Client,
    own: Client,
    dir: tempfile::TempDir,
}

async fn rejected() -> Rejected {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let key = |arguments: &[&str]| {
        let key = run_ok(dir.path(), &[&["key", "create", "--name", "k"], arguments].concat());
        Client::new(&server, &key)
    };
    let _ =
        run_ok(dir.path(), &["organization", "create", "org_b", "--name", "B", "--country", "DE"]);
    let (plain, own) = (key(&[]), key(&["--organization", "org_b"]));
    let without = |id: &str| usage("org_a", id, json!({"model": null})).to_string();
    let old = |id: &str| aged("org_a", id, 40).to_string();
    let long = usage("org_a", "long", json!({"x": "y".repeat(20_000)})).to_string();
    let good = usage("org_a", "good", json!({})).to_string();
    let conflict = usage("org_a", "good", json!({"output_tokens": 9})).to_string();
    let lines =
        [good, old("1"), old("2"), without("3"), without("4"), conflict, "{oops".into(), long];
    let (status, answer) = plain.send(NDJSON, lines.join("\n")).await;
    assert_eq!((status.as_u16(), &answer["rejected"]), (200, &json!(7)), "{answer}");
    let lines = [
        own_aged("org_b", "5", 40).to_string(),
        own_aged("org_b", "6", 40).to_string(),
        usage("org_a", "stray", json!({})).to_string(),
    ];
    assert_eq!(own.send(NDJSON, lines.join("\n")).await.0, 400);
    Rejected { server, admin, own, dir }
}

#[tokio::test]
async fn letters_are_listed_for_administrators_newest_first() {
    let Rejected { server, admin, own, dir } = rejected().await;
    for place in ["in the log", "in the table"] {
        let (all, next) = list(&admin, "").await;
        assert_eq!((all.len(), &next), (10, &Value::Null), "{place}");
        let ids: BTreeSet<_> = all.iter().map(|letter| letter["id"].to_string()).collect();
        assert_eq!(ids.len(), 10, "{place}");
        let stray = &all[0];
        assert_eq!(
            (&stray["code"], &stray["pointer"]),
            (&json!("wrong_organization"), &json!("/subject"))
        );
        assert_eq!(stray["organization_id"], "org_b", "whose key sent it");
        assert_eq!(stray["raw"], usage("org_a", "stray", json!({})).to_string());
        assert_eq!(stray["truncated"], false);
        let times: Vec<_> = all.iter().map(|letter| letter["received_at"].to_string()).collect();
        assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
        // By pages, each letter once.
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let (page, next) = list(&admin, &format!("?limit=3{cursor}")).await;
            assert!(page.len() <= 3);
            paged.extend(page);
            let Some(next) = next.as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(paged, all, "{place}");
        for (question, count) in [
            ("?code=time_too_old", 4),
            ("?code=time_too_old&organization=org_b", 2),
            ("?organization=org_a", 6),
            ("?code=malformed_json", 1),
            ("?code=too_deep", 0),
            ("?organization=o%27%20or%20true%20--", 0),
            ("?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z", 0),
            ("?from=2020-01-01T00:00:00Z", 10),
            ("?to=2020-01-02T00:00:00Z", 0),
        ] {
            assert_eq!(list(&admin, question).await.0.len(), count, "{question}, {place}");
        }
        let (long, _) = list(&admin, "?code=invalid_attributes").await;
        assert_eq!(
            (&long[0]["truncated"], long[0]["raw"].as_str().map(str::len)),
            (&json!(true), Some(16_384))
        );
        flushed(&admin).await;
    }
    for (client, path, status) in [
        (&own, "", 403),
        (&Client::new(&server, ""), "", 401),
        (&admin, "?code=no_such", 400),
        (&admin, "?limit=0", 400),
        (&admin, "?limit=1001", 400),
        (&admin, "?cursor=x", 400),
        (&admin, "?page=1", 400),
    ] {
        let (found, answer) = client.get(&format!("/v1/dead-letters{path}")).await;
        assert_eq!(found, status, "{path}: {answer}");
    }
    drop(dir);
}

#[tokio::test]
async fn replayed_letters_are_judged_by_their_new_reader_and_count_once() {
    let Rejected { server, admin, own, dir } = rejected().await;
    flushed(&admin).await;
    let count = async |sql: &str| admin.rows(sql).await[0]["n"].clone();
    // This key may send history, the first one could not: that was the fix.
    let old = json!({"code": "time_too_old", "organization": "org_a"});
    for expected in [[2, 0, 0, 0, 0], [0, 2, 0, 0, 0]] {
        let (status, answer) = replay(&admin, old.clone()).await;
        assert_eq!((status.as_u16(), counts(&answer)), (200, expected), "{answer}");
        assert_eq!(count("select count(*) as n from usage_events").await, 3);
    }
    let (all, _) = list(&admin, "").await;
    let id = |code: &str| {
        let letter = all.iter().find(|letter| letter["code"] == code).expect("a letter");
        letter["id"].clone()
    };
    let mut ids: Vec<_> =
        ["invalid_attributes", "wrong_organization", "id_conflict", "malformed_json"]
            .map(id)
            .to_vec();
    ids.extend([json!("1.999999"), json!("x")]);
    let (status, answer) = replay(&admin, json!({"ids": ids})).await;
    assert_eq!((status.as_u16(), counts(&answer)), (200, [0, 0, 3, 1, 2]), "{answer}");
    let results = answer["results"].as_array().expect("results");
    let told: Vec<_> = results
        .iter()
        .map(|r| (r["id"].clone(), r["status"].as_str(), r["code"].as_str()))
        .collect();
    let expected = [
        (Some("not_replayable"), Some("truncated")),
        (Some("rejected"), Some("wrong_organization")),
        (Some("rejected"), Some("id_conflict")),
        (Some("rejected"), Some("malformed_json")),
        (Some("not_found"), None),
        (Some("not_found"), None),
    ];
    for ((id, told), expected) in ids.iter().zip(told).zip(expected) {
        assert_eq!((&told.0, told.1, told.2), (id, expected.0, expected.1));
    }
    assert!(results[0]["reason"].as_str().is_some_and(|reason| reason.contains("16 KiB")));
    assert!(results[1]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(count(COUNT).await, 10, "no letter is kept twice");
    assert_eq!(count("select count(*) as n from usage_events").await, 3);

    // By pages; the organization is the letter's, though the key is the platform's.
    let mut body = json!({"organization": "org_b", "limit": 2});
    let (_, first) = replay(&admin, body.clone()).await;
    body["cursor"] = first["next"].clone();
    let (_, second) = replay(&admin, body).await;
    assert_eq!((&second["next"], counts(&second)), (&Value::Null, [1, 0, 0, 0, 0]), "{second}");
    assert_eq!(counts(&first), [1, 0, 1, 0, 0], "{first}");
    let rows = admin
        .rows("select organization_id as id, count(*) as n from usage_events group by 1 order by 1")
        .await;
    assert_eq!(rows, [json!({"id": "org_a", "n": 3}), json!({"id": "org_b", "n": 2})]);
    let (_, visible) = admin.query_with(json!({"sql": COUNT, "as_of": second["as_of"]})).await;
    assert_eq!(visible["rows"][0]["n"], 10);

    for (client, body, status) in [
        (&own, json!({"code": "time_too_old"}), 403),
        (&admin, json!({}), 400),
        (&admin, json!({"limit": 5}), 400),
        (&admin, json!({"ids": []}), 400),
        (&admin, json!({"ids": ["1.1", "1.1"]}), 400),
        (&admin, json!({"ids": ["1.1"], "code": "time_too_old"}), 400),
        (&admin, json!({"code": "no_such"}), 400),
        (&admin, json!({"all": true}), 400),
    ] {
        let (found, answer) = replay(client, body.clone()).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(found == 403 || answer["detail"].is_string(), "{answer}");
    }
    drop((server, dir));
}
