//! Metrics of persons, for those who may not run SQL: no answer, and no two answers side by side, say something of a few.

mod analyses;
mod pairs;

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, folder, organization_key, reply, run_ok, signed_in, usage,
};

use super::metric_questions::rows;

/// What a visitor does.
#[derive(Debug, Clone)]
struct Act {
    day: u32,
    visitor: String,
    country: &'static str,
    device: &'static str,
    feature: &'static str,
    signed_up: bool,
}

const COUNTRIES: [&str; 6] = ["DE", "FR", "PL", "CN", "IS", "LI"];
const DEVICES: [&str; 4] = ["desktop", "mobile", "tablet", "tv"];
const FEATURES: [&str; 3] = ["playground", "docs", "prices"];
const DAYS: u32 = 6;

/// Large groups, small ones, and visitors who come again elsewhere.
fn acts(random: &mut StdRng) -> Vec<Act> {
    let mut acts = Vec::new();
    for visitor in 0..200 {
        let skewed = |random: &mut StdRng, count: usize| {
            let (a, b) = (random.random_range(0..count), random.random_range(0..count));
            a.min(b)
        };
        let home = (skewed(random, COUNTRIES.len()), skewed(random, DEVICES.len()));
        for visit in 0..random.random_range(1..9) {
            let away = random.random_range(0..3) == 0;
            let device = if away { skewed(random, DEVICES.len()) } else { home.1 };
            acts.push(Act {
                day: random.random_range(0..DAYS),
                visitor: format!("v{visitor}"),
                country: COUNTRIES[home.0],
                device: DEVICES[device],
                feature: FEATURES[skewed(random, FEATURES.len())],
                signed_up: visit == 1 && random.random_range(0..4) == 0,
            });
        }
    }
    acts
}

fn event(id: usize, act: &Act) -> Value {
    let kind = if act.signed_up { "signed_up" } else { "page_viewed" };
    json!({
        "specversion": "1.0", "id": format!("a{id}"), "source": "/site", "type": format!("activity.{kind}"),
        "time": format!("2026-02-{:02}T12:00:00Z", act.day + 1),
        "data": {
            "anonymous_id": act.visitor, "country": act.country, "device": act.device, "feature": act.feature,
        },
    })
}

async fn site(client: &Client) -> Vec<Act> {
    let acts = acts(&mut StdRng::seed_from_u64(99));
    let events: Vec<_> = acts.iter().enumerate().map(|(id, act)| event(id, act)).collect();
    client.store(&events).await;
    acts
}

