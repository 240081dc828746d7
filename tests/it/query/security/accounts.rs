//! What administrators do to accounts, what a thief of a password or a guesser can do, and what answers give away.

use std::{collections::HashSet, path::Path, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tests::{Client, Reply, Server, admin_key, configure, folder, reply, run, run_ok, usage};

const PASSWORD: &str = "correct horse battery";

/// Creates a user with a made-up password, and gives it.
fn user(dir: &Path, email: &str, role: &str) -> String {
    let made = run_ok(dir, &["user", "create", "--email", email, "--role", role]);
    made.trim().to_owned()
}

/// Signs in.
async fn sign_in(nobody: &Client, email: &str, password: &str) -> Reply {
    let login = nobody.request(Method::POST, "/v1/auth/login");
    reply(login.json(&json!({"email": email, "password": password}))).await
}

/// The cookie of this name that an answer sets, as a browser sends it back.
fn cookie(answer: &Reply, name: &str) -> Option<String> {
    let set = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut pairs = set.filter_map(|text| text.split(';').next());
    pairs.find(|pair| pair.starts_with(&format!("{name}="))).map(str::to_owned)
}

fn session(answer: &Reply) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    cookie(answer, "aihub_session").expect("a session")
}

async fn is_signed_in(nobody: &Client, session: &str) -> bool {
    let me = nobody.request(Method::GET, "/v1/me").header("cookie", session);
    reply(me).await.status == StatusCode::OK
}

async fn post(client: &Client, path: &str, body: Value) -> Reply {
    let request: RequestBuilder = client.request(Method::POST, path);
    reply(request.json(&body)).await
}

#[tokio::test]
async fn administrators_disable_reset_and_sign_out() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let nobody = Client::new(&server, "");
    let password = user(dir.path(), "ann@example.com", "analyst");
    let (_, list) = admin.get("/v1/admin/users").await;
    assert_eq!(list["users"].as_array().map(Vec::len), Some(1), "{list}");
    let ann = list["users"][0]["user_id"].as_str().expect("an id").to_owned();
    let path = |act: &str| format!("/v1/admin/users/{ann}/{act}");

    let first = session(&sign_in(&nobody, "ann@example.com", &password).await);
    assert_eq!(post(&admin, &path("sign-out"), json!({})).await.status, 204);
    assert!(!is_signed_in(&nobody, &first).await);

    // The old password and its sessions are over; the new one is shown once.
    let second = session(&sign_in(&nobody, "ann@example.com", &password).await);
    let reset = post(&admin, &path("reset-password"), json!({})).await;
    let fresh = reset.json()["password"].as_str().expect("a password").to_owned();
    assert_eq!(reset.header("cache-control"), "no-store");
    assert!(!is_signed_in(&nobody, &second).await);
    assert_eq!(sign_in(&nobody, "ann@example.com", &password).await.status, 401);
    let third = session(&sign_in(&nobody, "ann@example.com", &fresh).await);
    let weak = post(&admin, &path("reset-password"), json!({"password": "short"})).await;
    assert_eq!((weak.status.as_u16(), &weak.json()["code"]), (400, &json!("weak_password")));
    let named = post(&admin, &path("reset-password"), json!({"password": PASSWORD})).await;
    assert_eq!(named.json(), json!({"user_id": ann, "password": null}));
    assert!(!is_signed_in(&nobody, &third).await);

    // What a disabled user started stops, and nothing begins.
    let fourth = session(&sign_in(&nobody, "ann@example.com", PASSWORD).await);
    let events: Vec<_> = (0..100).map(|id| usage("org_a", &id.to_string(), json!({}))).collect();
    assert_eq!(admin.send("application/json", json!(events).to_string()).await.0, 200);
    let endless = "select count(*) from usage_events a, usage_events b, usage_events c, \
                   usage_events d, usage_events e where a.event_id || b.event_id < c.event_id";
    let start = nobody.request(Method::POST, "/v1/queries").header("cookie", &fourth);
    let start = start.header("sec-fetch-site", "same-origin").json(&json!({"sql": endless}));
    let started = reply(start).await;
    assert_eq!(started.status, 202, "{}", started.text());
    let query = format!("/v1/queries/{}", started.json()["query_id"].as_str().expect("an id"));
    assert_eq!(post(&admin, &path("disable"), json!({})).await.status, 204);
    assert!(!is_signed_in(&nobody, &fourth).await);
    assert_eq!(sign_in(&nobody, "ann@example.com", PASSWORD).await.status, 401);
    let mut state = Value::Null;
    for _ in 0..100 {
        state = admin.get(&query).await.1;
        if state["status"] == "canceled" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state["status"], "canceled", "{state}");
    assert_eq!(post(&admin, &path("enable"), json!({})).await.status, 204);
    session(&sign_in(&nobody, "ann@example.com", PASSWORD).await);

    let unknown = post(&admin, "/v1/admin/users/user_x/disable", json!({})).await;
    assert_eq!(unknown.status, 404);
    let acts = admin.get(&format!("/v1/admin/audit?target={ann}")).await.1;
    let acts: Vec<_> = acts["acts"].as_array().expect("acts").iter().collect();
    let done = |action: &str| acts.iter().filter(|act| act["action"] == action).count();
    for (action, times) in [
        ("user.disabled", 1),
        ("user.enabled", 1),
        ("user.password_reset", 2),
        ("user.sessions_ended", 1),
        ("user.signed_in", 5),
    ] {
        assert_eq!(done(action), times, "{action}: {acts:?}");
    }
    let disabled = acts.iter().find(|act| act["action"] == "user.disabled").expect("an act");
    assert!(disabled["actor"].as_str().is_some_and(|actor| actor.starts_with("key_")));
    assert_eq!(
        (&disabled["ip"], &disabled["detail"]),
        (&json!("127.0.0.1"), &json!({"sessions": 1}))
    );
}

