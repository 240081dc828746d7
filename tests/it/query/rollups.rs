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
const ROUNDS: usize = 4;
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

/// Sends events, and takes some of all back or corrects them.
struct Senders<'a> {
    staff: &'a Client,
    own: &'a Client,
    random: StdRng,
    sent: Vec<Value>,
}

impl Senders<'_> {
    async fn send(&mut self, count: usize) {
        let mut events = Vec::new();
        for _ in 0..count {
            let id = format!("e{}", self.sent.len() + events.len());
            let organization = *pick(&mut self.random, &ORGANIZATIONS);
            let data = data(&mut self.random);
            let mut event = usage(organization, &id, data);
            event["time"] = time(&mut self.random).into();
            events.push(event);
        }
        self.staff.store(&events).await;
        self.sent.extend(events);
        // What an organization says of itself, which the metrics of staff leave out.
        let mut of_itself =
            own_usage(ORGANIZATIONS[0], &format!("own{}", self.sent.len()), json!({"model": "m1"}));
        of_itself["time"] = time(&mut self.random).into();
        self.own.store(&[of_itself]).await;
    }

    async fn correct(&mut self, count: usize) {
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
                        "output_tokens": self.random.random_range(0..500),
                    });
                    "/v1/events/correct"
                }
                _ => {
                    body["time"] = time(&mut self.random).into();
                    "/v1/events/correct"
                }
            };
            let answer = reply(self.staff.request(Method::POST, path).json(&body)).await;
            assert!([200, 409].contains(&answer.status.as_u16()), "{body}: {}", answer.text());
        }
    }
}

/// A question about metrics of usage.
fn question(random: &mut StdRng, names: &[(String, Vec<String>)]) -> String {
    let (name, dimensions) = pick(random, names);
    let (first, last) = (random.random_range(2..7), random.random_range(0..2));
    let window = match random.random_range(0..4) {
        0 => "range=last_7_days&today=true".to_owned(),
        1 => format!("from={}&to={}", days_ago(first), days_ago(last)),
        2 => format!("from={}T05:00:00Z&to={}T21:00:00Z", days_ago(first), days_ago(last)),
        _ => format!("from={}T05:17:00Z&to={}T21:40:30Z", days_ago(first), days_ago(last)),
    };
    let zone = pick(random, &["UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]);
    let grain = pick(random, &["", "", "&grain=hour", "&grain=day", "&grain=week"]);
    let mut asked = format!("{name}?{window}&tz={zone}{grain}");
    let dimension = |random: &mut StdRng| pick(random, dimensions).clone();
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
        "",
        "",
        "&filter=model=m1",
        "&filter=organization_id!=org_b",
        "&filter=status_class=4xx",
        "&filter=organization_kind=business",
    ];
    asked + *pick(random, &filters)
}

/// Waits until all rollups are there and hold more than a cut.
async fn left_behind(client: &Client, as_of: &str) {
    // The last one that is brought up to date.
    let question = "p50_time_to_first_token?range=last_7_days&grain=hour";
    for _ in 0..300 {
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
#[tokio::test]
async fn what_rollups_say_is_what_the_events_say() {
    let dir = folder();
    configure(dir.path(), "[metrics]\nrollup_seconds = 2\n[ingest]\nflush_seconds = 1\n");
    let server = Server::serve(dir.path());
    let staff = Client::new(&server, &admin_key(dir.path()));
    for (organization, kind) in ORGANIZATIONS.iter().zip(["business", "individual", "business"]) {
        let name = ["organization", "create", organization, "--name", "N", "--country", "DE"];
        run_ok(dir.path(), &[&name[..], &["--kind", kind]].concat());
    }
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read,write"));
    let (_, list) = staff.get("/v1/metrics").await;
    let names: Vec<(String, Vec<String>)> = list["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .filter(|metric| {
            metric["source"] == "usage_events" || metric["name"] == "cost_per_million_tokens"
        })
        .map(|metric| {
            let dimensions = metric["dimensions"].as_array().expect("dimensions").iter();
            let name = |value: &Value| value.as_str().expect("a name").to_owned();
            (name(&metric["name"]), dimensions.map(name).collect())
        })
        .collect();
    let mut senders =
        Senders { staff: &staff, own: &own, random: StdRng::seed_from_u64(29), sent: Vec::new() };
    let mut random = StdRng::seed_from_u64(11);
    let (mut of_rollups, mut all) = (0, 0);
    for round in 0..rounds() {
        senders.send(150).await;
        senders.correct(25).await;
        if round % 2 == 0 {
            let cut = metric(&staff, "requests").await;
            senders.send(30).await;
            left_behind(&staff, cut["as_of"].as_str().expect("a cut")).await;
            // Above the rollups from here on.
            senders.send(30).await;
            senders.correct(10).await;
        }
        let mut asked = Vec::new();
        for _ in 0..QUESTIONS {
            let question = question(&mut random, &names);
            let (who, is_staff) = match random.random_bool(0.25)
                && !question.contains("cost")
                && !question.contains("margin")
            {
                true => (&own, false),
                false => (&staff, true),
            };
            let answer = metric(who, &question).await;
            of_rollups += usize::from(is_staff && answer["read"]["source"] == "rollup");
            all += usize::from(is_staff);
            asked.push((who, is_staff, question, answer));
        }
        let cut = metric(&staff, "requests").await;
        senders.send(1).await;
        left_behind(&staff, cut["as_of"].as_str().expect("a cut")).await;
        for (who, is_staff, question, answer) in asked {
            let as_of = answer["as_of"].as_str().expect("a cut");
            let again = metric(who, &format!("{question}&as_of={as_of}")).await;
            if is_staff {
                assert_eq!(again["read"]["source"], "raw", "{question}");
            }
            assert_eq!(again["rows"], answer["rows"], "{question}: {}", answer["read"]);
        }
    }
    assert!(of_rollups * 2 > all, "{of_rollups} of {all} answers were read from rollups");
    server.stop();
}
