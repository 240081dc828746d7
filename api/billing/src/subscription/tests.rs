use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn offer(plan: &str, months: u32, trial_days: u16) -> Offer<'_> {
    Offer { plan, currency: Currency::parse("USD").unwrap(), months, trial_days }
}

fn subscription(plan: &str, trial: bool, from: &str) -> Subscription {
    Subscription {
        subscription_id: "sub_1".into(),
        organization_id: "org_a".into(),
        currency: Currency::parse("USD").unwrap(),
        zone: Tz::UTC,
        phases: begin(&offer(plan, 1, 14), 1, trial, day(from)).unwrap(),
        ends_on: None,
        end_reason: None,
    }
}

/// `from plan seats`, with `trial` where it is one.
fn phases(of: &Subscription) -> Vec<String> {
    let text = |phase: &Phase| {
        let trial = if phase.is_trial { " trial" } else { "" };
        format!("{} {} {}{trial}", phase.from, phase.plan, phase.seats)
    };
    of.phases.iter().map(text).collect()
}

#[test]
fn a_trial_comes_first_and_periods_begin_after_it() {
    let trial = subscription("pro", true, "2026-01-17");
    assert_eq!(phases(&trial), ["2026-01-17 pro 1 trial", "2026-01-31 pro 1"]);
    for (at, status) in [
        ("2026-01-17", SubscriptionStatus::Trialing),
        ("2026-01-30", SubscriptionStatus::Trialing),
        ("2026-01-31", SubscriptionStatus::Active),
    ] {
        assert_eq!(trial.status_on(day(at)), status, "{at}");
    }
    assert_eq!(trial.period_on(day("2026-02-27")), Some((day("2026-01-31"), day("2026-02-28"))));
    let paid = subscription("pro", false, "2026-01-17");
    assert_eq!(phases(&paid), ["2026-01-17 pro 1"]);
    assert_eq!(
        begin(&offer("pro", 1, 0), 0, true, day("2026-01-01")),
        Err(SubscriptionFault::Seats)
    );
}

#[test]
fn a_change_counts_now_or_with_the_next_period() {
    let paid = subscription("pro", false, "2026-01-10");
    let now = paid.changed(&offer("team", 1, 14), 3, When::Now, day("2026-01-20")).unwrap();
    assert_eq!(phases(&now), ["2026-01-10 pro 1", "2026-01-20 team 3"]);
    assert_eq!(now.period_on(day("2026-01-25")), Some((day("2026-01-10"), day("2026-02-10"))));
    // Again on the same day: the last one counts.
    let again = now.changed(&offer("max", 1, 0), 3, When::Now, day("2026-01-20")).unwrap();
    assert_eq!(phases(&again), ["2026-01-10 pro 1", "2026-01-20 max 3"]);
    let later = now.changed(&offer("pro", 1, 0), 1, When::PeriodEnd, day("2026-01-25")).unwrap();
    assert_eq!(phases(&later)[2], "2026-02-10 pro 1");
    assert_eq!(later.status_on(day("2026-01-26")), SubscriptionStatus::Active);
    // Back to what counts now: the change that was to come is dropped.
    let dropped =
        later.changed(&offer("team", 1, 0), 3, When::PeriodEnd, day("2026-01-26")).unwrap();
    assert_eq!(phases(&dropped), phases(&now));
    let dropped = later.changed(&offer("team", 1, 0), 3, When::Now, day("2026-01-26")).unwrap();
    assert_eq!(phases(&dropped), phases(&now));
    let same = now.changed(&offer("team", 1, 0), 3, When::Now, day("2026-01-26"));
    assert_eq!(same, Err(SubscriptionFault::NoChange));
}

