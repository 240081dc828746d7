use accounts::plans::Currency;
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;
use crate::{
    PriceList, PriceOverride, TokenCounts,
    meter::ModelUsage,
    subscription::{Offer, When, begin},
};

const LIST: &str = "
plans:
  - plan: pro
    versions:
      - {from: 2026-01-01, currency: USD, charges: [{name: Base, price: {flat: 31}},
         {name: Requests, meter: requests, included: 310, price: {per_unit: {amount: 10}}}]}
  - plan: team
    versions:
      - from: 2026-01-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 62}, in_advance: true}
          - {name: Seats, meter: seats, price: {per_unit: {amount: 31}}}
          - {name: Tokens, meter: model_price, minimum: 5, price: {per_unit: {amount: 1}}}
  - plan: units
    versions: [{from: 2026-01-01, currency: USD, charges: [{name: Unit, meter: requests, price: {per_unit: {amount: 10}}}]}]
models:
  - model: gpt-5*
    versions:
      - {from: 2026-01-01, currency: USD, tokens: {input: 1, output: 10}}
      - {from: 2026-01-16, currency: USD, tokens: {input: 2, output: 20}}
";

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn book() -> PriceBook {
    PriceBook { list: PriceList::parse(LIST).unwrap(), overrides: Vec::new() }
}

fn offer(plan: &str) -> Offer<'_> {
    Offer { plan, currency: Currency::parse("USD").unwrap(), months: 1, trial_days: 0 }
}

fn subscription(plan: &str, from: &str) -> Subscription {
    Subscription {
        subscription_id: "sub_1".into(),
        organization_id: "org_a".into(),
        currency: Currency::parse("USD").unwrap(),
        zone: Tz::UTC,
        phases: begin(&offer(plan), 1, false, day(from)).unwrap(),
        ends_on: None,
        end_reason: None,
    }
}

fn usage(days: &[(&str, u64, u64)]) -> DailyUsage {
    let mut usage = DailyUsage::new();
    for (on, requests, input_tokens) in days {
        let tokens = TokenCounts { input_tokens: *input_tokens, ..TokenCounts::default() };
        let used = ModelUsage { requests: *requests, tokens, ..ModelUsage::default() };
        usage.entry(day(on)).or_default().entry("gpt-5".into()).or_default().add(&used).unwrap();
    }
    usage
}

type Ledger = BTreeMap<LineKey, Billed>;

/// What is due, and from then on billed: `from plan charge quantity amount`, with `late` for an adjustment.
fn bill(
    of: &Subscription,
    on: &str,
    book: &PriceBook,
    used: &DailyUsage,
    billed: &mut Ledger,
) -> Vec<String> {
    let found = due(of, day(on), (book, 2), used, billed).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let mut said = Vec::new();
    for line in found.lines.iter().chain(&found.credits) {
        let sum = billed.entry(line.key.clone()).or_default();
        sum.quantity += line.quantity;
        sum.amount += line.amount;
        let late = if line.is_adjustment { " late" } else { "" };
        let LineKey { from, plan, charge, .. } = &line.key;
        let quantity = line.quantity.normalize();
        said.push(format!("{from} {plan} {charge} {quantity} {}{late}", line.amount));
    }
    said
}

