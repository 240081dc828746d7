//! Alerts: what would have fired, what fires, who is told, and who may do what about it.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, configure, days_ago, flushed, folder, organization_key,
    reply, signed_in, usage,
};

use super::scheduled::{on_database, post};

/// Requests of two models on each of the last days, the newest last; the second model's are all errors.
async fn store_days(client: &Client, counts: &[(usize, usize)]) {
    let mut events = Vec::new();
    for (place, (good, bad)) in counts.iter().enumerate() {
        let day = days_ago(u32::try_from(counts.len() - place).expect("few days"));
        for number in 0..good + bad {
            let (model, status) = if number < *good { ("m1", 200) } else { ("m2", 500) };
            let data = json!({"model": model, "status_code": status});
            let mut event = usage("org_a", &format!("{day}-{number}"), data);
            event["time"] = json!(format!("{day}T12:00:00Z"));
            events.push(event);
        }
    }
    client.store(&events).await;
    flushed(client).await;
}

fn above(limit: i64) -> Value {
    json!({
        "title": "Many requests", "metric": "requests", "interval": "day",
        "condition": {"kind": "above", "value": limit},
    })
}

fn with(mut alert: Value, members: Value) -> Value {
    let members = members.as_object().expect("members").clone();
    alert.as_object_mut().expect("an alert").extend(members);
    alert
}

/// Waits until an alert was looked at, and is in this state.
async fn until(client: &Client, id: &str, state: &str) -> Value {
    let mut alert = Value::Null;
    for _ in 0..300 {
        alert = client.get(&format!("/v1/alerts/{id}")).await.1;
        if alert["state"] == state {
            return alert;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{alert}");
}

#[tokio::test]
async fn an_alert_says_when_it_would_have_fired_and_then_fires() {
    let (dir, mail) = (folder(), MailServer::start(""));
    let settings =
        format!("{}[reports]\nrecipient_domains = [\"partner.example\"]\n", mail.configuration());
    configure(dir.path(), &settings);
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    store_days(&client, &[(9, 0), (2, 0), (8, 0), (9, 0), (1, 0), (7, 1)]).await;

    let tried = post(&client, "/v1/alerts/trial", &above(5)).await;
    let firings = tried["firings"].as_array().expect("firings");
    let spans: Vec<_> = firings.iter().map(|one| (&one["opened"], &one["resolved"])).collect();
    let day = |days| json!(format!("{}T00:00:00Z", days_ago(days)));
    let expected = [(day(6), day(5)), (day(4), day(2)), (day(1), Value::Null)];
    assert_eq!(spans, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!((&tried["fired"], &tried["met"]), (&json!(3), &json!(4)), "{tried}");
    assert_eq!(firings[1]["value"], json!("8"));
    let (_, alerts) = client.get("/v1/alerts").await;
    let titles = alerts["alerts"].as_array().expect("alerts").iter().map(|one| &one["title"]);
    assert!(titles.clone().all(|title| title != "Many requests"), "a trial saves nothing");
    assert_eq!(titles.count(), 8, "those that come with the program");

    let recipients = json!([{"channel": "mail", "address": "a@partner.example"}]);
    let alert = with(above(5), json!({"recipients": recipients}));
    let made = post(&client, "/v1/alerts", &alert).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    let open = until(&client, &id, "open").await;
    let incident = &open["incidents"][0];
    // The value is the metric's.
    let question = format!("/v1/metrics/requests?from={}&to={}", days_ago(1), days_ago(0));
    let (_, metric) = client.get(&question).await;
    assert_eq!(
        metric["rows"][0]["value"].to_string(),
        incident["value"].as_str().expect("a value")
    );
    assert_eq!((&incident["from"], &incident["limit"]), (&day(1), &json!("5")));
    let mails = mail.wait_for(1).await;
    assert_eq!(mails[0]["headers"]["Subject"], "Alert: Many requests");
    let text = mails[0]["text"].as_str().expect("text");
    let line = format!("All: 8 in the day from {} 00:00 (limit 5)", days_ago(1));
    assert!(text.contains("Requests above 5") && text.contains(&line), "{text}");
    assert!(text.contains(&format!("/alerts/{id}")), "{text}");

    let path = format!("/v1/alerts/{id}/incidents/{}", incident["id"].as_str().expect("an id"));
    let acknowledged = post(&client, &format!("{path}/acknowledge"), &json!({})).await;
    assert!(acknowledged["acknowledged_at"].is_string(), "{acknowledged}");
    let snooze = |until: &str| json!({"until": until});
    for odd in ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
        let request = client.request(Method::POST, &format!("{path}/snooze")).json(&snooze(odd));
        assert_eq!(reply(request).await.status, 400);
    }
    let resolved = post(&client, &format!("{path}/resolve"), &json!({})).await;
    assert!(resolved["resolved_by"].is_string(), "{resolved}");
    until(&client, &id, "ok").await;
    let again = reply(client.request(Method::POST, &format!("{path}/acknowledge"))).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!("incident_resolved")));
    let (_, found) = client.get(&format!("/v1/alerts/{id}/evaluations")).await;
    assert_eq!(found["evaluations"][0]["verdict"], "met", "{found}");

    assert_eq!(mail.wait_for(1).await.len(), 1, "nobody was told of anything else");
    server.stop();
}

