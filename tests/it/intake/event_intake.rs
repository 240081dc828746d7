//! How events come in: every mode and compression, what is waited for, how old they may be, and what a sender
//! is told who comes too fast.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Reply, Server, admin_key, configure, flushed, folder, organization_key, own_usage,
    packed, reply, run_ok, usage,
};

const NDJSON: &str = "application/x-ndjson";

async fn post(client: &Client, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let mut request = client.request(Method::POST, path).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    reply(request).await
}

fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{}\n", usage("org_a", &id.to_string(), json!({})))).collect()
}

/// Status and code of an answer.
fn problem(answer: &Reply) -> (u16, String) {
    let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), code)
}

/// The value of a series on `/metrics`.
async fn measured(client: &Client, series: &str) -> f64 {
    let text = reply(client.request(Method::GET, "/metrics")).await.text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

#[tokio::test]
async fn an_event_may_come_as_headers_and_data() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let time = usage("org_a", "1", json!({}))["time"].as_str().expect("a time").to_owned();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "Euro%20%E2%82%AC"),
        ("ce-source", "\"/quoted \\\"source\\\"\""),
        ("ce-type", "usage.request"),
        ("ce-subject", "org_a"),
        ("ce-time", time.as_str()),
        ("ce-traceparent", "00-ignored"),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let data = json!({"model": "m", "input_tokens": 7}).to_string().into_bytes();
    let answer = post(&client, "/v1/events", &headers, data.clone()).await;
    assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    let rows = client
        .rows("select event_id, source, organization_id, input_tokens from usage_events")
        .await;
    let row = json!({"event_id": "Euro €", "source": "/quoted \"source\"", "organization_id": "org_a",
        "input_tokens": 7});
    assert_eq!(rows, [row]);

    // Structured, and compressed, it is the same event.
    let mut same = usage("org_a", "Euro €", json!({"input_tokens": 7}));
    same["source"] = "/quoted \"source\"".into();
    same["data"].as_object_mut().expect("data").remove("output_tokens");
    let (_, answer) = client.send("application/cloudevents+json", same.to_string()).await;
    assert_eq!(answer["duplicate"], 1, "{answer}");
    let zipped = [&headers[..], &[("content-encoding", "gzip")]].concat();
    let answer = post(&client, "/v1/events", &zipped, packed("gzip", &data)).await;
    assert_eq!(answer.json()["duplicate"], 1, "{}", answer.text());

    // Without data it is an event still; with data of another kind it is none.
    let visit = [
        ("ce-id", "2"),
        ("ce-source", "/s"),
        ("ce-type", "activity.login"),
        ("ce-subject", "org_a"),
        ("ce-time", time.as_str()),
    ];
    let answer = post(&client, "/v1/events", &visit, Vec::new()).await;
    assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    let xml = [&visit[..], &[("content-type", "text/xml")]].concat();
    let answer = post(&client, "/v1/events", &xml, b"<a/>".to_vec()).await;
    assert_eq!(problem(&answer), (415, "unsupported_media_type".into()));
    let two = post(&client, "/v1/events", &visit, b"{},\"id\":\"3\"".to_vec()).await;
    assert_eq!(problem(&two), (400, "malformed_body".into()));
}