/// OpenMeter's TestLateEventRatingUnitPrice.
#[test]
fn late_usage_is_a_line_of_its_own_that_names_its_period() {
    let (of, book, mut billed) = (subscription("units", "2026-01-01"), book(), Ledger::new());
    let first = usage(&[("2026-01-05", 3, 0)]);
    assert_eq!(
        bill(&of, "2026-02-01", &book, &first, &mut billed),
        ["2026-01-01 units Unit 3 30.00"]
    );
    let second = usage(&[("2026-01-05", 3, 0), ("2026-02-05", 2, 0)]);
    assert_eq!(
        bill(&of, "2026-03-01", &book, &second, &mut billed),
        ["2026-02-01 units Unit 2 20.00"]
    );
    let third = usage(&[("2026-01-05", 4, 0), ("2026-02-05", 2, 0), ("2026-03-05", 3, 0)]);
    let expected = ["2026-01-01 units Unit 1 10.00 late", "2026-03-01 units Unit 3 30.00"];
    assert_eq!(bill(&of, "2026-04-01", &book, &third, &mut billed), expected);
    // Nothing is due twice, and what was void since is taken back.
    assert!(bill(&of, "2026-04-01", &book, &third, &mut billed).is_empty());
    let fewer = usage(&[("2026-01-05", 1, 0), ("2026-02-05", 2, 0), ("2026-03-05", 3, 0)]);
    let expected = ["2026-01-01 units Unit -3 -30.00 late"];
    assert_eq!(bill(&of, "2026-05-01", &book, &fewer, &mut billed), expected);
}

#[test]
fn a_change_in_a_period_is_in_proportion_to_its_days() {
    let book = book();
    let mut billed = Ledger::new();
    let of = subscription("pro", "2026-01-01");
    let of = of.changed(&offer("team"), 2, When::Now, day("2026-01-11")).unwrap();
    // Ten of 31 days: 100 requests are included.
    let used = usage(&[
        ("2026-01-10", 101, 0),
        ("2026-01-11", 9, 1_000_000),
        ("2026-01-16", 0, 1_000_000),
    ]);
    let expected = [
        "2026-01-01 pro Base 1 10.00",
        "2026-01-01 pro Requests 101 10.00",
        "2026-01-11 team Base 1 42.00",
        "2026-01-11 team Seats 2 42.00",
        // The second million cost two dollars; of the minimum, 5 × 21 ÷ 31 = 3.387 are due.
        "2026-01-11 team Tokens 3 3.39",
        "2026-02-01 team Base 1 62.00",
    ];
    assert_eq!(bill(&of, "2026-02-01", &book, &used, &mut billed), expected);
    // An end in the period: of what was paid in advance, the rest is taken back.
    let of = of.canceled(When::Now, "", day("2026-02-14")).unwrap();
    let expected = [
        "2026-02-01 team Seats 2 31.00",
        "2026-02-01 team Tokens 0 2.50",
        "2026-02-01 team Base 0 -31.00 late",
    ];
    assert_eq!(
        billing_days(&of, Some(day("2026-02-01")), day("2026-12-01")),
        [day("2026-02-15"), day("2026-03-15")]
    );
    assert_eq!(bill(&of, "2026-02-15", &book, &used, &mut billed), expected);
    assert!(bill(&of, "2026-03-15", &book, &used, &mut billed).is_empty());
    let late = usage(&[
        ("2026-01-10", 102, 0),
        ("2026-01-11", 9, 1_000_000),
        ("2026-01-16", 0, 1_000_000),
    ]);
    assert_eq!(
        bill(&of, "2026-03-15", &book, &late, &mut billed),
        ["2026-01-01 pro Requests 1 10.00 late"]
    );
}

#[test]
fn a_price_that_is_agreed_counts_for_its_days_and_nobody_else() {
    let mut book = book();
    let charges = "- {name: Base, price: {flat: 3}}";
    book.overrides.push(PriceOverride {
        override_id: "price_1".into(),
        organization_id: "org_a".into(),
        plan: "pro".into(),
        charges: serde_yaml_ng::from_str(charges).unwrap(),
        starts_on: day("2026-02-15"),
        ends_on: Some(day("2026-03-01")),
        note: String::new(),
    });
    let of = subscription("pro", "2026-02-01");
    let said =
        |of: &Subscription| bill(of, "2026-03-01", &book, &DailyUsage::new(), &mut Ledger::new());
    assert_eq!(said(&of), ["2026-02-01 pro Base 1 15.50", "2026-02-15 pro Base 1 1.50"]);
    let other = Subscription { organization_id: "org_b".into(), ..of };
    assert_eq!(said(&other), ["2026-02-01 pro Base 1 31.00"]);
}