#[test]
fn another_interval_begins_with_a_period() {
    let paid = subscription("pro", false, "2026-01-31");
    let today = day("2026-02-10");
    let refused = paid.changed(&offer("yearly", 12, 0), 1, When::Now, today);
    assert_eq!(refused, Err(SubscriptionFault::OtherInterval));
    let yearly = paid.changed(&offer("yearly", 12, 0), 1, When::PeriodEnd, today).unwrap();
    assert_eq!(yearly.period_on(day("2026-03-01")), Some((day("2026-02-28"), day("2027-02-28"))));
    assert_eq!(yearly.period_on(today), Some((day("2026-01-31"), day("2026-02-28"))));
    let euro = Offer { currency: Currency::parse("EUR").unwrap(), ..offer("team", 1, 0) };
    assert_eq!(paid.changed(&euro, 1, When::Now, today), Err(SubscriptionFault::OtherCurrency));
}

#[test]
fn a_trial_changes_its_plan_and_ends_when_it_would() {
    let trial = subscription("pro", true, "2026-01-17");
    let today = day("2026-01-20");
    let now = trial.changed(&offer("team", 1, 14), 2, When::Now, today).unwrap();
    let expected = ["2026-01-17 pro 1 trial", "2026-01-20 team 2 trial", "2026-01-31 team 2"];
    assert_eq!(phases(&now), expected);
    let later = trial.changed(&offer("team", 1, 14), 2, When::PeriodEnd, today).unwrap();
    assert_eq!(phases(&later), ["2026-01-17 pro 1 trial", "2026-01-31 team 2"]);
    let same = trial.changed(&offer("pro", 1, 14), 1, When::Now, today);
    assert_eq!(same, Err(SubscriptionFault::NoChange));
    let ended = trial.canceled(When::PeriodEnd, "dear", today).unwrap();
    assert_eq!((ended.paid_from(), ended.ends_on), (None, Some(day("2026-01-31"))));
    assert_eq!(phases(&ended.reactivated(today).unwrap()), phases(&trial));
}

#[test]
fn an_end_comes_now_or_with_the_period_and_can_be_taken_back_until_then() {
    let paid = subscription("pro", false, "2026-01-10");
    let today = day("2026-01-20");
    let now = paid.canceled(When::Now, "", today).unwrap();
    assert_eq!((now.ends_on, now.end_reason.as_deref()), (Some(day("2026-01-21")), None));
    assert_eq!(now.status_on(today), SubscriptionStatus::Active);
    assert_eq!(now.status_on(day("2026-01-21")), SubscriptionStatus::Canceled);
    let later = paid.canceled(When::PeriodEnd, "dear", today).unwrap();
    assert_eq!(later.ends_on, Some(day("2026-02-10")));
    assert_eq!(later.canceled(When::PeriodEnd, "", today), Err(SubscriptionFault::Ending));
    assert_eq!(later.canceled(When::Now, "", today).unwrap().ends_on, now.ends_on);
    assert_eq!(later.reactivated(day("2026-02-09")).unwrap(), paid);
    let ended = day("2026-02-10");
    assert_eq!(later.reactivated(ended), Err(SubscriptionFault::Ended));
    assert_eq!(later.canceled(When::Now, "", ended), Err(SubscriptionFault::Ended));
    assert_eq!(paid.reactivated(today), Err(SubscriptionFault::NotEnding));
    let change = later.changed(&offer("team", 1, 0), 1, When::Now, today);
    assert_eq!(change, Err(SubscriptionFault::Ending));
    let change = later.changed(&offer("team", 1, 0), 1, When::Now, ended);
    assert_eq!(change, Err(SubscriptionFault::Ended));
    // A change that was to come does not come before the end.
    let planned = paid.changed(&offer("team", 1, 0), 1, When::PeriodEnd, today).unwrap();
    let ended = planned.canceled(When::PeriodEnd, "", today).unwrap();
    assert_eq!(ended.next_phase(today), None);
    // If it goes on, the change comes, too.
    assert_eq!(ended.reactivated(today).unwrap(), planned);
    // One that begins tomorrow is changed and ended from its first day on.
    let early = day("2026-01-09");
    let changed = paid.changed(&offer("team", 1, 0), 1, When::Now, early).unwrap();
    assert_eq!(phases(&changed), ["2026-01-10 team 1"]);
    let ended = paid.canceled(When::Now, "", early).unwrap();
    assert_eq!((phases(&ended), ended.ends_on), (phases(&paid), Some(day("2026-01-11"))));
}
