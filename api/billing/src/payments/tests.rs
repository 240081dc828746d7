//! Payments by a server on loopback that answers as Stripe does: declines, answers that are lost, and what is told twice.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use state::{
    jobs::{self, JobFilter, JobState},
    scratch::tester,
};

use super::{
    online::pause,
    refunds::{REFUND, Refund},
    *,
};
use crate::{
    Settings,
    invoices::{self, InvoiceStatus},
    runs::tests::Desk,
    subscriptions::Act,
};
use state::secret::Secret;

mod paypal;

/// What the server does with the next payment or refund.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    Decline,
    Action,
    /// It is done, and the answer is lost.
    Lost,
}

#[derive(Debug, Default)]
struct Fake {
    mood: Mood,
    /// Answers by their idempotency keys: what was done, and how often it was asked for.
    done: BTreeMap<String, (Value, u32)>,
    sessions: u32,
}

type Shared = web::Data<Arc<Mutex<Fake>>>;

async fn answer(request: HttpRequest, body: String, fake: Shared) -> HttpResponse {
    let path = request.path().to_owned();
    let mut fake = fake.lock().unwrap();
    let authorized = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    assert_eq!(authorized, Some("Bearer sk_test"));
    if request.method() == actix_web::http::Method::GET {
        let id = path.rsplit('/').next().unwrap_or_default();
        return HttpResponse::Ok().json(match path.starts_with("/v1/payment_methods/") {
            true => json!({"id": id, "type": "card", "card": {"brand": "visa", "last4": "4242"}}),
            false => json!({"id": id, "status": "succeeded", "customer": "cus_1", "payment_method": "pm_1"}),
        });
    }
    let fields: BTreeMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let key = request.headers().get("idempotency-key").and_then(|value| value.to_str().ok());
    let key = key.unwrap_or_default().to_owned();
    if let Some((known, times)) = fake.done.get_mut(&key) {
        *times += 1;
        return HttpResponse::Ok().json(known.clone());
    }
    let mood = std::mem::take(&mut fake.mood);
    let made = match (path.as_str(), mood) {
        (_, Mood::Decline) => {
            let error =
                json!({"error": {"code": "card_declined", "message": "Your card was declined."}});
            return HttpResponse::PaymentRequired().json(error);
        }
        ("/v1/checkout/sessions", _) => {
            fake.sessions += 1;
            let id = format!("cs_{}", fake.sessions);
            assert_eq!(fields["mode"], "payment");
            json!({"id": id, "url": format!("https://checkout.stripe.example/{id}")})
        }
        ("/v1/payment_intents", Mood::Action) => {
            json!({"id": "pi_action", "status": "requires_action"})
        }
        ("/v1/payment_intents", _) => {
            assert_eq!(
                (fields["off_session"].as_str(), fields["customer"].as_str()),
                ("true", "cus_1")
            );
            json!({"id": format!("pi_{}", fields["metadata[invoice_id]"]), "status": "succeeded"})
        }
        ("/v1/refunds", _) => {
            json!({"id": "re_1", "status": "succeeded", "amount": fields["amount"]})
        }
        _ => return HttpResponse::NotFound().json(json!({"error": {"message": path}})),
    };
    fake.done.insert(key, (made.clone(), 1));
    match mood {
        Mood::Lost => HttpResponse::BadGateway().finish(),
        _ => HttpResponse::Ok().json(made),
    }
}

struct Shop {
    desk: Desk,
    fake: Arc<Mutex<Fake>>,
    server: ServerHandle,
}

