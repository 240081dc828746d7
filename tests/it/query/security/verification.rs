//! What the gateway is told of the keys of customers, and what suspending an organization does.

use std::{fs, path::Path, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, folder, organization_key, reply, run, run_ok, usage,
};

async fn verified(gateway: &Client, body: Value) -> Value {
    let answer = reply(gateway.request(Method::POST, "/v1/keys/verify").json(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn gateway(server: &Server, dir: &Path) -> Client {
    Client::new(server, &run_ok(dir, &["key", "create", "--name", "gateway", "--scopes", "verify"]))
}

/// The key of the only organization, by what administrators see.
async fn key_of(admin: &Client, organization: &str) -> Value {
    let (_, listed) = admin.get("/v1/keys").await;
    let keys = listed["keys"].as_array().cloned().unwrap_or_default();
    keys.into_iter().find(|key| key["organization_id"] == organization).expect("its key")
}

#[tokio::test]
async fn the_gateway_is_told_whether_a_key_may_be_used() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let gateway = gateway(&server, dir.path());
    let secret = organization_key(dir.path(), "org_a", "read").trim().to_owned();
    let found = verified(&gateway, json!({"key": secret, "model": "merlin-3"})).await;
    assert_eq!((&found["code"], &found["valid"]), (&json!("VALID"), &json!(true)), "{found}");
    assert_eq!((&found["organization_id"], &found["plan"]), (&json!("org_a"), &json!("free")));
    let key = key_of(&admin, "org_a").await;
    let id = key["api_key_id"].as_str().expect("an id");

    let limits = json!({"models": ["gpt-*"], "networks": ["10.0.0.0/8"]});
    let path = format!("/v1/keys/{id}/limits");
    let limited = reply(admin.request(Method::PUT, &path).json(&limits)).await;
    assert_eq!(limited.json()["models"], json!(["gpt-*"]), "{}", limited.text());
    for (body, code) in [
        (json!({"model": "gpt-4", "ip": "10.2.3.4"}), "VALID"),
        (json!({"model": "gpt-4", "ip": "11.2.3.4"}), "FORBIDDEN"),
        (json!({"model": "gpt-4"}), "FORBIDDEN"),
        (json!({"model": "merlin-3", "ip": "10.2.3.4"}), "MODEL_NOT_ALLOWED"),
        (json!({"ip": "10.2.3.4"}), "MODEL_NOT_ALLOWED"),
        (json!({"scope": "write", "ip": "10.2.3.4"}), "INSUFFICIENT_PERMISSIONS"),
    ] {
        let mut asked = body.clone();
        asked["key"] = json!(secret);
        assert_eq!(verified(&gateway, asked).await["code"], code, "{body}");
    }
    // The limits of addresses hold here, too.
    let own = Client::new(&server, &secret);
    let refused = reply(own.request(Method::GET, "/v1/me")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["code"].clone()),
        (403, json!("key_disabled"))
    );

    for (key, code) in [("", "NOT_FOUND"), ("aihub_nonsense", "NOT_FOUND")] {
        assert_eq!(verified(&gateway, json!({"key": key})).await["code"], code);
    }
    let rotated = reply(
        admin
            .request(Method::POST, &format!("/v1/keys/{id}/rotate"))
            .json(&json!({"overlap_seconds": 0})),
    )
    .await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    assert_eq!(rotated.json()["models"], json!(["gpt-*"]));
    let fresh = rotated.json()["secret"].as_str().expect("a secret").to_owned();
    let ip = json!("10.0.0.1");
    assert_eq!(
        verified(&gateway, json!({"key": secret, "ip": ip, "model": "gpt-4"})).await["code"],
        "EXPIRED"
    );
    assert_eq!(
        verified(&gateway, json!({"key": fresh, "ip": ip, "model": "gpt-4"})).await["code"],
        "VALID"
    );
    run_ok(dir.path(), &["key", "revoke", rotated.json()["api_key_id"].as_str().expect("an id")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        verified(&gateway, json!({"key": fresh, "ip": ip, "model": "gpt-4"})).await["code"],
        "DISABLED"
    );

    odd_questions_are_refused(&gateway, &[&admin, &own], dir.path(), &fresh).await;
}

/// Nobody else asks, and what is odd is refused.
async fn odd_questions_are_refused(gateway: &Client, others: &[&Client], dir: &Path, fresh: &str) {
    for client in others {
        let asked = client.request(Method::POST, "/v1/keys/verify").json(&json!({"key": fresh}));
        assert!([401, 403].contains(&reply(asked).await.status.as_u16()));
    }
    for odd in [
        json!({}),
        json!({"key": 7}),
        json!({"key": fresh, "scope": "everything"}),
        json!({"key": fresh, "ip": "somewhere"}),
        json!({"key": fresh, "color": "red"}),
    ] {
        let answer = reply(gateway.request(Method::POST, "/v1/keys/verify").json(&odd)).await;
        assert_eq!(answer.status, 400, "{odd}");
        assert!(!answer.text().contains(fresh), "{}", answer.text());
    }
    let odd = run(dir, &["key", "create", "--name", "x", "--networks", "10.0.0.0/40"]);
    assert_eq!(odd.status.code(), Some(1));
    let own_verify =
        ["key", "create", "--name", "x", "--organization", "org_a", "--scopes", "verify"];
    assert_eq!(run(dir, &own_verify).status.code(), Some(1));
}

#[tokio::test]
async fn the_keys_of_a_suspended_organization_do_not_work() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let gateway = gateway(&server, dir.path());
    let secret = organization_key(dir.path(), "org_a", "read,write").trim().to_owned();
    let other = organization_key(dir.path(), "org_b", "read").trim().to_owned();
    let member = ["user", "create", "--email", "ann@example.com", "--role", "user"];
    let member = [&member[..], &["--organization", "org_a"]].concat();
    let password = run_ok(dir.path(), &member).trim().to_owned();
    let nobody = Client::new(&server, "");
    let sign_in = || {
        let body = json!({"email": "ann@example.com", "password": password});
        reply(nobody.request(Method::POST, "/v1/auth/login").json(&body))
    };
    let session = sign_in().await;
    assert_eq!(session.status, 200, "{}", session.text());
    let cookie = session.headers["set-cookie"].to_str().expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let me = async || {
        let asked = nobody.request(Method::GET, "/v1/me").header("cookie", &cookie);
        reply(asked).await.status.as_u16()
    };
    let set = async |organization: &str, status: &str| {
        let path = format!("/v1/admin/organizations/{organization}/status");
        let asked = admin.request(Method::PUT, &path).json(&json!({"status": status}));
        reply(asked).await.status.as_u16()
    };
    let own = Client::new(&server, &secret);
    let send = || {
        let event = usage("org_a", "one", json!({"input_tokens": 1}));
        reply(own.request(Method::POST, "/v1/events").json(&event))
    };
    for (status, code, signed_in) in [
        ("active", "VALID", true),
        ("suspended", "DISABLED", true),
        ("disabled", "DISABLED", false),
    ] {
        assert_eq!(set("org_a", status).await, 204);
        let found = verified(&gateway, json!({"key": secret})).await;
        assert_eq!(found["code"], code, "{status}");
        assert_eq!(me().await == 200, signed_in, "{status}");
        assert_eq!(sign_in().await.status == 200, signed_in, "{status}");
        assert_eq!(send().await.status == 403, code == "DISABLED", "{status}");
        assert_eq!(verified(&gateway, json!({"key": other})).await["code"], "VALID");
    }
    let (_, listed) = admin.get("/v1/admin/organizations?search=ORG_A").await;
    assert_eq!(listed["organizations"].as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed["organizations"][0]["status"], "disabled");
    run_ok(dir.path(), &["organization", "status", "org_a", "active"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(verified(&gateway, json!({"key": secret})).await["code"], "VALID");
    assert_eq!(me().await, 200, "a session comes back with its organization");
    assert_eq!(set("org_a", "gone").await, 400);
    assert_eq!(set("org_z", "active").await, 404);
    assert_eq!(admin.get("/v1/admin/organizations?limit=0").await.0, 400);
    assert_eq!(own.get("/v1/admin/organizations").await.0, 403);
}

#[tokio::test]
async fn a_plan_says_which_models_and_how_often() {
    let (dir, beside) = (folder(), folder());
    let plans = beside.path().join("plans.yaml");
    let small =
        "- {name: free, title: {en: Free, zh-CN: 免费}, requests_per_minute: 5, models: [gpt-*]}";
    fs::write(&plans, small).expect("the plans are written");
    configure(dir.path(), &format!("[plans]\nfile = {:?}\n", plans.display().to_string()));
    let server = Server::serve(dir.path());
    let gateway = gateway(&server, dir.path());
    let keys = ["read", "write"]
        .map(|scope| organization_key(dir.path(), "org_a", scope).trim().to_owned());
    let other = organization_key(dir.path(), "org_b", "read").trim().to_owned();
    let asked = |key: &str, model: &str| json!({"key": key, "model": model});
    let found = verified(&gateway, asked(&keys[0], "merlin-3")).await;
    assert_eq!((&found["code"], &found["rate_limits"]), (&json!("MODEL_NOT_ALLOWED"), &json!([])));
    // All keys of an organization count together, however many ask at once.
    let many = (0..12).map(|n| verified(&gateway, asked(&keys[n % 2], "gpt-4")));
    let codes: Vec<Value> = futures::future::join_all(many)
        .await
        .into_iter()
        .map(|found| found["code"].clone())
        .collect();
    assert_eq!(codes.iter().filter(|code| **code == "VALID").count(), 5, "{codes:?}");
    let found = verified(&gateway, asked(&keys[0], "gpt-4")).await;
    assert_eq!(found["code"], "RATE_LIMITED");
    assert!(found["retry_after"].as_u64().is_some_and(|seconds| (1..=12).contains(&seconds)));
    let found = verified(&gateway, asked(&other, "gpt-4")).await;
    let limits = json!([{"scope": "organization", "per": "minute", "limit": 5, "remaining": 4}]);
    assert_eq!((&found["code"], &found["rate_limits"]), (&json!("VALID"), &limits));
    let (_, listed) = gateway.get("/v1/plans").await;
    assert_eq!(listed["plans"][0]["limits"]["requests_per_minute"], 5, "{listed}");
    server.stop();

    fs::write(&plans, "- {name: free}").expect("the plans are written");
    let refused = run(dir.path(), &["serve", "--port", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("plans"), "{said}");
    configure(dir.path(), "[plans]\nwebhook = \"ftp://x.example/hook\"\n");
    let refused = run(dir.path(), &["serve", "--port", "0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("plans.webhook"), "{said}");
}
