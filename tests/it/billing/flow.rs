//! A subscription over HTTP: prices, usage, invoice, payment, and what the lake and the metrics say of it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, Server, admin_key, configure, days_ago, folder, organization_key, reply, run_ok,
    tomorrow, usage, usage_today,
};

const PRICES: &str = "
plans:
  - plan: pro
    versions:
      - from: 2026-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 49}, in_advance: true}
          - {name: Requests, meter: requests, included: 2, price: {per_unit: {amount: '0.25'}}}
          - {name: Models, meter: model_price, price: {per_unit: {amount: 1}}}
models:
  - {model: 'gpt-5*', versions: [{from: 2026-01-01, currency: USD, tokens: {input: 1000000, output: 2000000}}]}
";

async fn asked(client: &Client, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let answer = reply(client.request(method, path).json(body)).await;
    (answer.status.as_u16(), answer.json())
}

/// Asks until the answer has rows: what billing tells the lake goes by the outbox.
async fn rows(client: &Client, sql: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = client.rows(sql).await;
        if rows.len() >= count || Instant::now() > until {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Hub {
    dir: tempfile::TempDir,
    server: Server,
    admin: Client,
    own: Client,
}

impl Hub {
    fn new(zone: &str) -> Self {
        let dir = folder();
        let settings =
            format!("[billing]\ngrace_hours = 0\nseller_name = \"AI Hub GmbH\"\nzone = {zone:?}\n");
        configure(dir.path(), &settings);
        let other = ["organization", "create", "org_b", "--name", "B", "--country", "DE"];
        run_ok(dir.path(), &other);
        let server = Server::serve(dir.path());
        let admin = Client::new(&server, &admin_key(dir.path()));
        let own = Client::new(&server, &organization_key(dir.path(), "org_a", "read"));
        Self { dir, server, admin, own }
    }

    async fn store_prices(&self, list: &str) -> (u16, Value) {
        let request = self.admin.request(Method::PUT, "/v1/admin/prices");
        let answer =
            reply(request.header("content-type", "application/yaml").body(list.to_owned()));
        let answer = answer.await;
        (answer.status.as_u16(), answer.json())
    }

    async fn act(&self, act: Value) -> (u16, Value) {
        asked(&self.admin, Method::POST, "/v1/admin/organizations/org_a/subscription", &act).await
    }

    async fn run(&self) -> Value {
        let (status, report) =
            asked(&self.admin, Method::POST, "/v1/billing/runs", &json!({})).await;
        assert_eq!((status, &report["failures"]), (200, &json!([])), "{report}");
        report
    }
}

/// The lake has each event, each rated day and each line, and recurring revenue is what recurs.
async fn lake_agrees(hub: &Hub) {
    let kinds = "SELECT kind, amount FROM billing_events WHERE organization_id = 'org_a' AND subscription_id IS NOT NULL ORDER BY occurred_at, kind";
    let told = rows(&hub.admin, kinds, 4).await;
    let told: Vec<_> = told.iter().map(|row| (&row["kind"], &row["amount"])).collect();
    let expected = [
        ("subscription_created", "49.000000000000"),
        ("invoice_finalized", "49.000000000000"),
        ("payment_succeeded", "9.000000000000"),
        ("payment_succeeded", "40.000000000000"),
    ];
    assert_eq!(json!(told), json!(expected));
    let sum = "SELECT charge, sum(quantity) AS quantity, sum(amount) AS amount FROM rated_usage_daily GROUP BY charge ORDER BY charge";
    let rated = rows(&hub.own, sum, 3).await;
    let rated: Vec<_> =
        rated.iter().map(|row| (&row["charge"], &row["quantity"], &row["amount"])).collect();
    let expected = [
        ("Base", "1.000000000000", "49.000000000000"),
        ("Models", "25.000000000000", "25.000000000000"),
        ("Requests", "5.000000000000", "0.750000000000"),
    ];
    assert_eq!(json!(rated), json!(expected));
    let lines = rows(&hub.own, "SELECT number, charge, amount FROM invoice_lines", 1).await;
    assert_eq!(
        json!(lines),
        json!([{"number": "INV-000001", "charge": "Base", "amount": "49.000000000000"}])
    );
    let mrr =
        hub.admin.get(&format!("/v1/metrics/mrr?from=2026-01-01&to={}", &tomorrow()[..10])).await.1;
    assert!(mrr.to_string().contains("49"), "{mrr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_billed_paid_and_seen_in_the_lake() {
    let hub = Hub::new("UTC");
    let (status, stored) = hub.store_prices(PRICES).await;
    assert_eq!((status, &stored["stored"]), (200, &json!(["pro@1", "gpt-5*@1"])), "{stored}");
    let events: Vec<_> = (0..6)
        .map(|at| {
            let data = json!({"model": "gpt-5-mini", "input_tokens": 3, "output_tokens": 1});
            usage_today(if at < 5 { "org_a" } else { "org_b" }, &format!("u{at}"), data)
        })
        .collect();
    hub.admin.store(&events).await;
    let (status, begun) = hub.act(json!({"act": "start", "plan": "pro"})).await;
    assert_eq!(
        (status, &begun["status"], &begun["recurring"]),
        (200, &json!("active"), &json!("49.00"))
    );
    assert_eq!(hub.run().await["invoices"], 1);
    assert_eq!(hub.run().await["invoices"], 0);

    let (_, list) = hub.own.get("/v1/invoices").await;
    assert_eq!(
        (&list["count"], &list["invoices"][0]["number"]),
        (&json!(1), &json!("INV-000001")),
        "{list}"
    );
    let id = list["invoices"][0]["invoice_id"].as_str().expect("an id").to_owned();
    let (_, invoice) = hub.own.get(&format!("/v1/invoices/{id}")).await;
    assert_eq!((&invoice["total"], &invoice["status"]), (&json!("49.00"), &json!("open")));
    assert_eq!(invoice["document"]["seller"]["name"], "AI Hub GmbH");
    // Today's usage is of the period that runs: 3 requests beyond what is included; 15 and 5 tokens at 1 and 2.
    let (status, next) = hub.own.get("/v1/invoices/preview").await;
    let lines = next["lines"].as_array().expect("lines");
    let amounts: Vec<_> = lines.iter().map(|line| (&line["charge"], &line["amount"])).collect();
    assert_eq!(status, 200);
    let expected = [("Requests", "0.75"), ("Models", "25.00"), ("Base", "49.00")];
    assert_eq!(json!(amounts), json!(expected), "{next}");

    let paid = format!("/v1/admin/invoices/{id}/payments");
    let (status, _) =
        asked(&hub.admin, Method::POST, &paid, &json!({"reference": "T1", "amount": "9.00"})).await;
    assert_eq!(status, 200);
    let (status, _) = asked(&hub.admin, Method::POST, &paid, &json!({"reference": "T1"})).await;
    assert_eq!(status, 400, "the same transfer");
    let (status, invoice) =
        asked(&hub.admin, Method::POST, &paid, &json!({"reference": "T2"})).await;
    assert_eq!(
        (status, &invoice["status"], &invoice["outstanding"]),
        (200, &json!("paid"), &json!("0.00"))
    );

    lake_agrees(&hub).await;
    hub.server.stop();
}

async fn what_is_wrong_is_refused(hub: &Hub) {
    for (path, status) in [
        ("/v1/invoices/inv_nothing", 404),
        ("/v1/invoices/inv_nothing/lines/1/events", 404),
        ("/v1/invoices?status=lost", 400),
        ("/v1/subscription/preview?act=fly", 400),
        ("/v1/subscription/preview?act=start&plan=pro", 409),
        ("/v1/subscription/preview?act=change&plan=none&when=now", 400),
    ] {
        let (found, answer) = hub.own.get(path).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
    }
    let told = run_ok(hub.dir.path(), &["billing", "preview", "org_a"]);
    assert!(told.contains("Requests\tpro") && told.contains("due\t"), "{told}");
    let told = run_ok(hub.dir.path(), &["billing", "run"]);
    assert!(told.contains("subscriptions\t1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_leads_to_its_events_and_to_nobody_elses() {
    let hub = Hub::new("UTC");
    hub.store_prices(&PRICES.replace("included: 2", "models: ['gpt-5*']")).await;
    let send = async |organization: &str, id: &str, model: &str, days: u32| {
        let data = json!({"model": model, "input_tokens": 3});
        let mut event = usage(organization, id, data);
        event["time"] = json!(format!("{}T12:00:00Z", &days_ago(days)[..10]));
        hub.admin.store(&[event]).await;
    };
    for (organization, id, model, days) in [
        ("org_a", "a1", "gpt-5-mini", 40),
        ("org_a", "a2", "gpt-5-mini", 39),
        ("org_b", "b1", "gpt-5-mini", 40),
    ] {
        send(organization, id, model, days).await;
    }
    let starts_on = &days_ago(40)[..10];
    let start = json!({"act": "start", "plan": "pro", "starts_on": starts_on});
    let (status, refused) = asked(&hub.own, Method::POST, "/v1/subscription", &start).await;
    assert_eq!(status, 403, "{refused}");
    assert_eq!(hub.act(start).await.0, 200);
    let report = hub.run().await;
    assert_eq!((&report["invoices"], &report["drafts"]), (&json!(2), &json!(0)), "{report}");
    let (_, list) = hub.own.get("/v1/invoices").await;
    let of = |number: &str| {
        let mut all = list["invoices"].as_array().expect("invoices").iter();
        let found = all.find(|one| one["number"] == number).expect(number);
        found["invoice_id"].as_str().expect("an id").to_owned()
    };
    // The first is the base in advance; the second has the usage of the month after it.
    let id = of("INV-000002");
    let (_, invoice) = hub.own.get(&format!("/v1/invoices/{id}")).await;
    assert_eq!(invoice["document"]["lines"][0]["charge"], "Requests", "{invoice}");
    let (status, led) = hub.own.get(&format!("/v1/invoices/{id}/lines/1/events")).await;
    let found = |answer: &Value| {
        let events = answer["events"].as_array().or(answer["rows"].as_array()).expect("events");
        events
            .iter()
            .map(|event| event["event_id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (status.as_u16(), found(&led)),
        (200, vec!["a1".to_owned(), "a2".to_owned()]),
        "{led}"
    );
    // The same as SQL, at the cut of the invoice: what came later is not there.
    send("org_a", "a3", "gpt-5-mini", 38).await;
    let question = json!({"sql": led["sql"], "as_of": led["as_of"]});
    let (status, answer) = hub.own.query_with(question).await;
    assert_eq!((status.as_u16(), found(&answer)), (200, found(&led)), "{answer}");
    let other = Client::new(&hub.server, &organization_key(hub.dir.path(), "org_b", "read"));
    for path in [format!("/v1/invoices/{id}"), format!("/v1/invoices/{id}/lines/1/events")] {
        assert_eq!(other.get(&path).await.0.as_u16(), 404, "{path}");
    }
    // What came late is on the next invoice, and says its period.
    let (_, next) = hub.own.get("/v1/invoices/preview").await;
    let late =
        next["lines"].as_array().expect("lines").iter().find(|line| line["is_adjustment"] == true);
    assert_eq!(
        late.map(|line| (&line["charge"], &line["amount"])),
        Some((&json!("Requests"), &json!("0.25"))),
        "{next}"
    );

    what_is_wrong_is_refused(&hub).await;
    hub.server.stop();
}

/// Days begin at midnight in the zone of the bill, whatever the zone of the server and of the events.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_of_the_zone_of_the_bill() {
    let hub = Hub::new("America/New_York");
    hub.store_prices(&PRICES.replace("included: 2, ", "")).await;
    let day = days_ago(40)[..10].to_owned();
    // 03:30 in UTC is of the day before, winter or summer; 05:30 is of the day.
    for (id, time) in [("before", "03:30"), ("first", "05:30"), ("second", "23:30")] {
        let mut event = usage("org_a", id, json!({"model": "gpt-5-mini"}));
        event["time"] = json!(format!("{day}T{time}:00Z"));
        hub.admin.store(&[event]).await;
    }
    let start = json!({"act": "start", "plan": "pro", "starts_on": day});
    assert_eq!(hub.act(start).await.0, 200);
    hub.run().await;
    let rated = "SELECT occurred_at, quantity FROM rated_usage_daily WHERE charge = 'Requests'";
    let rated = rows(&hub.own, rated, 1).await;
    assert_eq!((rated.len(), &rated[0]["quantity"]), (1, &json!("2.000000000000")), "{rated:?}");
    let at = rated[0]["occurred_at"].as_str().expect("a time");
    assert!(
        at.starts_with(&format!("{day}T04:00")) || at.starts_with(&format!("{day}T05:00")),
        "{at}"
    );
    hub.server.stop();
}