/// A visitor of one of these, on a day, who does one thing.
async fn visitors(client: &Client, groups: &[(&'static str, u32, u32)]) {
    let acts = groups.iter().flat_map(|(country, day, count)| {
        (0..*count).map(move |n| Act {
            day: *day,
            visitor: format!("{country}{day}{n}"),
            country,
            device: "tv",
            feature: "docs",
            signed_up: true,
        })
    });
    let events: Vec<_> = acts.enumerate().map(|(id, act)| event(id, &act)).collect();
    client.store(&events).await;
}

/// A value of `other` cannot be had alone, and a day not as its week without the others.
#[tokio::test]
async fn what_is_folded_stays_together() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    visitors(
        &admin,
        &[("DE", 1, 50), ("FR", 1, 30), ("PL", 1, 12), ("CN", 1, 5), ("DE", 2, 3), ("DE", 3, 20)],
    )
    .await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let ask = async |question: &str| {
        let path = format!("/v1/metrics/registrations?from=2026-02-02&to=2026-02-09{question}");
        let (status, answer) = read(&manager, &cookie, &path).await;
        assert_eq!(status, 200, "{answer}");
        let values: Vec<_> = rows(&answer).iter().map(|row| row["value"].clone()).collect();
        values
    };
    // Poland's twelve hide China's five.
    assert_eq!(ask("&by=country").await, [json!(73), json!(30), json!(17)]);
    for filter in
        ["country=PL", "country!=PL", "country=CN", "country=DE,PL", "country!=DE;country=PL"]
    {
        assert_eq!(ask(&format!("&filter={filter}")).await, [json!(null)], "{filter}");
    }
    assert_eq!(ask("&filter=country=DE").await, [json!(73)]);
    assert_eq!(ask("&filter=country!=DE").await, [json!(47)]);
    // Of the week three days are known, and no one of them is the week minus the others.
    let days = ask("&grain=day").await;
    assert_eq!(days.iter().filter(|value| value.is_null()).count(), 2, "{days:?}");
    // Windows to date can be compared.
    let path = "/v1/metrics/visitors?range=month_to_date&compare=previous_period";
    assert_eq!(read(&manager, &cookie, path).await.0, 200);
    // Groups that the first metric does not count are groups all the same.
    let body = json!({"metrics": ["visitors", "registrations"], "from": "2026-02-02", "to": "2026-02-09",
        "by": ["country"]});
    let request = manager.request(Method::POST, "/v1/metrics/query").header("cookie", &cookie);
    let request = request.header("sec-fetch-site", "same-origin");
    let table = reply(request.json(&body)).await.json();
    let shown: Vec<_> = rows(&table).iter().map(|row| row["values"][1].clone()).collect();
    assert_eq!(shown.len(), 3, "{table}");
}

async fn read(client: &Client, cookie: &str, path: &str) -> (u16, Value) {
    let answer = reply(client.request(Method::GET, path).header("cookie", cookie)).await;
    let body = answer.json();
    assert!(answer.status != 200 || body["rows"].is_array(), "{path}: {body}");
    (answer.status.as_u16(), body)
}

#[tokio::test]
async fn few_persons_are_for_those_who_see_rows() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    site(&admin).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let window = "from=2026-02-01&to=2026-02-07";
    let path = format!("/v1/metrics/visitors?{window}&by=country");
    let (_, all) = admin.get(&path).await;
    let (_, few) = read(&manager, &cookie, &path).await;
    assert!(rows(&all).iter().any(|row| row["value"].as_u64().is_some_and(|v| v < 10)), "{all}");
    assert_eq!(rows(&all).len(), COUNTRIES.len());
    // How many rows a filter takes is a number of its events.
    assert!(all["read"].is_object() && few["read"].is_null(), "{few}");
    assert!(rows(&few).len() < COUNTRIES.len(), "{few}");
    assert!(rows(&few).iter().any(|row| row["other"] == true), "{few}");
    assert!(rows(&few).iter().all(|row| row["value"].as_u64().is_none_or(|v| v >= 10)), "{few}");

    // A rate is as telling as what it divides.
    let path = format!("/v1/metrics/registration_conversion?{window}&grain=day&by=country");
    let (_, rates) = read(&manager, &cookie, &path).await;
    let suppressed: Vec<_> = rows(&rates).iter().filter(|row| row["suppressed"] == true).collect();
    assert!(!suppressed.is_empty() && suppressed.iter().all(|row| row["value"].is_null()));
    let csv = manager.request(Method::GET, &format!("{path}&format=csv")).header("cookie", &cookie);
    let csv = reply(csv).await.text();
    assert!(
        csv.lines().next().is_some_and(|head| head.contains("registration_conversion_suppressed"))
    );
    let body = json!({"metrics": ["visitors", "registrations"], "from": "2026-02-01", "to": "2026-02-07",
        "grain": "day", "by": ["country"], "compare": "previous_period"});
    let request = manager.request(Method::POST, "/v1/metrics/query").header("cookie", &cookie);
    let request = request.header("sec-fetch-site", "same-origin");
    let table = reply(request.json(&body)).await.json();
    assert!(
        rows(&table).iter().any(|row| row["suppressed"] == json!(["registrations"])),
        "{table}"
    );

    // Hours, and conditions that cannot be looked into, are for rows.
    for (question, said) in [
        (format!("{window}&grain=hour"), "whole days"),
        ("from=2026-02-01T05:00:00Z&to=2026-02-07".to_owned(), "whole days"),
        (format!("{window}&filter=country~D"), "contains"),
        (
            format!(
                "{window}&filter=%7B%22or%22:%5B%7B%22dimension%22:%22country%22,%22operator%22:%22%3D%22,%22value%22:%22DE%22%7D%5D%7D"
            ),
            "or",
        ),
    ] {
        let path = format!("/v1/metrics/visitors?{question}");
        let (status, refused) = read(&manager, &cookie, &path).await;
        assert_eq!(status, 400, "{question}: {refused}");
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains(said)), "{refused}");
        assert_eq!(admin.get(&path).await.0, 200, "{question}");
    }
    let years = "from=2020-01-01&to=2026-01-01&grain=day&filter=country!=DE,FR,PL,CN";
    let (status, refused) = read(&manager, &cookie, &format!("/v1/metrics/visitors?{years}")).await;
    assert_eq!(status, 413, "{refused}");
    let (status, forecast) = read(&manager, &cookie, "/v1/forecasts/visitors?grain=hour").await;
    assert_eq!(status, 400, "{forecast}");
    // A tile says that it does not show a few persons, and not that there is nothing.
    let page = manager.request(Method::GET, "/dashboards/business?from=2026-02-06&to=2026-02-07");
    let page = reply(page.header("cookie", &cookie)).await.text();
    assert!(page.contains("Values of few persons are not shown."), "{page}");
    // What organizations do is not of persons.
    let (_, requests) =
        read(&manager, &cookie, &format!("/v1/metrics/requests?{window}&grain=hour")).await;
    assert!(requests["rows"].is_array(), "{requests}");
}