#[tokio::test]
async fn bodies_are_unpacked_and_limited() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let send = async |coding: &str, body: Vec<u8>| {
        let headers = [("content-type", NDJSON), ("content-encoding", coding)];
        post(&client, "/v1/events", &headers, body).await
    };
    for (coding, ids) in [("gzip", 0..2), ("zstd", 2..4)] {
        let answer = send(coding, packed(coding, lines(ids).as_bytes())).await;
        assert_eq!(answer.json()["accepted"], 2, "{coding}: {}", answer.text());
        let bomb = packed(coding, &vec![b'\n'; 256 << 20]);
        assert!(bomb.len() < 1 << 20, "{coding}");
        let answer = send(coding, bomb).await;
        assert_eq!(problem(&answer), (413, "payload_too_large".into()), "{coding}");
        let answer = send(coding, b"no such thing, but long enough".to_vec()).await;
        assert_eq!(problem(&answer), (400, "invalid_body".into()), "{coding}");
    }
    let answer = send("identity", lines(4..5).into_bytes()).await;
    assert_eq!(answer.json()["accepted"], 1, "{}", answer.text());
    for coding in ["br", "gzip, gzip"] {
        let answer = send(coding, lines(5..6).into_bytes()).await;
        assert_eq!(problem(&answer), (415, "unsupported_media_type".into()), "{coding}");
        assert_eq!(answer.header("accept-encoding"), "gzip, zstd, identity");
    }
    let answer = send("identity", "{}\n".repeat(10_001).into_bytes()).await;
    assert_eq!(problem(&answer), (413, "payload_too_large".into()));
    let answer = send("identity", vec![b'\n'; (10 << 20) + 1]).await;
    assert_eq!(problem(&answer), (413, "payload_too_large".into()));

    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let answer = send("identity", deep.clone().into_bytes()).await;
    assert_eq!(problem(&answer), (400, "all_rejected".into()));
    assert_eq!(answer.json()["results"][0]["code"], "too_deep");
    let beside = format!("{}{deep}\n", lines(5..6));
    let answer = send("identity", beside.into_bytes()).await.json();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!(1)));
    let rows = client.rows("select count(*) as n from usage_events").await;
    assert_eq!(rows, [json!({"n": 6})]);
}

#[tokio::test]
async fn an_answer_may_wait_for_the_table() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 3600\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let send = async |durability: &str, ids| {
        let path = format!("/v1/events{durability}");
        post(&client, &path, &[("content-type", NDJSON)], lines(ids).into_bytes()).await
    };
    let whereabouts = async |id: u32| {
        client.get(&format!("/v1/events?source=/test&id={id}&organization=org_a")).await.1
    };
    for path in ["", "?durability=log"] {
        let answer = send(path, 0..1).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["durability"]), (200, &json!("log")));
    }
    assert_eq!(whereabouts(0).await["durability"], "log");
    let answer = send("?durability=table", 1..3).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["durability"]), (200, &json!("table")));
    for id in 0..3 {
        assert_eq!(whereabouts(id).await["durability"], "table");
    }
    // A duplicate waits for what it is a duplicate of; that is in the table already.
    let answer = send("?durability=table", 1..2).await.json();
    assert_eq!((&answer["duplicate"], &answer["durability"]), (&json!(1), &json!("table")));
    assert_eq!(send("?durability=never", 9..10).await.status, 400);
    assert_eq!(measured(&client, "lake_table_files{table=\"usage_ledger\"}").await, 1.0);
}

#[tokio::test]
async fn a_table_that_cannot_be_written_is_not_waited_for_forever() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let table = dir.path().join("lake").join("usage_ledger");
    std::fs::write(&table, b"a file in the place of a folder").expect("the file");
    let path = "/v1/events?durability=table";
    let answer = post(&client, path, &[("content-type", NDJSON)], lines(0..1).into_bytes()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["durability"]), (&json!(1), &json!("log")));
    std::fs::remove_file(&table).expect("the file");
    let answer = post(&client, path, &[("content-type", NDJSON)], lines(0..1).into_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["duplicate"], &body["durability"]), (&json!(1), &json!("table")));
    let rows = client.rows("select count(*) as n from usage_events").await;
    assert_eq!(rows, [json!({"n": 1})]);
}

#[tokio::test]
async fn an_event_is_found_by_its_identity_and_only_by_its_own() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 3600\n");
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read,write"));
    let other = Client::new(&server, &organization_key(dir.path(), "org_b", "read,write"));
    let (_, answer) = admin.send(NDJSON, lines(1..2)).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    let path = "/v1/events?source=/test&id=1";
    let (status, found) = own.get(path).await;
    assert_eq!(status, 200, "{found}");
    let time = usage("org_a", "1", json!({}))["time"].clone();
    for (member, value) in [
        ("organization_id", json!("org_a")),
        ("source", json!("/test")),
        ("id", json!("1")),
        ("table", json!("usage_ledger")),
        ("durability", json!("log")),
        ("occurred_at", time),
    ] {
        assert_eq!(found[member], value, "{found}");
    }
    let row = admin.rows("select lsn, ingested_at from usage_ledger").await;
    let told_staff = admin.get(&format!("{path}&organization=org_a")).await.1;
    assert_eq!((found.get("lsn"), &told_staff["lsn"]), (None, &row[0]["lsn"]));
    let instant =
        |value: &Value| value.as_str().and_then(|text| text.parse::<chrono::DateTime<Utc>>().ok());
    assert!(instant(&found["ingested_at"]).is_some());
    assert_eq!(instant(&found["ingested_at"]), instant(&row[0]["ingested_at"]));

    for (client, path, status) in [
        (&own, "/v1/events?source=/test&id=2", 404),
        (&other, path, 404),
        (&other, "/v1/events?source=/test&id=1&organization=org_a", 403),
        (&admin, path, 404),
        (&admin, "/v1/events?source=/test&id=1&organization=org_a", 200),
        (&admin, "/v1/events?source=/test", 400),
        (&admin, "/v1/events?source=/test&id=1%27%20or%201=1%20--&organization=org_a", 404),
    ] {
        let (found, answer) = client.get(path).await;
        assert_eq!(found, status, "{path}: {answer}");
    }
}

