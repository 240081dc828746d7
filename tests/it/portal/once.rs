//! `Idempotency-Key`: what is sent twice is done once.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, reply, run_ok};

#[tokio::test]
async fn a_request_with_a_key_is_done_once_and_gets_its_first_answer_again() {
    let dir = folder();
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let (first, other) = (admin_key(dir.path()), admin_key(dir.path()));
    let server = Server::serve(dir.path());
    let (client, other) = (Client::new(&server, &first), Client::new(&server, &other));
    let ask = async |client: &Client, key: &str, body: Value| {
        let request = client.request(Method::POST, "/v1/keys").header("idempotency-key", key);
        reply(request.json(&body)).await
    };
    let body = json!({"name": "once", "scopes": ["read"], "organization_id": "org_a"});
    let made = ask(&client, "\"a-1\"", body.clone()).await;
    assert_eq!((made.status.as_u16(), made.header("idempotency-replayed")), (201, ""));
    // With quotes and without they are the same key.
    let again = ask(&client, "a-1", body.clone()).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(
        (again.json(), again.header("content-type")),
        (made.json(), made.header("content-type"))
    );
    // Another body, another principal, a key that is none.
    let mut changed = body.clone();
    changed["name"] = json!("twice");
    let reused = ask(&client, "a-1", changed).await;
    assert_eq!(
        (reused.status.as_u16(), &reused.json()["code"]),
        (422, &json!("idempotency_key_reused"))
    );
    let of_other = ask(&other, "a-1", body.clone()).await;
    assert_eq!(of_other.status, 201);
    assert_ne!(of_other.json()["api_key_id"], made.json()["api_key_id"]);
    assert_eq!(ask(&client, "a b", body.clone()).await.json()["code"], "invalid_header");
    // A refusal keeps nothing: the same key may come with what was mended.
    let wrong = json!({"name": "x", "scopes": ["nothing"], "organization_id": "org_a"});
    assert_eq!(ask(&client, "a-2", wrong).await.status, 400);
    assert_eq!(ask(&client, "a-2", body.clone()).await.status, 201);
    // Who is not known gets nothing of it.
    let stranger = Client::new(&server, "aihub_nobody");
    assert_eq!(ask(&stranger, "a-1", body.clone()).await.status, 401);

    // At once: one does it, the others get its answer or are told to wait.
    let all = join_all((0..8).map(|_| ask(&client, "a-3", body.clone()))).await;
    let mut ids = Vec::new();
    for answer in &all {
        match answer.status.as_u16() {
            201 => ids.push(answer.json()["api_key_id"].clone()),
            409 => assert_eq!(answer.json()["code"], "request_in_progress", "{}", answer.text()),
            _ => panic!("{}", answer.text()),
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let keys = client.get("/v1/keys").await.1;
    let once = |key: &&Value| key["name"] == "once";
    assert_eq!(keys["keys"].as_array().expect("keys").iter().filter(once).count(), 4);

    // After a kill the answers are there still, and what was cut off is not done again unasked.
    server.kill();
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &first);
    let again = ask(&client, "a-1", body).await;
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", made.json()));
    // A large body is refused, and an event needs no key.
    let large = json!({"name": "x".repeat(2 << 20), "scopes": ["read"]});
    assert_eq!(ask(&client, "a-4", large).await.status, 413);
    server.stop();
}
