//! What administrators do to users, and how the first of them comes.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, admin_key, folder, reply, run_ok, signed_in};

use super::registration::{PASSWORD, Person, Place};

#[tokio::test]
async fn administrators_suspend_look_and_export() {
    let place = Place::new("");
    run_ok(
        place.dir.path(),
        &["organization", "create", "org_a", "--name", "A", "--country", "DE"],
    );
    let create = [
        "user",
        "create",
        "--email",
        "bob@a.example",
        "--role",
        "enterprise",
        "--organization",
        "org_a",
    ];
    let told = run_ok(place.dir.path(), &create);
    let password = told.split_whitespace().last().expect("a password").to_owned();
    let bob = place.sign_in("bob@a.example", &password).await.expect("a session");
    let admin = Client::new(&place.server, &admin_key(place.dir.path()));
    let (_, found) = admin.get("/v1/admin/users?search=BOB@&role=enterprise&status=active").await;
    assert_eq!(found["users"].as_array().map(Vec::len), Some(1), "{found}");
    let id = found["users"][0]["user_id"].as_str().expect("an id").to_owned();
    let (_, none) = admin.get("/v1/admin/users?search=bob&organization_id=org_b").await;
    assert_eq!(none["users"], json!([]));
    let act = async |verb: &str| {
        let path = format!("/v1/admin/users/{id}/{verb}");
        reply(admin.request(Method::POST, &path)).await
    };
    let (_, made) = bob.post("/v1/keys", json!({"name": "mine", "scopes": ["read"]})).await;
    let own = Client::new(&place.server, made["secret"].as_str().expect("a secret"));
    assert_eq!(own.get("/v1/quota").await.0, 200);
    assert_eq!(act("suspend").await.status, 204);
    assert_eq!(bob.get("/v1/quota").await.0, 200);
    // The keys that the user made follow at once.
    assert_eq!(own.get("/v1/quota").await.0, 403);
    let (status, refused) = bob.post("/v1/keys", json!({"name": "k", "scopes": ["read"]})).await;
    assert!(status == 403 && refused["detail"].to_string().contains("suspended"), "{refused}");
    assert_eq!(bob.get("/v1/me").await.1["restriction"], "suspended");
    changes_nothing(&bob).await;
    assert_eq!(act("enable").await.status, 204);
    assert_eq!(own.get("/v1/quota").await.0, 200);
    everybody_of_a_suspended_organization_is(&admin, &bob).await;
    assert_eq!(bob.post("/v1/keys", json!({"name": "k", "scopes": ["read"]})).await.0, 201);

    a_view_reads_only(&place, &admin, &id).await;

    let export =
        reply(admin.request(Method::GET, &format!("/v1/admin/audit/export?target={id}"))).await;
    let text = export.text();
    let acts: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let actions: Vec<_> = acts.iter().filter_map(|act| act["action"].as_str()).collect();
    assert_eq!(actions[..3], ["user.viewed", "user.enabled", "user.suspended"], "{actions:?}");
    let (_, later) = admin.get("/v1/admin/audit?from=2200-01-01T00:00:00Z").await;
    assert_eq!(later["acts"], json!([]));
    assert_eq!(act("reset-second-factor").await.status, 204);
    place.server.stop();
}

/// A view reads, changes nothing, and is in the audit log.
async fn a_view_reads_only(place: &Place, admin: &Client, id: &str) {
    let (root, cookie) = signed_in(&place.server, place.dir.path(), "admin").await;
    let root = Person { client: root, cookie };
    let path = format!("/v1/admin/users/{id}/view");
    let request = root.client.request(Method::POST, &path).header("cookie", &root.cookie);
    let view = reply(request.header("sec-fetch-site", "same-origin")).await;
    assert_eq!(view.status, 204);
    let cookie = view.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let view = Person { client: Client::new(&place.server, ""), cookie };
    let (_, me) = view.get("/v1/me").await;
    assert_eq!((&me["id"], &me["restriction"]), (&json!(id), &json!("view")));
    assert_eq!(view.post("/v1/keys", json!({"name": "k", "scopes": ["read"]})).await.0, 403);
    assert_eq!(view.ask(Method::PATCH, "/v1/me", json!({"name": "x"})).await.0, 403);
    assert_eq!(view.get("/v1/sessions").await.0, 403);
    changes_nothing(&view).await;
    // It ends with the right of who began it.
    let (_, me) = root.get("/v1/me").await;
    run_ok(place.dir.path(), &["user", "create", "--email", "r@x.example", "--role", "admin"]);
    let path = format!("/v1/admin/users/{}/disable", me["id"].as_str().expect("an id"));
    assert_eq!(reply(admin.request(Method::POST, &path)).await.status, 204);
    assert_eq!(view.get("/v1/me").await.0, 401);
}

