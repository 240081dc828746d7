//! Rollups: what metrics read from them is what the events say, whatever comes, goes, and is asked.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, days_ago, folder, organization_key, own_usage, reply,
    run_ok, usage,
};

use super::metric_questions::metric;

/// Rounds of events and questions; `AIHUB_TEST_ROLLUPS` sets more.
const ROUNDS: usize = 3;
const QUESTIONS: usize = 40;
const ORGANIZATIONS: [&str; 3] = ["org_a", "org_b", "org_c"];

fn pick<'a, T>(random: &mut impl Rng, list: &'a [T]) -> &'a T {
    &list[random.random_range(0..list.len())]
}

/// Members that many events leave out.
fn data(random: &mut StdRng) -> Value {
    let mut data = json!({
        "model": pick(random, &["m1", "m2", "m3"]),
        "input_tokens": random.random_range(0..1_000),
        "output_tokens": random.random_range(0..1_000),
    });
    let money = |cents: u32| format!("{}.{:04}", cents / 10_000, cents % 10_000);
    let members = [
        ("provider", json!(pick(random, &["x", "y"]))),
        ("operation", json!(pick(random, &["chat", "embeddings"]))),
        ("region", json!(pick(random, &["eu", "us"]))),
        ("feature", json!(pick(random, &["search", "agent"]))),
        ("status_code", json!(pick(random, &[200, 200, 200, 400, 429, 503]))),
        ("error_code", json!(pick(random, &["bad", "late"]))),
        ("cache_hit", json!(random.random_bool(0.5))),
        ("user_id", json!(pick(random, &["u1", "u2"]))),
        ("latency_ms", json!(random.random_range(0..5_000))),
        ("time_to_first_token_ms", json!(random.random_range(0..900))),
        ("cached_input_tokens", json!(0)),
        ("reasoning_tokens", json!(0)),
    ];
    for (name, value) in members {
        if random.random_bool(0.7) {
            data[name] = value;
        }
    }
    if random.random_bool(0.8) {
        data["currency"] = json!(pick(random, &["USD", "EUR"]));
        data["list_price"] = json!(money(random.random_range(0..50_000)));
        if random.random_bool(0.7) {
            data["cost"] = json!(money(random.random_range(0..40_000)));
        }
    }
    data
}

/// Some time of the last days, often the start of an hour.
fn time(random: &mut StdRng) -> String {
    let day = days_ago(random.random_range(1..6));
    let hour = random.random_range(0..24);
    match random.random_bool(0.3) {
        true => format!("{day}T{hour:02}:00:00Z"),
        false => {
            let (minute, micros) = (random.random_range(0..60), random.random_range(0..60_000_000));
            let second = f64::from(micros) / 1e6;
            format!("{day}T{hour:02}:{minute:02}:{second:09.6}Z")
        }
    }
}

/// Those who ask and send.
struct Clients {
    staff: Client,
    own: Client,
}

/// Sends events, and takes some of all back or corrects them.
struct Senders {
    random: StdRng,
    sent: Vec<Value>,
}

impl Senders {
    async fn send(&mut self, clients: &Clients, count: usize) {
        let mut events = Vec::new();
        for _ in 0..count {
            let id = format!("e{}", self.sent.len() + events.len());
            let organization = *pick(&mut self.random, &ORGANIZATIONS);
            let data = data(&mut self.random);
            let mut event = usage(organization, &id, data);
            event["time"] = time(&mut self.random).into();
            events.push(event);
        }
        clients.staff.store(&events).await;
        self.sent.extend(events);
        // What an organization says of itself, which the metrics of staff leave out.
        let id = format!("own{}", self.sent.len());
        let mut of_itself = own_usage(ORGANIZATIONS[0], &id, json!({"model": "m1"}));
        of_itself["time"] = time(&mut self.random).into();
        clients.own.store(&[of_itself]).await;
    }

    async fn correct(&mut self, clients: &Clients, count: usize) {
        for _ in 0..count {
            let event = pick(&mut self.random, &self.sent).clone();
            let mut body = json!({
                "organization": event["subject"], "source": event["source"], "id": event["id"],
            });
            let path = match self.random.random_range(0..3) {
                0 => "/v1/events/void",
                1 => {
                    body["data"] = json!({
                        "model": pick(&mut self.random, &["m1", "m4"]), "latency_ms": null,
                        "output_tokens": self.random.random_range(0..500), "user_id": "u3",
                    });
                    "/v1/events/correct"
                }
                _ => {
                    body["time"] = time(&mut self.random).into();
                    "/v1/events/correct"
                }
            };
            let answer = reply(clients.staff.request(Method::POST, path).json(&body)).await;
            assert!([200, 409].contains(&answer.status.as_u16()), "{body}: {}", answer.text());
        }
    }
}

/// The metrics whose values come from usage.
fn of_usage(list: &Value) -> Vec<Value> {
    let sources = [
        "usage_events",
        "active_users",
        "active_organizations_30",
        "usage_retention",
        "recurring_revenue",
    ];
    let is_of_usage = |metric: &&Value| {
        sources.iter().any(|source| metric["source"] == *source)
            || ["cost_per_million_tokens", "usage_revenue_per_organization"]
                .iter()
                .any(|name| metric["name"] == *name)
    };
    list["metrics"].as_array().expect("metrics").iter().filter(is_of_usage).cloned().collect()
}

