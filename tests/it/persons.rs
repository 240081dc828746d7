//! What says something of a person is shown in SQL to those whose role was granted it.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, reply, run, run_ok, usage};

const SQL: &str = "select user_id, session_id, model from usage_events where event_id = 'p1'";

async fn user_of(client: &Client) -> Value {
    client.rows(SQL).await[0]["user_id"].clone()
}

async fn put(client: &Client, method: Method, role: &str) -> u16 {
    let path = format!("/v1/person-grants/{role}");
    reply(client.request(method, &path)).await.status.as_u16()
}

#[tokio::test]
async fn persons_are_shown_to_roles_that_were_granted_them() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let data = json!({"user_id": "ada", "session_id": "s1", "input_tokens": 1});
    admin.send("application/x-ndjson", usage("org_a", "p1", data).to_string()).await;
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A", "--country", "DE"]);
    let key = |more: &[&str]| {
        let arguments = [&["key", "create", "--name", "k", "--scopes", "read"], more].concat();
        Client::new(&server, &run_ok(dir.path(), &arguments))
    };
    let (analyst, member) = (key(&[]), key(&["--organization", "org_a"]));

    let pseudonym = user_of(&admin).await;
    assert!(pseudonym.as_str().is_some_and(|text| text.starts_with("u_")), "{pseudonym}");
    for client in [&analyst, &member] {
        let row = &client.rows(SQL).await[0];
        let masked = json!({"user_id": null, "session_id": null, "model": row["model"]});
        assert_eq!(*row, masked);
        // A value cannot be asked for either.
        let guess = format!("select count(*) as n from usage_events where user_id = {pseudonym}")
            .replace('"', "'");
        assert_eq!(client.rows(&guess).await, [json!({"n": 0})]);
        let guess = guess.replace("usage_events", "usage_ledger");
        assert_eq!(client.rows(&guess).await, [json!({"n": 0})]);
        let zoned = json!({"sql": SQL, "tz": "Europe/Berlin"});
        assert_eq!(client.query_with(zoned).await.1["rows"][0]["user_id"], Value::Null);
    }
    // Metrics count persons without showing them.
    assert_eq!(put(&analyst, Method::PUT, "analyst").await, 403);
    assert_eq!(put(&admin, Method::PUT, "analyst").await, 204);
    assert_eq!(put(&admin, Method::PUT, "nobody").await, 404);
    assert_eq!(put(&admin, Method::PUT, "admin").await, 409);
    assert_eq!(user_of(&analyst).await, pseudonym);
    assert_eq!(user_of(&member).await, Value::Null);
    let (_, grants) = admin.get("/v1/person-grants").await;
    assert_eq!(grants["grants"][0]["role"], "analyst", "{grants}");
    assert_eq!(put(&admin, Method::DELETE, "analyst").await, 204);
    assert_eq!(user_of(&analyst).await, Value::Null);
    run_ok(dir.path(), &["user", "grant-persons", "member"]);
    assert_eq!(user_of(&member).await, pseudonym);
    assert!(run_ok(dir.path(), &["user", "person-grants"]).starts_with("member\tcommand-line\t"));
    run_ok(dir.path(), &["user", "revoke-persons", "member"]);
    for command in ["grant-persons", "revoke-persons"] {
        let refused = run(dir.path(), &["user", command, "admin"]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && error.contains("always"), "{error}");
    }
    assert_eq!(user_of(&member).await, Value::Null);
}