#[tokio::test]
async fn a_changed_rule_begins_anew_and_missed_intervals_are_made_up_for() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    store_days(&client, &[(8, 0), (9, 0), (1, 0), (7, 1)]).await;
    let made = post(&client, "/v1/alerts", &above(5)).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    until(&client, &id, "open").await;
    let changed = with(above(5), json!({"condition": {"kind": "above", "value": 100}}));
    let request = client.request(Method::PUT, &format!("/v1/alerts/{id}")).json(&changed);
    assert_eq!(reply(request).await.status, 200);
    until(&client, &id, "ok").await;
    let (_, found) = client.get(&format!("/v1/alerts/{id}/evaluations")).await;
    assert_eq!(found["evaluations"].as_array().map(Vec::len), Some(1), "it began anew: {found}");
    server.stop();
    forget_days(dir.path(), &id, 3); // The last of them was looked at before.
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    for _ in 0..100 {
        let (_, found) = client.get(&format!("/v1/alerts/{id}/evaluations")).await;
        let verdicts = found["evaluations"].as_array().expect("evaluations");
        if verdicts.len() == 3 {
            assert!(verdicts.iter().all(|one| one["verdict"] == "not_met"), "{found}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (_, found) = client.get(&format!("/v1/alerts/{id}/evaluations")).await;
    assert_eq!(found["evaluations"].as_array().map(Vec::len), Some(3), "{found}");
    server.stop();
}

/// As if an alert had not been looked at for some days.
fn forget_days(dir: &Path, id: &str, days: i64) {
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1]); micros = int(sys.argv[2]) * 86400 * 1000000\n\
        db.execute('update alerts set evaluated_to = evaluated_to - ? where alert_id = ?', (micros, sys.argv[3]))\n\
        db.execute(\"update jobs set run_at = 0 where kind = 'alert' and state = 'queued'\")\n\
        db.commit()\n";
    on_database(dir, script, &[&days.to_string(), id]);
}

#[tokio::test]
async fn each_model_is_watched_alone_and_has_its_own_limit() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    store_days(&client, &[(9, 3), (9, 4)]).await;
    let split = with(
        above(2),
        json!({
            "by": "model",
            "overrides": [{"group": "m1", "value": 10}],
            "recipients": [],
        }),
    );
    let made = post(&client, "/v1/alerts", &split).await;
    let open = until(&client, made["id"].as_str().expect("an id"), "open").await;
    let incidents = open["incidents"].as_array().expect("incidents");
    assert_eq!(incidents.len(), 1, "{open}");
    assert_eq!((&incidents[0]["group"], &incidents[0]["value"]), (&json!("m2"), &json!("4")));
    let path = format!("/v1/alerts/{}/evaluations", made["id"].as_str().expect("an id"));
    let (_, found) = client.get(&path).await;
    let found = found["evaluations"].as_array().expect("evaluations").clone();
    let rest = found.iter().find(|one| one["group"].is_null()).expect("the others");
    assert_eq!((&rest["value"], &rest["groups"]), (&json!("9"), &json!(1)), "{found:?}");

    let errors = json!({
        "title": "Errors", "metric": "error_rate", "interval": "day", "by": "model",
        "condition": {"kind": "above", "value": "0.5"},
        "at_least": {"metric": "requests", "value": 4},
    });
    let tried = post(&client, "/v1/alerts/trial", &errors).await;
    assert_eq!((&tried["fired"], &tried["met"]), (&json!(1), &json!(1)), "{tried}");
    assert_eq!(tried["firings"][0]["opened"], json!(format!("{}T00:00:00Z", days_ago(1))));
    server.stop();
}

