use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use serde_json::{Value, json};
use state::{
    State, audit::AuditOrigin, clock::Clock, migration::MIGRATIONS, scratch::Scratch, vault::Vault,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use super::*;
use crate::{Courier, FEATURES, Hooks, Links, Smtp};

/// A request as it came.
#[derive(Debug, Clone)]
struct Caught {
    head: String,
    body: String,
}

impl Caught {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        line.unwrap_or_default()
    }

    fn is_signed_by(&self, secret: &WebhookSecret) -> bool {
        let key = STANDARD.decode(secret.reveal().trim_start_matches("whsec_")).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let signed = format!(
            "{}.{}.{}",
            self.header("webhook-id"),
            self.header("webhook-timestamp"),
            self.body
        );
        self.header("webhook-signature").split(' ').any(|one| {
            let signature = STANDARD.decode(one.trim_start_matches("v1,")).unwrap();
            hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
        })
    }
}

/// A receiver that answers as it is told, and then 200.
struct Receiver {
    address: SocketAddr,
    caught: Mutex<mpsc::UnboundedReceiver<Caught>>,
    plan: Arc<Mutex<Vec<&'static str>>>,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// Nothing is answered.
const STALL: &str = "stall";

impl Receiver {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, caught) = mpsc::unbounded_channel();
        let plan = Arc::<Mutex<Vec<&'static str>>>::default();
        let told = Arc::clone(&plan);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (sent, told) = (sent.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    let mut piece = [0_u8; 4096];
                    let request = loop {
                        let count = stream.read(&mut piece).await.unwrap_or_default();
                        read.extend_from_slice(&piece[..count]);
                        let text = String::from_utf8_lossy(&read).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let request = Caught { head: head.to_owned(), body: body.to_owned() };
                        if request.header("content-length") == request.body.len().to_string() {
                            break request;
                        }
                    };
                    sent.send(request).unwrap();
                    let mut plan = told.lock().await;
                    let answer = if plan.is_empty() { OK } else { plan.remove(0) };
                    drop(plan);
                    if answer == STALL {
                        tokio::time::sleep(Duration::from_secs(60)).await;
                    }
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, caught: Mutex::new(caught), plan }
    }

    async fn answers(&self, plan: &[&'static str]) {
        *self.plan.lock().await = plan.to_vec();
    }

    async fn next(&self) -> Caught {
        let mut caught = self.caught.lock().await;
        tokio::time::timeout(Duration::from_secs(20), caught.recv()).await.unwrap().unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

struct House {
    scratch: Scratch,
    courier: Courier,
    clock: Clock,
    running: JoinHandle<()>,
}

impl House {
    async fn new() -> Self {
        let own = rest::feature::migrations(FEATURES);
        let all: Vec<_> = MIGRATIONS.iter().copied().chain(own).collect();
        let scratch = Scratch::new(&all).await;
        let clock = Clock::fixed(state::scratch::noon());
        let state = State::new(scratch.store.clone(), clock.clone());
        let hooks = Hooks { allow_private: true, timeout_seconds: 1 };
        let links = Links::new("", &[0; 32]);
        let vault = Vault::new([3; 32]);
        let courier = Courier::new(state, Smtp::default(), hooks, None, links, vault).unwrap();
        rest::feature::tasks(FEATURES, &courier);
        let jobs = courier.state.jobs.clone();
        let running = tokio::spawn(async move { jobs.run().await });
        Self { scratch, courier, clock, running }
    }

    async fn endpoint(&self, url: &str, events: &[EventType]) -> (WebhookEndpoint, WebhookSecret) {
        let new = NewWebhook {
            url: url.to_owned(),
            description: "A <test>".into(),
            events: events.to_vec(),
            enabled: None,
        };
        self.courier.create_webhook("org_a", new, &origin()).await.unwrap()
    }

    async fn publish(&self, organization_id: &str, event: EventType, data: Value) {
        let write = self.scratch.store.write().await.unwrap();
        publish(&write, organization_id, event, &data, self.clock.now()).await.unwrap();
        write.commit().await.unwrap();
        self.courier.state.jobs.wake();
    }

    async fn deliveries(&self, webhook_id: &str) -> Vec<WebhookDelivery> {
        let all = self.courier.webhook_deliveries("org_a", webhook_id, (None, None, 100)).await;
        all.unwrap()
    }

    /// Waits until the only delivery of an endpoint was tried so often.
    async fn tried(&self, webhook_id: &str, attempts: u32) -> WebhookDelivery {
        for _ in 0..400 {
            let found = self.deliveries(webhook_id).await.remove(0);
            if found.attempts == attempts {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{:?}", self.deliveries(webhook_id).await);
    }

    async fn advance_to(&self, at: DateTime<Utc>) {
        // The job that noted the attempt notes its own end after it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.clock.advance((at - self.clock.now()).to_std().unwrap_or_default());
        self.courier.state.jobs.wake();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn origin() -> AuditOrigin {
    AuditOrigin::local("command-line")
}

#[tokio::test]
async fn a_message_is_signed_and_sent_to_who_wants_it_only() {
    let (house, receiver) = (House::new().await, Receiver::new().await);
    let (all, secret) = house.endpoint(&receiver.url(), &[]).await;
    let (some, _) = house.endpoint(&receiver.url(), &[EventType::KeyRevoked]).await;
    house.publish("org_b", EventType::InvoicePaid, json!({"invoice_id": "inv_b"})).await;
    house.publish("org_a", EventType::InvoicePaid, json!({"invoice_id": "inv_1"})).await;
    let caught = receiver.next().await;
    assert!(caught.head.starts_with("POST /hook HTTP/1.1"), "{}", caught.head);
    let body: Value = serde_json::from_str(&caught.body).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]),
        (&json!("invoice.paid"), &json!({"invoice_id": "inv_1"}))
    );
    assert!(caught.is_signed_by(&secret));
    assert!(!caught.is_signed_by(&WebhookSecret::generate().unwrap()));
    let delivery = house.tried(&all.webhook_id, 1).await;
    assert_eq!(
        (delivery.state.as_str(), delivery.message_id.as_str()),
        ("sent", caught.header("webhook-id"))
    );
    assert!(house.deliveries(&some.webhook_id).await.is_empty());
    let (_, sent, attempts) = house
        .courier
        .webhook_delivery("org_a", &all.webhook_id, &delivery.delivery_id)
        .await
        .unwrap();
    assert_eq!(sent, caught.body);
    assert_eq!((attempts[0].status, attempts[0].answer.as_deref()), (Some(200), Some("ok")));
    // Another organization sees nothing of it.
    let foreign =
        house.courier.webhook_delivery("org_b", &all.webhook_id, &delivery.delivery_id).await;
    assert!(matches!(foreign, Err(WebhookError::Unknown(_))));
}

#[tokio::test]
async fn attempts_have_one_id_and_a_former_secret_signs_for_a_day() {
    let (house, receiver) = (House::new().await, Receiver::new().await);
    receiver
        .answers(&[
            "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 429 Busy\r\nretry-after: 900\r\ncontent-length: 0\r\n\r\n",
            STALL,
        ])
        .await;
    let (endpoint, former) = house.endpoint(&receiver.url(), &[]).await;
    house.publish("org_a", EventType::KeyCreated, json!({})).await;
    let first = receiver.next().await;
    let failed = house.tried(&endpoint.webhook_id, 1).await;
    assert_eq!(failed.state, "queued");
    let pause = failed.next_at.unwrap() - house.clock.now();
    assert!(pause >= TimeDelta::seconds(5) && pause < TimeDelta::seconds(6), "{pause}");
    let (_, secret) =
        house.courier.rotate_webhook("org_a", &endpoint.webhook_id, &origin()).await.unwrap();
    // Who lost the new one rotates again: the first one still signs.
    let (_, newest) =
        house.courier.rotate_webhook("org_a", &endpoint.webhook_id, &origin()).await.unwrap();
    house.advance_to(failed.next_at.unwrap()).await;
    let second = receiver.next().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert!([&former, &secret, &newest].into_iter().all(|one| second.is_signed_by(one)));
    let secret = newest;
    let busy = house.tried(&endpoint.webhook_id, 2).await;
    assert!(busy.next_at.unwrap() - house.clock.now() >= TimeDelta::seconds(900));
    house.advance_to(house.clock.now() + TimeDelta::days(1)).await;
    let third = receiver.next().await;
    assert!(!third.is_signed_by(&former) && third.is_signed_by(&secret));
    let stalled = house.tried(&endpoint.webhook_id, 3).await;
    house.advance_to(stalled.next_at.unwrap()).await;
    receiver.next().await;
    assert_eq!(house.tried(&endpoint.webhook_id, 4).await.state, "sent");
    let found = house.courier.webhook("org_a", &endpoint.webhook_id).await.unwrap();
    assert_eq!((found.failing_since, found.enabled), (None, true));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_fails_for_five_days_is_turned_off() {
    let (house, receiver) = (House::new().await, Receiver::new().await);
    receiver.answers(&["HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"]).await;
    let (gone, _) = house.endpoint(&receiver.url(), &[]).await;
    house.publish("org_a", EventType::KeyCreated, json!({})).await;
    assert_eq!(house.tried(&gone.webhook_id, 1).await.state, "failed");
    let found = house.courier.webhook("org_a", &gone.webhook_id).await.unwrap();
    assert_eq!((found.enabled, found.disabled_reason.as_deref()), (false, Some("gone")));
    assert_eq!(turned_off(&house.scratch.store).await.unwrap().len(), 1);
    let replayed =
        house.courier.replay_failed("org_a", &gone.webhook_id, DateTime::UNIX_EPOCH).await;
    assert!(matches!(replayed, Err(WebhookError::Off)));
    house.courier.remove_webhook("org_a", &gone.webhook_id, &origin()).await.unwrap();

    // Nobody listens there.
    let (failing, _) = house.endpoint("http://127.0.0.1:9/", &[]).await;
    house.publish("org_a", EventType::KeyCreated, json!({})).await;
    let first = house.tried(&failing.webhook_id, 1).await;
    assert_eq!(first.state, "queued");
    house.advance_to(house.clock.now() + TimeDelta::days(5)).await;
    house.tried(&failing.webhook_id, 2).await;
    let found = house.courier.webhook("org_a", &failing.webhook_id).await.unwrap();
    assert_eq!((found.enabled, found.disabled_reason.as_deref()), (false, Some("failing")));
    // What happens now is not told, and what waits is given up.
    house.publish("org_a", EventType::KeyRevoked, json!({})).await;
    assert_eq!(house.deliveries(&failing.webhook_id).await.len(), 1);
}

#[tokio::test]
async fn what_failed_is_replayed_and_one_organization_holds_up_no_other() {
    let (house, receiver) = (House::new().await, Receiver::new().await);
    receiver.answers(&["HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"]).await;
    let (endpoint, _) = house.endpoint(&receiver.url(), &[]).await;
    house.publish("org_a", EventType::KeyCreated, json!({})).await;
    let first = receiver.next().await;
    house.tried(&endpoint.webhook_id, 1).await;
    // A change of something else leaves it off.
    let described = NewWebhook {
        url: receiver.url(),
        description: "billing".into(),
        events: Vec::new(),
        enabled: None,
    };
    let (id, who) = (&endpoint.webhook_id, origin());
    let changed = house.courier.change_webhook("org_a", id, described, &who).await.unwrap();
    assert_eq!((changed.enabled, changed.disabled_reason.as_deref()), (false, Some("gone")));
    let changed = house.courier.switch_webhook("org_a", id, true, &who).await.unwrap();
    assert_eq!((changed.enabled, changed.disabled_reason), (true, None));
    assert_eq!((changed.description.as_str(), changed.failing_since), ("billing", None));
    let since = house.clock.now() - TimeDelta::hours(1);
    let count = house.courier.replay_failed("org_a", &endpoint.webhook_id, since).await.unwrap();
    assert_eq!(count, 1);
    let again = receiver.next().await;
    assert_eq!(first.header("webhook-id"), again.header("webhook-id"));
    let sent = house.tried(&endpoint.webhook_id, 2).await;
    assert_eq!(sent.state, "sent");
    let one = house.courier.replay_delivery("org_a", &endpoint.webhook_id, &sent.delivery_id);
    one.await.unwrap();
    receiver.next().await;
    house.tried(&endpoint.webhook_id, 3).await;

    // Attempts of one organization that stall leave room for those of another.
    receiver.answers(&[STALL; 8]).await;
    for _ in 0..30 {
        house.publish("org_a", EventType::KeyCreated, json!({})).await;
    }
    let other = Receiver::new().await;
    let new = NewWebhook {
        url: other.url(),
        description: String::new(),
        events: Vec::new(),
        enabled: None,
    };
    house.courier.create_webhook("org_b", new, &origin()).await.unwrap();
    house.publish("org_b", EventType::KeyRevoked, json!({})).await;
    assert!(other.next().await.body.contains("key.revoked"));
    // What waits for a place has no job, and is taken up when another attempt ends: all of it comes.
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 30 {
        seen.insert(receiver.next().await.header("webhook-id").to_owned());
    }
    // A list that is read in pages misses none of a moment.
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let window = (None, cursor.as_ref(), 7);
        let page = house.courier.webhook_deliveries("org_a", &endpoint.webhook_id, window).await;
        let page = page.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.cursor());
        listed.extend(page.into_iter().map(|one| one.delivery_id));
    }
    listed.dedup();
    assert_eq!(listed.len(), 31);
}

#[tokio::test]
async fn addresses_of_private_networks_are_refused_and_endpoints_have_a_limit() {
    let house = House::new().await;
    let strict = Courier { hooks: Hooks::default(), ..house.courier.clone() };
    let new = |url: &str| NewWebhook {
        url: url.to_owned(),
        description: String::new(),
        events: Vec::new(),
        enabled: None,
    };
    for url in [
        "https://127.0.0.1/",
        "https://169.254.169.254/x",
        "http://example.com/",
        "https://[fd00::1]/",
        "ftp://a",
    ] {
        let refused = strict.create_webhook("org_a", new(url), &origin()).await;
        assert!(matches!(refused, Err(WebhookError::Invalid { field: "url", .. })), "{url}");
    }
    for _ in 0..20 {
        strict.create_webhook("org_a", new("https://example.com/"), &origin()).await.unwrap();
    }
    let more = strict.create_webhook("org_a", new("https://example.com/"), &origin()).await;
    assert!(matches!(more, Err(WebhookError::TooMany)));
}
