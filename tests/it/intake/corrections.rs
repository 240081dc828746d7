//! Events are voided and corrected by further rows: every figure follows, and an older cut stays as it was.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, days_ago, flushed, folder, organization_key, own_source, own_usage,
    reply, run_ok, usage,
};

const NDJSON: &str = "application/x-ndjson";
const SUMS: &str = "select count(*) as n, sum(input_tokens) as tokens, sum(cost) as cost from ";

async fn post(client: &Client, path: &str, body: Value) -> (StatusCode, Value) {
    let answer = reply(client.request(Method::POST, path).json(&body)).await;
    (answer.status, answer.json())
}

async fn void(client: &Client, id: &str) -> (StatusCode, Value) {
    let body = json!({"organization": "org_a", "source": "/test", "id": id});
    post(client, "/v1/events/void", body).await
}

async fn correct(client: &Client, id: &str, data: Value) -> (StatusCode, Value) {
    let body = json!({"organization": "org_a", "source": "/test", "id": id, "data": data});
    post(client, "/v1/events/correct", body).await
}

async fn sums(client: &Client, table: &str, as_of: Option<&Value>) -> (u64, u64, String) {
    let mut question = json!({"sql": format!("{SUMS}{table}")});
    if let Some(as_of) = as_of {
        question["as_of"] = as_of.clone();
    }
    let (status, answer) = client.query_with(question).await;
    assert_eq!(status, 200, "{answer}");
    let row = &answer["rows"][0];
    let cost: f64 = row["cost"].as_str().unwrap_or("0").parse().expect("a cost");
    let number = |name: &str| row[name].as_u64().unwrap_or(0);
    (number("n"), number("tokens"), format!("{cost:.2}"))
}

async fn send(client: &Client, events: &[(&str, u64)]) {
    let lines: Vec<_> = events
        .iter()
        .map(|(id, tokens)| {
            let data = json!({"input_tokens": tokens, "cost": "0.25", "currency": "USD"});
            usage("org_a", id, data).to_string()
        })
        .collect();
    let (status, answer) = client.send(NDJSON, lines.join("\n")).await;
    assert_eq!((status.as_u16(), &answer["accepted"]), (200, &json!(events.len())), "{answer}");
}

#[tokio::test]
async fn totals_follow_a_correction_and_an_older_cut_does_not() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    send(&client, &[("1", 10), ("2", 20), ("3", 30)]).await;
    flushed(&client).await;
    let (_, before) = client.query("select 1 as one").await;
    let all = (3, 60, "0.75".to_owned());
    assert_eq!(sums(&client, "usage_events", None).await, all);

    let (status, answer) = void(&client, "2").await;
    assert_eq!((status.as_u16(), &answer["status"]), (200, &json!("accepted")), "{answer}");
    assert_eq!(answer["generation"], 1);
    let voided = (2, 40, "0.50".to_owned());
    assert_eq!(sums(&client, "usage_events", None).await, voided, "before it is in a table");
    let as_of = Some(&answer["as_of"]);
    assert_eq!(sums(&client, "usage_events", as_of).await, voided);
    let (status, again) = void(&client, "2").await;
    assert_eq!((status.as_u16(), &again["status"]), (200, &json!("duplicate")), "{again}");
    assert_eq!(again["generation"], 1);

    let changes = json!({"input_tokens": 7, "cost": "1.5", "team": "search"});
    let (status, answer) = correct(&client, "3", changes.clone()).await;
    assert_eq!((status.as_u16(), &answer["status"]), (200, &json!("accepted")), "{answer}");
    let (_, again) = correct(&client, "3", changes).await;
    assert_eq!((&again["status"], &again["generation"]), (&json!("duplicate"), &json!(1)));
    let corrected = (2, 17, "1.75".to_owned());
    let net = "select event_id, corrects_id, input_tokens, model, attributes from usage_events \
               order by input_tokens";
    for place in ["in the log", "in the tables", "after a restart"] {
        assert_eq!(sums(&client, "usage_events", None).await, corrected, "{place}");
        let (_, tokens, cost) = sums(&client, "usage_ledger", None).await;
        assert_eq!((tokens, cost), (17, "1.75".to_owned()), "the ledger adds up, {place}");
        let rows = client.rows("select count(*) as n from usage_ledger").await;
        assert_eq!(rows, [json!({"n": 6})], "three, two reversals and a re-entry, {place}");
        let old = Some(&before["as_of"]);
        assert_eq!(sums(&client, "usage_events", old).await, all, "{place}");
        let rows = client.rows(net).await;
        assert_eq!(rows[0]["corrects_id"], "3");
        assert_eq!((&rows[0]["input_tokens"], &rows[0]["model"]), (&json!(7), &json!("m")));
        assert_eq!(rows[0]["attributes"], "{\"team\":\"search\"}");
        assert_eq!((&rows[1]["event_id"], &rows[1]["corrects_id"]), (&json!("1"), &Value::Null));
        if place == "in the log" {
            flushed(&client).await;
        }
    }
    // The corrected one once more, then void.
    let (_, answer) = correct(&client, "3", json!({"input_tokens": 8})).await;
    assert_eq!((&answer["status"], &answer["generation"]), (&json!("accepted"), &json!(2)));
    assert_eq!(sums(&client, "usage_events", None).await, (2, 18, "1.75".to_owned()));
    let (_, answer) = void(&client, "3").await;
    assert_eq!((&answer["status"], &answer["generation"]), (&json!("accepted"), &json!(3)));
    let (status, answer) = correct(&client, "3", json!({"input_tokens": 8})).await;
    assert_eq!((status.as_u16(), &answer["code"]), (409, &json!("event_is_void")), "{answer}");
    let last = (1, 10, "0.25".to_owned());
    assert_eq!(sums(&client, "usage_events", None).await, last);
    server.stop();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    assert_eq!(sums(&client, "usage_events", None).await, last, "after a restart");
    let (_, answer) = void(&client, "3").await;
    assert_eq!((&answer["status"], &answer["generation"]), (&json!("duplicate"), &json!(3)));
    let lines = usage("org_a", "3", json!({"input_tokens": 30, "cost": "0.25", "currency": "USD"}));
    let (_, answer) = client.send(NDJSON, lines.to_string()).await;
    assert_eq!(answer["duplicate"], 1, "a void event is known: {answer}");
}