#[tokio::test]
async fn the_command_line_does_the_same_beside_a_server() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let nobody = Client::new(&server, "");
    let password = user(dir.path(), "root@example.com", "admin");
    let first = session(&sign_in(&nobody, "root@example.com", &password).await);
    run_ok(dir.path(), &["user", "sign-out", "root@example.com"]);
    assert!(!is_signed_in(&nobody, &first).await);
    let fresh = run_ok(dir.path(), &["user", "reset-password", "root@example.com"]);
    assert_eq!(sign_in(&nobody, "root@example.com", &password).await.status, 401);
    let second = session(&sign_in(&nobody, "root@example.com", fresh.trim()).await);

    // Nobody locks everybody out by mistake.
    let refused = run(dir.path(), &["user", "disable", "root@example.com"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && error.contains("last administrator"), "{error}");
    let admin = nobody.request(Method::GET, "/v1/admin/users").header("cookie", &second);
    let list = reply(admin).await.json();
    let root = list["users"][0]["user_id"].as_str().expect("an id").to_owned();
    let disable = nobody.request(Method::POST, &format!("/v1/admin/users/{root}/disable"));
    let disable = disable.header("cookie", &second).header("sec-fetch-site", "same-origin");
    let refused = reply(disable).await;
    assert_eq!(refused.status, 409);
    assert_eq!(refused.json()["code"], "last_administrator");
    assert!(is_signed_in(&nobody, &second).await);

    user(dir.path(), "other@example.com", "admin");
    run_ok(dir.path(), &["user", "disable", &root]);
    assert!(!is_signed_in(&nobody, &second).await);
    assert!(run_ok(dir.path(), &["user", "list"]).contains("root@example.com\tadmin\tdisabled\t"));
    run_ok(dir.path(), &["user", "enable", &root]);
    session(&sign_in(&nobody, "root@example.com", fresh.trim()).await);

    let acts = run_ok(dir.path(), &["audit", "list", "--target", &root, "--format", "json"]);
    let acts = acts.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let acts: Vec<_> = acts.filter(|act| act["actor"] == "command-line").collect();
    let named: Vec<_> = acts.iter().filter_map(|act| act["action"].as_str()).collect();
    let expected = [
        "user.enabled",
        "user.disabled",
        "user.password_reset",
        "user.sessions_ended",
        "user.created",
    ];
    assert_eq!(named, expected);
}

