//! The request log: an organization sees its own requests, and no others.

use serde_json::{Value, json};
use tests::{Client, Server, admin_key, folder, organization_key, own_usage, run_ok, usage};

#[tokio::test]
async fn an_organization_finds_its_own_requests() {
    let dir = folder();
    for id in ["org_a", "org_b"] {
        run_ok(dir.path(), &["organization", "create", id, "--name", id, "--country", "DE"]);
    }
    let [of_a, of_b] = ["org_a", "org_b"].map(|id| organization_key(dir.path(), id, "read,write"));
    let admin = admin_key(dir.path());
    let server = Server::serve(dir.path());
    let [a, b, admin] = [of_a, of_b, admin].map(|key| Client::new(&server, &key));
    let data = |model: &str, status: i64| {
        json!({"model": model, "input_tokens": 10, "output_tokens": 1, "status_code": status,
               "latency_ms": 100, "list_price": "0.25", "currency": "USD"})
    };
    let at = |mut event: Value, day: u32| {
        event["time"] = json!(format!("{}T00:00:00Z", tests::days_ago(day)));
        event
    };
    let mut events: Vec<_> =
        (0..7).map(|n| at(usage("org_a", &format!("r-{n}"), data("m", 200)), 1)).collect();
    events.push(at(usage("org_a", "bad", data("m2", 429)), 1));
    events.push(at(usage("org_a", "old", data("m", 200)), 20));
    events.push(at(usage("org_b", "theirs", data("m", 500)), 1));
    admin.store(&events).await;
    let mut own =
        own_usage("org_a", "own", json!({"model": "m", "input_tokens": 1, "output_tokens": 1}));
    own["time"] = json!(format!("{}T01:00:00Z", tests::days_ago(1)));
    a.store(&[own]).await;

    let ids = async |client: &Client, query: &str| {
        let (status, found) = client.get(&format!("/v1/dev/requests{query}")).await;
        assert_eq!(status, 200, "{query}: {found}");
        let all = found["requests"].as_array().expect("requests").clone();
        (
            all.iter()
                .map(|one| one["request_id"].as_str().expect("an id").to_owned())
                .collect::<Vec<_>>(),
            found,
        )
    };
    let (all, found) = ids(&a, "").await;
    assert_eq!((all.len(), all[0].as_str()), (9, "own"));
    assert_eq!(found["next_page"], Value::Null);
    assert_eq!(ids(&a, "?status=error").await.0, ["bad"]);
    assert_eq!(ids(&a, "?status=429&model=m2").await.0, ["bad"]);
    assert_eq!(ids(&a, "?request_id=r-3").await.0, ["r-3"]);
    assert!(ids(&a, "?request_id=theirs").await.0.is_empty());
    assert!(ids(&a, "?request_id=x%27%20OR%20%27a%27%3D%27a").await.0.is_empty());
    assert_eq!(ids(&b, "").await.0, ["theirs"]);
    let from = tests::days_ago(30);
    assert_eq!(ids(&a, &format!("?from={from}T00:00:00Z")).await.0.len(), 10);
    let (page, found) = ids(&a, "?limit=5").await;
    assert_eq!((page.len(), &found["next_page"]), (5, &json!(5)));
    assert_eq!(ids(&a, "?limit=5&page=5").await.0.len(), 4);
    let summary = a.get("/v1/dev/requests/summary").await.1;
    assert_eq!((&summary["requests"], &summary["errors"]), (&json!(9), &json!(1)));
    assert_eq!(
        (&summary["latency_p50_ms"], &summary["cost"]["USD"]),
        (&json!(100), &json!("2.000000"))
    );
    for wrong in
        ["?status=ok", "?from=x", "?page=10001", "?nothing=1", "?from=2020-01-01T00:00:00Z"]
    {
        assert_eq!(a.get(&format!("/v1/dev/requests{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(admin.get("/v1/dev/requests").await.0, 400);
    server.stop();
}