#[tokio::test]
async fn metrics_and_kept_answers_follow() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    send(&client, &[("1", 10), ("2", 20)]).await;
    let recent = usage("org_a", "1", json!({}))["time"].as_str().expect("a time").to_owned();
    let window = format!("/v1/metrics/requests?from={}&to=2261-01-01", &recent[..10]);
    let metric = async || {
        let (status, answer) = client.get(&window).await;
        assert_eq!(status, 200, "{answer}");
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["value"].as_u64()).sum::<u64>()
    };
    assert_eq!((metric().await, metric().await), (2, 2));
    let counted = async || reply(client.request(Method::GET, "/metrics")).await.text();
    assert!(counted().await.contains("ingest_corrections_total{kind=\"void\"} 0\n"));
    assert_eq!(void(&client, "1").await.0, 200);
    assert_eq!(metric().await, 1);
    assert!(counted().await.contains("ingest_corrections_total{kind=\"void\"} 1\n"));
    flushed(&client).await;
    assert_eq!(metric().await, 1);
}

#[tokio::test]
async fn only_own_usage_events_are_corrected() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let key = |arguments: &[&str]| {
        let key = run_ok(dir.path(), &[&["key", "create", "--name", "k"], arguments].concat());
        Client::new(&server, &key)
    };
    send(&admin, &[("1", 10)]).await;
    let create = |id: &str, name: &str| {
        run_ok(dir.path(), &["organization", "create", id, "--name", name, "--country", "DE"])
    };
    let _ = (create("org_a", "A"), create("org_b", "B"));
    let own = key(&["--organization", "org_a", "--scopes", "write,backfill"]);
    let other = key(&["--organization", "org_b", "--scopes", "write,backfill"]);
    let sender = key(&["--organization", "org_a", "--scopes", "read,write"]);
    let reader = key(&["--scopes", "read"]);
    let name = |id: &str| json!({"source": "/test", "id": id});
    let (full, mut elsewhere) =
        (json!({"organization": "org_a", "source": "/test", "id": "1"}), name("1"));
    elsewhere["source"] = "/elsewhere".into();
    let mine = |id: &str| json!({"source": own_source("org_a"), "id": id});
    let event = own_usage("org_a", "own", json!({}));
    let mut act = own_usage("org_a", "act", json!({}));
    (act["type"], act["data"]) = ("activity.login".into(), json!({}));
    assert_eq!(own.send(NDJSON, format!("{event}\n{act}")).await.0, 200);
    for (client, body, status, code) in [
        (&other, mine("own"), 403, "source_not_allowed"),
        (&own, name("1"), 403, "source_not_allowed"),
        (&other, full.clone(), 403, "forbidden"),
        (&reader, full.clone(), 403, "forbidden"),
        (&sender, name("1"), 403, "forbidden"),
        (&own, mine("2"), 404, "not_found"),
        (&own, elsewhere, 403, "source_not_allowed"),
        (&own, mine("own' or true --"), 404, "not_found"),
        (&admin, name("1"), 400, "invalid_json"),
        (&own, mine("act"), 409, "not_correctable"),
        (&own, json!({"source": "/test", "id": "1", "reason": "x"}), 400, "invalid_json"),
    ] {
        let (found, answer) = post(client, "/v1/events/void", body.clone()).await;
        assert_eq!((found.as_u16(), &answer["code"]), (status, &json!(code)), "{body}: {answer}");
    }
    for (data, code) in [
        (json!({"input_tokens": -1}), "invalid_value"),
        (json!({"model": null}), "missing_field"),
        (json!({"cached_input_tokens": 11}), "inconsistent_tokens"),
    ] {
        let (found, answer) = correct(&admin, "1", data).await;
        assert_eq!((found.as_u16(), &answer["code"]), (400, &json!(code)), "{answer}");
        assert!(answer["detail"].is_string() && answer["pointer"].is_string(), "{answer}");
    }
    let (found, answer) = post(&admin, "/v1/events/correct", full.clone()).await;
    assert_eq!((found.as_u16(), &answer["code"]), (400, &json!("invalid_json")), "{answer}");
    assert_eq!(sums(&admin, "usage_ledger", None).await.0, 2, "nothing was written");
    assert_eq!(post(&own, "/v1/events/void", mine("own")).await.0, 200);
    assert_eq!(sums(&admin, "usage_events", None).await.0, 1);
}