#[tokio::test]
async fn old_events_need_the_scope_backfill() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let plain = run_ok(dir.path(), &["key", "create", "--name", "plain"]);
    let history =
        run_ok(dir.path(), &["key", "create", "--name", "history", "--scopes", "write,backfill"]);
    #[expect(clippy::disallowed_methods, reason = "the server under test reads the clock too")]
    let now = Utc::now();
    let at = |id: &str, ago: TimeDelta| {
        let mut event = usage("org_a", id, json!({}));
        event["time"] = (now - ago).to_rfc3339().into();
        event
    };
    let events = json!([
        at("recent", TimeDelta::days(34)),
        at("old", TimeDelta::days(36)),
        at("skewed", TimeDelta::minutes(-4)),
        at("ahead", TimeDelta::minutes(-60)),
    ]);
    let codes = async |key: &str| {
        let (_, answer) =
            Client::new(&server, key).send("application/json", events.to_string()).await;
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        let code = |result: &Value| result["code"].as_str().map(str::to_owned);
        results.iter().map(code).collect::<Vec<_>>()
    };
    let (old, ahead) = ("time_too_old".to_owned(), "time_in_future".to_owned());
    assert_eq!(codes(&plain).await, [None, Some(old.clone()), None, Some(ahead.clone())]);
    assert_eq!(codes(&history).await, [None, None, None, Some(ahead)]);
    let admin = Client::new(&server, &admin_key(dir.path()));
    let letters = admin.rows("select code from dead_letter where organization_id = 'org_a'").await;
    assert_eq!(letters.len(), 3, "what is rejected is kept: {letters:?}");
    let metric = format!("ingest_rejected_events_total{{code=\"{old}\"}}");
    assert_eq!(measured(&admin, &metric).await, 1.0);
}

#[tokio::test]
async fn who_comes_when_too_much_waits_is_sent_back_and_loses_nothing() {
    let dir = folder();
    let settings =
        "[ingest]\nflush_seconds = 3600\nwaiting_bytes_soft = 1\nwaiting_bytes_max = 100000\n";
    configure(dir.path(), settings);
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let send = async |body: String| {
        post(&client, "/v1/events", &[("content-type", NDJSON)], body.into_bytes()).await
    };
    // The key that was just created is a row of the lake too.
    let accepted = async |body: String| {
        for _ in 0..100 {
            let answer = send(body.clone()).await;
            if answer.status == 200 {
                return answer.json();
            }
            assert_eq!(problem(&answer), (429, "too_many_requests".into()));
            assert_eq!(answer.json()["reason"], "busy");
            assert_eq!(answer.header("retry-after"), "1");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("the tables are never caught up with");
    };
    assert_eq!(accepted(lines(0..1)).await["accepted"], 1);
    // A flush may come between two events, but not between all of them.
    let mut sent = 1;
    while send(lines(sent..sent + 1)).await.status == 200 {
        sent += 1;
        assert!(sent < 100, "nobody is sent back");
    }
    assert_eq!(accepted(lines(sent..sent + 1)).await["accepted"], 1, "being sent back makes room");
    assert!(measured(&client, "ingest_refused_requests_total{reason=\"busy\"}").await >= 1.0);
    flushed_by_asking(&client).await;
    let answer = send(" ".repeat(200_000)).await;
    assert_eq!(problem(&answer), (503, "unavailable".into()));
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["reason"]),
        ("2", &json!("overloaded"))
    );
    assert_eq!(measured(&client, "ingest_arriving_bytes").await, 0.0, "its place is free again");
    let rows = client.rows("select count(*) as n from usage_events").await;
    assert_eq!(rows, [json!({"n": sent + 1})]);
}

