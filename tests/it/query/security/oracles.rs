//! What an organization is told does not depend on the rows of others: not in a value, a count, a plan, a header, a
//! byte of an answer, or a token.

use std::{path::Path, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Client, Reply, Server, admin_key, anew, configure, flushed, folder, reply, run_ok, usage,
};

const OWN: &str = "org_m";
const ROWS: usize = 300;

/// A lake with the rows of `OWN`, and of others or not.
struct World {
    own: Client,
    admin: Client,
    server: Server,
    dir: TempDir,
}

/// Rows of an organization, `minutes` later than those of `OWN`.
fn rows(organization: &str, count: usize, minutes: i64) -> String {
    let line = |n: usize| {
        let id = format!("{organization}-{n:04}");
        let data = json!({"model": format!("a-model-of-{organization}"), "input_tokens": n,
            "feature": format!("a feature of {organization}, {}", n % 7), "session_id": "s"});
        let mut event = usage(organization, &id, data);
        event["time"] = json!(moment(minutes));
        event.to_string()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

fn moment(minutes: i64) -> String {
    let at: DateTime<Utc> =
        usage(OWN, "", json!({}))["time"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    (at + TimeDelta::minutes(minutes)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn key(dir: &Path, organization: &str, scopes: &str) -> String {
    let arguments = ["key", "create", "--name", "own", "--scopes", scopes];
    run_ok(dir, &[&arguments[..], &["--organization", organization]].concat())
}

async fn world(others: bool) -> World {
    let dir = folder();
    configure(dir.path(), "[ingest]\nflush_seconds = 1\n");
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    for id in [OWN, "org_a", "org_z"] {
        run_ok(dir.path(), &["organization", "create", id, "--name", "X", "--country", "DE"]);
    }
    let own = Client::new(&server, &key(dir.path(), OWN, "read,write,backfill"));
    let send = async |body: String| {
        let (status, answer) = admin.send("application/x-ndjson", body).await;
        assert_eq!(status, 200, "{answer}");
    };
    if others {
        send(rows("org_a", 700, -20)).await;
    }
    send(rows(OWN, ROWS, 0)).await;
    if others {
        send(rows("org_z", 900, 20)).await;
    }
    // In the tables, and in the log.
    flushed(&admin).await;
    let more = |organization: &str| rows(organization, 40, 1).replace("-00", "-log");
    if others {
        send(more("org_z")).await;
    }
    send(more(OWN)).await;
    World { own, admin, server, dir }
}

async fn post(client: &Client, path: &str, body: &Value) -> Reply {
    reply(client.request(Method::POST, path).json(body)).await
}

async fn get(client: &Client, path: &str) -> Reply {
    reply(client.request(Method::GET, path)).await
}

/// The conditions that told another's id and last activity, and statements around them.
fn statements() -> Vec<String> {
    let later = [-30, -10, 2, 10, 25].map(moment);
    let mut all: Vec<String> = ["org_0", "org_a", "org_b", "org_n", "org_z", "org_zz"]
        .iter()
        .map(|id| format!("organization_id >= '{id}'"))
        .chain(later.iter().map(|at| format!("occurred_at >= '{at}'")))
        .chain(
            [
                "event_id = 'org_a-0003'",
                "event_id = 'org_b-0003'",
                "lsn > 900",
                "lsn is null",
                "model = 'a-model-of-org_z'",
                "input_tokens > 500",
                "feature = 's'",
            ]
            .map(str::to_owned),
        )
        .map(|condition| format!("select count(*) as n from usage_events where {condition}"))
        .collect();
    all.extend(
        [
            "select event_id, model, feature, input_tokens, log, lsn from usage_ledger order by event_id",
            "select model, feature from usage_events order by event_id limit 5",
            "select count(*) as n, count(log) as a, count(lsn) as b, max(lsn) as c, min(event_id) as d from usage_events",
            "select feature, count(*) as n, max(input_tokens) as m from usage_events group by 1 order by 1",
            "select count(*) as n, count(lsn) as l from organizations",
            "select * from mrr_movements",
            "select row_number() over (order by lsn, event_id) as r, event_id from usage_ledger order by 1 limit 9",
        ]
        .map(str::to_owned),
    );
    all
}

/// An answer without what differs from request to request.
fn told(answer: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    const ITS_OWN: [&str; 6] =
        ["date", "x-request-id", "x-query-id", "x-as-of", "location", "content-length"];
    let headers = answer.headers.iter().filter(|(name, _)| !ITS_OWN.contains(&name.as_str()));
    let text = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut headers: Vec<_> = headers.map(text).collect();
    headers.sort();
    let body = match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut json) => {
            plain(&mut json);
            json.to_string().into_bytes()
        }
        Err(_) => answer.body.clone(),
    };
    (answer.status.as_u16(), headers, body)
}

fn plain(json: &mut Value) {
    const ITS_OWN: [&str; 9] = [
        "as_of",
        "query_id",
        "started_at",
        "duration_ms",
        "kept_until",
        "ingested_at",
        "principal_id",
        "instance",
        "next",
    ];
    match json {
        Value::Object(members) => {
            for (name, value) in members {
                if ITS_OWN.contains(&name.as_str()) { *value = Value::Null } else { plain(value) }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(plain),
        _ => {}
    }
}

/// Waits for a query in the background, and gives its state and its answer.
async fn in_background(client: &Client, sql: &str) -> [Reply; 2] {
    let begun = post(client, "/v1/queries", &json!({"sql": sql})).await;
    let id = begun.json()["query_id"].as_str().expect("an id").to_owned();
    for _ in 0..200 {
        let state = get(client, &format!("/v1/queries/{id}")).await;
        if state.json()["status"] == "done" {
            return [state, get(client, &format!("/v1/queries/{id}/result?format=arrow")).await];
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql} is not done");
}

/// Everything that an organization can ask, by name.
async fn everything(client: &Client) -> Vec<(String, Reply)> {
    let mut all = Vec::new();
    for (n, sql) in statements().into_iter().enumerate() {
        let forms = if n % 6 == 0 {
            &["json", "csv", "ndjson", "parquet", "arrow"][..]
        } else {
            &["json", "arrow"]
        };
        for format in forms {
            let answer = post(client, "/v1/query", &json!({"sql": sql, "format": format})).await;
            assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
            all.push((format!("{sql} as {format}"), answer));
        }
        let paths = ["/v1/query/explain", "/v1/query/validate"];
        for path in &paths[..1 + usize::from(n % 6 == 0)] {
            all.push((format!("{path} {sql}"), post(client, path, &json!({"sql": sql})).await));
        }
    }
    let ordered = "select event_id, feature from usage_ledger order by 1";
    let [state, answer] = in_background(client, ordered).await;
    all.push(("a state".into(), state));
    all.push(("a kept answer".into(), answer));
    let (from, to) = (moment(-120), moment(120));
    for path in [
        "/v1/queries".to_owned(),
        "/v1/schema".into(),
        format!("/v1/metrics/requests?grain=hour&from={from}&to={to}"),
        format!("/v1/metrics/requests?by=organization_id&from={from}&to={to}"),
        format!("/v1/metrics/p95_latency?by=model&from={from}&to={to}"),
        "/v1/forecasts/requests".into(),
        "/v1/events?source=/test&id=org_m-0001".into(),
        "/v1/events?source=/test&id=org_a-0001".into(),
    ] {
        let answer = get(client, &path).await;
        all.push((path, answer));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_worlds_that_differ_in_others_rows_answer_alike() {
    let (with, without) = tokio::join!(world(true), world(false));
    let (with_all, without_all) = tokio::join!(everything(&with.own), everything(&without.own));
    let mut telling = Vec::new();
    for ((name, with), (_, without)) in with_all.iter().zip(&without_all) {
        if told(with) != told(without) {
            let text = |(status, headers, body): (u16, Vec<(String, String)>, Vec<u8>)| {
                let body = String::from_utf8_lossy(&body).chars().take(500).collect::<String>();
                format!("{status} {headers:?} {body}")
            };
            telling.push(format!("{name}:\n  {}\n  {}", text(told(with)), text(told(without))));
        }
        assert_eq!(with.header("x-as-of").len(), without.header("x-as-of").len(), "{name}");
        for answer in [with, without] {
            for header in [
                "x-rows-scanned",
                "x-bytes-scanned",
                "x-files-scanned",
                "x-cache",
                "x-table-versions",
            ] {
                assert_eq!(answer.header(header), "", "{name}");
            }
            // The Arrow form is memory as it is: others' text lies beside in the pages that were read.
            let bytes = String::from_utf8_lossy(&answer.body);
            for other in
                ["model-of-org_a", "model-of-org_z", "feature of org_a", "feature of org_z"]
            {
                let asked = name.contains(other) || name == "/v1/queries";
                assert!(asked || !bytes.contains(other), "{name} has `{other}`");
            }
        }
    }
    assert!(telling.is_empty(), "{} tell: {}", telling.len(), telling.join("\n"));
    // There was something to tell.
    let others = with.admin.rows("select count(*) as n from usage_events").await;
    assert_eq!(others, [json!({"n": ROWS + 40 + 700 + 900 + 40})]);
}

/// The sealed form has no dot, and one length.
fn is_sealed(token: &str) -> bool {
    token.len() == 59 && !token.contains('.')
}

fn count() -> Value {
    json!({"sql": anew("select count(*) as n from usage_events")})
}

/// Every place that takes a token.
async fn taken(client: &Client, token: &str) -> [Reply; 8] {
    let with = |name: &str| {
        let mut body = count();
        body[name] = json!(token);
        body
    };
    [
        post(client, "/v1/query", &with("as_of")).await,
        post(client, "/v1/query", &with("at_least")).await,
        post(client, "/v1/query/explain", &with("as_of")).await,
        post(client, "/v1/queries", &with("as_of")).await,
        get(client, &format!("/v1/query?q=select%201&as_of={token}")).await,
        get(client, &format!("/v1/query?q=select%201&at_least={token}")).await,
        get(client, &format!("/v1/metrics/requests?as_of={token}")).await,
        get(client, &format!("/v1/saved-queries/rows/rows?as_of={token}")).await,
    ]
}

/// Every place that gives a token.
async fn given(own: &Client, admin: &Client) {
    let source = format!("/organizations/{OWN}/app");
    let mut event = usage(OWN, "sealed", json!({}));
    event["source"] = json!(source);
    let (status, sent) = own.send("application/json", event.to_string()).await;
    assert_eq!(status, 200, "{sent}");
    let mut read_own =
        json!({"sql": "select count(*) as n from usage_events where event_id = 'sealed'"});
    read_own["at_least"] = sent["as_of"].clone();
    assert_eq!(own.query_with(read_own).await.1["rows"], json!([{"n": 1}]));
    let found = get(own, &format!("/v1/events?source={source}&id=sealed")).await.json();
    assert!(found.get("lsn").is_none() && found["table"] == "usage_ledger", "{found}");
    assert!(
        admin.get("/v1/events?source=/test&id=org_m-0001&organization=org_m").await.1["lsn"]
            .is_u64()
    );
    let void = post(own, "/v1/events/void", &json!({"source": source, "id": "sealed"})).await;
    assert_eq!(void.status, 200, "{}", void.text());
    let asked = post(own, "/v1/query/explain", &count()).await;
    let [state, kept] = in_background(own, "select 1 as one").await;
    let history = get(own, "/v1/queries?limit=1000").await.json();
    let entries =
        history["queries"].as_array().expect("a list").iter().map(|entry| &entry["as_of"]);
    let metric = get(own, "/v1/metrics/requests").await.json();
    let page = get(own, "/dashboards/business").await.text();
    let on_page = page.split("<dd><code>").nth(1).and_then(|rest| rest.split("</code>").next());
    assert!(on_page.is_some_and(is_sealed), "{on_page:?}");
    let (state, void) = (state.json(), void.json());
    let given =
        [&sent["as_of"], &found["as_of"], &void["as_of"], &state["as_of"], &metric["as_of"]];
    let headers = [kept.header("x-as-of"), asked.header("x-as-of")].map(|token| json!(token));
    for token in given.into_iter().chain(entries).chain(&headers) {
        assert!(token.as_str().is_some_and(is_sealed), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_sealed_and_its_organizations() {
    let World { own, admin, server, dir } = world(false).await;
    let other = Client::new(&server, &key(dir.path(), "org_z", "read"));
    let saved = json!({"name": "rows", "sql": "select count(*) as n from usage_events",
        "shared_with": ["user"]});
    for client in [&own, &other, &admin] {
        assert_eq!(post(client, "/v1/saved-queries", &saved).await.status, 201);
    }
    let first = post(&own, "/v1/query", &count()).await;
    let tokens =
        [first.header("x-as-of").to_owned(), first.json()["as_of"].as_str().expect("one").into()];
    assert_eq!(tokens[0], tokens[1]);
    let again = post(&own, "/v1/query", &count()).await;
    assert_ne!(again.header("x-as-of"), tokens[0], "the same cut, another token");
    let told_staff = post(&admin, "/v1/query", &count()).await.header("x-as-of").to_owned();
    assert!(told_staff.contains('.'));
    for (client, token, is_taken) in [
        (&own, &tokens[0], true),
        (&own, &told_staff, false),
        (&other, &tokens[0], false),
        (&admin, &tokens[0], false),
        (&admin, &told_staff, true),
    ] {
        for answer in taken(client, token).await {
            let (status, text) = (answer.status.as_u16(), answer.text());
            assert_eq!(status < 300, is_taken, "{text}");
            assert!(is_taken || answer.json()["code"] == "invalid_as_of", "{text}");
        }
    }
    // Which of two tokens is the later one is not told either.
    let mut both = count();
    (both["as_of"], both["at_least"]) = (json!(tokens[0]), json!(again.header("x-as-of")));
    let refused = post(&own, "/v1/query", &both).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (400, &json!("invalid_as_of")));

    given(&own, &admin).await;

    // A token outlives the process, and gives its rows.
    server.stop();
    let server = Server::serve(dir.path());
    let own = Client::new(&server, own.key());
    let mut then = count();
    then["as_of"] = json!(tokens[0]);
    assert_eq!(own.query_with(then).await.1["rows"], json!([{"n": ROWS + 40}]));
    let now = own.query_with(json!({"sql": "select count(*) as n from usage_ledger"})).await.1;
    assert_eq!(now["rows"], json!([{"n": ROWS + 40 + 2}]));
}

/// A route that names a cut by itself would tell it plainly.
#[test]
fn only_one_place_makes_tokens() {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api");
    let packages = [
        "src",
        "accounts/src",
        "analytics/src",
        "billing/src",
        "delivery/src",
        "rest/src",
        "state/src",
    ];
    let mut folders: Vec<_> = packages.iter().map(|package| api.join(package)).collect();
    let mut wrong = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("one"))
        {
            let path = entry.path();
            // Commands are run by who may read the folder.
            if path.is_dir() && !path.ends_with("cli") {
                folders.push(path);
            } else if path.is_file() && !path.ends_with("as_of.rs") {
                let text = std::fs::read_to_string(&path).expect("a file");
                let names = ["plain_token(", "back_to_token("];
                if names.iter().any(|name| text.contains(name)) {
                    wrong.push(path);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these do not go through `CutCipher`: {wrong:?}");
}

/// What remains is time. It is printed, to be looked at: `AIHUB_TEST_PROBES` is how often each is asked, 3 unless the
/// long form says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_time_tells_is_printed() {
    let probes = std::env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_PROBES")
        .map_or(3, |(_, probes)| probes.parse().expect("AIHUB_TEST_PROBES is a number"));
    let World { own, server: _server, .. } = &world(true).await;
    for (what, condition) in [
        ("an id that another has", "organization_id >= 'org_z'".to_owned()),
        ("an id that nobody has", "organization_id >= 'org_zz'".into()),
        ("a time at which another was there", format!("occurred_at >= '{}'", moment(19))),
        ("a time at which nobody was there", format!("occurred_at >= '{}'", moment(21))),
    ] {
        let mut milliseconds = Vec::new();
        for _ in 0..probes {
            let sql = anew(&format!("select count(*) as n from usage_ledger where {condition}"));
            let began = std::time::Instant::now();
            assert_eq!(own.rows(&sql).await, [json!({"n": 0})]);
            milliseconds.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        milliseconds.sort_by(f64::total_cmp);
        let at = |share: usize| milliseconds[milliseconds.len() * share / 100];
        println!("{what:36} p10 {:7.1} ms, p50 {:7.1} ms, p90 {:7.1} ms", at(10), at(50), at(90));
    }
}
