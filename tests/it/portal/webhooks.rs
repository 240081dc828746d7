//! Webhooks over HTTP, with a server that is killed.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, MailServer, Server, admin_key, configure, folder, organization_key, reply, run_ok,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

/// Kills; `AIHUB_TEST_WEBHOOK_KILLS` says another number.
const KILLS: usize = 4;
const EVENTS: usize = 12;

/// A receiver that tells the id and the body of each request, and answers after a moment.
async fn receiver(answer: &'static str) -> (String, UnboundedReceiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (told, caught) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let (mut read, mut piece) = (Vec::new(), [0_u8; 4096]);
                let (id, body) = loop {
                    let count = stream.read(&mut piece).await.unwrap_or_default();
                    if count == 0 {
                        return;
                    }
                    read.extend_from_slice(&piece[..count]);
                    let text = String::from_utf8_lossy(&read).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let Ok(body) = serde_json::from_str::<Value>(body) else { continue };
                    let id = head.lines().find_map(|line| line.strip_prefix("webhook-id: "));
                    break (id.unwrap_or_default().to_owned(), body);
                };
                let _ = told.send((id, body));
                tokio::time::sleep(Duration::from_millis(60)).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, caught)
}

fn kills() -> usize {
    let said = std::env::var_os("AIHUB_TEST_WEBHOOK_KILLS");
    said.and_then(|text| text.to_str()?.parse().ok()).unwrap_or(KILLS)
}

