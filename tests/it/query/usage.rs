//! Usage by time, as programs of customers read it.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Server, admin_key, days_ago, folder, organization_key, reply, usage};

/// Sends a request of an organization at a time.
async fn used(client: &Client, organization: &str, id: &str, time: &str, data: Value) {
    let mut event = usage(organization, id, data);
    event["time"] = json!(time);
    let answer = reply(client.request(Method::POST, "/v1/events").json(&event)).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

#[tokio::test]
async fn usage_is_read_by_buckets_and_groups() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let at = |ago: u32, clock: &str| format!("{}T{clock}Z", days_ago(ago));
    let unix = |ago: u32| {
        let midnight: chrono::DateTime<chrono::Utc> = at(ago, "00:00:00").parse().expect("a time");
        midnight.timestamp()
    };
    let tokens = |model: &str, input: u64| json!({"model": model, "input_tokens": input, "cached_input_tokens": 2, "output_tokens": 5});
    used(&admin, "org_a", "1", &at(3, "10:00:00"), tokens("merlin-3", 10)).await;
    used(&admin, "org_a", "2", &at(3, "10:59:59.999999"), tokens("merlin-2", 20)).await;
    used(&admin, "org_a", "3", &at(3, "11:00:00"), tokens("merlin-3", 40)).await;
    used(&admin, "org_b", "4", &at(2, "00:00:00"), tokens("merlin-3", 80)).await;
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));

    let ask = async |client: &Client, query: &str| {
        let (status, page) = client.get(&format!("/v1/usage?{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        page
    };
    let days = format!("start_time={}&end_time={}", unix(3), unix(1));
    let page = ask(&admin, &days).await;
    assert_eq!((&page["object"], &page["has_more"]), (&json!("page"), &json!(false)));
    let expected = json!({
        "object": "organization.usage.completions.result", "input_tokens": 70, "output_tokens": 15,
        "input_cached_tokens": 6, "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 3,
        "organization_id": null, "project_id": null, "api_key_id": null, "model": null, "service_tier": null,
    });
    assert_eq!(page["data"][0]["results"], json!([expected]));
    assert_eq!(page["data"][0]["start_time"], unix(3));
    assert_eq!(page["data"][0]["end_time"], unix(2));
    assert_eq!(page["data"][1]["results"][0]["input_tokens"], 80);

    // An organization sees itself.
    let page = ask(&own, &days).await;
    assert_eq!(page["data"][0]["results"][0]["input_tokens"], 70);
    assert_eq!(page["data"][1]["results"], json!([]));

    let hours =
        format!("bucket=1h&group_by=model&limit=1&start_time={}", unix(3) + 10 * 3_600 + 59);
    let first = ask(&own, &format!("{hours}&end_time={}", unix(3) + 12 * 3_600)).await;
    let groups = |page: &Value| -> Vec<(String, u64)> {
        let results = page["data"][0]["results"].as_array().expect("results");
        let group = |result: &Value| {
            let model = result["model"].as_str().unwrap_or_default().to_owned();
            (model, result["input_tokens"].as_u64().expect("a number"))
        };
        results.iter().map(group).collect()
    };
    assert_eq!(groups(&first), [("merlin-2".to_owned(), 20), ("merlin-3".to_owned(), 10)]);
    // What comes between two pages is on neither.
    used(&admin, "org_a", "5", &at(3, "11:30:00"), tokens("merlin-3", 160)).await;
    let next = first["next_page"].as_str().expect("another page");
    let second = ask(&own, &format!("{hours}&end_time={}&page={next}", unix(3) + 12 * 3_600)).await;
    assert_eq!(groups(&second), [("merlin-3".to_owned(), 40)]);
    assert_eq!((&second["has_more"], &second["next_page"]), (&json!(false), &Value::Null));

    let page = ask(&admin, &format!("{days}&group_by=organization_id,model&models=merlin-3")).await;
    assert_eq!(page["data"][0]["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["data"][1]["results"][0]["organization_id"], "org_b");
    assert_eq!(ask(&own, "").await["data"].as_array().map(Vec::len), Some(7));
    assert_eq!(ask(&own, "bucket=1m").await["data"].as_array().map(Vec::len), Some(60));
    for wrong in
        ["bucket=2h", "group_by=organization_id", "limit=1000", "color=red", "page=1", "page=1~x"]
    {
        assert_eq!(own.get(&format!("/v1/usage?{wrong}")).await.0, 400, "{wrong}");
    }
    assert_eq!(Client::new(&server, "").get("/v1/usage").await.0, 401);
}

#[tokio::test]
async fn the_use_of_each_key_is_told() {
    let dir = folder();
    let server = Server::serve(dir.path());
    let admin = Client::new(&server, &admin_key(dir.path()));
    let of = |key: &str, status: u16, tokens: u64, currency: &str, region: &str| {
        json!({
            "api_key_id": key, "status_code": status, "input_tokens": tokens, "output_tokens": 1,
            "list_price": "0.25", "currency": currency, "region": region,
        })
    };
    let at = |ago: u32, clock: &str| format!("{}T{clock}Z", days_ago(ago));
    used(&admin, "org_a", "1", &at(3, "10:00:00"), of("key_1", 200, 10, "USD", "eu")).await;
    used(&admin, "org_a", "2", &at(2, "10:00:00"), of("key_1", 500, 20, "EUR", "us")).await;
    used(&admin, "org_a", "3", &at(1, "10:00:00"), of("key_2", 200, 40, "USD", "eu")).await;
    used(&admin, "org_b", "4", &at(1, "10:00:00"), of("key_9", 200, 80, "USD", "eu")).await;
    let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
    let (status, found) = own.get("/v1/usage/keys").await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(found["keys"].as_array().map(Vec::len), Some(2), "{found}");
    let first = json!({
        "api_key_id": "key_1", "requests": 2, "errors": 1, "tokens": 32,
        "spend": {"EUR": "0.250000000000", "USD": "0.250000000000"},
        "last_used_at": at(2, "10:00:00"), "last_region": "us",
    });
    assert_eq!(found["keys"][0], first);
    let (_, one) = own.get("/v1/usage/keys?api_key_ids=key_2,key_9").await;
    assert_eq!(one["keys"].as_array().map(Vec::len), Some(1), "another's key is not there: {one}");
    let (_, all) = admin.get("/v1/usage/keys").await;
    assert_eq!(all["keys"].as_array().map(Vec::len), Some(3), "{all}");
    for wrong in ["start_time=x", "start_time=99999999999", "color=red", "api_key_ids=a'b,--"] {
        let (status, answer) = own.get(&format!("/v1/usage/keys?{wrong}")).await;
        let is_quoted = wrong.starts_with("api_key_ids");
        assert_eq!(status, if is_quoted { 200 } else { 400 }, "{wrong} {answer}");
    }
    server.stop();
}