/// Sends nothing until it is let in: then nothing waits for the tables.
async fn flushed_by_asking(client: &Client) {
    for _ in 0..100 {
        let answer = post(client, "/v1/events", &[("content-type", NDJSON)], Vec::new()).await;
        if problem(&answer) == (400, "malformed_body".into()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("rows stay in the log");
}

#[tokio::test]
async fn an_organization_has_a_rate_and_is_told_where_it_stands() {
    let dir = folder();
    configure(dir.path(), "[ingest]\norganization_events_per_second = 2\n");
    let server = Server::serve(dir.path());
    let key = organization_key(dir.path(), "org_a", "read,write");
    let (own, platform) =
        (Client::new(&server, &key), Client::new(&server, &admin_key(dir.path())));
    let send = async |client: &Client, ids: std::ops::Range<u32>| {
        let event = |id: u32| match client.key() == key.trim() {
            true => own_usage("org_a", &id.to_string(), json!({})),
            false => usage("org_a", &id.to_string(), json!({})),
        };
        let lines: String = ids.map(|id| format!("{}\n", event(id))).collect();
        post(client, "/v1/events", &[("content-type", NDJSON)], lines.into_bytes()).await
    };
    let answer = send(&own, 0..3).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("ratelimit-policy"), "\"events\";q=20;w=10");
    assert!(answer.header("ratelimit").starts_with("\"events\";r=1"), "{:?}", answer.headers);
    // More than may be sent at once is taken, and paid for.
    assert_eq!(send(&own, 3..2_000).await.json()["accepted"], 1_997);
    let answer = send(&own, 2_000..2_001).await;
    assert_eq!(problem(&answer), (429, "too_many_requests".into()));
    assert_eq!(answer.json()["limit"], "events");
    assert!(answer.header("ratelimit").starts_with("\"events\";r=0;t="), "{:?}", answer.headers);
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((900..=1_000).contains(&wait), "{wait}");
    let answer = send(&platform, 2_001..2_011).await;
    assert_eq!(answer.status, 200, "the platform sends for all");
    assert!(!answer.headers.contains_key("ratelimit"));
    assert_eq!(measured(&platform, "ingest_limited_requests_total{limit=\"events\"}").await, 1.0);
}

#[tokio::test]
async fn the_intake_can_be_watched() {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let text = reply(client.request(Method::GET, "/metrics")).await.text();
    for series in [
        "ingest_rejected_events_total{code=\"id_conflict\"} 0",
        "ingest_rejected_events_total{code=\"too_deep\"} 0",
        "ingest_refused_requests_total{reason=\"disk_full\"} 0",
        "ingest_accepted_events_total 0",
    ] {
        assert!(
            text.lines().any(|line| line == series),
            "no {series} before there is any:\n{text}"
        );
    }
    let body = format!("{}{}{{}}\n", lines(0..5), lines(0..2));
    let (status, _) = client.send(NDJSON, body).await;
    assert_eq!(status, 200);
    flushed(&client).await;
    for (series, value) in [
        ("ingest_accepted_events_total", 5.0),
        ("ingest_duplicate_events_total", 2.0),
        ("ingest_rejected_events_total{code=\"missing_field\"}", 1.0),
        ("ingest_lag_seconds", 0.0),
        ("ingest_pending_bytes", 0.0),
        ("lake_table_files{table=\"usage_ledger\"}", 1.0),
        ("lake_table_files{table=\"dead_letter\"}", 1.0),
    ] {
        assert_eq!(measured(&client, series).await, value, "{series}");
    }
    for series in [
        "ingest_log_bytes",
        "ingest_fsync_seconds_count",
        "ingest_fsync_seconds_bucket{le=\"+Inf\"}",
        "lake_table_bytes{table=\"usage_ledger\"}",
    ] {
        assert!(measured(&client, series).await > 0.0, "{series}");
    }
    let log: u64 = std::fs::read_dir(dir.path().join("log"))
        .expect("the log")
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "seg"))
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.len())
        .sum();
    assert_eq!(measured(&client, "ingest_log_bytes").await, log as f64);
}