#[tokio::test]
async fn an_alert_shows_nobody_more_than_they_see() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_days(&admin, &[(9, 3)]).await;
    let mut event = usage("org_b", "b", json!({"model": "m1"}));
    event["time"] = json!(format!("{}T12:00:00Z", days_ago(1)));
    admin.store(&[event]).await;
    let other = Client::new(&server, &organization_key(dir.path(), "org_b", "read"));

    // The numbers are those of the own organization.
    let made = post(&other, "/v1/alerts", &above(0)).await;
    let id = made["id"].as_str().expect("an id");
    let open = until(&other, id, "open").await;
    assert_eq!(open["incidents"][0]["value"], "1", "{open}");
    let (status, _) = Client::new(&server, &organization_key(dir.path(), "org_c", "read"))
        .get(&format!("/v1/alerts/{id}"))
        .await;
    assert_eq!(status, 404);
    let (_, seen) = other.get("/v1/alerts").await;
    assert_eq!(seen["alerts"].as_array().map(Vec::len), Some(1), "not those of staff: {seen}");

    let refused = async |client: &Client, alert: Value| {
        let answer = reply(client.request(Method::POST, "/v1/alerts").json(&alert)).await;
        (answer.status.as_u16(), answer.text())
    };
    for (alert, why) in [
        (with(above(1), json!({"metric": "cost"})), "cost"),
        (with(above(1), json!({"metric": "system.failed_jobs"})), "system.failed_jobs"),
        (with(above(1), json!({"by": "password"})), "password"),
        (with(above(1), json!({"filters": ["password=x"]})), "password"),
        (with(above(1), json!({"interval": "minute"})), "interval"),
        (with(above(1), json!({"condition": {"kind": "goal_missed"}})), "no goal"),
        (
            with(above(1), json!({"condition": {"kind": "strange"}})),
            "expected one of `above`, `below`",
        ),
        (with(above(1), json!({"for": 0})), "for"),
        (with(above(1), json!({"title": ""})), "title"),
        (with(above(1), json!({"unknown": 1})), "unknown"),
        (with(above(1), json!({"recipients": [{"channel": "folder", "address": "x"}]})), "staff"),
        (
            with(above(1), json!({"recipients": [{"channel": "mail", "address": "x@y.example"}]})),
            "recipient_domains",
        ),
    ] {
        let (status, text) = refused(&other, alert).await;
        assert!(matches!(status, 400 | 403) && text.contains(why), "{why}: {status} {text}");
    }

    // What came with the program is changed by administrators.
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let by_manager = |method, path: &str| {
        manager.request(method, path).header("cookie", &cookie).header("origin", server.url(""))
    };
    let listed = reply(by_manager(Method::GET, "/v1/alerts")).await.json();
    let shipped = listed["alerts"].as_array().expect("alerts");
    assert_eq!(shipped.len(), 8, "{listed}");
    let path = format!("/v1/alerts/{}", shipped[0]["id"].as_str().expect("an id"));
    assert_eq!(reply(by_manager(Method::DELETE, &path)).await.status, 403);
    assert_eq!(reply(admin.request(Method::POST, &format!("{path}/pause"))).await.status, 200);
    assert_eq!(reply(admin.request(Method::DELETE, &path)).await.status, 204);
    server.stop();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, alerts) = admin.get("/v1/alerts").await;
    assert_eq!(
        alerts["alerts"].as_array().map(Vec::len),
        Some(7),
        "one that was removed stays away"
    );
    server.stop();
}