#[tokio::test]
async fn of_many_voids_at_once_one_is_written() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    send(&client, &[("1", 10), ("2", 20)]).await;
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..12 {
        let client = client.clone();
        racing.spawn(async move {
            if n % 3 == 0 {
                correct(&client, "1", json!({"input_tokens": n})).await
            } else {
                void(&client, "2").await
            }
        });
    }
    let (mut accepted, mut voids) = (0, 0);
    while let Some(done) = racing.join_next().await {
        let (status, answer) = done.expect("an answer");
        assert_eq!(status, 200, "{answer}");
        let is_accepted = usize::from(answer["status"] == "accepted");
        accepted += is_accepted;
        voids += if answer["id"] == "2" { is_accepted } else { 0 };
    }
    assert_eq!(voids, 1);
    let rows = client.rows("select count(*) as n from usage_ledger").await;
    assert_eq!(rows, [json!({"n": 2 + 1 + 2 * (accepted - 1)})], "{accepted} were accepted");
    assert_eq!(sums(&client, "usage_events", None).await.0, 1);
}

#[tokio::test]
async fn corrections_outlive_compaction_and_pass_the_check() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    send(&client, &[("1", 10), ("2", 20), ("3", 30), ("4", 40)]).await;
    flushed(&client).await;
    let (_, before) = client.query("select 1 as one").await;
    void(&client, "1").await;
    correct(&client, "2", json!({"input_tokens": 5})).await;
    flushed(&client).await;
    let (_, between) = client.query("select 1 as one").await;
    void(&client, "2").await;
    flushed(&client).await;
    let cuts = [(&before, 4, 100), (&between, 3, 75)];
    for compacted in [false, true] {
        for (cut, events, tokens) in cuts {
            let (n, sum, _) = sums(&client, "usage_events", Some(&cut["as_of"])).await;
            assert_eq!((n, sum), (events, tokens), "compacted: {compacted}");
        }
        let (events, tokens, _) = sums(&client, "usage_events", None).await;
        assert_eq!((events, tokens), (2, 70), "compacted: {compacted}");
        assert_eq!(sums(&client, "usage_ledger", None).await.1, 70, "compacted: {compacted}");
        run_ok(dir.path(), &["check"]);
        if !compacted {
            let told = run_ok(dir.path(), &["maintain", "--all", "--table", "usage_ledger"]);
            assert!(told.contains("usage_ledger"), "{told}");
        }
    }
    server.stop();
    run_ok(dir.path(), &["check"]);
}

