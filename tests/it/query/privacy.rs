//! Metrics of persons, for those who may not run SQL: no answer, and no two answers side by side, say something of a few.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, reply, run_ok, signed_in, usage};

use super::metric_questions::rows;

/// Fewer persons are not shown.
const MIN: usize = 10;

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

/// A condition: the dimension, whether it has one of the values or none of them, and the values.
type Condition = (&'static str, bool, Vec<&'static str>);

#[derive(Debug, Clone)]
struct Question {
    metric: &'static str,
    by: Vec<&'static str>,
    daily: bool,
    conditions: Vec<Condition>,
    limit: Option<usize>,
}

fn value(act: &Act, dimension: &str) -> &'static str {
    match dimension {
        "country" => act.country,
        "device" => act.device,
        _ => act.feature,
    }
}

/// A bucket and a group.
type Cell = (Option<String>, Vec<String>);

impl Question {
    fn path(&self) -> String {
        let mut path = format!("/v1/metrics/{}?from=2026-02-01&to=2026-02-07", self.metric);
        if !self.by.is_empty() {
            path += &format!("&by={}", self.by.join(","));
        }
        if self.daily {
            path += "&grain=day";
        }
        if let Some(limit) = self.limit {
            path += &format!("&limit={limit}");
        }
        let conditions: Vec<_> = self
            .conditions
            .iter()
            .map(|(dimension, is, values)| {
                format!("{dimension}{}{}", if *is { "=" } else { "!=" }, values.join(","))
            })
            .collect();
        path + &match conditions.is_empty() {
            true => String::new(),
            false => format!("&filter={}", conditions.join(";")),
        }
    }

    /// Whether the question is about an act.
    fn takes(&self, act: &Act) -> bool {
        self.conditions
            .iter()
            .all(|(dimension, is, values)| values.contains(&value(act, dimension)) == *is)
            && (self.metric == "registrations") == act.signed_up
    }

    fn cell(&self, act: &Act) -> Cell {
        let day = self.daily.then(|| format!("2026-02-{:02}T00:00:00Z", act.day + 1));
        (day, self.by.iter().map(|dimension| value(act, dimension).to_owned()).collect())
    }

    /// The persons of each cell of the rows that `counts` takes.
    fn persons<'a>(
        &self,
        acts: impl Iterator<Item = &'a Act>,
    ) -> BTreeMap<Cell, BTreeSet<&'a str>> {
        let mut cells: BTreeMap<Cell, BTreeSet<&str>> = BTreeMap::new();
        for act in acts.filter(|act| self.takes(act)) {
            cells.entry(self.cell(act)).or_default().insert(&act.visitor);
        }
        cells
    }
}

/// The values that an answer shows; a cell that is not there has nobody. `other` has no group.
#[derive(Debug)]
struct Shown {
    values: BTreeMap<Cell, Option<usize>>,
    other: BTreeMap<Option<String>, Option<usize>>,
}

async fn ask(client: &Client, cookie: &str, question: &Question) -> Shown {
    let request = client.request(Method::GET, &question.path()).header("cookie", cookie);
    let answer = reply(request).await;
    assert_eq!(answer.status, 200, "{question:?}: {}", answer.text());
    let answer = answer.json();
    let (mut values, mut other) = (BTreeMap::new(), BTreeMap::new());
    for row in rows(&answer) {
        let value = row["value"].as_u64().map(|value| usize::try_from(value).expect("a count"));
        assert_eq!(value.is_none(), row["suppressed"] == true, "{row}");
        let at = row["at"].as_str().map(str::to_owned);
        if row["other"] == true {
            other.insert(at, value);
        } else {
            let group = row["group"].as_array().expect("a group").iter();
            let group = group.map(|name| name.as_str().expect("a name").to_owned()).collect();
            values.insert((at, group), value);
        }
    }
    Shown { values, other }
}

fn is_few(number: usize) -> bool {
    (1..MIN).contains(&number)
}

/// An answer is right where it shows something, and shows no few persons.
fn holds_alone(question: &Question, shown: &Shown, acts: &[Act]) {
    let persons = question.persons(acts.iter());
    for (cell, value) in &shown.values {
        let count = persons.get(cell).map_or(0, BTreeSet::len);
        if let Some(value) = value {
            assert_eq!(*value, count, "{question:?} {cell:?}");
            assert!(!is_few(count), "{question:?} shows {count} persons of {cell:?}");
        }
    }
    let names: BTreeSet<_> = shown.values.keys().map(|(_, group)| group).collect();
    for (at, value) in &shown.other {
        let others = persons.iter().filter(|((day, group), _)| day == at && !names.contains(group));
        let others: BTreeSet<_> = others.flat_map(|(_, persons)| persons).collect();
        if let Some(value) = value {
            assert_eq!(*value, others.len(), "{question:?} other {at:?}");
            assert!(!is_few(others.len()), "{question:?} other {at:?}");
        }
    }
}

/// Two questions, of which the second takes a part of what the first one does: nothing that both show differs by a few.
fn filters_reveal_no_few(wide: &Question, narrow: &Question, all: (&Shown, &Shown), acts: &[Act]) {
    let (of_wide, of_narrow) = (wide.persons(acts.iter()), narrow.persons(acts.iter()));
    let left_out = wide.persons(acts.iter().filter(|act| !narrow.takes(act)));
    let empty = BTreeSet::new();
    for (cell, value) in &all.0.values {
        let narrowed = all.1.values.get(cell).copied();
        // A cell that is not there is one of nobody only where no group is folded.
        let narrowed = narrowed.or_else(|| narrow.by.is_empty().then_some(Some(0)));
        if let (Some(_), Some(Some(_))) = (value, narrowed) {
            let count =
                |cells: &BTreeMap<Cell, BTreeSet<&str>>| cells.get(cell).map_or(0, BTreeSet::len);
            let difference = count(&of_wide) - count(&of_narrow);
            assert!(!is_few(difference), "{difference} persons: {wide:?} {narrow:?} {cell:?}");
            let rows = left_out.get(cell).unwrap_or(&empty).len();
            assert!(!is_few(rows), "rows of {rows} persons: {wide:?} {narrow:?} {cell:?}");
        }
    }
}

