//! Own dashboards: who saves, sees and shares them.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, reply, signed_in};

use super::scheduled::{post, store_usage};

fn kpi(metric: &str) -> Value {
    let words = json!({"en": "Mine", "zh-CN": "我的"});
    json!({"kind": "kpi", "metric": metric, "title": words, "note": words})
}

fn dashboard(tiles: Value) -> Value {
    json!({"definition": {"title": {"en": "My page", "zh-CN": "我的页面"}, "tiles": tiles}})
}

async fn put(client: &Client, name: &str, body: &Value) -> (u16, Value) {
    let request = client.request(Method::PUT, &format!("/v1/dashboards/{name}")).json(body);
    let answer = reply(request).await;
    (answer.status.as_u16(), answer.json())
}

async fn page(client: &Client, path: &str) -> (u16, String) {
    let answer = reply(client.request(Method::GET, path)).await;
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn a_dashboard_has_versions_and_is_undone() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    store_usage(&client).await;
    let (status, made) = put(&client, "mine", &dashboard(json!([kpi("requests")]))).await;
    assert_eq!((status, &made["version"]), (201, &json!(1)), "{made}");
    let (status, html) = page(&client, "/dashboards/mine?days=7&lang=en").await;
    assert!(status == 200 && html.contains("My page") && html.contains(">8</data>"), "{html}");
    let (_, read) = client.get("/v1/dashboards/mine").await;
    let yaml = read["yaml"].as_str().expect("YAML");
    let longer = json!({"yaml": yaml.replace("metric: requests", "metric: tokens"), "version": 1});
    let (status, second) = put(&client, "mine", &longer).await;
    assert_eq!((status, &second["version"]), (200, &json!(2)), "{second}");
    let (status, refused) = put(&client, "mine", &longer).await;
    assert_eq!((status, &refused["code"]), (409, &json!("version_conflict")));
    let (_, versions) = client.get("/v1/dashboards/mine/versions").await;
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(2), "{versions}");
    let undone = post(&client, "/v1/dashboards/mine/versions/1/restore", &json!({})).await;
    assert_eq!(undone["version"], 3);
    assert_eq!(undone["definition"]["tiles"][0]["metric"], "requests");
    let (_, listed) = client.get("/v1/dashboards").await;
    let names: Vec<_> =
        listed["dashboards"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert!(names.contains(&&json!("mine")) && names.contains(&&json!("business")), "{names:?}");

    // A report of it is made like one of the others.
    let report = json!({"title": "Mine", "dashboard": "mine", "period": "last_7_days"});
    let made = post(&client, "/v1/reports", &report).await;
    let preview = format!("/v1/reports/{}/preview", made["id"].as_str().expect("an id"));
    let (status, html) = page(&client, &preview).await;
    assert!(status == 200 && html.contains(">8</data>"), "{status}");
    let removed = reply(client.request(Method::DELETE, "/v1/dashboards/mine")).await;
    assert_eq!(removed.status, 204);
    assert_eq!(page(&client, "/dashboards/mine").await.0, 404);
    server.stop();
}

#[tokio::test]
async fn what_cannot_be_shown_is_not_saved_and_says_why() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &admin_key(dir.path()));
    let funnel = json!({
        "kind": "analysis", "analysis": "funnel", "question": {"steps": ["x"]},
        "title": {"en": "a", "zh-CN": "b"}, "note": {"en": "a", "zh-CN": "b"},
    });
    for (name, tiles, why) in [
        ("business", json!([kpi("requests")]), "of everybody"),
        ("Mine", json!([kpi("requests")]), "a-z"),
        ("mine", json!([]), "1 to 40 tiles"),
        ("mine", json!([kpi("nothing")]), "nothing"),
        ("mine", json!([{"kind": "strange"}]), "unknown variant"),
        ("mine", json!([funnel]), "steps"),
    ] {
        let (status, answer) = put(&client, name, &dashboard(tiles)).await;
        assert_eq!(status, 400, "{why}: {answer}");
        assert!(
            answer["detail"].as_str().is_some_and(|said| said.contains(why)),
            "{why}: {answer}"
        );
    }
    let checked = post(&client, "/v1/dashboards/check", &json!({"yaml": "name: ["})).await;
    assert!(checked["fault"].as_str().is_some_and(|fault| fault.contains("line 1")), "{checked}");
    let bomb = format!("name: x\ntitle: &a {{en: a, zh-CN: b}}\ntiles: [{}]", "*a,".repeat(1_000));
    let checked = post(&client, "/v1/dashboards/check", &json!({"yaml": bomb})).await;
    assert!(checked["fault"].is_string(), "{checked}");
    // A name of an organization is not that of another.
    let [a, b] = ["org_a", "org_b"]
        .map(|id| Client::new(&server, &organization_key(dir.path(), id, "read")));
    assert_eq!(put(&a, "mine", &dashboard(json!([kpi("requests")]))).await.0, 201);
    assert_eq!(b.get("/v1/dashboards/mine").await.0, 404);
    assert_eq!(client.get("/v1/dashboards/mine").await.0, 404);
    assert_eq!(put(&b, "mine", &dashboard(json!([kpi("tokens")]))).await.0, 201);
    // What is for staff is not in the dashboard of a member.
    let (status, refused) = put(&a, "costs", &dashboard(json!([kpi("cost")]))).await;
    assert_eq!(status, 400, "{refused}");
    server.stop();
}

