//! What people do in their accounts is in the lake: an event for each act.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Client, Server, admin_key};

use super::registration::{PASSWORD, Place};

/// The actions of an organization, or of none, with the number of different users who did them.
async fn actions(client: &Client, whose: &str) -> Vec<Value> {
    let sql = format!(
        "SELECT action, count(*) AS times, count(DISTINCT user_id) AS users FROM activity_events \
         WHERE source = '/aihub/audit' AND {whose} GROUP BY action ORDER BY action"
    );
    let rows = client.rows(&sql).await;
    rows.iter().map(|row| json!([row["action"], row["times"], row["users"]])).collect()
}

#[tokio::test]
async fn each_act_is_an_event_in_the_lake() {
    let mut place = Place::new("registration = \"open\"");
    let staff_key = admin_key(place.dir.path());
    let staff = Client::new(&place.server, &staff_key);
    let new = json!({"email": "ann@acme.example", "password": PASSWORD, "organization": "Acme", "country": "DE"});
    assert_eq!(place.post("/v1/auth/register", new).await.0, 202);
    let token = place.mail.token(1, "ann@acme.example", "/verify/").await;
    let verify = json!({"token": token, "password": PASSWORD});
    assert_eq!(place.post("/v1/auth/register/verify", verify).await.0, 201);
    assert!(place.sign_in("ann@acme.example", "wrong bright lanterns").await.is_err());
    let ann = place.sign_in("ann@acme.example", PASSWORD).await.expect("a session");
    let organization = ann.get("/v1/me").await.1["organization_id"].clone();
    let organization = organization.as_str().expect("an organization");
    let (status, key) = ann.post("/v1/keys", json!({"name": "k", "scopes": ["read"]})).await;
    assert_eq!(status, 201, "{key}");

    let whose = format!("organization_id = '{organization}'");
    let mut of_ann = Vec::new();
    for _ in 0..100 {
        of_ann = actions(&staff, &whose).await;
        if of_ann.len() == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        of_ann,
        [json!(["key_created", 1, 1]), json!(["login", 1, 1]), json!(["signed_up", 1, 1])]
    );
    // What strangers and commands did names no user, and no organization.
    let of_nobody = actions(&staff, "organization_id IS NULL").await;
    assert_eq!(
        of_nobody,
        [
            json!(["key_created", 1, 0]),
            json!(["user_registration_requested", 1, 0]),
            json!(["user_sign_in_refused", 1, 0]),
        ]
    );
    // The customer sees its own.
    let own = Client::new(&place.server, key["secret"].as_str().expect("a secret"));
    assert_eq!(actions(&own, "true").await, of_ann);
    let sql = "SELECT kind, plan FROM billing_events";
    assert_eq!(own.rows(sql).await, [json!({"kind": "signed_up", "plan": "free"})]);
    // No person is named as the accounts name them.
    let named = "SELECT action FROM activity_events WHERE user_id LIKE 'user_%'";
    assert_eq!(staff.rows(named).await, Vec::<Value>::new());
    // Each once, also when the server starts again.
    place.server.stop();
    place.server = Server::serve(place.dir.path());
    let staff = Client::new(&place.server, &staff_key);
    assert_eq!(actions(&staff, &whose).await, of_ann);
    place.server.stop();
}