/// Two facts of a subscription, the second with a wrong amount, and three acts.
fn commercial_events() -> [String; 5] {
    let event = |id: &str, kind: &str, organization: Option<&str>, data: Value| {
        // Facts of one instant would be taken in the order of their kinds.
        let seconds = if id == "bad" { 1 } else { 0 };
        let at = format!("{}T12:00:0{seconds}Z", days_ago(2));
        let event = json!({"specversion": "1.0", "id": id, "source": "/test", "type": kind,
            "subject": organization, "time": at, "data": data});
        event.to_string()
    };
    let subscription = |amount: &str| json!({"subscription_id": "s", "plan": "team", "amount": amount, "currency": "IDR", "billing_interval": "year"});
    [
        event("good", "billing.subscription_created", Some("org_a"), subscription("24")),
        event("bad", "billing.subscription_changed", Some("org_a"), subscription("1200000000000")),
        event("seen", "activity.page_viewed", None, json!({"anonymous_id": "v1"})),
        event("seen2", "activity.page_viewed", None, json!({"anonymous_id": "v2"})),
        event("login", "activity.login", Some("org_a"), json!({"user_id": "u"})),
    ]
}

#[tokio::test]
async fn staff_voids_billing_and_activity_events_and_their_tables_show_the_net() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read,write,backfill"));
    let events = commercial_events();
    let (status, answer) = client.send("application/x-ndjson", events.join("\n")).await;
    assert_eq!(status, 200, "{answer}");
    let mrr = async || client.get("/v1/metrics/mrr").await.1["rows"][0]["value"].clone();
    let visitors = async || client.get("/v1/metrics/visitors").await.1["rows"][0]["value"].clone();
    assert_eq!((mrr().await, visitors().await), (json!("100000000000"), json!(2)));
    let before = client.get("/v1/metrics/mrr").await.1["as_of"].clone();
    // A customer takes nothing back that is no usage, and nobody amends it.
    let bad = json!({"organization": "org_a", "source": "/test", "id": "bad"});
    let (status, refused) = post(&own, "/v1/events/void", bad.clone()).await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (403, &json!("source_not_allowed")),
        "{refused}"
    );
    let mut amended = bad.clone();
    amended["data"] = json!({"amount": "12"});
    let (status, refused) = post(&client, "/v1/events/correct", amended).await;
    assert_eq!((status.as_u16(), &refused["code"]), (409, &json!("not_correctable")), "{refused}");
    for durable in [false, true] {
        for body in [
            bad.clone(),
            json!({"source": "/test", "id": "seen"}),
            json!({"organization": "org_a", "source": "/test", "id": "login"}),
        ] {
            let (status, answer) = post(&client, "/v1/events/void", body.clone()).await;
            let expected = if durable { "duplicate" } else { "accepted" };
            assert_eq!((status.as_u16(), &answer["status"]), (200, &json!(expected)), "{answer}");
            assert_eq!(answer["generation"], 1);
        }
        assert_eq!((mrr().await, visitors().await), (json!("2"), json!(1)));
        for (table, count) in [("billing_events", 1), ("activity_events", 1)] {
            let rows = client
                .rows(&format!("select count(*) as n from {table} where source = '/test'"))
                .await;
            assert_eq!(rows[0]["n"], count, "{table}");
            let corrects = format!("select corrects_id from {table} where source = '/test'");
            let rows = client.rows(&corrects).await;
            assert_eq!(rows, [json!({"corrects_id": null})], "{table}");
        }
        if !durable {
            flushed(&client).await;
        }
    }
    // An organization sees the net of its own; what was known then is still told; all is known again.
    assert_eq!(own.rows("select count(*) as n from billing_events").await[0]["n"], 1);
    let then = json!({"sql": "select count(*) as n from billing_events", "as_of": before});
    assert_eq!(client.query_with(then).await.1["rows"][0]["n"], 2);
    let (_, answer) = client.send("application/x-ndjson", events.join("\n")).await;
    let is_known = |result: &Value| result["status"] == "duplicate";
    assert!(answer["results"].as_array().unwrap().iter().all(is_known), "{answer}");
    let (status, found) = client.get("/v1/events?organization=org_a&source=/test&id=bad").await;
    assert_eq!((status.as_u16(), &found["table"]), (200, &json!("billing_events")));
    // Their ledgers have no name for others.
    for table in ["billing_ledger", "activity_ledger"] {
        let (status, _) = client.query(&format!("select * from {table}")).await;
        assert_eq!(status, 400, "{table}");
    }
    let (status, refused) =
        post(&client, "/v1/events/void", json!({"source": "/test", "id": "good"})).await;
    assert_eq!((status.as_u16(), &refused["code"]), (400, &json!("invalid_json")), "{refused}");
    server.stop();
    run_ok(dir.path(), &["check"]);
}