#[tokio::test]
async fn a_dashboard_is_shared_with_roles_and_by_a_link_that_ends() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    store_usage(&admin).await;
    let (operator, operators) = signed_in(&server, dir.path(), "admin").await;
    let (manager, cookie) = signed_in(&server, dir.path(), "manager").await;
    let (analyst, analysts) = signed_in(&server, dir.path(), "analyst").await;
    let by = |client: &Client, cookie: &str, method: Method, path: &str| {
        client.request(method, path).header("cookie", cookie).header("origin", server.url(""))
    };
    let mut body = dashboard(json!([kpi("requests")]));
    body["shared_with"] = json!(["analyst"]);
    let saved = by(&manager, &cookie, Method::PUT, "/v1/dashboards/ours").json(&body);
    assert_eq!(reply(saved).await.status, 201);
    let seen = reply(by(&analyst, &analysts, Method::GET, "/dashboards/ours?days=7")).await;
    assert_eq!(seen.status, 200);
    assert!(!seen.text().contains("/dashboards/ours/edit"), "it is not theirs");
    let taken = by(&analyst, &analysts, Method::PUT, "/v1/dashboards/ours").json(&body);
    let taken = reply(taken).await;
    assert_eq!((taken.status.as_u16(), &taken.json()["code"]), (409, &json!("name_taken")));
    let edit = reply(by(&analyst, &analysts, Method::GET, "/dashboards/ours/edit")).await;
    assert_eq!(edit.status, 403);

    let link = json!({"expires_in_days": 7, "query": "days=7&filter=organization_id%3Dorg_a"});
    let made = by(&manager, &cookie, Method::POST, "/v1/dashboards/ours/links").json(&link);
    let made = reply(made).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let url = made.json()["url"].as_str().expect("an address").to_owned();
    let path = url.replace(&server.url(""), "");
    let stranger = Client::new(&server, "");
    let shared = reply(stranger.request(Method::GET, &path)).await;
    let html = shared.text();
    assert!(shared.status == 200 && html.contains(">3</data>"), "the filter holds: {html}");
    for forbidden in ["<script", "<form", "href=\"/sql", "/rows?", "filter="] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    // Nothing of the address changes what is shown.
    let other = format!("{path}?filter=organization_id%3Dorg_b&days=90");
    let same = reply(stranger.request(Method::GET, &other)).await;
    assert!(same.text().contains(">3</data>"));
    assert_eq!(page(&stranger, &format!("{path}x")).await.0, 404);
    for odd in [json!({"expires_in_days": 0}), json!({"expires_in_days": 1, "query": "days=x"})] {
        let request = by(&manager, &cookie, Method::POST, "/v1/dashboards/ours/links").json(&odd);
        assert_eq!(reply(request).await.status, 400, "{odd}");
    }

    // How the server does is shown to those who operate it, not to whoever has their link.
    let hidden = "Shown to staff on the live page only.";
    let live = by(&operator, &operators, Method::GET, "/dashboards/operations?lang=en");
    assert!(!reply(live).await.text().contains(hidden));
    let made = by(&operator, &operators, Method::POST, "/v1/dashboards/operations/links");
    let made = reply(made.json(&json!({"expires_in_days": 1, "query": "lang=en"}))).await;
    let operations = made.json()["url"].as_str().expect("an address").replace(&server.url(""), "");
    let (status, html) = page(&stranger, &operations).await;
    assert_eq!((status, html.matches(hidden).count()), (200, 4), "{html}");

    // Its maker is disabled: the link shows nothing more.
    let (_, users) = admin.get("/v1/admin/users").await;
    let users = users["users"].as_array().expect("users").clone();
    let user = users.iter().find(|user| user["email"] == "manager@example.com").expect("a user");
    let disable = format!("/v1/admin/users/{}/disable", user["user_id"].as_str().expect("an id"));
    assert!(reply(admin.request(Method::POST, &disable)).await.status.is_success());
    assert_eq!(page(&stranger, &path).await.0, 404);
    server.stop();
}