#[tokio::test]
async fn the_audit_log_is_read_in_pages_and_verified() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    user(dir.path(), "ann@example.com", "analyst");
    user(dir.path(), "bob@example.com", "manager");
    let (_, first) = admin.get("/v1/admin/audit?limit=2").await;
    let seqs = |page: &Value| -> Vec<i64> {
        let acts = page["acts"].as_array().into_iter().flatten();
        acts.filter_map(|act| act["seq"].as_i64()).collect()
    };
    assert_eq!((seqs(&first), &first["next"]), (vec![3, 2], &json!(2)), "{first}");
    let (_, rest) = admin.get("/v1/admin/audit?limit=2&cursor=2").await;
    assert_eq!((seqs(&rest), &rest["next"]), (vec![1], &Value::Null), "{rest}");
    let (_, users) = admin.get("/v1/admin/audit?action=user.created").await;
    assert_eq!(seqs(&users), [3, 2]);
    for wrong in ["?limit=0", "?limit=1001", "?cursor=x", "?color=red", "/verify?head=x"] {
        let (status, answer) = admin.get(&format!("/v1/admin/audit{wrong}")).await;
        let found = (status.as_u16(), &answer["code"]);
        assert_eq!(found, (400, &json!("invalid_parameters")), "{wrong}");
    }
    let (_, verdict) = admin.get("/v1/admin/audit/verify").await;
    assert_eq!((&verdict["intact"], &verdict["rows"]), (&json!(true), &json!(3)), "{verdict}");
    let head = verdict["head"].as_str().expect("a head").to_owned();
    let printed = run_ok(dir.path(), &["audit", "verify", "--head", &head]);
    assert!(printed.starts_with("3 rows, ") && printed.contains(&head), "{printed}");
    // One that was never there.
    let other = format!("3:{}", "0".repeat(64));
    let broken = run(dir.path(), &["audit", "verify", "--head", &other]);
    assert_eq!(broken.status.code(), Some(1));
    let (_, verdict) = admin.get(&format!("/v1/admin/audit/verify?head={other}")).await;
    assert_eq!((&verdict["intact"], &verdict["broken_at"]), (&json!(false), &json!(3)));

    // None of it is for others.
    let reader = run_ok(dir.path(), &["key", "create", "--name", "r", "--scopes", "read,write"]);
    for (client, status) in [(Client::new(&server, ""), 401), (Client::new(&server, &reader), 403)]
    {
        for (method, path) in [
            (Method::GET, "/v1/admin/users"),
            (Method::POST, "/v1/admin/users/user_x/disable"),
            (Method::POST, "/v1/admin/users/user_x/enable"),
            (Method::POST, "/v1/admin/users/user_x/reset-password"),
            (Method::POST, "/v1/admin/users/user_x/sign-out"),
            (Method::GET, "/v1/admin/audit"),
            (Method::GET, "/v1/admin/audit/verify"),
        ] {
            let request = client.request(method, path).json(&json!({}));
            assert_eq!(reply(request).await.status, status, "{path}");
        }
    }
}

/// A sign-in from an address behind a proxy, from a browser with these cookies.
async fn sign_in_from(nobody: &Client, ip: &str, password: &str, cookies: &str) -> Reply {
    let login = nobody.request(Method::POST, "/v1/auth/login").header("x-forwarded-for", ip);
    let login = login.header("cookie", cookies);
    reply(login.json(&json!({"email": "ann@example.com", "password": password}))).await
}

