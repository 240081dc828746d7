//! Webhooks of Stripe over HTTP, signed by another program.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, folder, made, organization_key, reply, run_ok,
    unix_seconds,
};

const SECRET: &str = "whsec_x";
const PRICES: &str = "
plans:
  - {plan: pro, versions: [{from: 2026-01-01, currency: USD, charges: [{name: Base, price: {flat: 49}, in_advance: true}]}]}
";
/// HMAC-SHA256 of the standard library of Python, in hex.
const SIGN: &str = "import hashlib, hmac, sys; secret, at = sys.argv[1:]; body = sys.stdin.buffer.read(); \
    print(hmac.new(secret.encode(), at.encode() + b'.' + body, hashlib.sha256).hexdigest())";

/// What a program says of a body.
fn said(mut program: Command, body: &str) -> String {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
    child.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("it reads");
    let said = child.wait_with_output().expect("it ends").stdout;
    String::from_utf8(said).expect("text").trim().to_owned()
}

/// Whether Stripe's own library takes it.
fn is_taken_by_stripe(header: &str, body: &str) -> bool {
    let python = made("payments-venv/bin/python").expect("stripe: `tests/run` installs it");
    let mut judge = Command::new(python);
    judge.args([concat!(env!("CARGO_MANIFEST_DIR"), "/payments/judge.py"), SECRET, header]);
    match &*said(judge, body) {
        "yes" => true,
        "no" => false,
        other => panic!("the judge says {other:?}"),
    }
}

fn signed(secret: &str, at: i64, body: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", SIGN, secret, &at.to_string()]);
    format!("t={at},v1={}", said(python, body))
}

async fn told(client: &Client, header: &str, body: &str) -> (StatusCode, Value) {
    let request =
        client.request(Method::POST, "/v1/hooks/stripe").header("Stripe-Signature", header);
    let answer =
        reply(request.header("content-type", "application/json").body(body.to_owned())).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn what_stripe_signs_is_paid_once_and_what_others_sign_is_not() {
    let dir = folder();
    // Nobody listens there: what is told needs no answer of Stripe.
    let settings = "[billing]\ngrace_hours = 0\nstripe_secret_key = \"sk_test\"\nstripe_webhook_secret = \"whsec_x\"\n\
        stripe_url = \"http://127.0.0.1:9\"\n";
    configure(dir.path(), settings);
    let key = organization_key(dir.path(), "org_a", "read");
    let server = Server::serve(dir.path());
    let (admin, stranger) =
        (Client::new(&server, &admin_key(dir.path())), Client::new(&server, ""));
    let list = admin.request(Method::PUT, "/v1/admin/prices").body(PRICES);
    assert_eq!(reply(list).await.status, 200);
    let start = json!({"act": "start", "plan": "pro"});
    let start =
        admin.request(Method::POST, "/v1/admin/organizations/org_a/subscription").json(&start);
    assert_eq!(reply(start).await.status, 200);
    run_ok(dir.path(), &["billing", "run"]);
    let own = Client::new(&server, &key);
    let id = own.get("/v1/invoices").await.1["invoices"][0]["invoice_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let body = json!({
        "id": "evt_1", "type": "payment_intent.succeeded",
        "data": {"object": {"id": "pi_1", "amount_received": 4900, "currency": "usd", "metadata": {"invoice_id": id}}},
    })
    .to_string();
    let now = unix_seconds();
    let outstanding =
        async || own.get(&format!("/v1/invoices/{id}")).await.1["outstanding"].clone();
    let good = signed(SECRET, now, &body);
    let other = signed("whsec_other", now, &body);
    for (header, body) in [
        (String::new(), body.clone()),
        (other.clone(), body.clone()),
        (signed(SECRET, now - 400, &body), body.clone()),
        (good.replace("v1=", "v0="), body.clone()),
        (good.clone(), body.replace("4900", "1")),
    ] {
        let (status, answer) = told(&stranger, &header, &body).await;
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("invalid_header")), "{answer}");
        assert!(!is_taken_by_stripe(&header, &body), "{header}");
    }
    assert_eq!(outstanding().await, "49.00");
    // While a secret is replaced, there are two signatures.
    let both = format!("{other},{}", good.replace(&format!("t={now},"), ""));
    for header in [&good, &good, &both] {
        let (status, answer) = told(&stranger, header, &body).await;
        assert_eq!(status, 200, "{answer}");
        assert!(is_taken_by_stripe(header, &body), "{header}");
    }
    assert_eq!(outstanding().await, "0.00");
    let (_, invoice) = own.get(&format!("/v1/invoices/{id}")).await;
    assert_eq!(invoice["payments"].as_array().map(Vec::len), Some(1), "{invoice}");
    let large = "x".repeat(300 << 10);
    let (status, _) = told(&stranger, &signed(SECRET, now, &large), &large).await;
    assert_eq!(status, 413);
    // PayPal is not configured, and says so.
    let other = reply(stranger.request(Method::POST, "/v1/hooks/paypal").json(&json!({}))).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["code"]),
        (409, &json!("payments_not_configured"))
    );
    server.stop();
}
