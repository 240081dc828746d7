use chrono::{DateTime, Utc};

use super::*;

fn day(number: i64) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + TimeDelta::days(number)
}

fn at(number: i64) -> DateTime<Utc> {
    day(number).and_hms_opt(12, 0, 0).unwrap().and_utc()
}

fn one_day() -> Used {
    Used { requests: 100.0, errors: 1.0, spend: 2.0 }
}

/// Half of the organizations use less and less for four weeks, and then leave.
fn business(organizations: i64, days: i64) -> Facts {
    let mut facts = Facts::default();
    for number in 0..organizations {
        let name = format!("org_{number:03}");
        let start = number * 7 % (days - 40);
        let leaves = (number % 2 == 0).then_some(start + 50 + number % 60);
        facts.pay(&name, at(start), 50.0, Some("USD"));
        let plan = Some("pro".to_owned());
        facts.bill(
            &name,
            BillingFact {
                at: at(start),
                kind: "subscription_created".into(),
                plan,
                quantity: Some(3.0),
            },
        );
        if let Some(end) = leaves.filter(|end| *end < days) {
            facts.pay(&name, at(end), -50.0, Some("USD"));
        }
        for today in start..days {
            let fading = leaves.is_some_and(|end| today > end - 28);
            let over = leaves.is_some_and(|end| today > end);
            let is_used = if fading { today % 5 == number % 5 } else { true };
            if is_used && !over {
                facts.use_day(&name, day(today), one_day(), Some("USD"));
            }
        }
    }
    facts.sort();
    facts
}

#[test]
fn those_who_fade_are_at_risk_and_the_reasons_say_so() {
    let found = assess(&business(300, 300), day(300)).unwrap();
    let scores = found.scores.unwrap();
    assert!(scores.auc > 0.9, "{scores:?} {} of {}", found.left, found.rows);
    let [first, ..] = &found.risks[..] else { panic!("nobody") };
    assert!(first.probability > 0.6 && first.currency.as_deref() == Some("USD"), "{first:?}");
    assert!(first.reasons[0].part > 0.0, "{first:?}");
    assert!(found.risks.is_sorted_by(|a, b| a.at_risk() >= b.at_risk()));
    let safe = found.risks.iter().min_by(|a, b| a.probability.total_cmp(&b.probability)).unwrap();
    assert!(safe.probability < 0.1, "{safe:?}");
    assert!((safe.revenue - 110.0).abs() < 1e-9, "50 a month, and 30 days of 2: {safe:?}");
    assert!(found.survival.is_sorted_by(|a, b| a.share > b.share));
}

#[test]
fn nothing_of_the_future_is_known() {
    let whole = business(300, 300);
    let until = |facts: &Facts, last: i64| {
        let rows: Vec<_> =
            facts.accounts().filter(|(_, account)| account.is_customer(day(last))).collect();
        let names: Vec<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
        (
            names,
            table_of(&rows.iter().map(|(_, account)| (*account, day(last))).collect::<Vec<_>>()),
        )
    };
    let (names, table) = until(&whole, 150);
    // The same business, as it was known on the day.
    let mut part = Facts::default();
    for (name, account) in whole.accounts() {
        part.copy_until(name, account, day(150));
    }
    part.sort();
    let (same_names, same) = until(&part, 150);
    assert_eq!(names, same_names);
    for (column, other) in table.columns.iter().zip(&same.columns) {
        assert_eq!(format!("{column:?}"), format!("{other:?}"));
    }
}

#[test]
fn too_few_is_an_answer_with_the_number() {
    assert_eq!(
        assess(&Facts::default(), day(10)),
        Err(ChurnError::TooFew { what: 0, kind: "left", needed: 50 })
    );
    let few = assess(&business(20, 200), day(200)).unwrap_err();
    assert!(matches!(few, ChurnError::TooFew { kind: "left", .. }), "{few}");
}

#[test]
fn leaving_is_the_end_of_what_is_paid_or_of_all_requests() {
    let mut facts = Facts::default();
    facts.pay("pays", at(0), 50.0, None);
    facts.pay("pays", at(40), -20.0, None);
    facts.pay("pays", at(100), -30.0, None);
    facts.use_day("uses", day(5), one_day(), None);
    facts.use_day("uses", day(20), one_day(), None);
    facts.sort();
    let accounts: std::collections::BTreeMap<_, _> = facts.accounts().collect();
    let (pays, uses) = (accounts["pays"], accounts["uses"]);
    for (today, leaves) in [(20, false), (70, false), (71, true), (100, true)] {
        assert_eq!(pays.leaves(day(today)), leaves, "{today}");
    }
    assert!(pays.is_customer(day(100)) && !pays.is_customer(day(101)));
    assert_eq!(pays.paid_days(day(300)), Some((100.0, true)));
    for (today, leaves) in [(6, false), (20, false), (21, true)] {
        assert_eq!(uses.leaves(day(today)), leaves, "{today}");
    }
    assert!(uses.is_customer(day(50)) && !uses.is_customer(day(51)));
    assert_eq!(uses.paid_days(day(300)), None);
}