impl Shop {
    /// An organization with its first invoice over 31.00.
    async fn new() -> Self {
        let fake = Arc::new(Mutex::new(Fake::default()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stripe_url = format!("http://{}", listener.local_addr().unwrap());
        let shared = web::Data::new(Arc::clone(&fake));
        let app = move || App::new().app_data(shared.clone()).default_service(web::to(answer));
        let server =
            HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        let settings = Settings {
            stripe_secret_key: Secret::new("sk_test"),
            stripe_webhook_secret: Secret::new("whsec_test"),
            stripe_url,
            ..Settings::default()
        };
        let desk = Desk::new("2026-02-01T09:00:00Z", settings).await;
        desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
        desk.run_at("2026-02-01T10:30:00Z").await;
        desk.told().await;
        Self { desk, fake, server: handle }
    }

    async fn invoice(&self) -> Invoice {
        self.desk.invoices().await.pop().unwrap()
    }

    fn mood(&self, mood: Mood) {
        self.fake.lock().unwrap().mood = mood;
    }

    /// How many payments or refunds were done, and how often they were asked for.
    fn asked(&self, start: &str) -> Vec<u32> {
        let fake = self.fake.lock().unwrap();
        fake.done
            .iter()
            .filter(|(key, _)| key.starts_with(start))
            .map(|(_, (_, times))| *times)
            .collect()
    }

    async fn credit(&self) -> Decimal {
        let db = self.desk.scratch.store.db();
        invoices::balance(db, "org_a", Currency::parse("USD").unwrap()).await.unwrap()
    }

    async fn tell(&self, id: &str, kind: &str, object: Value) -> Result<(), Fault> {
        let event = json!({"id": id, "type": kind, "data": {"object": object}});
        self.desk.billing.stripe_told(&event).await
    }
}

fn session(invoice: &Invoice, intent: &str, units: i64) -> Value {
    json!({
        "mode": "payment", "payment_status": "paid", "payment_intent": intent, "amount_total": units,
        "currency": "usd", "metadata": {"invoice_id": invoice.invoice_id},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_twice_late_or_in_another_order_is_paid_once() {
    let shop = Shop::new().await;
    let (billing, invoice) = (&shop.desk.billing, shop.invoice().await);
    let url = billing.pay_online("org_a", &invoice.invoice_id, "stripe").await.unwrap();
    assert_eq!(url, "https://checkout.stripe.example/cs_1");
    assert_eq!(billing.pay_online("org_a", &invoice.invoice_id, "stripe").await.unwrap(), url);
    assert_eq!(shop.fake.lock().unwrap().sessions, 1);
    for (organization, by) in [("org_b", "stripe"), ("org_a", "paypal"), ("org_a", "cash")] {
        assert!(billing.pay_online(organization, &invoice.invoice_id, by).await.is_err(), "{by}");
    }
    let intent = json!({
        "id": "pi_1", "amount_received": 3100, "currency": "usd", "metadata": {"invoice_id": invoice.invoice_id},
    });
    // The second is the first to come.
    shop.tell("evt_2", "payment_intent.succeeded", intent.clone()).await.unwrap();
    for _ in 0..2 {
        shop.tell("evt_1", "checkout.session.completed", session(&invoice, "pi_1", 3100))
            .await
            .unwrap();
        shop.tell("evt_2", "payment_intent.succeeded", intent.clone()).await.unwrap();
    }
    let failed = json!({"id": "pi_1", "metadata": {"invoice_id": invoice.invoice_id}});
    shop.tell("evt_0", "payment_intent.payment_failed", failed).await.unwrap();
    let paid = shop.invoice().await;
    assert_eq!((paid.status, paid.outstanding), (InvoiceStatus::Paid, Decimal::new(0, 2)));
    assert_eq!(shop.desk.told().await, ["payment_succeeded 31.00"]);
    assert!(
        billing.pay_online("org_a", &invoice.invoice_id, "stripe").await.is_err(),
        "it is paid"
    );
    // Another page was open, and was paid, too: nothing is lost.
    shop.tell("evt_3", "checkout.session.completed", session(&invoice, "pi_2", 3100))
        .await
        .unwrap();
    assert_eq!(shop.credit().await, Decimal::new(3100, 2));
    let wrong = json!({"id": "pi_3", "amount_received": 3100, "currency": "eur", "metadata": {"invoice_id": invoice.invoice_id}});
    assert!(shop.tell("evt_4", "payment_intent.succeeded", wrong).await.is_err());
    let unknown = json!({"id": "pi_4", "amount_received": 3100, "currency": "usd", "metadata": {"invoice_id": "inv_none"}});
    assert!(shop.tell("evt_5", "payment_intent.succeeded", unknown.clone()).await.is_err());
    // What failed is taken when it is told again, and what is not ours is left alone.
    assert!(shop.tell("evt_5", "payment_intent.succeeded", unknown).await.is_err());
    shop.tell("evt_6", "payment_intent.succeeded", json!({"id": "pi_5"})).await.unwrap();
    shop.server.stop(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_method_is_charged_once_for_each_invoice() {
    let shop = Shop::new().await;
    let billing = &shop.desk.billing;
    let first = shop.invoice().await;
    shop.tell("evt_1", "checkout.session.completed", session(&first, "pi_1", 3100)).await.unwrap();
    let kept = method(shop.desk.scratch.store.db(), "org_a").await.unwrap().unwrap();
    assert_eq!((kept.customer.as_str(), kept.label.as_str()), ("cus_1", "visa 4242"));
    shop.desk.run_at("2026-03-01T10:30:00Z").await;
    shop.desk.told().await;
    let second = shop.invoice().await;
    let waiting = async || {
        let db = shop.desk.scratch.text("SELECT count(*) FROM jobs WHERE kind = 'billing_charge'");
        db.await
    };
    assert_eq!(waiting().await, "1");
    // It is charged, and the answer is lost: it is asked for again, with the same key.
    shop.mood(Mood::Lost);
    let lost = billing.charge(&second.invoice_id, 0).await;
    assert!(matches!(lost, Err(Fault::ProviderAway(_))), "{lost:?}");
    assert_eq!(billing.charge(&second.invoice_id, 0).await.unwrap(), json!("succeeded"));
    assert_eq!(shop.asked("inv:"), [2]);
    let reference = format!("pi_{}", second.invoice_id);
    let told = json!({"id": reference, "amount_received": 3100, "currency": "usd", "metadata": {"invoice_id": second.invoice_id}});
    shop.tell("evt_2", "payment_intent.succeeded", told).await.unwrap();
    assert_eq!(shop.desk.told().await, ["payment_succeeded 31.00"]);
    assert_eq!(
        (shop.invoice().await.status, shop.credit().await),
        (
            InvoiceStatus::Paid,
            Decimal::ZERO.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::ToZero)
        )
    );

    // A decline, and a bank that asks the customer, are told, and the invoice stays open.
    shop.desk.run_at("2026-04-01T10:30:00Z").await;
    shop.desk.told().await;
    let third = shop.invoice().await;
    for (mood, attempt, expected) in
        [(Mood::Decline, 0, "card_declined"), (Mood::Action, 1, "requires_action")]
    {
        shop.mood(mood);
        assert_eq!(billing.charge(&third.invoice_id, attempt).await.unwrap(), json!(expected));
        assert_eq!(shop.desk.told().await, ["payment_failed 31.00"]);
    }
    assert_eq!(shop.invoice().await.status, InvoiceStatus::Open);
    assert_eq!(billing.charge(&third.invoice_id, 2).await.unwrap(), json!("succeeded"));
    assert_eq!(billing.charge(&third.invoice_id, 3).await.unwrap(), json!("paid"));
    shop.server.stop(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_pays_out_credit_and_comes_once() {
    let shop = Shop::new().await;
    let billing = &shop.desk.billing;
    let invoice = shop.invoice().await;
    shop.tell("evt_1", "checkout.session.completed", session(&invoice, "pi_1", 3100))
        .await
        .unwrap();
    let db = shop.desk.scratch.store.db();
    let payment = by_reference(db, STRIPE, "pi_1").await.unwrap().unwrap();
    let early = billing.refund(&payment.payment_id, None, &tester()).await;
    assert!(matches!(early, Err(Fault::Invalid { field: "amount", .. })), "no credit: {early:?}");
    let ten = Decimal::new(1000, 2);
    billing.give_back(&invoice.invoice_id, &[(1, ten)], "slow", &tester()).await.unwrap();
    assert_eq!(shop.credit().await, ten);
    shop.desk.told().await;
    let refunded = billing.refund(&payment.payment_id, None, &tester()).await.unwrap();
    assert_eq!((refunded.refunded, shop.credit().await), (ten, Decimal::new(0, 2)));
    shop.mood(Mood::Lost);
    let asked = last_refund(&shop.desk).await;
    assert!(billing.ask_refund(&asked).await.is_err());
    assert_eq!(billing.ask_refund(&asked).await.unwrap(), json!("refunded"));
    assert_eq!(shop.asked("refund:"), [2]);
    assert_eq!(shop.desk.told().await, ["payment_refunded 10.00"]);
    // Refused: the credit is there again.
    billing.give_back(&invoice.invoice_id, &[(1, ten)], "slower", &tester()).await.unwrap();
    billing.refund(&payment.payment_id, Some(Decimal::from(4)), &tester()).await.unwrap();
    shop.mood(Mood::Decline);
    let asked = last_refund(&shop.desk).await;
    let said = billing.ask_refund(&asked).await.unwrap();
    assert_eq!(said["refused"], "Your card was declined.");
    // Once more, as after a kill: neither the credit nor the money comes a second time.
    assert_eq!(billing.ask_refund(&asked).await.unwrap(), json!("refused"));
    assert_eq!((shop.credit().await, shop.asked("refund:")), (ten, vec![2]));
    assert_eq!(get(db, &payment.payment_id).await.unwrap().unwrap().refunded, ten);
    // The same amount again is another refund.
    billing.refund(&payment.payment_id, Some(Decimal::from(4)), &tester()).await.unwrap();
    let again = last_refund(&shop.desk).await;
    assert_ne!(again.refund_id, asked.refund_id);
    assert_eq!(billing.ask_refund(&again).await.unwrap(), json!("refunded"));
    shop.server.stop(false).await;
}

/// What was asked for last.
async fn last_refund(desk: &Desk) -> Refund {
    let found = jobs::list(&desk.scratch.store, &JobFilter::default(), 100).await.unwrap();
    let last = found.into_iter().find(|job| job.kind == REFUND.name).unwrap();
    serde_json::from_value(last.payload).unwrap()
}

/// The last call is within the day in which Stripe knows its key again.
#[test]
fn a_provider_is_asked_for_less_than_a_day() {
    let pauses: Vec<_> = (1..100).map_while(pause).map(|pause| pause.as_secs() / 60).collect();
    assert_eq!(pauses[..9], [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    assert_eq!(pauses.iter().sum::<u64>(), 1207);
}

/// An answer that is lost is asked for again after a pause, with the same key.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_asked_again() {
    let shop = Shop::new().await;
    let billing = &shop.desk.billing;
    let invoice = shop.invoice().await;
    shop.tell("evt_1", "checkout.session.completed", session(&invoice, "pi_1", 3100))
        .await
        .unwrap();
    let db = shop.desk.scratch.store.db();
    let payment = by_reference(db, STRIPE, "pi_1").await.unwrap().unwrap();
    billing.give_back(&invoice.invoice_id, &[(1, Decimal::ONE)], "slow", &tester()).await.unwrap();
    shop.mood(Mood::Lost);
    routes::register(billing);
    billing.refund(&payment.payment_id, None, &tester()).await.unwrap();
    let jobs = billing.state.jobs.clone();
    let running = tokio::spawn(async move { jobs.run().await });
    let ended = async |wanted: JobState, attempts: u32| {
        for _ in 0..600 {
            let found = jobs::list(&shop.desk.scratch.store, &JobFilter::default(), 100).await;
            let last = found.unwrap().into_iter().find(|job| job.kind == REFUND.name).unwrap();
            if (last.state, last.attempts) == (wanted, attempts) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the refund is not {wanted:?} after {attempts} attempts");
    };
    ended(JobState::Queued, 1).await;
    billing.state.clock.advance(std::time::Duration::from_secs(60));
    ended(JobState::Done, 2).await;
    assert_eq!(shop.asked("refund:"), [2]);
    running.abort();
    shop.server.stop(false).await;
}
