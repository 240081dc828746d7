//! Which key may state what.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, reply, run_ok, usage};

const NDJSON: &str = "application/x-ndjson";

/// A usage event under a source, with these data besides.
fn from(source: &str, id: &str, data: Value) -> Value {
    let mut event = usage("org_a", id, data);
    event["source"] = source.into();
    event
}

fn of_type(kind: &str, source: &str, id: &str) -> Value {
    let mut event = from(source, id, json!({}));
    event["type"] = kind.into();
    event["data"] = match kind {
        "usage.request" => json!({"model": "m"}),
        "billing.subscription_created" => json!({
            "subscription_id": "s", "plan": "pro", "amount": "99999999", "currency": "USD",
            "billing_interval": "month",
        }),
        "billing.signed_up" => json!({}),
        _ => json!({"anonymous_id": "v"}),
    };
    event
}

/// The status of one event, or the code of its rejection.
async fn verdict(client: &Client, event: &Value) -> String {
    let (_, answer) = client.send(NDJSON, event.to_string()).await;
    let result = &answer["results"][0];
    let said = if result["code"].is_string() { &result["code"] } else { &result["status"] };
    said.as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_states_what_is_its_own_to_state() {
    let dir = folder();
    let platform = admin_key(dir.path());
    let narrow = ["--sources", "/gateway/", "--types", "usage.request,billing.signed_up"];
    let narrow = run_ok(
        dir.path(),
        &[&["key", "create", "--name", "n", "--scopes", "write"], &narrow[..]].concat(),
    );
    let own = organization_key(dir.path(), "org_a", "read,write");
    let server = Server::serve(dir.path());
    let [platform, narrow, own] = [platform, narrow, own].map(|key| Client::new(&server, &key));
    let (accepted, source, kind) = ("accepted", "source_not_allowed", "type_not_allowed");
    let mine = "/organizations/org_a/app";
    let mut id = 0;
    for (event_type, from, expected) in [
        ("usage.request", "/gateway/eu", [accepted, accepted, source]),
        ("usage.request", "/other", [accepted, source, source]),
        ("usage.request", mine, [source, source, accepted]),
        ("usage.request", "/organizations/org_b/app", [source, source, source]),
        ("activity.login", "/gateway/eu", [accepted, kind, source]),
        ("activity.login", mine, [source, source, accepted]),
        ("billing.signed_up", "/gateway/eu", [accepted, accepted, source]),
        ("billing.signed_up", mine, [source, source, kind]),
        ("billing.subscription_created", "/gateway/eu", [accepted, kind, source]),
        ("billing.subscription_created", mine, [source, source, kind]),
    ] {
        for (client, expected) in [&platform, &narrow, &own].into_iter().zip(expected) {
            id += 1;
            let event = of_type(event_type, from, &id.to_string());
            let said = verdict(client, &event).await;
            assert_eq!(said, expected, "{event_type} {from}");
        }
    }
    // What a key may write can be changed, at once.
    let list = run_ok(dir.path(), &["key", "list"]);
    let line = list.lines().find(|line| line.contains("/gateway/,usage.request"));
    let key = line.and_then(|line| line.split('\t').next()).expect("the narrowed key");
    let path = format!("/v1/keys/{key}/grant");
    let body = json!({"types": ["billing.*"]});
    let changed = reply(platform.request(Method::PUT, &path).json(&body)).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    for (event_type, expected) in [("usage.request", kind), ("billing.signed_up", accepted)] {
        id += 1;
        let event = of_type(event_type, "/other", &id.to_string());
        assert_eq!(verdict(&narrow, &event).await, expected);
    }
    for data in [
        json!({"cost": "1", "currency": "USD"}),
        json!({"list_price": "0.1", "currency": "USD"}),
        json!({"currency": "USD"}),
    ] {
        assert_eq!(verdict(&own, &from(mine, "money", data)).await, "money_not_allowed");
    }
    for data in [
        json!({"list_price": "-5000", "currency": "USD"}),
        json!({"cost": -0.01, "currency": "USD"}),
        json!({"input_tokens": -1}),
        json!({"input_tokens": 1_000_000_000_001_i64}),
        json!({"latency_ms": i64::MAX}),
        json!({"list_price": "10000000000000.000000000001", "currency": "USD"}),
    ] {
        assert_eq!(verdict(&platform, &from("/gateway/x", "below", data)).await, "invalid_value");
    }
}

/// What a customer says first does not take the gateway's identity, and no answer tells what the gateway said.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_is_taken_by_nobody_else() {
    let dir = folder();
    let platform = admin_key(dir.path());
    let own = organization_key(dir.path(), "org_a", "read,write,backfill");
    let server = Server::serve(dir.path());
    let [platform, own] = [platform, own].map(|key| Client::new(&server, &key));
    let zero = from("/gateway", "1", json!({"input_tokens": 0, "output_tokens": 0}));
    assert_eq!(verdict(&own, &zero).await, "source_not_allowed");
    let paid = json!({"cost": "27", "currency": "USD", "session_id": "123456"});
    let paid = from("/gateway", "1", paid);
    assert_eq!(verdict(&platform, &paid).await, "accepted");
    // Right or wrong: the same answer.
    for session in ["123456", "654321"] {
        let guess = from("/gateway", "1", json!({"session_id": session}));
        assert_eq!(verdict(&own, &guess).await, "duplicate");
    }
    let guess = from("/gateway", "1", json!({"cost": "27", "currency": "USD", "session_id": "1"}));
    assert_eq!(verdict(&own, &guess).await, "duplicate");
    assert_eq!(verdict(&platform, &guess).await, "id_conflict");
    // Nor does a correction take it.
    let body = json!({"source": "/gateway", "id": "1"});
    let voided = reply(own.request(Method::POST, "/v1/events/void").json(&body)).await;
    assert_eq!(
        (voided.status.as_u16(), &voided.json()["code"]),
        (403, &json!("source_not_allowed"))
    );
    let mine = "/organizations/org_a/app";
    assert_eq!(verdict(&own, &from(mine, "1", json!({}))).await, "accepted");
    let body = json!({"source": mine, "id": "1", "data": {"cost": "1", "currency": "USD"}});
    let priced = reply(own.request(Method::POST, "/v1/events/correct").json(&body)).await;
    assert_eq!(
        (priced.status.as_u16(), &priced.json()["code"]),
        (403, &json!("money_not_allowed"))
    );
    let body = json!({"source": mine, "id": "1", "data": {"input_tokens": 7}});
    let corrected = reply(own.request(Method::POST, "/v1/events/correct").json(&body)).await;
    assert_eq!(corrected.status, StatusCode::OK, "{}", corrected.text());
    let costs = platform.rows("select sum(cost) as cost from usage_events").await;
    assert_eq!(costs[0]["cost"], "27.000000000000");
}

