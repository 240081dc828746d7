//! Quotas of a month: what the gateway is told, and what is counted.

use std::{fs, time::Duration};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, configure, days_ago, folder, organization_key, reply,
    run_ok, usage_today,
};

const PLANS: &str = "
- name: free
  title: {en: Small, zh-CN: 小}
  concurrent_requests: 200
  monthly:
    requests: {limit: 1000}
    tokens: {limit: 100}
    spend: {limit: '20.00', currency: USD, soft: true}
";

struct Place {
    dir: tempfile::TempDir,
    /// Of the plans.
    plans: tempfile::TempDir,
    server: Server,
    admin: Client,
    gateway: Client,
    /// The secret of a key of the organization.
    secret: String,
}

impl Place {
    fn new(more: &str) -> Self {
        let dir = folder();
        let plans = folder();
        let file = plans.path().join("plans.yaml");
        fs::write(&file, PLANS).expect("the plans are written");
        configure(dir.path(), &format!("{more}\n[plans]\nfile = {file:?}\n"));
        let server = Server::serve(dir.path());
        let admin = admin_key(dir.path());
        let gateway =
            run_ok(dir.path(), &["key", "create", "--name", "gateway", "--scopes", "verify"]);
        let secret = organization_key(dir.path(), "org_a", "read").trim().to_owned();
        let (admin, gateway) = (Client::new(&server, &admin), Client::new(&server, &gateway));
        Self { dir, plans, server, admin, gateway, secret }
    }

    /// After a crash.
    fn again(self) -> Self {
        let Self { dir, plans, server, admin, gateway, secret } = self;
        let (admin_secret, gateway_secret) = (admin.key().to_owned(), gateway.key().to_owned());
        server.kill();
        let server = Server::serve(dir.path());
        let (admin, gateway) =
            (Client::new(&server, &admin_secret), Client::new(&server, &gateway_secret));
        Self { dir, plans, server, admin, gateway, secret }
    }