/// A question and the same one split by one dimension more: what a total has beside the groups that are shown is no few.
fn groups_reveal_no_few(whole: &Question, split: &Question, all: (&Shown, &Shown), acts: &[Act]) {
    let persons = split.persons(acts.iter());
    for ((at, group), value) in &all.0.values {
        if value.is_none() {
            continue;
        }
        let is_part = |(day, parts): &&Cell| day == at && parts.starts_with(group);
        let is_shown = |cell: &&Cell| all.1.values.get(*cell).is_some_and(Option::is_some);
        // Without a group, `other` is a part of the total as well.
        let other = all.1.other.get(at).copied().flatten().is_some() && group.is_empty();
        let is_in_other = |cell: &&Cell| other && !all.1.values.keys().any(|(_, g)| *g == cell.1);
        let hidden = persons
            .iter()
            .filter(|(cell, _)| is_part(cell) && !is_shown(cell) && !is_in_other(cell));
        let hidden: BTreeSet<_> = hidden.flat_map(|(_, persons)| persons).collect();
        assert!(!is_few(hidden.len()), "{} persons: {whole:?} {split:?} {at:?}", hidden.len());
    }
}

const DIMENSIONS: [(&str, &[&str]); 3] =
    [("country", &COUNTRIES), ("device", &DEVICES), ("feature", &FEATURES)];

fn condition(random: &mut StdRng) -> Condition {
    let (dimension, values) = DIMENSIONS[random.random_range(0..3)];
    let mut chosen: Vec<&str> = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let value = values[random.random_range(0..values.len())];
        if !chosen.contains(&value) {
            chosen.push(value);
        }
    }
    (dimension, random.random_range(0..3) > 0, chosen)
}

fn question(random: &mut StdRng) -> Question {
    let by: Vec<_> = match random.random_range(0..4) {
        0 | 1 => vec![],
        2 => vec![DIMENSIONS[random.random_range(0..3)].0],
        _ => vec!["country", "device"],
    };
    let limit =
        (!by.is_empty() && random.random_range(0..3) == 0).then(|| random.random_range(1..4));
    let conditions = (0..random.random_range(0..2)).map(|_| condition(random)).collect();
    let metric = if random.random_range(0..3) == 0 { "registrations" } else { "visitors" };
    Question { metric, by, daily: random.random_range(0..2) == 0, conditions, limit }
}

async fn site(client: &Client) -> Vec<Act> {
    let acts = acts(&mut StdRng::seed_from_u64(99));
    let events: Vec<_> = acts.iter().enumerate().map(|(id, act)| event(id, act)).collect();
    let (status, answer) = client.send("application/json", json!(events).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    acts
}

/// 40 pairs of questions; `AIHUB_TEST_PAIRS=1000` is the long form.
#[tokio::test]
async fn no_pair_of_questions_reveals_a_few_persons() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let acts = site(&Client::new(&server, &admin_key(dir.path()))).await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let pairs = env::vars()
        .find(|(name, _)| name == "AIHUB_TEST_PAIRS")
        .map_or(40, |(_, pairs)| pairs.parse().expect("AIHUB_TEST_PAIRS is a number"));
    let mut random = StdRng::seed_from_u64(2026);
    let mut shown = 0;
    for pair in 0..pairs {
        let first = question(&mut random);
        let mut second = first.clone();
        let is_split = pair % 3 == 0 && first.by.len() < 2;
        if is_split {
            let new = ["device", "feature", "country"].into_iter().find(|d| !first.by.contains(d));
            second.by.extend(new);
        } else if pair % 3 == 1
            && let Some((_, _, values)) = second.conditions.first_mut()
            && values.len() > 1
        {
            values.pop();
        } else {
            second.conditions.push(condition(&mut random));
        }
        let answers = (ask(&manager, &cookie, &first).await, ask(&manager, &cookie, &second).await);
        holds_alone(&first, &answers.0, &acts);
        holds_alone(&second, &answers.1, &acts);
        shown += answers.0.values.values().chain(answers.1.values.values()).flatten().count();
        if is_split {
            groups_reveal_no_few(&first, &second, (&answers.0, &answers.1), &acts);
            continue;
        }
        // One value less of a list that is left out takes more.
        let is_wider = acts.iter().any(|act| second.takes(act) && !first.takes(act));
        match is_wider {
            true => filters_reveal_no_few(&second, &first, (&answers.1, &answers.0), &acts),
            false => filters_reveal_no_few(&first, &second, (&answers.0, &answers.1), &acts),
        }
    }
    assert!(shown > pairs, "only {shown} values are shown in {pairs} pairs");
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
    let (status, forecast) = read(&manager, &cookie, "/v1/forecasts/visitors?grain=hour").await;
    assert_eq!(status, 400, "{forecast}");
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
    let (status, answer) = admin.send("application/json", json!(events).to_string()).await;
    assert_eq!(status, 200, "{answer}");
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
    let (status, answer) = admin.send("application/json", json!(events).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    for (filter, shown) in [
        ("country=DE", Some(35)),
        ("device=tv", Some(15)),
        ("device!=tv", Some(20)),
        ("device=desktop", Some(20)),
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