#[tokio::test(flavor = "multi_thread")]
async fn staffs_metrics_leave_out_what_organizations_say_of_themselves() {
    let dir = folder();
    let platform = admin_key(dir.path());
    let own = organization_key(dir.path(), "org_a", "read,write");
    let server = Server::serve(dir.path());
    let [platform, own] = [platform, own].map(|key| Client::new(&server, &key));
    assert_eq!(verdict(&platform, &from("/gateway", "1", json!({}))).await, "accepted");
    for id in ["1", "2", "3"] {
        let event = from("/organizations/org_a/app", id, json!({"input_tokens": 1_000_000}));
        assert_eq!(verdict(&own, &event).await, "accepted");
    }
    let now: chrono::DateTime<chrono::Utc> =
        usage("org_a", "x", json!({}))["time"].as_str().unwrap().parse().unwrap();
    let [from, to] = [-1, 1].map(|hours| (now + chrono::TimeDelta::hours(hours)).to_rfc3339());
    let window = format!("from={}&to={}", from.replace('+', "%2B"), to.replace('+', "%2B"));
    let total = async |client: &Client, metric: &str| {
        let (_, answer) = client.get(&format!("/v1/metrics/{metric}?{window}")).await;
        let value = &answer["rows"][0]["value"];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    assert_eq!(
        (total(&platform, "requests").await, total(&own, "requests").await),
        ("1".into(), "4".into())
    );
    assert_eq!(
        (total(&platform, "tokens").await, total(&own, "tokens").await),
        ("2".into(), "3000005".into())
    );
    assert_eq!(platform.rows("select count(*) as n from usage_events").await[0]["n"], 4);
}

/// A letter is judged as its sender's, and what its sender may not write is never replayed as somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_no_key_more_than_it_had() {
    let dir = folder();
    let platform = admin_key(dir.path());
    let own = organization_key(dir.path(), "org_a", "read,write");
    let server = Server::serve(dir.path());
    let [platform, own] = [platform, own].map(|key| Client::new(&server, &key));
    let forged = from("/gateway", "forged", json!({"list_price": "5000", "currency": "USD"}));
    assert_eq!(verdict(&own, &forged).await, "source_not_allowed");
    let mut old = from("/gateway", "old", json!({"list_price": "5", "currency": "USD"}));
    old["time"] = "2020-01-01T00:00:00Z".into();
    let key = run_ok(dir.path(), &["key", "create", "--name", "gateway", "--scopes", "write"]);
    assert_eq!(verdict(&Client::new(&server, &key), &old).await, "time_too_old");
    // What is kept of a long line may be an event that nobody may send.
    let narrow = ["--scopes", "write", "--sources", "/gateway/"];
    let narrow =
        run_ok(dir.path(), &[&["key", "create", "--name", "narrow"], &narrow[..]].concat());
    let narrow = Client::new(&server, &narrow);
    let evil = of_type("billing.subscription_created", "/billing/evil", "evil");
    for end in ["x".to_owned(), format!("{}x", " ".repeat(17_000))] {
        let (_, answer) = narrow.send(NDJSON, format!("{evil}{end}")).await;
        assert_eq!(answer["results"][0]["code"], "malformed_json");
    }
    assert_eq!(verdict(&narrow, &evil).await, "source_not_allowed");
    let path = "/v1/events?source=/organizations/org_a/app&id=1&organization=org_a";
    assert_eq!(narrow.get(path).await.0, StatusCode::NOT_FOUND);
    let everything = json!({"from": "2020-01-01T00:00:00Z"});
    let request = platform.request(Method::POST, "/v1/dead-letters/replay").json(&everything);
    let replayed = reply(request).await.json();
    assert_eq!(
        (&replayed["accepted"], &replayed["not_replayable"]),
        (&json!(1), &json!(4)),
        "{replayed}"
    );
    let rows = platform.rows("select event_id, list_price from usage_events").await;
    assert_eq!(rows, [json!({"event_id": "old", "list_price": "5.000000000000"})]);
}
