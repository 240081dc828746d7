//! What holds for any window, filter, grain and zone: parts add up where an answer says so, a window may be cut in two, and
//! what arrives twice or in another order changes nothing.

use rand::{Rng, SeedableRng, rngs::StdRng};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, days_ago, folder, usage};

use super::metric_questions::{metric, rows};

const ROUNDS: usize = 40;
const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
const GRAINS: [&str; 5] = ["hour", "day", "week", "month", "quarter"];

fn pick<'a, T>(random: &mut impl Rng, list: &'a [T]) -> &'a T {
    &list[random.random_range(0..list.len())]
}

/// The sum of the values by currency.
fn sums(answer: &Value) -> Vec<(String, Decimal)> {
    let mut sums: Vec<(String, Decimal)> = Vec::new();
    for row in rows(answer) {
        let value = row["value"].as_str().map_or_else(|| row["value"].to_string(), str::to_owned);
        let value: Decimal =
            if value == "null" { Decimal::ZERO } else { value.parse().expect("a number") };
        let currency = row["currency"].to_string();
        match sums.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, sum)) => *sum += value,
            None => sums.push((currency, value)),
        }
    }
    sums.retain(|(_, sum)| !sum.is_zero());
    sums.sort();
    sums
}

#[tokio::test]
async fn parts_add_up_to_the_whole() {
    let dir = folder();
    let server = Server::demo(dir.path(), 40, 10);
    let client = Client::new(&server, &server.ready.api_key);
    let (_, list) = client.get("/v1/metrics").await;
    let metrics = list["metrics"].as_array().expect("metrics");
    let mut random = StdRng::seed_from_u64(20_261_129);
    for _ in 0..ROUNDS {
        let definition = pick(&mut random, metrics);
        let name = definition["name"].as_str().expect("a name");
        let (first, length) = (random.random_range(2..38), random.random_range(1..20));
        let zone = pick(&mut random, &ZONES);
        let (from, to) = (days_ago(first), days_ago(first.saturating_sub(length)));
        let hour = random.random_range(0..24);
        let window = format!("from={from}T{hour:02}:30:00Z&to={to}T{hour:02}:45:00Z&tz={zone}");
        let filter = pick(
            &mut random,
            &["", "&filter=organization_kind=business", "&filter=organization_id!=org_x"],
        );
        let dimensions = definition["dimensions"].as_array().expect("dimensions");
        let is_of_activity = definition["source"] == "activity_events";
        let filter = if is_of_activity { "" } else { *filter };
        let whole = metric(&client, &format!("{name}?{window}{filter}")).await;
        if definition["additive_by_group"] == true {
            let by = pick(&mut random, dimensions).as_str().expect("a name");
            let by = if by == "referrer" { "country" } else { by };
            for limit in ["", "&limit=2"] {
                let parts =
                    metric(&client, &format!("{name}?{window}{filter}&by={by}{limit}")).await;
                assert_eq!(sums(&parts), sums(&whole), "{name} by {by}{limit} {window}{filter}");
            }
        }
        if definition["additive_by_time"] == true {
            let grain = pick(&mut random, &GRAINS);
            let parts = metric(&client, &format!("{name}?{window}{filter}&grain={grain}")).await;
            assert_eq!(sums(&parts), sums(&whole), "{name} by {grain} {window}{filter}");
        }
    }
}

#[tokio::test]
async fn order_and_repetition_change_nothing() {
    let mut random = StdRng::seed_from_u64(7);
    let mut events: Vec<Value> = (0..60)
        .map(|id| {
            let data = json!({
                "model": pick(&mut random, &["a", "b"]), "status_code": pick(&mut random, &[200, 429, 503]),
                "latency_ms": random.random_range(1..3_000), "user_id": pick(&mut random, &["u", "v", "w"]),
                "list_price": "0.25", "cost": "0.125", "currency": pick(&mut random, &["USD", "EUR"]),
            });
            let organization = *pick(&mut random, &["org_a", "org_b"]);
            let mut event = usage(organization, &format!("e{id}"), data);
            event["time"] = format!("{}T{:02}:00:00Z", days_ago(random.random_range(1..6)), id % 24).into();
            event
        })
        .collect();
    let mut answers = Vec::new();
    for round in 0..2 {
        let dir = folder();
        let server = Server::serve(dir.path());
        let client = Client::new(&server, &admin_key(dir.path()));
        for _ in 0..=round {
            for part in events.chunks(17) {
                assert_eq!(client.send("application/json", json!(part).to_string()).await.0, 200);
            }
            events.reverse();
        }
        let (_, list) = client.get("/v1/metrics").await;
        let mut found = Vec::new();
        for definition in list["metrics"].as_array().expect("metrics") {
            if definition["source"] == "organizations_on_record" {
                continue;
            }
            let name = definition["name"].as_str().expect("a name");
            let answer = metric(&client, &format!("{name}?range=last_7_days&grain=day")).await;
            found.push((name.to_owned(), answer["rows"].clone()));
        }
        answers.push(found);
    }
    for (once, twice) in answers[0].iter().zip(&answers[1]) {
        assert_eq!(once, twice);
    }
}
