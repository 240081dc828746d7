use std::{net::SocketAddr, sync::Arc, time::Duration};

use object_store::memory::InMemory;
use state::{
    State,
    clock::Clock,
    jobs::{JobFilter, JobState},
    migration::MIGRATIONS,
    scratch::Scratch,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};

use super::*;
use crate::{Archive, DeliveryState, FEATURES, Hooks, Links, Part, Smtp, Tls};

/// What the mail server does with a mail.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    Takes,
    RefusesRecipient,
    IsBusy,
    DropsAfterData,
}

/// A mail server that speaks as much SMTP as a mail needs. It gives the mails that it took, or dropped.
async fn mail_server(mut plan: Vec<Server>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mails, received) = mpsc::unbounded_channel();
    plan.reverse();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let does = plan.pop().unwrap_or(Server::Takes);
            let (reading, mut writing) = stream.into_split();
            let mut lines = BufReader::new(reading).lines();
            writing.write_all(b"220 test\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: &[u8] = match line.split(' ').next().unwrap_or_default() {
                    "RCPT" if does == Server::RefusesRecipient => b"550 no such user\r\n",
                    "MAIL" if does == Server::IsBusy => b"451 try later\r\n",
                    "DATA" => {
                        writing.write_all(b"354 go on\r\n").await.unwrap();
                        let mut mail = String::new();
                        while let Ok(Some(line)) = lines.next_line().await {
                            if line == "." {
                                break;
                            }
                            mail.push_str(&line);
                            mail.push('\n');
                        }
                        mails.send(mail).unwrap();
                        if does == Server::DropsAfterData {
                            break;
                        }
                        b"250 taken\r\n"
                    }
                    _ => b"250 ok\r\n",
                };
                if writing.write_all(answer).await.is_err() {
                    break;
                }
            }
        }
    });
    (address, received)
}

struct House {
    scratch: Scratch,
    courier: Courier,
    archive: Arc<InMemory>,
    running: JoinHandle<()>,
    clock: Clock,
}

impl House {
    async fn new(server: Option<SocketAddr>) -> Self {
        let own = rest::feature::migrations(FEATURES);
        let all: Vec<_> = MIGRATIONS.iter().copied().chain(own).collect();
        let scratch = Scratch::new(&all).await;
        let clock = Clock::fixed(state::scratch::noon());
        let state = State::new(scratch.store.clone(), clock.clone());
        let smtp = Smtp {
            host: server.map(|_| "127.0.0.1".to_owned()).unwrap_or_default(),
            port: server.map(|server| server.port()).unwrap_or_default(),
            tls: Tls::None,
            from: "reports@example.com".into(),
            timeout_seconds: 2,
            ..Smtp::default()
        };
        let hooks = Hooks { allow_private: true, timeout_seconds: 2 };
        let archive = Arc::new(InMemory::new());
        let files = Archive { store: Arc::<InMemory>::clone(&archive), prefix: "archive".into() };
        let links = Links::new("", &[0; 32]);
        let courier =
            Courier::new(state, smtp, hooks, Some(files), links, state::vault::Vault::new([0; 32]))
                .unwrap();
        rest::feature::tasks(FEATURES, &courier);
        let jobs = courier.state.jobs.clone();
        let running = tokio::spawn(async move { jobs.run().await });
        Self { scratch, courier, archive, running, clock }
    }

    async fn add(&self, channel: Channel, address: &str) -> String {
        self.add_of("run_1", channel, address).await
    }

    async fn add_of(&self, reference: &str, channel: Channel, address: &str) -> String {
        let new = NewDelivery {
            reference: reference.into(),
            channel,
            address: address.into(),
            content_id: reference.into(),
            personal: Personal::from([("link".to_owned(), "https://x/".to_owned())]),
            notice: Some(Notice {
                to: "owner@example.com".into(),
                subject: "Weekly".into(),
                link: "https://x/reports/1".into(),
            }),
        };
        let file = |name: &str| Part {
            name: name.into(),
            content_type: "text/csv".into(),
            bytes: b"a,b\n".to_vec(),
        };
        let content = Content {
            subject: "Weekly".into(),
            text: "see %%link%%".into(),
            attachments: vec![file("weekly.csv")],
            json: json!({"report": "weekly"}),
            ..Content::default()
        };
        let write = self.scratch.store.write().await.unwrap();
        let now = self.clock.now();
        let id = outbox::enqueue(&write, &new, &content, now).await.unwrap().unwrap();
        assert_eq!(outbox::enqueue(&write, &new, &content, now).await.unwrap(), None);
        write.commit().await.unwrap();
        self.courier.state.jobs.wake();
        id
    }