#[tokio::test]
async fn guesses_lock_nobody_out_who_has_signed_in_before() {
    let dir = folder();
    configure(dir.path(), "[server]\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n");
    let server = Server::serve(dir.path());
    let nobody = Client::new(&server, "");
    let password = user(dir.path(), "ann@example.com", "analyst");
    let first = sign_in_from(&nobody, "192.0.2.1", &password, "").await;
    let device = cookie(&first, "aihub_device").expect("a device");
    let set = first.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let set: Vec<_> = set.filter(|text| text.starts_with("aihub_device=")).collect();
    assert!(set[0].contains("; HttpOnly; SameSite=Lax; Path=/; Max-Age="), "{set:?}");
    // What the client writes before its own address does not make it another one.
    let mut refused = None;
    for guess in 0..12 {
        let ip = format!("192.0.2.1, 198.51.100.{guess}, 10.1.2.3");
        let answer = sign_in_from(&nobody, &ip, "wrong password", "").await;
        assert!([401, 429].contains(&answer.status.as_u16()), "{}", answer.text());
        if answer.status == 429 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!(refused.json()["code"], "too_many_requests");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait <= 9));
    // The device gets in from anywhere, and so does the address that it came from before.
    for (ip, cookies) in [("203.0.113.9", device.as_str()), ("192.0.2.1", "")] {
        session(&sign_in_from(&nobody, ip, &password, cookies).await);
    }
    let forged = format!("{}x", &device[..device.len() - 1]);
    let stranger = sign_in_from(&nobody, "203.0.113.9", &password, &forged).await;
    // It signed in from there a moment ago, with its device.
    assert_eq!(stranger.status, 200);
    // While guesses have to wait, nobody else is let in. The delay grows until a slow machine does not outlast it.
    let mut wait = 0;
    for guess in 20..250 {
        let ip = format!("198.51.100.{guess}");
        let answer = sign_in_from(&nobody, &ip, "wrong password", "").await;
        if answer.status == 429 {
            wait = answer.header("retry-after").parse().expect("seconds");
        }
        if wait >= 12 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(wait >= 12, "{wait} s");
    let stranger = sign_in_from(&nobody, "203.0.113.10", &password, &forged).await;
    assert_eq!(stranger.status, 429);

    let acts = run_ok(dir.path(), &["audit", "list", "--format", "json"]);
    let of = |action: &str| -> Vec<String> {
        let acts = acts.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let acts = acts.filter(|act| act["action"] == action);
        acts.filter_map(|act| act["ip"].as_str().map(str::to_owned)).collect()
    };
    let signed_in = ["203.0.113.9", "192.0.2.1", "203.0.113.9", "192.0.2.1"];
    assert_eq!(of("user.signed_in"), signed_in);
    let guessed: HashSet<_> = of("user.sign_in_refused").into_iter().collect();
    // The first of a minute has a row of its own.
    assert!(guessed.len() == 1 && guessed.contains("198.51.100.0"), "{guessed:?}");
}

#[tokio::test]
async fn a_stranger_does_not_say_where_he_is() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let nobody = Client::new(&server, "");
    user(dir.path(), "ann@example.com", "analyst");
    let mut last = 0;
    for guess in 0..12 {
        let ip = format!("198.51.100.{guess}");
        last = sign_in_from(&nobody, &ip, "wrong password", "").await.status.as_u16();
    }
    assert_eq!(last, 429);
    let acts = run_ok(dir.path(), &["audit", "list", "--action", "user.sign_in_refused"]);
    assert!(acts.lines().count() == 2 && acts.contains("\t127.0.0.1\t"), "{acts}");
    // Nor whether he speaks TLS.
    let login = nobody.request(Method::POST, "/v1/auth/login").header("x-forwarded-proto", "https");
    let origin = server.ready.url.replace("http:", "https:");
    let login = login.header("origin", origin).json(&json!({"email": "x@y.z", "password": "x"}));
    let answer = reply(login).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (403, &json!("cross_site_request"))
    );
}

