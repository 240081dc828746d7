use super::*;

/// What the lake is told of the days of a period adds up to its lines, whenever it is told and whatever comes late.
#[tokio::test(flavor = "multi_thread")]
async fn rated_days_add_up_to_the_lines_of_invoices() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    let mut rated = BTreeMap::<String, Decimal>::new();
    let mut take = async || {
        for (name, amount) in desk.all_told().await.1 {
            *rated.entry(name).or_default() += amount;
        }
        rated.clone()
    };
    for (day, requests) in [(3, 700), (9, 800), (5, 10), (27, 3)] {
        desk.usage.add("org_a", &format!("2026-02-{day:02}"), requests);
        desk.run().await;
        take().await;
    }
    desk.go_to("2026-02-12T12:00:00Z");
    desk.act(change("team", When::Now)).await;
    desk.run_at("2026-03-01T12:00:00Z").await;
    take().await;
    desk.usage.add("org_a", "2026-02-04", 55);
    desk.run_at("2026-04-01T12:00:00Z").await;
    let rated = take().await;
    let mut billed = BTreeMap::<String, Decimal>::new();
    for line in desk.invoices().await.iter().flat_map(|one| &one.document.lines) {
        let name = format!("{}T00:00:00.000000Z {} {}", line.period_start, line.plan, line.charge);
        *billed.entry(name).or_default() += line.amount;
    }
    billed.retain(|_, amount| !amount.is_zero());
    assert!(billed.len() >= 4, "{billed:?}");
    assert_eq!(
        rated.into_iter().filter(|(_, sum)| !sum.is_zero()).collect::<BTreeMap<_, _>>(),
        billed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_repeated_changes_nothing() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.usage.add("org_a", "2026-02-03", 2_000);
    // Months that nobody ran: each has its invoice, in their order.
    let report = desk.run_at("2026-05-03T09:00:00Z").await;
    assert_eq!((report.subscriptions, report.invoices, report.drafts), (1, 4, 0));
    let before = desk.last(9).await;
    assert_eq!(before.len(), 9);
    assert_eq!(before[4], "  2026-03-01 pro Base 31.00", "{before:?}");
    desk.told().await;
    let again = desk.run().await;
    assert_eq!(
        again,
        RunReport { subscriptions: 1, ..RunReport::default() }.with_reminders(&again)
    );
    assert_eq!((desk.last(9).await, desk.all_told().await.1.len()), (before, 0));
    // One that read less than what was billed already is late, and does nothing.
    let db = desk.scratch.store.db();
    let all = subscriptions::open(db).await.unwrap();
    let old = UsageCut { token: "0".into(), log: 1, lsn: 0 };
    desk.billing.state.clock.advance(std::time::Duration::from_secs(40 * 86_400));
    let none = DailyUsage::new();
    let outcome = desk.billing.bill_one(all[0].clone(), &none, &old, None).await.unwrap();
    assert!(outcome.issued.is_empty() && outcome.rated_rows == 0);
}