#[tokio::test]
async fn an_organization_sees_its_own_people() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let events: Vec<_> = (0..30)
        .map(|id| {
            let organization = if id < 25 { "org_many" } else { "org_few" };
            let mut event =
                usage(organization, &format!("e{id}"), json!({"user_id": format!("u{id}")}));
            event["time"] = "2026-02-03T12:00:00Z".into();
            event
        })
        .collect();
    admin.store(&events).await;
    run_ok(dir.path(), &["organization", "create", "org_few", "--name", "F", "--country", "DE"]);
    let own = Client::new(&server, &organization_key(dir.path(), "org_few", "read"));
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let window = "from=2026-02-03&to=2026-02-04";
    let path = format!("/v1/metrics/daily_active_users?{window}");
    assert_eq!(own.get(&path).await.1["rows"][0]["value"], 5);
    assert_eq!(read(&manager, &cookie, &path).await.1["rows"][0]["value"], 30);
    // The others of a total are few: so is nobody's group left.
    let (_, split) = read(&manager, &cookie, &format!("{path}&by=organization_id")).await;
    assert_eq!(rows(&split).len(), 1, "{split}");
    assert_eq!(
        (&split["rows"][0]["other"], &split["rows"][0]["value"]),
        (&json!(true), &json!(30))
    );
    for filter in
        ["organization_id=org_few", "organization_id=org_many", "organization_id!=org_few"]
    {
        let (_, one) = read(&manager, &cookie, &format!("{path}&filter={filter}")).await;
        assert_eq!(one["rows"][0]["suppressed"], true, "{filter}: {one}");
    }
}

/// With a setting of 1 nothing is hidden.
#[tokio::test]
async fn a_deployment_may_show_all_persons() {
    let dir = folder();
    configure(dir.path(), "[metrics]\nmin_persons = 1\n");
    let server = Server::serve(dir.path());
    visitors(&Client::new(&server, &admin_key(dir.path())), &[("DE", 1, 3)]).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let path =
        "/v1/metrics/registrations?from=2026-02-02&to=2026-02-03&grain=hour&filter=country~d";
    let (status, answer) = read(&manager, &cookie, path).await;
    assert_eq!(status, 200, "{answer}");
    assert!(rows(&answer).iter().any(|row| row["value"] == 3), "{answer}");
    assert!(answer["read"]["rows"].is_u64(), "{answer}");
    let body = json!({"start": "activity.signed_up:country=DE"});
    let request = manager.request(Method::POST, "/v1/analyses/paths").header("cookie", &cookie);
    let request = request.header("sec-fetch-site", "same-origin").json(&body);
    assert_eq!(reply(request).await.status, 200);
}

/// Twenty visitors at a desktop, five of whom have a mobile too, and fifteen at a television.
#[tokio::test]
async fn rows_of_few_persons_are_left_out_of_no_filter() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let act = |visitor: u32, device: &'static str| Act {
        day: 0,
        visitor: format!("v{visitor}"),
        country: "DE",
        device,
        feature: "docs",
        signed_up: false,
    };
    let acts = (0..20).map(|v| act(v, "desktop"));
    let acts = acts.chain((0..5).map(|v| act(v, "mobile"))).chain((20..35).map(|v| act(v, "tv")));
    let events: Vec<_> = acts.enumerate().map(|(id, act)| event(id, &act)).collect();
    admin.store(&events).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    for (filter, shown) in [
        ("country=DE", Some(35)),
        ("device=desktop", Some(20)),
        ("device!=desktop", Some(20)),
        // Few have a mobile, so that a split would show the televisions with them.
        ("device=tv", None),
        ("device!=tv", None),
        // Who is left out has another device too, but the rows do not.
        ("device!=mobile", None),
        ("device=desktop,tv", None),
        // One of the values has few persons.
        ("device=desktop,mobile", None),
        ("device=mobile", None),
    ] {
        let path = format!("/v1/metrics/visitors?from=2026-02-01&to=2026-02-02&filter={filter}");
        let (_, answer) = read(&manager, &cookie, &path).await;
        assert_eq!(answer["rows"][0]["value"], json!(shown), "{filter}: {answer}");
    }
}