#[tokio::test]
async fn metrics_are_for_operators() {
    let dir = folder();
    let token = "a-token-for-the-collector";
    configure(dir.path(), &format!("[metrics]\ntoken = \"{token}\"\n"));
    let server = Server::serve(dir.path());
    let key = |scopes| run_ok(dir.path(), &["key", "create", "--name", "k", "--scopes", scopes]);
    for (key, status) in [
        (String::new(), 401),
        ("wrong".to_owned(), 401),
        (key("read,write"), 403),
        (key("admin"), 200),
        (token.to_owned(), 200),
    ] {
        let client = Client::new(&server, &key);
        let answer = reply(client.request(Method::GET, "/metrics")).await;
        assert_eq!(answer.status, status, "{key}");
        assert_eq!(answer.text().contains("ingest_accepted_events_total"), status == 200);
    }
    // The token admits to nothing else.
    assert_eq!(Client::new(&server, token).get("/v1/me").await.0, 401);
    drop(server);
    configure(dir.path(), "[metrics]\nopen = true\n");
    let server = Server::serve(dir.path());
    assert_eq!(Client::new(&server, "").get("/metrics").await.0, 200);
    drop(server);
    configure(dir.path(), "");
    let server = Server::serve(dir.path());
    assert_eq!(Client::new(&server, "").get("/metrics").await.0, 401);
}

#[tokio::test]
async fn answers_are_kept_by_nobody_and_are_what_they_say() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let (admin, nobody) = (Client::new(&server, &admin_key(dir.path())), Client::new(&server, ""));
    for client in [&admin, &nobody] {
        for path in [
            "/v1/me",
            "/v1/keys",
            "/v1/query?q=select+1",
            "/v1/query?q=select+1&format=csv",
            "/v1/query?q=nonsense",
            "/v1/queries",
            "/v1/metrics",
            "/v1/schema",
            "/v1/events?source=s&id=1",
            "/v1/dead-letters",
            "/v1/admin/users",
            "/dashboards/business",
            "/sign-in",
            "/sql",
            "/metrics",
            "/openapi.json",
            "/healthz",
            "/nothing",
        ] {
            let answer = reply(client.request(Method::GET, path)).await;
            let status = answer.status;
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{status} {path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{status} {path}");
        }
        let answer = post(client, "/v1/events", json!([])).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.text());
    }
    let script = reply(nobody.request(Method::GET, "/sql/workbench.js")).await;
    assert_eq!(script.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn methods_and_sites_that_are_not_ours() {
    let dir = folder();
    configure(dir.path(), "[metrics]\nopen = true\n");
    let server = Server::serve(dir.path());
    let nobody = Client::new(&server, "");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(reply(nobody.request(Method::HEAD, path)).await.status, 200, "{path}");
    }
    for (method, path, allowed) in [
        (Method::POST, "/healthz", "GET"),
        (Method::DELETE, "/v1/query", "GET, POST"),
        (Method::GET, "/v1/auth/login", "POST"),
        (Method::GET, "/v1/admin/users/user_x/disable", "POST"),
        (Method::POST, "/v1/metrics", "GET"),
        (Method::PUT, "/v1/events", "GET, POST"),
    ] {
        let answer = reply(nobody.request(method.clone(), path)).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        assert_eq!(answer.json()["code"], "method_not_allowed");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    assert_eq!(reply(nobody.request(Method::POST, "/nothing")).await.status, 404);

    // A link elsewhere runs nothing in the name of who follows it.
    let password = user(dir.path(), "ann@example.com", "analyst");
    let session = session(&sign_in(&nobody, "ann@example.com", &password).await);
    for (site, status) in [("cross-site", 403), ("same-origin", 200), ("none", 200)] {
        let query = nobody.request(Method::GET, "/v1/query?q=select+1");
        let query = query.header("cookie", &session).header("sec-fetch-site", site);
        let answer = reply(query).await;
        assert_eq!(answer.status, status, "{site}: {}", answer.text());
        assert!(status == 200 || answer.json()["code"] == "cross_site_request");
    }
}