impl RunReport {
    fn with_reminders(self, of: &Self) -> Self {
        Self { reminders: of.reminders, ..self }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_wait_for_approval_and_follow_the_usage() {
    let settings = Settings { approve_drafts: true, ..Settings::default() };
    let desk = Desk::new("2026-02-01T09:00:00Z", settings).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    assert_eq!(desk.run().await.drafts, 1);
    let draft = desk.invoices().await.remove(0);
    let done = desk.billing.finalize_draft(draft, &tester()).await.unwrap();
    assert_eq!((done.number.as_deref(), done.status), (Some("INV-000001"), InvoiceStatus::Open));
    let refused = desk.billing.finalize_draft(done, &tester()).await;
    assert!(matches!(refused, Err(Fault::InvoiceState(_))));
    desk.usage.add("org_a", "2026-02-03", 2_000);
    desk.run_at("2026-03-05T09:00:00Z").await;
    assert_eq!(desk.last(9).await[0], "draft 41.00 41.00 draft");
    desk.usage.add("org_a", "2026-02-04", 100);
    desk.run_at("2026-04-05T09:00:00Z").await;
    // Until it is final, nothing after it is billed.
    assert_eq!(
        (desk.invoices().await.len(), desk.last(9).await[0].as_str()),
        (2, "draft 42.00 42.00 draft")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_is_frozen_and_a_cancelled_invoice_is_owed_again() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    let list = |text: String| PriceList::parse(&text).unwrap();
    let stored =
        desk.billing.store_prices(&list(PRICES.replace("flat: 31", "flat: 29")), &tester()).await;
    assert_eq!(stored.unwrap().stored, ["pro@1"], "nobody has used it");
    desk.billing.store_prices(&list(PRICES.to_owned()), &tester()).await.unwrap();
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.run_at("2026-02-01T10:30:00Z").await;
    let refused =
        desk.billing.store_prices(&list(PRICES.replace("flat: 31", "flat: 29")), &tester()).await;
    assert!(matches!(refused, Err(Fault::Frozen { version, .. }) if version == "pro@1"));
    // What nobody has used may change, and what follows begins tomorrow.
    let next = |from: &str| {
        PRICES.replacen("  - plan: team", &format!("      - {{from: {from}, currency: USD, charges: [{{name: Base, price: {{flat: 40}}}}]}}\n  - plan: team"), 1)
    };
    let refused = desk.billing.store_prices(&list(next("2026-02-01")), &tester()).await;
    assert!(matches!(refused, Err(Fault::Frozen { version, .. }) if version == "pro@2"));
    let stored = desk.billing.store_prices(&list(next("2026-02-15")), &tester()).await.unwrap();
    assert_eq!((stored.stored, stored.unchanged), (vec!["pro@2".to_owned()], 2));

    let first = desk.invoices().await.remove(0);
    let voided = desk.billing.void_invoice(&first.invoice_id, &tester()).await.unwrap();
    assert_eq!((voided.status, voided.outstanding), (InvoiceStatus::Void, Decimal::new(0, 2)));
    assert!(desk.billing.void_invoice(&first.invoice_id, &tester()).await.is_err());
    desk.run_at("2026-03-01T10:30:00Z").await;
    let expected = [
        "INV-000002 35.50 35.50 open",
        "  2026-02-01 pro Base 15.50",
        "  2026-02-15 pro Base 20.00",
    ];
    assert_eq!(desk.last(1).await, expected);
    assert!(desk.told().await.contains(&"invoice_voided 31.00".to_owned()));
}

/// A note over everything is the invoice negated, to the last cent of its tax.
#[tokio::test(flavor = "multi_thread")]
async fn credit_notes_add_up_to_their_invoice() {
    let desk =
        Desk::new("2026-02-01T09:00:00Z", Settings::default()).await.taxed("org_a", 19).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.usage.add("org_a", "2026-02-03", 1_333);
    desk.run_at("2026-03-01T10:30:00Z").await;
    let invoice = desk.invoices().await.pop().unwrap();
    let sum = async || {
        let all = desk.invoices().await;
        let notes =
            all.iter().filter(|one| one.corrects_id.as_deref() == Some(&invoice.invoice_id));
        notes.fold((Decimal::ZERO, Decimal::ZERO), |sum, note| {
            (sum.0 + note.document.subtotal, sum.1 + note.document.tax)
        })
    };
    for part in ["0.03", "1.11", "0.07"] {
        let lines = [(1, part.parse().unwrap())];
        desk.billing.give_back(&invoice.invoice_id, &lines, "a part", &tester()).await.unwrap();
    }
    let too_much =
        desk.billing.give_back(&invoice.invoice_id, &[(1, Decimal::from(9))], "x", &tester()).await;
    assert!(matches!(too_much, Err(Fault::Invalid { field: "lines", .. })));
    desk.billing.give_back(&invoice.invoice_id, &[], "the rest", &tester()).await.unwrap();
    assert_eq!(sum().await, (-invoice.document.subtotal, -invoice.document.tax));
    let nothing_left = desk.billing.give_back(&invoice.invoice_id, &[], "more", &tester()).await;
    assert!(matches!(nothing_left, Err(Fault::InvoiceState(_))));
    let invoice =
        desk.invoices().await.into_iter().find(|one| one.invoice_id == invoice.invoice_id);
    assert_eq!(invoice.map(|one| one.status), Some(InvoiceStatus::Paid));
}

/// Two processes on one database, each with its own connection: every billing day has one invoice, and numbers have no gap.
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_bill_each_day_once() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    let store = &desk.scratch.store;
    let now = desk.billing.state.clock.now();
    let ids: Vec<String> = (0..12).map(|at| format!("org_{at}")).collect();
    let organization = |id: &String| Organization {
        organization_id: id.clone(),
        name: id.clone(),
        kind: OrganizationKind::Business,
        plan: "free".to_owned(),
        country: "DE".to_owned(),
        signed_up_at: now,
    };
    let all: Vec<_> = ids.iter().map(organization).collect();
    organizations::upsert_many(store, &all, now).await.unwrap();
    for id in &ids {
        let act = Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None };
        desk.billing.act(id, &act, &tester()).await.unwrap();
        desk.usage.add(id, "2026-02-03", 1_500);
    }
    desk.go_to("2026-04-02T09:00:00Z");
    let other = Billing {
        state: State::new(
            desk.scratch.opened_again(&migrations()).await,
            desk.billing.state.clock.clone(),
        ),
        ..desk.billing.clone()
    };
    let scope = RunScope::default();
    let (one, two) =
        tokio::join!(Box::pin(desk.billing.run("one", &scope)), Box::pin(other.run("two", &scope)));
    let (one, two) = (one.unwrap().1, two.unwrap().1);
    assert_eq!((&one.failures, &two.failures), (&Vec::new(), &Vec::new()));
    assert_eq!(one.invoices + two.invoices, 36, "{one:?} {two:?}");
    let filter = invoices::InvoiceFilter::default();
    let (found, count) = invoices::list(store.db(), &filter, (0, 100)).await.unwrap();
    let mut numbers: Vec<_> = found.iter().filter_map(|one| one.number.clone()).collect();
    numbers.sort();
    assert_eq!(numbers, (1..=36).map(|at| format!("INV-{at:06}")).collect::<Vec<_>>());
    let days: std::collections::BTreeSet<_> =
        found.iter().map(|one| (one.subscription_id.clone(), one.billed_on)).collect();
    assert_eq!((days.len() as u64, count), (36, 36));
}

/// Years of a subscription: no period is taken back when it is too old to be rated, and what was caught up is told as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_stays_told() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    let mut rated = BTreeMap::<String, Decimal>::new();
    let mut take = async || {
        for (name, amount) in desk.all_told().await.1 {
            *rated.entry(name).or_default() += amount;
        }
        rated.clone()
    };
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    for month in 2..=12 {
        desk.usage.add("org_a", &format!("2026-{month:02}-10"), 2_000);
    }
    for at in ["2026-02-20", "2026-03-02", "2026-04-03", "2026-05-04", "2026-06-02", "2026-12-20"] {
        desk.run_at(&format!("{at}T09:00:00Z")).await;
        take().await;
    }
    let rated = take().await;
    for month in 2..=12 {
        let name = |charge: &str| format!("2026-{month:02}-01T00:00:00.000000Z pro {charge}");
        let of = |charge: &str| rated.get(&name(charge)).map(ToString::to_string);
        assert_eq!(
            (of("Base").as_deref(), of("Requests").as_deref()),
            (Some("31.00"), Some("10.00")),
            "{month}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_billed_again_is_not_cancelled() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.run_at("2026-09-05T09:00:00Z").await;
    let all = desk.invoices().await;
    let void = async |number: &str| {
        let of = all.iter().find(|one| one.number.as_deref() == Some(number)).unwrap();
        desk.billing.void_invoice(&of.invoice_id, &tester()).await
    };
    let late = void("INV-000001").await;
    assert!(
        matches!(&late, Err(Fault::InvoiceState(why)) if why.contains("credit note")),
        "{late:?}"
    );
    assert!(void("INV-000008").await.is_ok());
    desk.run_at("2026-10-05T09:00:00Z").await;
    let expected = ["  2026-09-01 pro Base 31.00", "  2026-10-01 pro Base 31.00"];
    assert_eq!(desk.last(1).await[1..], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_not_kept_is_not_credited() {
    let settings = Settings { usage_kept_days: 60, ..Settings::default() };
    let desk = Desk::new("2026-02-01T09:00:00Z", settings).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.run_at("2026-03-02T09:00:00Z").await;
    desk.go_to("2026-04-20T09:00:00Z");
    let report = desk.run().await;
    assert!(report.failures[0].reason.contains("retention.usage_ledger"), "{report:?}");
    assert_eq!(report.invoices, 0);
}

/// The end of one subscription leaves the plan of the next alone, and drafts are approved one by one.
#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_follows_another() {
    let settings = Settings { approve_drafts: true, ..Settings::default() };
    let desk = Desk::new("2026-02-01T09:00:00Z", settings).await;
    desk.act(Act::Start { plan: "pro".into(), seats: 1, trial: false, starts_on: None }).await;
    desk.usage.add("org_a", "2026-02-03", 2_000);
    desk.run_at("2026-04-05T09:00:00Z").await;
    let draft = desk.invoices().await.pop().unwrap();
    desk.billing.finalize_draft(draft, &tester()).await.unwrap();
    let mut all: Vec<_> = desk
        .invoices()
        .await
        .into_iter()
        .map(|one| (one.billed_on.to_string(), one.status))
        .collect();
    all.sort_by_key(|(day, _)| day.clone());
    let expected = [
        ("2026-02-01".to_owned(), InvoiceStatus::Open),
        ("2026-03-01".to_owned(), InvoiceStatus::Draft),
    ];
    assert_eq!(all, expected, "the next day waits for its own approval");
    desk.act(Act::Cancel { when: When::Now, reason: String::new() }).await;
    assert_eq!(desk.plan().await, "free");
    desk.act(Act::Start { plan: "team".into(), seats: 1, trial: false, starts_on: None }).await;
    assert_eq!(desk.plan().await, "team");
    // It begins tomorrow, and can be changed and ended before.
    desk.act(change("pro", When::Now)).await;
    assert_eq!(desk.plan().await, "pro");
    desk.run_at("2026-04-06T09:00:00Z").await;
    assert_eq!(desk.plan().await, "pro");
    let newest = subscriptions::newest(desk.scratch.store.db(), "org_a").await.unwrap().unwrap();
    let phases: Vec<_> = newest
        .subscription
        .phases
        .iter()
        .map(|phase| (phase.from.to_string(), phase.plan.clone()))
        .collect();
    assert_eq!(phases, [("2026-04-06".to_owned(), "pro".to_owned())]);
}

#[tokio::test]
async fn what_came_of_runs_is_forgotten_after_400_days() {
    let desk = Desk::new("2026-02-01T09:00:00Z", Settings::default()).await;
    let known = async || desk.billing.runs(10).await.unwrap().len();
    desk.run().await;
    desk.run_at("2027-03-08T08:00:00Z").await;
    assert_eq!(known().await, 2);
    desk.run_at("2027-03-08T10:00:00Z").await;
    assert_eq!(known().await, 2, "the first is gone");
}
