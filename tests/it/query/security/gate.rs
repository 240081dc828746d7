//! Functions that are not offered, in every spelling.

use reqwest::StatusCode;
use serde_json::json;
use tests::{Client, Server, anew, folder, organization_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_what_it_is_however_it_is_spelled() {
    let dir = folder();
    let key = organization_key(dir.path(), "org_a", "read");
    let server = Server::serve(dir.path());
    let client = Client::new(&server, &key);
    for (call, status, code) in [
        ("random()", StatusCode::FORBIDDEN, "not_allowed"),
        ("`random`()", StatusCode::FORBIDDEN, "not_allowed"),
        ("\"random\"()", StatusCode::FORBIDDEN, "not_allowed"),
        ("`version`()", StatusCode::FORBIDDEN, "not_allowed"),
        ("array_transform([1], x -> x)", StatusCode::FORBIDDEN, "not_allowed"),
        ("`RANDOM`()", StatusCode::FORBIDDEN, "not_allowed"),
        ("length(`repeat`('x', 20000))", StatusCode::BAD_REQUEST, "too_complex"),
        ("`range`(0, 400000000)", StatusCode::BAD_REQUEST, "too_complex"),
        ("list_repeat(1, 300000000)", StatusCode::BAD_REQUEST, "too_complex"),
    ] {
        let (seen, answer) = client.query(&anew(&format!("select {call}"))).await;
        assert_eq!((seen, &answer["code"]), (status, &json!(code)), "{call}: {answer}");
    }
    let rows = client.rows("select `length`(\"repeat\"('x', 10000)) as n").await;
    assert_eq!(rows, [json!({"n": 10_000})]);
}