#[tokio::test]
async fn a_server_that_is_killed_loses_no_delivery_and_each_has_one_id() {
    let dir = folder();
    configure(dir.path(), "[hooks]\nallow_private = true\n");
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let key = admin_key(dir.path());
    let (url, mut caught) = receiver("HTTP/1.1 204 No Content\r\n\r\n").await;
    let mut server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let webhook = json!({"url": url, "events": ["key.created"]});
    let request = client.request(Method::POST, "/v1/webhooks?organization=org_a").json(&webhook);
    let made = reply(request).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["webhook_id"].as_str().expect("an id").to_owned();
    let mut expected = HashSet::new();
    for round in 0..=kills() {
        let client = Client::new(&server, &key);
        for event in 0..EVENTS {
            let name = format!("{round}-{event}");
            let body = json!({"name": name, "scopes": ["read"], "organization_id": "org_a"});
            let made = reply(client.request(Method::POST, "/v1/keys").json(&body)).await;
            assert_eq!(made.status, 201);
            expected.insert(name);
        }
        if round < kills() {
            tokio::time::sleep(Duration::from_millis(40 + 70 * round as u64)).await;
            server.kill();
            server = Server::serve(dir.path());
        }
    }
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    while ids.len() < expected.len() {
        let next = tokio::time::timeout(Duration::from_secs(60), caught.recv()).await;
        let (id, body) = next.expect("every delivery comes").expect("a request");
        let name = body["data"]["name"].as_str().expect("a name").to_owned();
        ids.entry(name).or_default().insert(id);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "a delivery has one id: {ids:?}");
    assert_eq!(ids.into_keys().collect::<HashSet<_>>(), expected);
    // The log says the same.
    let client = Client::new(&server, &key);
    let path = format!("/v1/webhooks/{id}/deliveries?organization=org_a&limit=500");
    let mut states = Vec::new();
    for _ in 0..100 {
        let all = client.get(&path).await.1["deliveries"].as_array().expect("deliveries").clone();
        states = all.iter().map(|one| one["state"].clone()).collect();
        if states.iter().all(|state| state == "sent") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(states, vec![json!("sent"); expected.len()]);
    server.stop();
}

#[tokio::test]
async fn a_customer_manages_its_own_webhooks_only() {
    let dir = folder();
    for id in ["org_a", "org_b"] {
        run_ok(dir.path(), &["organization", "create", id, "--name", id, "--country", "DE"]);
    }
    let (admin, reader) = (admin_key(dir.path()), organization_key(dir.path(), "org_a", "read"));
    let server = Server::serve(dir.path());
    let (admin, reader) = (Client::new(&server, &admin), Client::new(&server, &reader));
    let ask = async |method: Method, path: &str, body: Value| {
        let answer = reply(admin.request(method, path).json(&body)).await;
        (answer.status.as_u16(), answer.json())
    };
    let good = json!({"url": "https://example.com/hook", "events": ["invoice.paid"]});
    // A key of an organization does not manage them; staff says whose they are.
    assert_eq!(reader.get("/v1/webhooks").await.0, 403);
    assert_eq!(ask(Method::POST, "/v1/webhooks", good.clone()).await.0, 400);
    let (status, made) = ask(Method::POST, "/v1/webhooks?organization=org_a", good.clone()).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    let path = format!("/v1/webhooks/{}", made["webhook_id"].as_str().expect("an id"));
    let of_a = format!("{path}?organization=org_a");
    let found = admin.get(&of_a).await.1;
    assert!(found["secret"].is_null() && found["events"] == json!(["invoice.paid"]), "{found}");
    assert_eq!(admin.get(&format!("{path}?organization=org_b")).await.0, 404);
    for wrong in [
        json!({"url": "http://example.com/"}),
        json!({"url": "https://127.0.0.1/"}),
        json!({"url": "https://[::ffff:169.254.169.254]/"}),
        json!({"url": "https://user:word@example.com/"}),
        json!({"url": "https://example.com/", "events": ["nothing.happened"]}),
        json!({"url": "https://example.com/", "events": ["webhook.test"]}),
        json!({"url": "https://example.com/", "description": "a\nb"}),
        json!({"url": "https://example.com/", "colour": "red"}),
        json!({}),
    ] {
        let (status, told) = ask(Method::PUT, &of_a, wrong.clone()).await;
        assert_eq!(status, 400, "{wrong}: {told}");
    }
    let mut off = good;
    off["enabled"] = json!(false);
    assert_eq!(ask(Method::PUT, &of_a, off).await.1["enabled"], json!(false));
    let (status, told) =
        ask(Method::POST, &format!("{path}/test?organization=org_a"), json!({})).await;
    assert_eq!((status, &told["code"]), (409, &json!("webhook_state")));
    let removed = reply(admin.request(Method::DELETE, &of_a)).await;
    assert_eq!(removed.status, 204);
    assert_eq!(admin.get(&of_a).await.0, 404);
    server.stop();
}

#[tokio::test]
async fn who_manages_an_organization_is_told_once_that_a_webhook_was_turned_off() {
    let (dir, mail) = (folder(), MailServer::start(""));
    configure(dir.path(), &format!("[hooks]\nallow_private = true\n{}", mail.configuration()));
    for id in ["org_a", "org_b"] {
        run_ok(dir.path(), &["organization", "create", id, "--name", id, "--country", "DE"]);
    }
    for (email, role, of) in [
        ("manager@a.example", "enterprise", "org_a"),
        ("member@a.example", "user", "org_a"),
        ("manager@b.example", "enterprise", "org_b"),
    ] {
        let create = ["user", "create", "--email", email, "--role", role, "--organization", of];
        run_ok(dir.path(), &create);
    }
    let key = admin_key(dir.path());
    let (url, mut caught) = receiver("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    let before = mail.mails().len();
    let request = client.request(Method::POST, "/v1/webhooks?organization=org_a");
    let made = reply(request.json(&json!({"url": url}))).await.json();
    let path = format!("/v1/webhooks/{}", made["webhook_id"].as_str().expect("an id"));
    let test = client.request(Method::POST, &format!("{path}/test?organization=org_a"));
    assert_eq!(reply(test.json(&json!({}))).await.status, 202);
    let came = tokio::time::timeout(Duration::from_secs(60), caught.recv()).await;
    came.expect("the test comes").expect("a request");
    let mails = mail.wait_for(before + 1).await;
    let found = client.get(&format!("{path}?organization=org_a")).await.1;
    assert_eq!((&found["enabled"], &found["disabled_reason"]), (&json!(false), &json!("gone")));
    let told: Vec<_> = mails[before..].iter().map(Value::to_string).collect();
    assert!(told[0].contains("manager@a.example") && told[0].contains(&url), "{told:?}");
    server.stop();
    assert_eq!(mail.mails().len(), before + 1, "{:?}", mail.mails());
}