/// A question about one of them.
fn question(random: &mut StdRng, metrics: &[Value]) -> String {
    let metric = pick(random, metrics);
    let dimensions: Vec<_> = metric["dimensions"].as_array().expect("dimensions").iter().collect();
    let (first, last) = (random.random_range(2..7), random.random_range(0..2));
    let window = match random.random_range(0..4) {
        0 => "range=last_7_days&today=true".to_owned(),
        1 => format!("from={}&to={}", days_ago(first), days_ago(last)),
        2 => format!("from={}T05:00:00Z&to={}T21:00:00Z", days_ago(first), days_ago(last)),
        _ => format!("from={}T05:17:00Z&to={}T21:40:30Z", days_ago(first), days_ago(last)),
    };
    let zone = pick(random, &["UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]);
    let grains = match metric.get("finest_grain") {
        Some(_) => ["", "&grain=day", "&grain=week"],
        None => ["", "&grain=hour", "&grain=day"],
    };
    let name = metric["name"].as_str().expect("a name");
    let mut asked = format!("{name}?{window}&tz={zone}{}", pick(random, &grains));
    let dimension =
        |random: &mut StdRng| pick(random, &dimensions).as_str().expect("a name").to_owned();
    let limit = pick(random, &["", "&limit=1", "&limit=2"]);
    match random.random_range(0..4) {
        0 | 1 => {}
        2 => asked += &format!("&by={}{limit}", dimension(random)),
        _ => {
            let (one, other) = (dimension(random), dimension(random));
            if one != other {
                asked += &format!("&by={one},{other}{limit}");
            }
        }
    }
    let filters = [
        ("model", "=m1"),
        ("organization_id", "!=org_b"),
        ("status_class", "=4xx"),
        ("organization_kind", "=business"),
    ];
    let (filtered, condition) = *pick(random, &filters);
    if random.random_bool(0.6) && dimensions.iter().any(|name| **name == filtered) {
        asked += &format!("&filter={filtered}{condition}");
    }
    asked
}

/// Waits until all rollups are there and hold more than a cut.
async fn left_behind(client: &Client, as_of: &str) {
    // The last one that is brought up to date.
    let question = "p50_time_to_first_token?range=last_7_days&grain=hour";
    // After a kill, the job is taken again when its lease has ended.
    for _ in 0..900 {
        let source =
            async |question: &str| metric(client, question).await["read"]["source"].clone();
        if source(question).await == "rollup"
            && source(&format!("{question}&as_of={as_of}")).await == "raw"
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the rollups stay behind");
}

fn rounds() -> usize {
    let asked = std::env::vars().find(|(name, _)| name == "AIHUB_TEST_ROLLUPS");
    asked.map_or(ROUNDS, |(_, rounds)| rounds.parse().expect("a number of rounds"))
}

/// An answer at the newest cut is read from rollups; the same one at a cut that they have left behind is read from events.
/// Between the rounds the server is killed.
#[tokio::test]
async fn what_rollups_say_is_what_the_events_say() {
    let dir = folder();
    configure(dir.path(), "[metrics]\nrollup_seconds = 2\n[ingest]\nflush_seconds = 1\n");
    for (organization, kind) in ORGANIZATIONS.iter().zip(["business", "individual", "business"]) {
        let name = ["organization", "create", organization, "--name", "N", "--country", "DE"];
        run_ok(dir.path(), &[&name[..], &["--kind", kind]].concat());
    }
    let keys = [admin_key(dir.path()), organization_key(dir.path(), "org_a", "read,write")];
    let mut senders = Senders { random: StdRng::seed_from_u64(29), sent: Vec::new() };
    let mut random = StdRng::seed_from_u64(11);
    let (mut of_rollups, mut all) = (0, 0);
    for round in 0..rounds() {
        let server = Server::serve(dir.path());
        let [staff, own] = [0, 1].map(|key| Client::new(&server, &keys[key]));
        let clients = Clients { staff, own };
        senders.send(&clients, 150).await;
        senders.correct(&clients, 25).await;
        if round % 2 == 0 {
            overtaken(&clients, &mut senders).await;
            // Above the rollups from here on.
            senders.send(&clients, 30).await;
            senders.correct(&clients, 10).await;
        }
        let mut asked = Vec::new();
        let metrics = of_usage(&clients.staff.get("/v1/metrics").await.1);
        let of_all = of_usage(&clients.own.get("/v1/metrics").await.1);
        for _ in 0..QUESTIONS {
            let is_staff = random.random_bool(0.75);
            let (who, metrics) =
                if is_staff { (&clients.staff, &metrics) } else { (&clients.own, &of_all) };
            let question = question(&mut random, metrics);
            let answer = metric(who, &question).await;
            of_rollups += usize::from(is_staff && answer["read"]["source"] == "rollup");
            all += usize::from(is_staff);
            asked.push((who, is_staff, question, answer));
        }
        overtaken(&clients, &mut senders).await;
        for (who, is_staff, question, answer) in asked {
            let as_of = answer["as_of"].as_str().expect("a cut");
            let again = metric(who, &format!("{question}&as_of={as_of}")).await;
            if is_staff {
                assert_eq!(again["read"]["source"], "raw", "{question}");
            }
            assert_eq!(again["rows"], answer["rows"], "{question}: {}", answer["read"]);
        }
        server.kill();
    }
    // About half of the questions can be read from rollups, if these have kept up.
    assert!(of_rollups * 4 > all, "{of_rollups} of {all} answers were read from rollups");
}

/// Sends something, and waits until the rollups have it.
async fn overtaken(clients: &Clients, senders: &mut Senders) {
    let cut = metric(&clients.staff, "requests").await;
    senders.send(clients, 1).await;
    left_behind(&clients.staff, cut["as_of"].as_str().expect("a cut")).await;
}