#[test]
fn what_has_no_price_is_said() {
    let (of, book) = (subscription("team", "2026-01-01"), book());
    let mut used = usage(&[("2026-01-05", 1, 5)]);
    let known = used.get_mut(&day("2026-01-05")).unwrap();
    known.insert("unknown".into(), known["gpt-5"].clone());
    let found = due(&of, day("2026-02-01"), (&book, 2), &used, &Ledger::new()).unwrap();
    let said: Vec<_> = found.problems.into_iter().collect();
    assert_eq!(said, ["`unknown` has no price on 2026-01-05"]);
    let before = subscription("pro", "2025-12-15");
    let refused = due(&before, day("2026-01-15"), (&book, 2), &used, &Ledger::new());
    assert_eq!(refused, Err(BillingError::Unpriced { plan: "pro".into(), day: day("2025-12-15") }));
}

#[test]
fn billing_days_come_back_to_their_day_of_the_month() {
    let of = subscription("pro", "2026-01-31");
    let days = |after: Option<&str>, through: &str| {
        let days = billing_days(&of, after.map(day), day(through));
        days.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(days(None, "2026-04-30"), ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]);
    assert_eq!(days(Some("2026-02-28"), "2026-03-30"), Vec::<String>::new());
    assert_eq!(days(None, "2026-01-30"), Vec::<String>::new());
    assert_eq!(reads_from(&of, day("2026-03-31")), day("2026-01-31"));
    assert_eq!(reads_from(&of, day("2026-08-31")), day("2026-04-30"));
}

proptest! {
    /// Whatever is used on whichever day and however late it comes: what is billed is what one bill at the end would be, and
    /// the days of an accrual add up to its lines.
    #[test]
    fn bills_add_up_to_what_is_owed(
        events in proptest::collection::vec((0..58_i64, 0..58_i64, 0..400_u64, 0..9_000_000_u64), 0..20),
        change in 1..58_i64,
    ) {
        let book = book();
        let start = day("2026-01-01");
        let on = |days: i64| start + chrono::Days::new(days.unsigned_abs());
        let of = subscription("pro", "2026-01-01").changed(&offer("team"), 3, When::Now, on(change)).unwrap();
        let seen = |through: i64| {
            let mut known = Vec::new();
            for (at, later, requests, tokens) in &events {
                if at + later < through {
                    known.push((on(*at).to_string(), *requests, *tokens));
                }
            }
            let known: Vec<_> = known.iter().map(|(at, requests, tokens)| (at.as_str(), *requests, *tokens)).collect();
            usage(&known)
        };
        let mut billed = Ledger::new();
        for (at, through) in [("2026-01-01", 0), ("2026-02-01", 31), ("2026-03-01", 59), ("2026-04-01", 200)] {
            bill(&of, at, &book, &seen(through), &mut billed);
        }
        let mut whole = Ledger::new();
        bill(&of, "2026-04-01", &book, &seen(200), &mut whole);
        billed.retain(|_, sum| !sum.amount.is_zero());
        let amounts = |of: &Ledger| of.iter().map(|(key, sum)| (key.clone(), sum.amount)).collect::<Vec<_>>();
        prop_assert_eq!(amounts(&billed), amounts(&whole));
        for segment in segments(&of, (start, day("2026-02-01")), &book).unwrap() {
            for accrual in accruals(&segment, &seen(200), &book.list, 2, day("2026-02-01")).unwrap() {
                let sum: Decimal = accrual.lines.iter().map(|line| line.amount).sum();
                prop_assert_eq!(accrual.total().1, sum);
            }
        }
    }
}

#[test]
fn recurring_is_flat_and_seats() {
    let (of, book) = (subscription("team", "2026-01-01"), book());
    let phase = crate::Phase { seats: 4, ..of.phases[0].clone() };
    assert_eq!(book.recurring(&of, &phase, day("2026-01-01"), 2).unwrap(), dec("186.00"));
}