    /// Whether no job runs. A job that noted its delivery notes its own end after that, by the clock: who moves the clock in
    /// between, moves the next attempt too.
    async fn is_idle(&self) -> bool {
        let running = JobFilter { state: Some(JobState::Running), ..JobFilter::default() };
        state::jobs::list(&self.scratch.store, &running, 1).await.unwrap().is_empty()
    }

    /// Waits until a delivery has this state, and was tried so often.
    async fn until(&self, id: &str, state: DeliveryState, attempts: u32) -> outbox::Delivery {
        for _ in 0..200 {
            let found = outbox::find(&self.scratch.store, id).await.unwrap().unwrap();
            if found.state == state && found.attempts == attempts && self.is_idle().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", outbox::find(&self.scratch.store, id).await);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn message_id(mail: &str) -> &str {
    mail.lines().find(|line| line.starts_with("Message-ID: ")).unwrap()
}

#[tokio::test]
async fn a_mail_is_tried_again_with_the_same_id_until_it_is_taken() {
    let plan = vec![Server::IsBusy, Server::DropsAfterData, Server::Takes];
    let (server, mut mails) = mail_server(plan).await;
    let house = House::new(Some(server)).await;
    let id = house.add(Channel::Mail, "a@example.org").await;
    let busy = house.until(&id, DeliveryState::Queued, 1).await;
    assert!(busy.error.unwrap().contains("451") && !busy.uncertain);
    assert_eq!(busy.next_at, Some(house.clock.now() + TimeDelta::minutes(1)));
    house.clock.advance(Duration::from_secs(60));
    let dropped = house.until(&id, DeliveryState::Queued, 2).await;
    assert!(dropped.uncertain, "{dropped:?}");
    house.clock.advance(Duration::from_secs(240));
    let sent = house.until(&id, DeliveryState::Sent, 3).await;
    assert!(sent.uncertain && sent.error.is_none());
    let (first, second) = (mails.recv().await.unwrap(), mails.recv().await.unwrap());
    assert_eq!(message_id(&first), message_id(&second));
    assert!(first.contains("see https://x/"), "{first}");
}

#[tokio::test]
async fn the_link_of_a_mail_about_an_account_is_forgotten_once_it_is_sent() {
    let (server, mut mails) = mail_server(vec![Server::IsBusy, Server::Takes]).await;
    let house = House::new(Some(server)).await;
    let contents = async |house: &House| outbox::contents(&house.scratch.store).await.unwrap();
    let id = house.add_of("account:1", Channel::Mail, "a@example.org").await;
    house.until(&id, DeliveryState::Queued, 1).await;
    assert_eq!(contents(&house).await, ["account:1"]);
    house.clock.advance(Duration::from_secs(60));
    house.until(&id, DeliveryState::Sent, 2).await;
    assert!(contents(&house).await.is_empty());
    assert!(mails.recv().await.unwrap().contains("see https://x/"));
    let id = house.add(Channel::Mail, "a@example.org").await;
    house.until(&id, DeliveryState::Sent, 1).await;
    assert_eq!(contents(&house).await, ["run_1"]);

    let (server, _mails) = mail_server(vec![Server::RefusesRecipient]).await;
    let house = House::new(Some(server)).await;
    let id = house.add_of("account:2", Channel::Mail, "nobody@example.org").await;
    house.until(&id, DeliveryState::Failed, 1).await;
    assert!(!contents(&house).await.contains(&"account:2".to_owned()));
}

#[tokio::test]
async fn a_wrong_address_fails_at_once_and_the_owner_is_told() {
    let (server, mut mails) = mail_server(vec![Server::RefusesRecipient]).await;
    let house = House::new(Some(server)).await;
    let id = house.add(Channel::Mail, "nobody@example.org").await;
    let failed = house.until(&id, DeliveryState::Failed, 1).await;
    assert!(failed.error.unwrap().contains("550"));
    let told = mails.recv().await.unwrap();
    assert!(
        told.contains("To: owner@example.com") && told.contains("nobody@example.org"),
        "{told}"
    );
    // Sent once more by hand, it is taken.
    let write = house.scratch.store.write().await.unwrap();
    assert!(outbox::resend(&write, &id, house.clock.now()).await.unwrap());
    write.commit().await.unwrap();
    house.until(&id, DeliveryState::Sent, 2).await;
}

#[tokio::test]
async fn a_delivery_that_was_cut_between_intent_and_result_is_marked() {
    let (server, mut mails) = mail_server(vec![]).await;
    let house = House::new(Some(server)).await;
    house.running.abort();
    let id = house.add(Channel::Mail, "a@example.org").await;
    // What a process does that is killed while it sends.
    let begun = outbox::begin(&house.scratch.store, &id, house.clock.now()).await.unwrap();
    assert!(begun.is_some());
    let jobs = house.courier.state.jobs.clone();
    let running = tokio::spawn(async move { jobs.run().await });
    let sent = house.until(&id, DeliveryState::Sent, 2).await;
    assert!(sent.uncertain);
    assert!(mails.recv().await.is_some());
    let again = outbox::begin(&house.scratch.store, &id, house.clock.now()).await.unwrap();
    assert!(again.is_none(), "what is sent is not sent again");
    running.abort();
}

#[tokio::test]
async fn it_is_given_up_after_a_day() {
    let house = House::new(None).await;
    let id = house.add(Channel::Mail, "a@example.org").await;
    let begun = house.clock.now();
    for attempt in 1..=10 {
        let found = house.until(&id, DeliveryState::Queued, attempt).await;
        let pause = found.next_at.unwrap() - house.clock.now();
        house.clock.advance(pause.to_std().unwrap());
    }
    let failed = house.until(&id, DeliveryState::Failed, 11).await;
    assert_eq!(house.clock.now() - begun, TimeDelta::hours(24));
    assert!(failed.error.unwrap().contains("no mail server"));
}

#[tokio::test]
async fn files_are_written_once_and_hooks_are_called_with_a_key() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (calls, mut called) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let mut text = String::new();
            while !text.ends_with('}') {
                let read = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
                text.push_str(&String::from_utf8_lossy(&request[..read]));
            }
            calls.send(text).unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    });
    let house = House::new(None).await;
    let hook = house.add(Channel::Webhook, &url).await;
    house.until(&hook, DeliveryState::Sent, 1).await;
    let call = called.recv().await.unwrap();
    assert!(
        call.to_lowercase().contains(&format!("idempotency-key: {hook}").to_lowercase()),
        "{call}"
    );
    assert!(call.ends_with("{\"report\":\"weekly\"}"), "{call}");
    let slack = house.add(Channel::Slack, &url).await;
    house.until(&slack, DeliveryState::Sent, 1).await;
    assert!(called.recv().await.unwrap().contains("*Weekly*\\nsee https://x/"));

    let folder = house.add(Channel::Folder, "weekly/sales").await;
    house.until(&folder, DeliveryState::Sent, 1).await;
    let path = "archive/weekly/sales/weekly.csv".into();
    let first = object_store::ObjectStoreExt::get(&*house.archive, &path).await.unwrap().meta;
    let write = house.scratch.store.write().await.unwrap();
    assert!(outbox::resend(&write, &folder, house.clock.now()).await.unwrap());
    write.commit().await.unwrap();
    house.until(&folder, DeliveryState::Sent, 2).await;
    let second = object_store::ObjectStoreExt::get(&*house.archive, &path).await.unwrap().meta;
    assert_eq!(first, second);
    let jobs = state::jobs::list(&house.scratch.store, &Default::default(), 100).await.unwrap();
    assert!(jobs.iter().all(|job| job.state != JobState::Failed));
}

#[tokio::test]
async fn old_deliveries_and_their_contents_are_forgotten() {
    let house = House::new(None).await;
    let folder = house.add(Channel::Folder, "weekly").await;
    house.until(&folder, DeliveryState::Sent, 1).await;
    let store = &house.scratch.store;
    outbox::forget(store, house.clock.now() + TimeDelta::days(89)).await.unwrap();
    assert!(outbox::find(store, &folder).await.unwrap().is_some());
    outbox::forget(store, house.clock.now() + TimeDelta::days(91)).await.unwrap();
    assert_eq!(outbox::find(store, &folder).await.unwrap(), None);
    assert_eq!(house.scratch.text("select count(*) from delivery_contents").await, "0");
}
