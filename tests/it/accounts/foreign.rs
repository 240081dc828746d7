//! What belongs to one organization is not there for another, on every route that takes an id.

use reqwest::Method;
use serde_json::{Value, json};
use tests::run_ok;

use super::registration::{PASSWORD, Person, Place};

/// Collections whose ids are of the whole system, and belong to no organization.
const OF_NOBODY: [&str; 8] =
    ["admin", "anomalies", "billing", "dev", "forecasts", "imports", "metrics", "person-grants"];

/// Registers an organization, and gives its first user.
async fn organization(place: &Place, mails: usize, email: &str) -> Person {
    let body =
        json!({"email": email, "password": PASSWORD, "organization": "One", "country": "DE"});
    assert_eq!(place.post("/v1/auth/register", body).await.0, 202);
    let token = place.mail.token(mails, email, "/verify/").await;
    let body = json!({"token": token, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/register/verify", body).await.0, 201);
    place.sign_in(email, PASSWORD).await.expect("a session")
}

async fn made(who: &Person, method: Method, path: &str, body: Value, id: &str) -> String {
    let (status, made) = who.ask(method, path, body).await;
    assert!((200..300).contains(&status), "{path}: {status} {made}");
    made[id].as_str().unwrap_or_else(|| panic!("{path}: no {id} in {made}")).to_owned()
}

/// One thing of each kind, by the collection that it is in.
async fn things(who: &Person) -> Vec<(&'static str, String)> {
    let post =
        async |path: &str, body: Value, id: &str| made(who, Method::POST, path, body, id).await;
    let report = json!({"title": "Theirs", "dashboard": "business", "period": "last_7_days"});
    let report = post("/v1/reports", report, "id").await;
    let alert = json!({
        "title": "Theirs", "metric": "requests", "interval": "day",
        "condition": {"kind": "above", "value": 5},
    });
    let words = json!({"en": "Theirs", "zh-CN": "他们的"});
    let tile = json!({"kind": "kpi", "metric": "requests", "title": words, "note": words});
    let dashboard = json!({"definition": {"title": words, "tiles": [tile]}});
    let query = json!({"sql": "select 1 as one"});
    let saved = json!({"name": "theirs", "sql": "select 1 as one"});
    let at = json!({"at": "2026-01-02T03:00:00Z", "text": "theirs"});
    let key = json!({"name": "theirs", "scopes": ["read"]});
    let guest = json!({"email": "guest@one.example", "role": "user"});
    let schedule = json!({"report_id": report, "every": "day", "at": "06:00"});
    let webhook = json!({"url": "https://one.example/hook"});
    let (_, sessions) = who.get("/v1/sessions").await;
    let session = sessions["sessions"][0]["session_id"].as_str().expect("a session");
    vec![
        ("alerts", post("/v1/alerts", alert, "id").await),
        ("annotations", post("/v1/annotations", at, "id").await),
        ("dashboards", made(who, Method::PUT, "/v1/dashboards/theirs", dashboard, "name").await),
        ("invitations", post("/v1/invitations", guest, "invitation_id").await),
        ("keys", post("/v1/keys", key, "api_key_id").await),
        ("members", who.get("/v1/me").await.1["id"].as_str().expect("an id").to_owned()),
        ("projects", post("/v1/projects", json!({"name": "Theirs"}), "project_id").await),
        ("queries", post("/v1/queries", query, "query_id").await),
        ("saved-queries", post("/v1/saved-queries", saved, "name").await),
        ("schedules", post("/v1/schedules", schedule, "id").await),
        ("sessions", session.to_owned()),
        ("webhooks", post("/v1/webhooks", webhook, "webhook_id").await),
        ("reports", report),
    ]
}

/// The invoice of a subscription.
async fn invoice(place: &Place, who: &Person) -> String {
    let prices = place.dir.path().join("prices.yaml");
    let charge = "{name: Base, price: {flat: 1}, in_advance: true}";
    let version = format!("{{from: 2026-01-01, currency: USD, charges: [{charge}]}}");
    let list = format!("plans: [{{plan: pro, versions: [{version}]}}]");
    std::fs::write(&prices, list).expect("the prices are written");
    let prices = prices.display().to_string();
    run_ok(place.dir.path(), &["billing", "price", "apply", &prices]);
    let start = json!({"act": "start", "plan": "pro"});
    made(who, Method::POST, "/v1/subscription", start, "subscription_id").await;
    run_ok(place.dir.path(), &["billing", "run"]);
    let (_, found) = who.get("/v1/invoices").await;
    found["invoices"][0]["invoice_id"].as_str().expect("an invoice").to_owned()
}

/// The path with an id of theirs; what belongs to a thing has an id of nothing.
fn of_them(path: &str, id: &str) -> String {
    let parts = path.split('/').enumerate().map(|(at, part)| match part {
        "{version}" => "1",
        part if part.starts_with('{') && at == 3 => id,
        part if part.starts_with('{') => "nothing_1",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn ids_of_another_organization_are_of_nothing() {
    let place = Place::new("registration = \"open\"\n[billing]\ngrace_hours = 0");
    let ann = organization(&place, 1, "ann@one.example").await;
    let eve = organization(&place, 2, "eve@two.example").await;
    let mut things = things(&ann).await;
    things.push(("invoices", invoice(&place, &ann).await));
    let report = json!({"title": "Own", "dashboard": "business", "period": "last_7_days"});
    let own_report = made(&eve, Method::POST, "/v1/reports", report, "id").await;
    let (_, contract) = ann.get("/openapi.json").await;
    let (mut tried, mut odd) = (0, Vec::new());
    for (path, methods) in contract["paths"].as_object().expect("paths") {
        let collection = path.split('/').nth(2).unwrap_or_default();
        if !path.contains('{') || OF_NOBODY.contains(&collection) {
            continue;
        }
        let found = things.iter().find(|(name, _)| *name == collection);
        let (_, id) = found.unwrap_or_else(|| panic!("{path}: say what it belongs to"));
        let path = of_them(path, id);
        for method in methods.as_object().expect("methods").keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let body = match (&method, collection) {
                (&Method::PUT, "dashboards") => {
                    // A name of one organization is free in another.
                    continue;
                }
                (&Method::POST | &Method::PUT | &Method::PATCH, _) => body(&path, &own_report),
                _ => Value::Null,
            };
            let (status, told) = eve.ask(method.clone(), &path, body).await;
            if ![403, 404].contains(&status) {
                odd.push(format!("{method} {path}: {status} {told}"));
            }
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    // All of it is there still, for whom it belongs to.
    for (collection, id) in &things {
        let (_, listed) = ann.get(&format!("/v1/{collection}")).await;
        assert!(listed.to_string().contains(id.as_str()), "{collection}: {listed}");
        let (_, listed) = eve.get(&format!("/v1/{collection}")).await;
        assert!(!listed.to_string().contains(&format!("\"{id}\"")), "{collection}: {listed}");
    }
    place.server.stop();
}

/// What is right for the route, so that nothing but the id is wrong.
fn body(path: &str, own_report: &str) -> Value {
    let condition = json!({"kind": "above", "value": 5});
    match path.split('/').collect::<Vec<_>>()[..] {
        [_, _, "alerts", _] => {
            json!({"title": "x", "metric": "requests", "interval": "day", "condition": condition})
        }
        [_, _, "alerts", .., "snooze"] => json!({"until": tests::tomorrow()}),
        [_, _, "dashboards", _, "links"] => json!({"expires_in_days": 1, "query": ""}),
        [_, _, "reports", _] => {
            json!({"title": "x", "dashboard": "business", "period": "last_7_days"})
        }
        [_, _, "schedules", _] => {
            json!({"report_id": own_report, "every": "day", "at": "07:00"})
        }
        [_, _, "invoices", _, "pay"] => json!({"provider": "stripe"}),
        [_, _, "members", _, "role"] => json!({"role": "user"}),
        [_, _, "projects", _] => json!({"archived": true}),
        [_, _, "webhooks", _] => json!({"url": "https://two.example/hook"}),
        [_, _, "webhooks", _, "replay"] => json!({"since": "2026-01-01T00:00:00Z"}),
        _ => json!({}),
    }
}
