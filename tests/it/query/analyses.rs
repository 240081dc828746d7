//! Funnels, retention, lifecycle, sessions and paths, against numbers computed by hand.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, reply, run_ok, usage};

/// An act of a visitor.
fn act(id: &str, action: &str, time: &str, data: Value) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/site", "type": format!("activity.{action}"),
        "time": time, "data": data,
    })
}

/// An act of a visitor of a country.
pub(super) fn seen(id: &str, visitor: &str, action: &str, time: &str, country: &str) -> Value {
    act(id, action, time, json!({"anonymous_id": visitor, "country": country}))
}

async fn asked(client: &Client, analysis: &str, body: &Value) -> (u16, Value) {
    let request = client.request(Method::POST, &format!("/v1/analyses/{analysis}")).json(body);
    let answer = reply(request).await;
    (answer.status.as_u16(), answer.json())
}

async fn ask(client: &Client, analysis: &str, body: &Value) -> Value {
    let (status, answer) = asked(client, analysis, body).await;
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

/// One member of each element of a list.
pub(super) fn each(list: &Value, member: &str) -> Vec<Value> {
    list.as_array().expect("a list").iter().map(|element| element[member].clone()).collect()
}

pub(super) async fn served(events: &[Value]) -> (tempfile::TempDir, Server, Client) {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    client.store(events).await;
    (dir, server, client)
}

/// Visits that a funnel takes apart.
fn visits() -> Vec<Value> {
    let day = |day: u32, hour: u32| format!("2026-02-{day:02}T{hour:02}:00:00Z");
    vec![
        // Through all of it: signs up after 2 hours, pays attention after 3.
        seen("a1", "va", "page_viewed", &day(1, 10), "DE"),
        seen("a2", "va", "signed_up", &day(1, 12), "DE"),
        seen("a3", "va", "feature_used", &day(1, 13), "FR"),
        // Twice the first step: only from the second one it is in time. Its first country counts.
        seen("b1", "vb", "page_viewed", &day(1, 10), "FR"),
        seen("b2", "vb", "page_viewed", &day(4, 10), "DE"),
        seen("b3", "vb", "signed_up", &day(4, 11), "DE"),
        seen("b4", "vb", "feature_used", &day(9, 11), "DE"),
        // In the wrong order.
        seen("c1", "vc", "signed_up", &day(2, 9), "FR"),
        seen("c2", "vc", "page_viewed", &day(2, 10), "FR"),
        // An exclusion between the steps.
        seen("d1", "vd", "page_viewed", &day(3, 10), "FR"),
        seen("d2", "vd", "logout", &day(3, 11), "FR"),
        seen("d3", "vd", "signed_up", &day(3, 12), "FR"),
        // After the window, but in time; and the first step after the window.
        seen("e1", "ve", "page_viewed", &day(9, 20), "FR"),
        seen("e2", "ve", "signed_up", &day(10, 10), "FR"),
        seen("f1", "vf", "page_viewed", &day(10, 1), "FR"),
        seen("f2", "vf", "signed_up", &day(10, 2), "FR"),
    ]
}

#[tokio::test]
async fn a_funnel_counts_the_furthest_step_of_any_start() {
    let (_dir, _server, client) = served(&visits()).await;
    let steps = ["activity.page_viewed", "activity.signed_up", "activity.feature_used"];
    let mut body =
        json!({"steps": steps, "from": "2026-02-01", "to": "2026-02-10", "within": "1d"});
    let funnel = ask(&client, "funnel", &body).await;
    assert_eq!(each(&funnel["steps"], "count"), [5, 4, 1], "{funnel}");
    assert_eq!(each(&funnel["steps"], "step_conversion"), [json!(1.0), json!(0.8), json!(0.25)]);
    // 2 h, 1 h, 2 h and 14 h; and 3 h.
    assert_eq!(
        each(&funnel["steps"], "median_seconds"),
        [json!(null), json!(7_200.0), json!(10_800.0)]
    );
    assert_eq!(funnel["steps"][1]["mean_seconds"], 17_100.0);
    assert!(funnel["incomplete"].is_null());
    // The statement is the answer's, for those who may run it.
    let (status, rows) =
        client.query_with(json!({"sql": funnel["sql"], "as_of": funnel["as_of"]})).await;
    assert_eq!(status, 200, "{rows}");
    assert_eq!(rows["rows"][0]["n2"], 4, "{rows}");

    body["within"] = "9d".into();
    assert_eq!(each(&ask(&client, "funnel", &body).await["steps"], "count"), [5, 4, 2]);
    body["exclusions"] = json!(["activity.logout"]);
    assert_eq!(each(&ask(&client, "funnel", &body).await["steps"], "count"), [4, 3, 2]);
    body["by"] = "country".into();
    let split = ask(&client, "funnel", &body).await;
    assert_eq!(each(&split["groups"], "group"), ["FR", "DE"]);
    assert_eq!(each(&split["groups"][0]["steps"], "count"), [3, 2, 1], "{split}");
    assert_eq!(each(&split["groups"][1]["steps"], "count"), [1, 1, 1], "{split}");
    body["limit"] = 1.into();
    let split = ask(&client, "funnel", &body).await;
    assert_eq!(split["groups"][1]["other"], true);
    assert_eq!(each(&split["groups"][1]["steps"], "count"), [1, 1, 1]);

    // An act that is a start and an exclusion excludes who started before it: only the third.
    let steps = ["activity.*", "activity.signed_up"];
    let body = json!({"steps": steps, "exclusions": ["activity.page_viewed"], "from": "2026-02-01", "to": "2026-02-10",
        "within": "1h"});
    assert_eq!(each(&ask(&client, "funnel", &body).await["steps"], "count"), [4, 2]);

    // At the same time the earlier step is first, whatever the ids are.
    let at = "2026-03-01T10:00:00Z";
    let events = [
        seen("zz", "vx", "page_viewed", at, "DE"),
        seen("aa", "vx", "signed_up", at, "DE"),
        seen("ab", "vy", "page_viewed", at, "DE"),
        seen("zy", "vy", "signed_up", at, "DE"),
    ];
    client.store(&events).await;
    let body = json!({"steps": ["activity.page_viewed", "activity.signed_up"], "from": "2026-03-01", "to": "2026-03-02"});
    assert_eq!(each(&ask(&client, "funnel", &body).await["steps"], "count"), [2, 2]);

    // One act is not two steps, two acts are.
    let twice = ["activity.page_viewed:country=DE,FR", "activity.page_viewed"];
    let body = json!({"steps": twice, "from": "2026-02-01", "to": "2026-02-10"});
    assert_eq!(each(&ask(&client, "funnel", &body).await["steps"], "count"), [5, 1]);
}

/// The statement of an answer is one that somebody who sees persons may run, at its cut.
#[tokio::test]
async fn every_analysis_has_its_sql() {
    let (_dir, _server, client) = served(&visits()).await;
    let window = |mut body: Value| {
        (body["from"], body["to"]) = ("2026-02-01".into(), "2026-02-10".into());
        body
    };
    let (seen, used) = ("activity.page_viewed", "usage.request");
    for (analysis, body, column) in [
        ("funnel", json!({"unit": "user", "steps": [seen, used], "by": "country"}), "n2"),
        (
            "retention",
            json!({"start": seen, "return": "activity.*", "mode": "on_or_after"}),
            "cohort",
        ),
        (
            "retention",
            json!({"unit": "organization", "start": seen, "return": used, "value": "list_price"}),
            "k",
        ),
        ("lifecycle", json!({"unit": "user", "events": [seen, used, "billing.*"]}), "active"),
        ("sessions", json!({"grain": "day"}), "bounces"),
        ("paths", json!({"start": seen, "by": "country"}), "event"),
    ] {
        let answer = ask(&client, analysis, &window(body)).await;
        let asked = json!({"sql": answer["sql"], "as_of": answer["as_of"]});
        let (status, found) = client.query_with(asked).await;
        assert_eq!(status, 200, "{analysis}: {found}");
        let columns = each(&found["columns"], "name");
        assert!(columns.contains(&json!(column)), "{analysis}: {columns:?}");
    }
}

/// Two people at one device, a user at two, and an organization that pays.
fn people() -> Vec<Value> {
    let at = |day: u32| format!("2026-03-{day:02}T09:00:00Z");
    let visitor = |id: &str, day: u32, visitor: &str, action: &str| {
        act(id, action, &at(day), json!({"anonymous_id": visitor}))
    };
    let signed_up = |id: &str, day: u32, visitor: &str, user: &str, organization: &str| {
        let mut event =
            act(id, "signed_up", &at(day), json!({"anonymous_id": visitor, "user_id": user}));
        event["subject"] = organization.into();
        event
    };
    let mut request =
        usage("org_a", "r1", json!({"user_id": "ada", "list_price": "2.5", "currency": "USD"}));
    request["time"] = at(6).into();
    let paid = json!({
        "specversion": "1.0", "id": "p1", "source": "/billing", "type": "billing.payment_succeeded",
        "subject": "org_b", "time": at(8), "data": {"invoice_id": "i1", "amount": "20", "currency": "USD"},
    });
    vec![
        visitor("v1", 1, "device", "page_viewed"),
        signed_up("s1", 2, "device", "ada", "org_a"),
        visitor("v2", 3, "device", "page_viewed"),
        signed_up("s2", 4, "device", "bob", "org_b"),
        visitor("v3", 5, "device", "page_viewed"),
        visitor("v4", 5, "stranger", "page_viewed"),
        request,
        paid,
    ]
}

#[tokio::test]
async fn an_act_belongs_to_the_sign_up_before_it_else_to_the_one_after() {
    let (_dir, _server, client) = served(&people()).await;
    let window = |mut body: Value| {
        (body["from"], body["to"]) = ("2026-03-01".into(), "2026-03-10".into());
        body
    };
    let counts = async |unit: &str, steps: &[&str]| {
        let body = window(json!({"unit": unit, "steps": steps, "within": "30d"}));
        each(&ask(&client, "funnel", &body).await["steps"], "count")
    };
    let (seen, request) = ("activity.page_viewed", "usage.request");
    // The device and the stranger; both sign-ups are of the device.
    assert_eq!(counts("visitor", &[seen, "activity.signed_up", request]).await, [2, 1, 1]);
    assert_eq!(counts("visitor", &[seen, "billing.payment_succeeded"]).await, [2, 1]);
    // The first visit is Ada's, as is the one after her sign-up; the third is Bob's.
    assert_eq!(counts("user", &[seen, request]).await, [2, 1]);
    assert_eq!(counts("user", &["activity.signed_up", seen]).await, [2, 2]);
    assert_eq!(counts("organization", &[seen, "billing.payment_succeeded"]).await, [2, 1]);
    assert_eq!(counts("organization", &[seen, "activity.signed_up", "billing.*"]).await, [2, 1, 0]);
    // What is not known of a person's unit is nobody's.
    assert_eq!(counts("user", &[seen, "billing.payment_succeeded"]).await, [2, 1]);
}

/// Users of three weeks, from Monday 2026-01-05.
fn weeks() -> Vec<Value> {
    let request = |id: &str, user: &str, day: &str, price: &str, currency: &str| {
        let mut event =
            usage("org_a", id, json!({"user_id": user, "list_price": price, "currency": currency}));
        event["time"] = format!("{day}T12:00:00Z").into();
        event
    };
    vec![
        // Before the window: of no cohort.
        request("z1", "old", "2026-01-02", "1", "USD"),
        request("z2", "old", "2026-01-06", "1", "USD"),
        request("a1", "ann", "2026-01-05", "10", "USD"),
        request("a2", "ann", "2026-01-07", "2", "EUR"),
        request("a3", "ann", "2026-01-13", "5", "USD"),
        request("a4", "ann", "2026-01-14", "5", "USD"),
        request("b1", "ben", "2026-01-06", "4", "USD"),
        request("b2", "ben", "2026-01-20", "8", "USD"),
        request("c1", "cat", "2026-01-12", "1", "USD"),
        request("c2", "cat", "2026-01-19", "3", "USD"),
    ]
}

#[tokio::test]
async fn retention_and_lifecycle_count_periods_of_the_calendar() {
    let (_dir, _server, client) = served(&weeks()).await;
    let body = |more: Value| {
        let mut body = json!({"unit": "user", "start": "usage.request", "return": "usage.request", "period": "week",
            "periods": 2, "from": "2026-01-05", "to": "2026-01-26"});
        for (name, value) in more.as_object().expect("members") {
            body[name] = value.clone();
        }
        body
    };
    let table = async |more: Value| {
        let answer = ask(&client, "retention", &body(more)).await;
        let cohorts = answer["cohorts"].as_array().expect("cohorts").iter();
        let cohorts: Vec<_> = cohorts
            .map(|cohort| (cohort["size"].clone(), each(&cohort["cells"], "count")))
            .collect();
        (answer, cohorts)
    };
    let row = |size: u32, cells: [u32; 3]| (json!(size), cells.map(|n| json!(n)).to_vec());
    let (answer, cohorts) = table(json!({})).await;
    assert_eq!(cohorts, [row(2, [2, 1, 1]), row(1, [1, 1, 0]), row(0, [0, 0, 0])], "{answer}");
    assert_eq!(each(&answer["mean"], "share"), [json!(1.0), json!(2.0 / 3.0), json!(1.0 / 3.0)]);
    let (_, cohorts) = table(json!({"mode": "on_or_after"})).await;
    assert_eq!(cohorts[0], row(2, [2, 2, 1]));
    let (_, cohorts) = table(json!({"at_least": 2})).await;
    assert_eq!(cohorts[0], row(2, [1, 1, 0]));
    let (_, cohorts) = table(json!({"mode": "on_or_after", "at_least": 2})).await;
    // Ann twice in the first week or later and from the second on; Ben twice from the first on.
    assert_eq!(cohorts[0], row(2, [2, 1, 0]));
    let (_, cohorts) = table(json!({"cohort": "recurring"})).await;
    assert_eq!(cohorts, [row(3, [3, 1, 1]), row(2, [2, 1, 0]), row(2, [2, 0, 0])]);
    let (answer, _) = table(json!({"value": "list_price"})).await;
    let cells = &answer["cohorts"][0]["cells"];
    assert_eq!(cells[0]["value"], json!({"EUR": "2", "USD": "14"}), "{answer}");
    assert_eq!(cells[1]["value"], json!({"USD": "10"}));
    assert_eq!(cells[2]["value_share"], json!({"EUR": 0.0, "USD": 8.0 / 14.0}));

    let body = json!({"unit": "user", "events": ["usage.request"], "period": "week", "from": "2026-01-06",
        "to": "2026-01-20"});
    let lifecycle = ask(&client, "lifecycle", &body).await;
    // Widened to whole weeks.
    assert_eq!(
        (&lifecycle["from"], &lifecycle["to"]),
        (&json!("2026-01-05T00:00:00Z"), &json!("2026-01-26T00:00:00Z"))
    );
    let rows = &lifecycle["rows"];
    assert_eq!(each(rows, "new"), [2, 1, 0], "{lifecycle}");
    assert_eq!(each(rows, "returning"), [1, 1, 1]);
    assert_eq!(each(rows, "resurrecting"), [0, 0, 1]);
    assert_eq!(each(rows, "dormant"), [0, 2, 1]);
    assert_eq!(each(rows, "active"), [3, 2, 2]);
}

#[tokio::test]
async fn sessions_end_with_a_pause_and_paths_with_them() {
    let at = |hour: u32, minute: u32| format!("2026-02-02T{hour:02}:{minute:02}:00Z");
    let page = |id: &str, visitor: &str, time: String, feature: &str| {
        act(id, "page_viewed", &time, json!({"anonymous_id": visitor, "feature": feature}))
    };
    let events = [
        // One that began before the window; 30 minutes are no pause, 31 are.
        page("a0", "va", "2026-02-01T23:50:00Z".into(), "home"),
        page("a1", "va", at(0, 10), "home"),
        page("a2", "va", at(9, 0), "home"),
        page("a3", "va", at(9, 30), "prices"),
        page("a4", "va", at(10, 1), "home"),
        page("b1", "vb", at(12, 0), "home"),
        act("b2", "signed_up", &at(12, 5), json!({"anonymous_id": "vb"})),
        page("b3", "vb", "2026-02-03T00:10:00Z".into(), "home"),
    ];
    let (_dir, _server, client) = served(&events).await;
    let window = json!({"from": "2026-02-02", "to": "2026-02-03"});
    let sessions = ask(&client, "sessions", &window).await;
    let row = &sessions["rows"][0];
    assert_eq!((&row["sessions"], &row["units"]), (&json!(3), &json!(2)), "{sessions}");
    // Half an hour, none, and five minutes.
    assert_eq!((&row["mean_seconds"], &row["median_seconds"]), (&json!(700.0), &json!(300.0)));
    assert_eq!(
        (&row["bounce_rate"], &row["acts_per_session"]),
        (&json!(1.0 / 3.0), &json!(5.0 / 3.0))
    );
    let mut body = window.clone();
    (body["timeout"], body["grain"]) = ("1h".into(), "hour".into());
    let sessions = ask(&client, "sessions", &body).await;
    let begun = each(&sessions["rows"], "sessions");
    assert_eq!(
        (begun.len(), &begun[9], &begun[12], &begun[0]),
        (24, &json!(1), &json!(1), &json!(0))
    );

    let mut body = window;
    (body["start"], body["by"]) = ("activity.page_viewed:feature=home".into(), "feature".into());
    let paths = ask(&client, "paths", &body).await;
    assert_eq!(paths["starts"], 4, "{paths}");
    let next = paths["next"].as_array().expect("steps");
    let step = |i: usize| (&next[i]["event"], &next[i]["value"], &next[i]["count"]);
    assert_eq!(step(0), (&json!(null), &json!(null), &json!(2)));
    assert_eq!(step(1), (&json!("activity.page_viewed"), &json!("prices"), &json!(1)));
    assert_eq!(step(2), (&json!("activity.signed_up"), &json!(null), &json!(1)));
    body["limit"] = 1.into();
    let paths = ask(&client, "paths", &body).await;
    // What comes after the window is next as well, the step itself too.
    let last = json!({"start": "activity.page_viewed", "events": ["activity.logged_in"], "from": "2026-02-01",
        "to": "2026-02-02"});
    let next = ask(&client, "paths", &last).await;
    assert_eq!(each(&next["next"], "event"), ["activity.page_viewed"], "{next}");
    assert_eq!((&paths["next"][1]["other"], &paths["next"][1]["count"]), (&json!(true), &json!(2)));
}

#[tokio::test]
async fn the_command_gives_the_answers_of_the_server() {
    let (dir, server, client) = served(&visits()).await;
    let window = ["--from", "2026-02-01", "--to", "2026-02-10"];
    let mut funnel = vec!["analyze", "funnel", "--step", "activity.page_viewed", "--step"];
    funnel.extend(["activity.signed_up:country=DE", "--within", "9d", "--by", "country"]);
    funnel.extend(window);
    let json: Value = run_ok(dir.path(), &[funnel.as_slice(), &["--format", "json"]].concat())
        .parse()
        .expect("JSON");
    let body = json!({"steps": ["activity.page_viewed", "activity.signed_up:country=DE"], "within": "9d",
        "by": "country", "from": "2026-02-01", "to": "2026-02-10"});
    let answer = ask(&client, "funnel", &body).await;
    assert_eq!((&json["steps"], &json["groups"]), (&answer["steps"], &answer["groups"]));
    let table = run_ok(dir.path(), &funnel);
    assert!(table.contains("(all)\tactivity.page_viewed\t5\t100.0 %"), "{table}");
    for analysis in [
        &["retention", "--start", "activity.page_viewed", "--return", "activity.*"][..],
        &["lifecycle", "--period", "day"],
        &["sessions", "--grain", "day"],
        &["paths", "--start", "activity.page_viewed", "--timeout", "2h"],
    ] {
        let arguments = [&["analyze"], analysis, &window].concat();
        assert!(run_ok(dir.path(), &arguments).lines().count() > 2, "{analysis:?}");
        // A command that asks the server says the same.
        let asked = Command::new(tests::aihub())
            .args(&arguments)
            .args(["--server", &server.url("")])
            .env("AIHUB_API_KEY", client.key())
            .output()
            .expect("the command runs");
        let asked = String::from_utf8(asked.stdout).expect("a text");
        assert_eq!(asked.trim(), run_ok(dir.path(), &arguments).trim());
    }
    let refused =
        tests::run(dir.path(), &["analyze", "funnel", "--step", "nothing", "--step", "x"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("usage.request"));
}

#[tokio::test]
async fn what_is_no_analysis_is_refused_with_what_is() {
    let (dir, server, client) = served(&visits()).await;
    let two = json!(["activity.page_viewed", "activity.signed_up"]);
    for (analysis, body, said) in [
        ("funnel", json!({"steps": ["activity.page_viewed"]}), "2 to 10 steps"),
        ("funnel", json!({"steps": ["page_viewed", "signed_up"]}), "usage.request"),
        (
            "funnel",
            json!({"steps": ["activity.page_viewed", "billing.nothing"]}),
            "billing.nothing",
        ),
        ("funnel", json!({"steps": two, "within": "soon"}), "30m, 12h"),
        ("funnel", json!({"steps": two, "within": "400d"}), "366 days"),
        ("funnel", json!({"steps": two, "unit": "session"}), "unit"),
        ("funnel", json!({"steps": two, "by": "colour"}), "colour"),
        ("funnel", json!({"steps": two, "colour": "red"}), "colour"),
        (
            "funnel",
            json!({"steps": ["activity.page_viewed:colour=red", "activity.signed_up"]}),
            "colour",
        ),
        ("funnel", json!([]), "object"),
        (
            "retention",
            json!({"start": "usage.request", "return": "usage.request", "period": "hour"}),
            "period",
        ),
        (
            "retention",
            json!({"start": "usage.request", "return": "usage.request", "periods": 100}),
            "1 to 60",
        ),
        (
            "retention",
            json!({"start": "usage.request", "return": "usage.request", "value": "amount"}),
            "billing",
        ),
        (
            "retention",
            json!({"start": "usage.request", "return": "usage.request", "mode": "off"}),
            "on_or_after",
        ),
        ("lifecycle", json!({"range": "next_week"}), "range"),
        (
            "lifecycle",
            json!({"from": "1990-01-01", "to": "2026-01-01", "period": "day"}),
            "400 periods",
        ),
        ("sessions", json!({"timeout": "2d"}), "1 days"),
        ("paths", json!({"start": "activity.signed_up", "by": "colour"}), "colour"),
        ("paths", json!({"start": "activity.signed_up", "limit": 0}), "1 to 100"),
    ] {
        let (status, answer) = asked(&client, analysis, &body).await;
        assert_eq!(status, 400, "{analysis} {body}: {answer}");
        assert!(
            answer["detail"].as_str().is_some_and(|text| text.contains(said)),
            "{said}: {answer}"
        );
    }
    // A column of persons is for those who were granted it.
    let key = run_ok(dir.path(), &["key", "create", "--name", "k", "--scopes", "read"]);
    let analyst = Client::new(&server, &key);
    let referrer = json!({"steps": two, "by": "referrer"});
    let (status, answer) = asked(&analyst, "funnel", &referrer).await;
    assert_eq!((status, &answer["code"]), (403, &json!("persons_hidden")), "{answer}");
    assert_eq!(asked(&client, "funnel", &referrer).await.0, 200);
    // An organization's own acts only.
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    let body = json!({"steps": two, "from": "2026-02-01", "to": "2026-02-10"});
    assert_eq!(each(&ask(&own, "funnel", &body).await["steps"], "count"), [0, 0]);
}
