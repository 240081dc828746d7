use super::*;

/// A trial, the plan, an upgrade in the middle of a month, usage beyond what is included, usage that comes late, a downgrade,
/// a refund, the end, and a return. Each amount is worked out by hand.
#[tokio::test(flavor = "multi_thread")]
async fn eight_months_of_a_customer() {
    let desk =
        Desk::new("2026-01-18T09:00:00Z", Settings::default()).await.taxed("org_a", 19).await;
    Box::pin(trial_and_first_payment(&desk)).await;
    Box::pin(upgrade_in_the_middle_of_february(&desk)).await;
    Box::pin(late_usage_and_downgrade(&desk)).await;
    Box::pin(refund_and_suspension(&desk)).await;
    Box::pin(end_and_return(&desk)).await;
}

async fn trial_and_first_payment(desk: &Desk) {
    desk.act(start("pro")).await;
    assert_eq!(
        (desk.told().await, desk.plan().await),
        (vec!["trial_started pro".into()], "pro".into())
    );
    desk.usage.add("org_a", "2026-01-20", 9_999);
    desk.run_at("2026-01-31T23:00:00Z").await;
    assert!(
        desk.invoices().await.is_empty() && desk.told().await.is_empty(),
        "a trial costs nothing"
    );

    // February is paid in advance: 31.00, and 19 % of tax: 5.89.
    desk.run_at("2026-02-01T00:30:00Z").await;
    assert_eq!(desk.told().await, ["subscription_created 31.00 pro"]);
    assert_eq!(desk.last(9).await, ["draft 36.89 36.89 draft", "  2026-02-01 pro Base 31.00"]);
    desk.run_at("2026-02-01T01:30:00Z").await;
    assert_eq!(desk.last(1).await[0], "INV-000001 36.89 36.89 open");
    assert_eq!(desk.told().await, ["invoice_finalized 36.89"]);
    let first = desk.invoices().await.remove(0);
    desk.go_to("2026-02-05T12:00:00Z");
    desk.billing.paid_by_transfer(&first.invoice_id, None, "T1", &tester()).await.unwrap();
    assert_eq!(desk.told().await, ["payment_succeeded 36.89"]);
}

async fn upgrade_in_the_middle_of_february(desk: &Desk) {
    desk.usage.add("org_a", "2026-02-10", 1_500);
    desk.go_to("2026-02-15T12:00:00Z");
    desk.act(change("team", When::Now)).await;
    assert_eq!(
        (desk.told().await, desk.plan().await),
        (vec!["subscription_changed 93.00 team".into()], "team".into())
    );
    desk.usage.add("org_a", "2026-02-20", 3_000);
    desk.run_at("2026-02-28T23:59:00Z").await;
    assert!(desk.told().await.is_empty());

    // Half of February is team: 500 and 2,500 requests are included; of Base, 15.50 are given back with 2.95 of tax.
    desk.run_at("2026-03-01T02:00:00Z").await;
    let expected = [
        "CN-000001 -18.45 0.00 paid",
        "  2026-02-01 pro Base -15.50 late",
        "INV-000002 180.88 162.43 open",
        "  2026-02-01 pro Requests 10.00",
        "  2026-02-15 team Base 46.50",
        "  2026-02-15 team Requests 2.50",
        "  2026-03-01 team Base 93.00",
    ];
    assert_eq!(desk.last(2).await, expected);
    assert_eq!(desk.told().await, ["credit_note_issued 18.45", "invoice_finalized 180.88"]);
}

async fn late_usage_and_downgrade(desk: &Desk) {
    // Usage of February that comes in March is of February.
    desk.go_to("2026-03-10T12:00:00Z");
    desk.usage.add("org_a", "2026-02-25", 100);
    desk.act(change("pro", When::PeriodEnd)).await;
    assert_eq!(desk.plan().await, "team");
    desk.run_at("2026-03-20T12:00:00Z").await;
    let (events, rated) = desk.all_told().await;
    assert!(rated.contains_key("2026-02-01T00:00:00.000000Z team Requests"), "{rated:?}");
    assert_eq!(events, Vec::<String>::new());
    desk.run_at("2026-04-01T01:00:00Z").await;
    assert_eq!(desk.plan().await, "pro");
    let expected = [
        "INV-000003 37.49 37.49 open",
        "  2026-02-15 team Requests 0.50 late",
        "  2026-04-01 pro Base 31.00",
    ];
    assert_eq!(desk.last(1).await, expected);
    assert_eq!(desk.told().await, ["subscription_changed 31.00 pro", "invoice_finalized 37.49"]);
}

async fn refund_and_suspension(desk: &Desk) {
    // A refund is not owed again.
    desk.go_to("2026-04-03T12:00:00Z");
    let third = desk.invoices().await.pop().unwrap();
    let ten = (2, Decimal::from(10));
    desk.billing.give_back(&third.invoice_id, &[ten], "slow answers", &tester()).await.unwrap();
    assert_eq!(desk.told().await, ["credit_note_issued 11.90"]);
    desk.usage.add("org_a", "2026-04-10", 1_200);
    desk.run_at("2026-04-15T12:00:00Z").await;
    // The second invoice is due since 15 March, and suspends the organization until it is paid.
    assert_eq!(desk.status().await, OrganizationStatus::Suspended);
    for invoice in desk.invoices().await.into_iter().filter(|one| one.status == InvoiceStatus::Open)
    {
        let reference = format!("T-{}", invoice.invoice_id);
        desk.billing
            .paid_by_transfer(&invoice.invoice_id, None, &reference, &tester())
            .await
            .unwrap();
    }
    assert_eq!(desk.status().await, OrganizationStatus::Active);
    assert_eq!(desk.told().await, ["payment_succeeded 162.43", "payment_succeeded 25.59"]);
    desk.run_at("2026-05-01T03:00:00Z").await;
    let expected = [
        "INV-000004 39.27 39.27 open",
        "  2026-04-01 pro Requests 2.00",
        "  2026-05-01 pro Base 31.00",
    ];
    assert_eq!(desk.last(1).await, expected);
    desk.told().await;
}

async fn end_and_return(desk: &Desk) {
    desk.go_to("2026-05-10T12:00:00Z");
    let reason = "too dear".to_owned();
    desk.act(Act::Cancel { when: When::PeriodEnd, reason }).await;
    assert!(desk.told().await.is_empty(), "it goes on until the end of May");
    desk.run_at("2026-06-01T02:00:00Z").await;
    assert_eq!(
        (desk.told().await, desk.plan().await),
        (vec!["subscription_canceled".into()], "free".into())
    );
    desk.usage.add("org_a", "2026-05-20", 1_100);
    desk.run_at("2026-07-01T02:00:00Z").await;
    let expected = ["INV-000005 1.19 1.19 open", "  2026-05-01 pro Requests 1.00 late"];
    assert_eq!(desk.last(1).await, expected);
    desk.told().await;

    // A return has no second trial.
    desk.go_to("2026-08-05T12:00:00Z");
    desk.act(start("pro")).await;
    assert_eq!(desk.told().await, ["subscription_created 31.00 pro"]);
    desk.run().await;
    assert_eq!(desk.last(1).await, ["INV-000006 36.89 36.89 open", "  2026-08-05 pro Base 31.00"]);
}