    async fn quota(&self) -> Value {
        for _ in 0..100 {
            let (status, quota) = self.admin.get("/v1/quota?organization_id=org_a").await;
            if status == 200 {
                return quota;
            }
            assert_eq!(status, 503, "{quota}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the ledger is not read");
    }

    /// Waits until so many tokens are counted.
    async fn until_used(&self, tokens: i64) -> Value {
        for _ in 0..100 {
            let quota = self.quota().await;
            if quota["used"]["tokens"] == tokens {
                return quota;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not {tokens}: {}", self.quota().await);
    }

    async fn check(&self, id: &str, tokens: u32) -> Value {
        let body = json!({
            "organization_id": "org_a", "source": "/test", "id": id, "estimated_tokens": tokens, "model": "m",
        });
        let answer = reply(self.gateway.request(Method::POST, "/v1/quota/check").json(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn settle(&self, body: Value) -> (u16, Value) {
        let answer =
            reply(self.gateway.request(Method::POST, "/v1/quota/settle").json(&body)).await;
        (answer.status.as_u16(), answer.json())
    }

    async fn used(&self, id: &str, tokens: u64) {
        self.admin.store(&[event(id, tokens)]).await;
    }
}

/// Of this month, whatever the day is.
fn event(id: &str, tokens: u64) -> Value {
    let data =
        json!({"input_tokens": tokens, "output_tokens": 0, "list_price": "0.5", "currency": "USD"});
    usage_today("org_a", id, data)
}

fn token_quota(answer: &Value) -> &Value {
    let quotas = answer["quotas"].as_array().expect("quotas");
    quotas.iter().find(|quota| quota["unit"] == "tokens").expect("a quota of tokens")
}

#[tokio::test]
async fn what_is_reserved_and_used_counts_until_the_quota_is_used_up() {
    let place = Place::new("");
    let quota = place.quota().await;
    assert_eq!(quota["used"], json!({"requests": 0, "tokens": 0, "spend": {}}));
    assert_eq!(quota["limits"]["monthly"]["spend"]["limit"], "20");

    let found = place.check("1", 60).await;
    assert_eq!((&found["code"], &found["valid"]), (&json!("VALID"), &json!(true)), "{found}");
    assert_eq!(
        (&token_quota(&found)["reserved"], &token_quota(&found)["remaining"]),
        (&json!(60), &json!(40))
    );
    let refused = place.check("2", 41).await;
    assert_eq!(
        (&refused["code"], &refused["expires_at"]),
        (&json!("USAGE_EXCEEDED"), &Value::Null)
    );
    // What was really used takes the place of the estimate, and its event that of both.
    let name = json!({"organization_id": "org_a", "source": "/test", "id": "1"});
    let mut settled = name.clone();
    settled["tokens"] = json!(30);
    assert_eq!(place.settle(settled.clone()).await.1["status"], "settled");
    assert_eq!(token_quota(&place.quota().await)["reserved"], 30);
    place.used("1", 35).await;
    let quota = place.until_used(35).await;
    assert_eq!(token_quota(&quota)["reserved"], 0, "{quota}");
    assert_eq!(quota["used"]["spend"], json!({"USD": "0.5"}));
    assert_eq!(place.settle(settled).await.0, 404);

    // A call that came to nothing.
    place.check("3", 10).await;
    let mut canceled = name.clone();
    (canceled["id"], canceled["cancel"]) = (json!("3"), json!(true));
    assert_eq!(place.settle(canceled).await.1["status"], "canceled");
    assert_eq!(token_quota(&place.quota().await)["reserved"], 0);

    // A correction and a void lower the counters.
    let mut wrong = json!({"organization": "org_a", "source": "/test", "id": "1"});
    wrong["data"] = json!({"input_tokens": 20});
    let corrected =
        reply(place.admin.request(Method::POST, "/v1/events/correct").json(&wrong)).await;
    assert_eq!(corrected.status, 200, "{}", corrected.text());
    assert_eq!(place.until_used(20).await["used"]["requests"], 1);
    place.used("4", 80).await;
    place.until_used(100).await;

    // Used up: the key of the customer is told so.
    let ask = json!({"key": place.secret, "model": "m"});
    let verified = reply(place.gateway.request(Method::POST, "/v1/keys/verify").json(&ask)).await;
    assert_eq!(verified.json()["code"], "USAGE_EXCEEDED", "{}", verified.text());
    let gone = json!({"organization": "org_a", "source": "/test", "id": "4"});
    let voided = reply(place.admin.request(Method::POST, "/v1/events/void").json(&gone)).await;
    assert_eq!(voided.status, 200, "{}", voided.text());
    place.until_used(20).await;
    let verified = reply(place.gateway.request(Method::POST, "/v1/keys/verify").json(&ask)).await;
    assert_eq!(verified.json()["code"], "VALID", "{}", verified.text());
    assert_eq!(token_quota(&verified.json())["remaining"], 80);

    odd_questions_are_refused(&place).await;
    place.server.stop();
}

async fn odd_questions_are_refused(place: &Place) {
    let own = Client::new(&place.server, &place.secret);
    let (status, quota) = own.get("/v1/quota").await;
    assert_eq!((status.as_u16(), &quota["organization_id"]), (200, &json!("org_a")));
    for (client, path, expected) in [
        (&own, "/v1/quota?organization_id=org_b", 403),
        (&own, "/v1/quota?api_key_id=key_1", 404),
        (&place.admin, "/v1/quota", 400),
        (&place.admin, "/v1/quota?organization_id=org_none", 404),
        (&place.admin, "/v1/quota?organization_id=org_a&color=red", 400),
        (&place.gateway, "/v1/quota?organization_id=org_a", 403),
        (&place.admin, "/v1/usage/live", 400),
    ] {
        assert_eq!(client.get(path).await.0, expected, "{path}");
    }
    let good = json!({"organization_id": "org_a", "source": "/test", "id": "9"});
    for (change, expected) in [
        (json!({"organization_id": "org_none"}), 404),
        (json!({"api_key_id": "key_none"}), 404),
        (json!({"id": ""}), 400),
        (json!({"source": "x".repeat(257)}), 400),
        (json!({"estimated_tokens": -1}), 400),
        (json!({"estimated_spend": {"amount": 5, "currency": "USD"}}), 400),
        (json!({"estimated_spend": {"amount": "-5", "currency": "USD"}}), 400),
        (json!({"role": "admin"}), 400),
    ] {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").extend(change.as_object().cloned().expect("one"));
        let answer =
            reply(place.gateway.request(Method::POST, "/v1/quota/check").json(&body)).await;
        assert_eq!(answer.status, expected, "{change} {}", answer.text());
    }
    for client in [&own, &place.admin] {
        let answer = reply(client.request(Method::POST, "/v1/quota/check").json(&good)).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
}

/// A hundred at once ask for the last unit, over HTTP.
#[tokio::test]
async fn one_of_a_hundred_gets_the_last_unit() {
    let place = Place::new("");
    place.used("first", 99).await;
    place.until_used(99).await;
    let ids: Vec<String> = (0..100).map(|id: u32| id.to_string()).collect();
    let answers = join_all(ids.iter().map(|id| place.check(id, 1))).await;
    assert_eq!(answers.iter().filter(|answer| answer["valid"] == true).count(), 1);
    place.server.stop();
}

/// Crashes; `AIHUB_TEST_QUOTA_KILLS` sets more.
fn rounds() -> u64 {
    let set = std::env::vars().find(|(name, _)| name == "AIHUB_TEST_QUOTA_KILLS");
    set.map_or(3, |(_, rounds)| rounds.parse().expect("a number of rounds"))
}

/// Counters are those of the log after every crash, and what organizations state of themselves is not in them.
#[tokio::test]
async fn counters_survive_a_kill_and_agree_with_the_tables() {
    let mut place = Place::new("");
    let own = organization_key(place.dir.path(), "org_b", "read,write");
    let mut expected = 0;
    for round in 0..rounds() {
        let own = Client::new(&place.server, own.trim());
        let stated = tests::own_usage("org_b", &round.to_string(), json!({"input_tokens": 1_000}));
        own.store(&[stated]).await;
        for step in 0..4 {
            let id = format!("{round}-{step}");
            place.check(&format!("{round}-{step}-never"), 1).await;
            place.used(&id, round + step).await;
            expected += round + step;
        }
        let gone = json!({"organization": "org_a", "source": "/test", "id": format!("{round}-3")});
        let voided = reply(place.admin.request(Method::POST, "/v1/events/void").json(&gone)).await;
        assert_eq!(voided.status, 200, "{}", voided.text());
        expected -= round + 3;
        if round == 1 {
            tests::flushed(&place.admin).await;
        }
        place = place.again();
        let quota = place.until_used(i64::try_from(expected).expect("a number")).await;
        assert_eq!(quota["used"]["requests"], 3 * (round + 1), "{quota}");
        assert_eq!(quota["open_calls"], 0, "a crash forgets reservations");
        // As the metrics of staff count.
        let today = days_ago(0);
        let of_day =
            format!("/v1/metrics/tokens?from={today}&today=true&filter=organization_id=org_a");
        let (_, metric) = place.admin.get(&of_day).await;
        assert_eq!(
            metric["rows"][0]["tokens"].as_u64().or(metric["rows"][0]["value"].as_u64()),
            Some(expected),
            "{metric}"
        );
    }
    let checked = run_ok(place.dir.path(), &["check", "--format", "json"]);
    let checked: Value = serde_json::from_str(&checked).expect("JSON");
    assert_eq!(checked["quotas"]["differing"], 0, "{checked}");
    assert_eq!(checked["quotas"]["compared"], 1, "{checked}");
    place.server.stop();
}

#[tokio::test]
async fn overrides_and_budgets_of_keys_count() {
    let place = Place::new("");
    place.used("first", 100).await;
    place.until_used(100).await;
    assert_eq!(place.check("1", 1).await["code"], "USAGE_EXCEEDED");
    let path = "/v1/admin/organizations/org_a/overrides";
    let more = json!({"limits": {"monthly": {"tokens": {"limit": 500}}}, "note": "a trial"});
    let made = reply(place.admin.request(Method::POST, path).json(&more)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["override_id"].as_str().expect("an id").to_owned();
    let found = place.check("1", 1).await;
    assert_eq!((&found["code"], &token_quota(&found)["limit"]), (&json!("VALID"), &json!(500)));
    let (_, listed) = place.admin.get(path).await;
    assert_eq!(
        (&listed["overrides"][0]["current"], &listed["overrides"][0]["note"]),
        (&json!(true), &json!("a trial"))
    );
    let ended = place.admin.request(Method::DELETE, &format!("{path}/{id}"));
    assert_eq!(reply(ended).await.status, 204);
    assert_eq!(place.check("2", 1).await["code"], "USAGE_EXCEEDED");
    // One that begins later does not count yet.
    let later = json!({"limits": {"monthly": {"tokens": {"limit": 500}}}, "starts_at": "2200-01-01T00:00:00Z"});
    assert_eq!(reply(place.admin.request(Method::POST, path).json(&later)).await.status, 201);
    assert_eq!(place.check("2", 1).await["code"], "USAGE_EXCEEDED");
    for wrong in [
        json!({"limits": {}}),
        json!({"limits": {"monthly": {"tokens": {"limit": 5}}}, "ends_at": "2020-01-01T00:00:00Z"}),
        json!({"limits": {"color": 5}}),
    ] {
        let answer = reply(place.admin.request(Method::POST, path).json(&wrong)).await;
        assert_eq!(answer.status, 400, "{wrong}");
    }

    // A key with a budget of its own.
    let grown = json!({"limits": {"monthly": {"tokens": {"limit": 5000}}}});
    assert_eq!(reply(place.admin.request(Method::POST, path).json(&grown)).await.status, 201);
    let budget = r#"{"requests_per_minute": 2, "monthly": {"tokens": {"limit": 7}}}"#;
    let of = ["--organization", "org_a", "--scopes", "read", "--budget", budget];
    let secret =
        run_ok(place.dir.path(), &[&["key", "create", "--name", "small"], &of[..]].concat());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let verify = async |tokens: u32| {
        let ask = json!({"key": secret.trim(), "model": "m", "estimated_tokens": tokens});
        reply(place.gateway.request(Method::POST, "/v1/keys/verify").json(&ask)).await
    };
    let refused = verify(8).await;
    assert_eq!(refused.json()["code"], "USAGE_EXCEEDED", "{}", refused.text());
    let found = verify(7).await;
    assert_eq!(found.json()["code"], "VALID", "{}", found.text());
    assert_eq!(found.header("ratelimit-policy"), "\"key-minute\";q=2;w=60");
    assert_eq!(found.header("ratelimit"), "\"key-minute\";r=1");
    verify(7).await;
    let limited = verify(7).await;
    assert_eq!(limited.json()["code"], "RATE_LIMITED", "{}", limited.text());
    assert_eq!(limited.header("retry-after"), "30");
    place.server.stop();
}

#[tokio::test]
async fn thresholds_are_told_once() {
    let mail = MailServer::start("");
    let place = Place::new(&mail.configuration());
    let member = [
        "user",
        "create",
        "--email",
        "ann@org-a.example",
        "--role",
        "user",
        "--organization",
        "org_a",
    ];
    run_ok(place.dir.path(), &member);
    place.used("1", 55).await;
    let mails = mail.wait_for(1).await;
    assert!(mails[0].to_string().contains("50 % of the monthly quota of tokens"), "{mails:?}");
    place.used("2", 50).await;
    let mails = mail.wait_for(2).await;
    assert!(mails[1].to_string().contains("100 % of the monthly quota of tokens"), "{mails:?}");
    // Neither looks nor a restart tell it again.
    let place = place.again();
    place.until_used(105).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(mail.mails().len(), 2);
    place.server.stop();
}

#[tokio::test]
async fn use_is_told_as_it_grows() {
    let place = Place::new("");
    place.quota().await;
    let own = Client::new(&place.server, &place.secret);
    let mut stream = own.request(Method::GET, "/v1/usage/live").send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut next = async || -> Value {
        let mut text = String::new();
        while !text.ends_with("\n\n") || text.starts_with(':') {
            if text.starts_with(':') {
                text.clear();
            }
            let piece = stream.chunk().await.expect("a piece").expect("the stream goes on");
            text += std::str::from_utf8(&piece).expect("UTF-8");
        }
        let data = text.strip_prefix("event: usage\ndata: ").expect("an event");
        serde_json::from_str(data.trim()).expect("JSON")
    };
    let first = next().await;
    assert_eq!((&first["organization_id"], &first["used"]["tokens"]), (&json!("org_a"), &json!(0)));
    place.used("1", 12).await;
    assert_eq!(next().await["used"], json!({"requests": 1, "tokens": 12, "spend": {"USD": "0.5"}}));
    // Who may not read any more is told nothing more.
    let (_, listed) = place.admin.get("/v1/keys").await;
    let keys = listed["keys"].as_array().cloned().unwrap_or_default();
    let key = keys.into_iter().find(|key| key["organization_id"] == "org_a").expect("its key");
    run_ok(place.dir.path(), &["key", "revoke", key["api_key_id"].as_str().expect("an id")]);
    let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream ends");
    place.server.stop();
}