async fn everybody_of_a_suspended_organization_is(admin: &Client, bob: &Person) {
    let turn = async |status: &str| {
        let path = "/v1/admin/organizations/org_a/status";
        reply(admin.request(Method::PUT, path).json(&json!({"status": status}))).await.status
    };
    assert_eq!(turn("suspended").await, 204);
    assert_eq!(bob.get("/v1/me").await.1["restriction"], "suspended");
    changes_nothing(bob).await;
    assert_eq!(turn("active").await, 204);
    assert_eq!(bob.get("/v1/me").await.1["restriction"], Value::Null);
}

/// Requests that write, of who may read.
async fn changes_nothing(who: &Person) {
    let alert = json!({"name": "a", "recipients": ["x@x.example"]});
    for (method, path, body) in [
        (Method::POST, "/v1/alerts", alert),
        (Method::DELETE, "/v1/alerts/alert_1", Value::Null),
        (Method::PUT, "/v1/dashboards/mine", json!({})),
        (Method::POST, "/v1/dashboards/business/links", json!({})),
        (Method::POST, "/v1/reports/report_1/run", json!({})),
        (Method::POST, "/v1/annotations", json!({})),
        (Method::POST, "/alerts/new", json!({})),
        (Method::POST, "/dashboards/business/edit", json!({})),
    ] {
        let (status, told) = who.ask(method.clone(), path, body).await;
        assert_eq!(status, 403, "{method} {path} {told}");
    }
    let (status, told) = who.post("/v1/metrics/query", json!({})).await;
    assert_eq!(status, 400, "a question is no change: {told}");
}

/// A server whose log is a file. Dropping it ends the process.
pub(super) struct Logged {
    child: Child,
    /// Where it listens.
    pub(super) url: String,
    /// Of the first administrator's link.
    token: String,
}

impl Logged {
    /// Starts a server in which nobody administers, and waits for the link in its log.
    pub(super) async fn start(dir: &Path, log: &Path) -> Self {
        let mut command = Command::new(tests::aihub());
        command.arg("--dir").arg(dir).args(["serve", "--port", "0"]).stdout(Stdio::null());
        let child = command.stderr(File::create(log).expect("a file")).spawn().expect("a server");
        let mut started = Self { child, url: String::new(), token: String::new() };
        for _ in 0..300 {
            let text = fs::read_to_string(log).unwrap_or_default();
            if let Some((before, after)) = text.split_once("/invitations/") {
                let start = before.rfind("http").expect("a link");
                before[start..].clone_into(&mut started.url);
                started.token = after.chars().take_while(char::is_ascii_alphanumeric).collect();
                return started;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no link in the log: {}", fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who opens the link of the log becomes the first administrator, once.
#[tokio::test]
async fn the_first_administrator_comes_by_the_link_of_the_log() {
    let (dir, logs) = (folder(), folder());
    let server = Logged::start(dir.path(), &logs.path().join("log")).await;
    let client = Client::at(&server.url, "");
    let token = &server.token;
    let accept = async |body: Value| {
        reply(client.request(Method::POST, "/v1/auth/invitations/accept").json(&body)).await
    };
    let missing = accept(json!({"token": token, "password": PASSWORD})).await;
    assert_eq!((missing.status.as_u16(), &missing.json()["field"]), (400, &json!("email")));
    let body = json!({"token": token, "password": PASSWORD, "email": "root@x.example"});
    let made = accept(body.clone()).await;
    let role = &made.json()["role"];
    assert_eq!((made.status.as_u16(), role), (201, &json!("admin")), "{}", made.text());
    assert_eq!(accept(body).await.status, 400);
}
