//! Functions that are not offered, in every spelling.

use reqwest::StatusCode;
use serde_json::json;
use tests::{Client, Server, admin_key, anew, folder, run_ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_what_it_is_however_it_is_spelled() {
    let dir = folder();
    let _ = admin_key(dir.path());
    run_ok(dir.path(), &["organization", "create", "org_a", "--name", "A"]);
    let own = ["key", "create", "--name", "a", "--organization", "org_a"];
    let key = run_ok(dir.path(), &own);
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
        for sql in [format!("select {call}"), format!("explain select {call}")] {
            let (seen, answer) = client.query(&anew(&sql)).await;
            assert_eq!((seen, &answer["code"]), (status, &json!(code)), "{sql}: {answer}");
        }
    }
    let rows = client.rows("select `length`(\"repeat\"('x', 10000)) as n").await;
    assert_eq!(rows, [json!({"n": 10_000})]);
}
