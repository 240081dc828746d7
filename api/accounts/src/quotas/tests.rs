use std::sync::Arc;

use chrono::TimeDelta;
use state::scratch::noon;

use super::*;
use crate::plans::Currency;

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

fn usage(requests: i64, tokens: i128, usd: i128) -> Usage {
    let usd = (Currency::parse("USD").unwrap(), usd * 1_000_000_000_000);
    Usage { requests, tokens, spend: BTreeMap::from([usd]) }
}

fn counted(organization: &str, key: Option<&str>, usage: Usage) -> Counted {
    Counted {
        month: Month::of(noon()),
        organization_id: organization.to_owned(),
        api_key_id: key.map(ToOwned::to_owned),
        usage,
    }
}

fn event(id: &str) -> EventName {
    EventName { organization_id: "org_a".into(), source: "/gateway".into(), id: id.into() }
}

fn caller(limits: &Limits) -> Caller<'_> {
    Caller { organization_id: "org_a", limits, key: None }
}

/// Used and reserved of the first quota.
fn taken(quotas: &Quotas, limits: &Limits, now: DateTime<Utc>) -> (Measure, Measure) {
    let found = quotas.standing(&caller(limits), now).unwrap();
    (found[0].used, found[0].reserved)
}

#[test]
fn what_is_used_and_reserved_counts_until_the_limit() {
    let quotas = Quotas::default();
    let tokens = limits(r#"{"monthly": {"tokens": {"limit": 100}}}"#);
    let estimate = |tokens| Usage { requests: 1, tokens, ..Usage::default() };
    assert_eq!(
        quotas.check(&caller(&tokens), &estimate(1), noon()),
        Err(QuotaError::NotCounted),
        "nothing is known yet"
    );
    assert_eq!(quotas.check(&caller(&limits("{}")), &estimate(1), noon()), Ok(Vec::new()));
    quotas.begin(
        7,
        vec![counted("org_a", None, usage(3, 60, 0)), counted("org_b", None, usage(1, 99, 0))],
    );
    for (more, allowed) in [(0, true), (40, true), (41, false)] {
        let found = quotas.check(&caller(&tokens), &estimate(more), noon());
        assert_eq!(found.is_ok(), allowed, "{more}");
    }
    quotas.reserve(&caller(&tokens), event("1"), estimate(30), noon()).unwrap();
    assert_eq!(taken(&quotas, &tokens, noon()), (Measure::Count(60), Measure::Count(30)));
    assert!(quotas.reserve(&caller(&tokens), event("2"), estimate(11), noon()).is_err());
    // Asked again for the same event, the estimate is replaced; refused, the former one stays.
    assert!(quotas.reserve(&caller(&tokens), event("1"), estimate(41), noon()).is_err());
    assert_eq!(taken(&quotas, &tokens, noon()).1, Measure::Count(30));
    quotas.reserve(&caller(&tokens), event("1"), estimate(40), noon()).unwrap();
    // Used up: not even what has no estimate.
    assert!(quotas.check(&caller(&tokens), &estimate(0), noon()).is_err());
    let soft = limits(r#"{"monthly": {"tokens": {"limit": 100, "soft": true}}}"#);
    assert!(quotas.check(&caller(&soft), &estimate(1_000), noon()).is_ok());
    // The event says less, and ends the reservation.
    quotas.count(8, vec![counted("org_a", None, usage(1, 10, 0))], [event("1")], noon());
    assert_eq!(taken(&quotas, &tokens, noon()), (Measure::Count(70), Measure::Count(0)));
    // A correction lowers the counters.
    quotas.count(9, vec![counted("org_a", None, usage(0, -20, 0))], [], noon());
    assert_eq!(taken(&quotas, &tokens, noon()).0, Measure::Count(50));
    // In the next month nothing is used yet.
    let next = Month::of(noon()).end();
    assert_eq!(taken(&quotas, &tokens, next).0, Measure::Count(0));
}

#[test]
fn a_reservation_is_settled_canceled_or_expires() {
    let quotas = Quotas::default();
    quotas.begin(1, Vec::new());
    let limits = limits(
        r#"{"concurrent_requests": 2, "monthly": {"spend": {"limit": "10", "currency": "USD"}}}"#,
    );
    let ask = |id, usd, now| quotas.reserve(&caller(&limits), event(id), usage(1, 0, usd), now);
    let (_, until) = ask("1", 4, noon()).unwrap();
    assert_eq!(until, noon() + RESERVED_FOR);
    ask("2", 5, noon()).unwrap();
    assert_eq!(ask("3", 1, noon()), Err(QuotaError::TooManyCalls { limit: 2 }));
    assert_eq!(quotas.open_calls("org_a", noon()), 2);
    // Settled, the call has ended, and what it used counts until its event comes.
    let later = noon() + TimeDelta::minutes(9);
    assert_eq!(quotas.settle(&event("1"), usage(1, 0, 1), later), Ok(later + RESERVED_FOR));
    assert_eq!(quotas.open_calls("org_a", later), 1);
    let dollars = |usd: i128| Measure::Money(usd * 1_000_000_000_000);
    assert_eq!(taken(&quotas, &limits, later).1, dollars(6));
    // The other one expires.
    let after = noon() + RESERVED_FOR;
    assert_eq!(taken(&quotas, &limits, after).1, dollars(1));
    assert_eq!(quotas.settle(&event("2"), usage(1, 0, 1), after), Err(QuotaError::NoReservation));
    assert_eq!(quotas.cancel(&event("1"), after), Ok(()));
    assert_eq!(quotas.cancel(&event("1"), after), Err(QuotaError::NoReservation));
    assert!(!quotas.awaits_events());
    assert_eq!(taken(&quotas, &limits, after).1, dollars(0));
}

#[test]
fn a_key_has_a_budget_of_its_own() {
    let quotas = Quotas::default();
    quotas.begin(
        1,
        vec![
            counted("org_a", Some("key_1"), usage(5, 0, 0)),
            counted("org_a", Some("key_2"), usage(1, 0, 0)),
            counted("org_a", None, usage(2, 0, 0)),
        ],
    );
    let (of_organization, budget) = (
        limits(r#"{"monthly": {"requests": {"limit": 100}}}"#),
        limits(r#"{"monthly": {"requests": {"limit": 6}}}"#),
    );
    let of = |key| Caller {
        organization_id: "org_a",
        limits: &of_organization,
        key: Some((key, &budget)),
    };
    let one = usage(1, 0, 0);
    quotas.reserve(&of("key_1"), event("1"), one.clone(), noon()).unwrap();
    let refused = quotas.reserve(&of("key_1"), event("2"), one.clone(), noon());
    let Err(QuotaError::Exceeded(found)) = refused else { panic!("{refused:?}") };
    let standing: Vec<_> = found
        .iter()
        .map(|quota| (quota.scope, quota.used, quota.reserved, quota.remaining))
        .collect();
    let count = Measure::Count;
    assert_eq!(
        standing,
        [
            (LimitScope::Organization, count(8), count(1), count(91)),
            (LimitScope::ApiKey, count(5), count(1), count(0)),
        ]
    );
    assert!(quotas.reserve(&of("key_2"), event("2"), one, noon()).is_ok());
}

#[test]
fn what_is_counted_reads_back_by_key() {
    let quotas = Quotas::default();
    let all = vec![
        counted("org_a", Some("key_1"), usage(5, 10, 1)),
        counted("org_a", None, usage(2, 3, 0)),
        counted("org_b", Some("key_2"), usage(1, 1, 1)),
    ];
    quotas.begin(3, all.clone());
    quotas.count(4, vec![counted("org_c", Some("key_3"), usage(1, 1, 1))], [], noon());
    quotas.count(5, vec![counted("org_c", Some("key_3"), usage(-1, -1, -1))], [], noon());
    let (through, mut found) = quotas.counted(Month::of(noon()));
    found.sort_by_key(|one| (one.organization_id.clone(), one.api_key_id.is_none()));
    for one in &mut found {
        one.usage.spend.retain(|_, units| *units != 0);
    }
    let mut expected = all;
    for one in &mut expected {
        one.usage.spend.retain(|_, units| *units != 0);
    }
    assert_eq!((through, found), (Some(5), expected));
}

/// A hundred at once ask for the last unit.
#[test]
fn one_gets_the_last_unit() {
    let quotas = Arc::new(Quotas::default());
    quotas.begin(1, vec![counted("org_a", None, usage(9, 0, 0))]);
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|id: u32| {
                let quotas = Arc::clone(&quotas);
                scope.spawn(move || {
                    let limits = limits(r#"{"monthly": {"requests": {"limit": 10}}}"#);
                    let event = event(&id.to_string());
                    usize::from(
                        quotas.reserve(&caller(&limits), event, usage(1, 0, 0), noon()).is_ok(),
                    )
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}

/// Ends of reservations that are gone do not pile up.
#[test]
fn many_reservations_leave_nothing_behind() {
    let mut reservations = Reservations::default();
    for round in 0..50_000_i64 {
        let now = noon() + TimeDelta::milliseconds(round);
        let (usage, expires_at) = (usage(1, 1, 1), now + RESERVED_FOR);
        let reservation = Reservation { api_key_id: None, usage, expires_at, is_open: true };
        let event = event(&round.to_string());
        reservations.begin(event.clone(), reservation.clone());
        assert_eq!(reservations.end(&event), Some(reservation));
    }
    assert!(reservations.is_empty() && reservations.ends() < 20_000);
}
