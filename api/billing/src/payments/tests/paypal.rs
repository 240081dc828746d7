//! The same by PayPal.

use super::*;
use crate::payments::{PAYPAL, by_reference};

#[derive(Debug, Default)]
struct FakePal {
    /// The answer to the next capture or refund is lost, though it is done.
    loses: bool,
    /// What was done, by its request id.
    done: BTreeMap<String, Value>,
    captured: bool,
    amount: Value,
    invoice: Value,
}

type SharedPal = web::Data<Arc<Mutex<FakePal>>>;

async fn answer_pal(request: HttpRequest, body: String, fake: SharedPal) -> HttpResponse {
    let mut fake = fake.lock().unwrap();
    let path = request.path().to_owned();
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    if path == "/v1/oauth2/token" {
        // client:secret
        assert_eq!(header("authorization"), "Basic Y2xpZW50OnNlY3JldA==");
        return HttpResponse::Ok().json(json!({"access_token": "token"}));
    }
    assert_eq!(header("authorization"), "Bearer token");
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    if path == "/v1/notifications/verify-webhook-signature" {
        assert_eq!(body["webhook_id"], "hook");
        let is_own = body["transmission_sig"] == "good";
        let status = if is_own { "SUCCESS" } else { "FAILURE" };
        return HttpResponse::Ok().json(json!({"verification_status": status}));
    }
    let id = header("paypal-request-id");
    if let Some(known) = fake.done.get(&id).filter(|_| !id.is_empty()) {
        return HttpResponse::Ok().json(known.clone());
    }
    let capture = json!({
        "id": "cap_1", "status": "COMPLETED", "custom_id": fake.invoice, "amount": fake.amount,
    });
    let captured = json!({
        "id": "order_1", "status": "COMPLETED",
        "purchase_units": [{"reference_id": fake.invoice, "payments": {"captures": [capture]}}],
    });
    let made = match path.as_str() {
        "/v2/checkout/orders" => {
            let unit = &body["purchase_units"][0];
            fake.amount = unit["amount"].clone();
            fake.invoice = unit["custom_id"].clone();
            json!({"id": "order_1", "links": [{"rel": "self", "href": "x"}, {"rel": "payer-action", "href": "https://paypal.example/order_1"}]})
        }
        "/v2/checkout/orders/order_1" => captured,
        "/v2/checkout/orders/order_1/capture" if fake.captured => {
            return HttpResponse::UnprocessableEntity().json(
                json!({"name": "UNPROCESSABLE_ENTITY", "message": "Order already captured."}),
            );
        }
        "/v2/checkout/orders/order_1/capture" => {
            fake.captured = true;
            captured
        }
        "/v2/payments/captures/cap_1/refund" => json!({"id": "ref_1", "status": "COMPLETED"}),
        _ => return HttpResponse::NotFound().json(json!({"name": "NOT_FOUND", "message": path})),
    };
    let lost = std::mem::take(&mut fake.loses);
    // PayPal forgets ids after some hours: a capture without one says that it was done.
    if !path.ends_with("/capture") {
        fake.done.insert(id, made.clone());
    }
    match lost {
        true => HttpResponse::ServiceUnavailable().finish(),
        false => HttpResponse::Ok().json(made),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_captured_once_whoever_asks_first() {
    let fake = Arc::new(Mutex::new(FakePal::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let paypal_url = format!("http://{}", listener.local_addr().unwrap());
    let shared = web::Data::new(Arc::clone(&fake));
    let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer_pal));
    let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
    let handle = server.handle();
    tokio::spawn(server);
    let settings = Settings {
        paypal_client_id: "client".into(),
        paypal_secret: Secret::new("secret"),
        paypal_webhook_id: "hook".into(),
        paypal_url,
        ..Settings::default()
    };
    let desk = Desk::new("2026-02-01T09:00:00Z", settings).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.run_at("2026-02-01T10:30:00Z").await;
    desk.told().await;
    let billing = &desk.billing;
    let invoice = desk.invoices().await.pop().unwrap();
    let url = billing.pay_online("org_a", &invoice.invoice_id, PAYPAL).await.unwrap();
    assert_eq!(url, "https://paypal.example/order_1");
    assert!(billing.pay_online("org_a", &invoice.invoice_id, STRIPE).await.is_err());
    assert_eq!(billing.capture("order_of_others").await.unwrap(), None);
    // The money is taken, and the answer is lost; the webhook and the way back ask again.
    fake.lock().unwrap().loses = true;
    assert!(matches!(billing.capture("order_1").await, Err(Fault::ProviderAway(_))));
    let told = |id: &str, kind: &str, resource: Value| json!({"id": id, "event_type": kind, "resource": resource});
    let approved = told("evt_1", "CHECKOUT.ORDER.APPROVED", json!({"id": "order_1"}));
    billing.paypal_told(&approved).await.unwrap();
    assert_eq!(billing.capture("order_1").await.unwrap().as_deref(), Some(&*invoice.invoice_id));
    let capture = json!({
        "id": "cap_1", "status": "COMPLETED", "custom_id": invoice.invoice_id,
        "amount": {"value": "31.00", "currency_code": "USD"},
    });
    for id in ["evt_2", "evt_2"] {
        billing.paypal_told(&told(id, "PAYMENT.CAPTURE.COMPLETED", capture.clone())).await.unwrap();
    }
    let denied = told("evt_3", "PAYMENT.CAPTURE.DENIED", json!({"custom_id": invoice.invoice_id}));
    billing.paypal_told(&denied).await.unwrap();
    assert_eq!(desk.told().await, ["payment_succeeded 31.00"]);
    assert_eq!(desk.invoices().await.pop().unwrap().status, InvoiceStatus::Paid);

    let ten = Decimal::new(1000, 2);
    billing.give_back(&invoice.invoice_id, &[(1, ten)], "slow", &tester()).await.unwrap();
    let db = desk.scratch.store.db();
    let payment = by_reference(db, PAYPAL, "cap_1").await.unwrap().unwrap();
    billing.refund(&payment.payment_id, None, &tester()).await.unwrap();
    fake.lock().unwrap().loses = true;
    let asked = last_refund(&desk).await;
    assert!(billing.ask_refund(&asked).await.is_err());
    assert_eq!(billing.ask_refund(&asked).await.unwrap(), json!("refunded"));
    assert_eq!(desk.told().await, ["credit_note_issued 10.00", "payment_refunded 10.00"]);
    let paypal = billing.paypal.as_ref().unwrap();
    for (signature, is_own) in [("good", true), ("forged", false)] {
        let header =
            |name: &str| if name == "paypal-transmission-sig" { signature } else { "x" }.to_owned();
        assert_eq!(paypal.is_own(header, &approved).await.unwrap(), is_own);
    }
    handle.stop(false).await;
}
