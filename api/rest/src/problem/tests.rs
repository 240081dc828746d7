use actix_web::{
    App, HttpResponse, body::to_bytes, http::header::CONTENT_TYPE, middleware::from_fn, test, web,
};
use serde_json::{Value, json};
use state::store::StoreError;

use super::{Code, Problem, stamp};
use crate::body::{Body, BodyBudget};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    number: u32,
}

async fn take(body: Body<100>) -> Result<HttpResponse, Problem> {
    match body.json_of_stranger::<Number>().await?.number {
        0 => Err(Problem::unavailable(7)),
        1 => Err(StoreError::Damaged { table: "users", what: "secret reason" }.into()),
        2 => Err(Problem::bad_request(Code::InvalidValue, "two")
            .with("position", 3)
            .with("hint", "use three")),
        _ => Ok(HttpResponse::Ok().finish()),
    }
}

async fn ask(body: &'static str, id: &str) -> (u16, String, Option<String>, Value) {
    let app = App::new()
        .wrap(from_fn(stamp))
        .app_data(web::Data::new(BodyBudget::default()))
        .route("/", web::post().to(take));
    let app = test::init_service(app).await;
    let request = test::TestRequest::post()
        .insert_header(("content-type", "application/json"))
        .insert_header(("x-request-id", id))
        .set_payload(body);
    let response = test::call_service(&app, request.to_request()).await;
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (id, retry) = (header("x-request-id").unwrap(), header("retry-after"));
    let status = response.status().as_u16();
    if status != 200 {
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), super::CONTENT_TYPE);
    }
    let body = to_bytes(response.into_body()).await.unwrap();
    (status, id, retry, serde_json::from_slice(&body).unwrap_or_default())
}

#[actix_web::test]
async fn a_problem_says_what_rfc_9457_says() {
    let (status, id, retry, body) = ask(r#"{"number":2}"#, "my-id.1").await;
    assert_eq!((status, id.as_str(), retry), (400, "my-id.1", None));
    let expected = json!({
        "type": "urn:aihub:problem:invalid_value", "title": "Bad Request", "status": 400, "code": "invalid_value",
        "detail": "two", "instance": "my-id.1", "position": 3, "hint": "use three",
    });
    assert_eq!(body, expected);
    let (status, _, retry, _) = ask(r#"{"number":0}"#, "a").await;
    assert_eq!((status, retry.as_deref()), (503, Some("7")));
    let (status, id, ..) = ask(r#"{"number":9}"#, "an id with spaces").await;
    assert_eq!((status, id.len()), (200, 36));
}

#[actix_web::test]
async fn what_is_our_fault_is_not_explained() {
    let (status, _, _, body) = ask(r#"{"number":1}"#, "a").await;
    assert_eq!((status, &body["code"], body.get("detail")), (500, &json!("internal_error"), None));
    assert!(!body.to_string().contains("secret reason"));
}

#[actix_web::test]
async fn bodies_that_do_not_fit_are_problems() {
    for (body, status, code, detail) in [
        ("{", 400, "invalid_json", "the body is not JSON"),
        (r#"{"number":"hunter2"}"#, 400, "invalid_json", "a field has the wrong type or value"),
        (r#"{"number":3,"extra":1}"#, 400, "invalid_json", "unknown field `extra`"),
        ("{}", 400, "invalid_json", "missing field `number`"),
    ] {
        let (is, _, _, problem) = ask(body, "a").await;
        assert_eq!((is, problem["code"].as_str()), (status, Some(code)), "{body}");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    let long = Box::leak(format!(r#"{{"number":{}}}"#, "1".repeat(200)).into_boxed_str());
    let (status, _, _, problem) = ask(long, "a").await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("payload_too_large")));
}
