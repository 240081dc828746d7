use serde_json::{Value, json};

use super::*;
use crate::DesiredDirection;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn watched() -> Watched {
    Watched { unit: Unit::Count, better: DesiredDirection::Higher, goal: None, matures_days: 0 }
}

fn rule(interval: &str, condition: Value) -> AlertRule {
    let rule = json!({"metric": "requests", "interval": interval, "condition": condition});
    serde_json::from_value(rule).unwrap()
}

/// Daily values, the first of Monday, 2026-03-02.
fn days(values: &[i64]) -> AlertSeries {
    let start = at("2026-03-02T00:00:00Z");
    let points = (0..).zip(values);
    AlertSeries {
        points: points
            .map(|(day, value)| (start + TimeDelta::days(day), Some(Decimal::from(*value))))
            .collect(),
        ..AlertSeries::default()
    }
}

/// The verdicts from the interval with this number on: `x` met, `.` not met, `?` unknown.
fn verdicts(rule: &AlertRule, series: &AlertSeries, watched: &Watched, from: usize) -> String {
    let first = series.points[from].0;
    let evaluations = rule.evaluate(series, watched, first, Zone::UTC);
    assert_eq!(evaluations.len(), series.points.len() - from);
    let sign = |evaluation: &Evaluation| match evaluation.verdict {
        Verdict::Met => 'x',
        Verdict::NotMet => '.',
        Verdict::Unknown => '?',
    };
    evaluations.iter().map(sign).collect()
}

#[track_caller]
fn check(condition: Value, values: &[i64], expected: &str) {
    let from = values.len() - expected.len();
    let series = days(values);
    assert_eq!(verdicts(&rule("day", condition), &series, &watched(), from), expected);
}

#[test]
fn limits_are_not_met_at_the_limit() {
    check(json!({"kind": "above", "value": "10"}), &[9, 10, 11], "..x");
    check(json!({"kind": "below", "value": 10}), &[9, 10, 11], "x..");
    check(json!({"kind": "no_data"}), &[0, 1], "x.");
}

#[test]
fn changes_are_counted_from_an_earlier_interval() {
    let rises = json!({"kind": "rises", "by": "0.5", "against": "previous"});
    check(rises, &[100, 150, 226, 0, 5], "..x.?"[1..].into());
    let falls = json!({"kind": "falls", "by": "0.3", "against": "week_before"});
    check(falls, &[100, 100, 100, 100, 100, 100, 100, 70, 69], ".x");
    // Of a ratio it is the difference.
    let ratio = Watched { unit: Unit::Ratio, ..watched() };
    let rule = rule("day", json!({"kind": "rises", "by": "0.5", "against": "previous"}));
    assert_eq!(verdicts(&rule, &days(&[0, 1]), &ratio, 1), "x");
}

#[test]
fn the_norm_is_the_median_before() {
    let mut values = vec![10; 10];
    values.extend([199, 200, 201]);
    check(json!({"kind": "above_norm", "times": 20}), &values, "..x");
    check(json!({"kind": "above_norm", "times": 2}), &[1, 1, 1, 1, 1, 1, 9], "?");
    check(json!({"kind": "above_norm", "times": 2}), &[0, 0, 0, 0, 0, 0, 0, 0, 9], "?");
}

#[test]
fn a_goal_is_missed_on_the_side_that_is_bad() {
    let goal = |better| Watched {
        goal: Some(Goal { value: 10.0, per: GoalPeriod::Window }),
        better,
        ..watched()
    };
    let rule = rule("day", json!({"kind": "goal_missed"}));
    let series = days(&[9, 10, 11]);
    assert_eq!(verdicts(&rule, &series, &goal(DesiredDirection::Higher), 0), "x..");
    assert_eq!(verdicts(&rule, &series, &goal(DesiredDirection::Lower), 0), "..x");
    assert!(rule.fault(&watched()).unwrap().contains("no goal"));
}

#[test]
fn small_intervals_and_muted_groups_are_not_looked_at() {
    let mut rule = rule("day", json!({"kind": "above", "value": 5}));
    rule.at_least = Some(AtLeast { metric: "requests".into(), value: Decimal::from(100) });
    let mut series = days(&[9, 9, 9]);
    series.volumes = vec![Some(Decimal::from(99)), Some(Decimal::from(100)), None];
    assert_eq!(verdicts(&rule, &series, &watched(), 0), "?x?");

    rule.at_least = None;
    rule.by = Some("model".into());
    let own = |group: &str, value: Option<i64>, muted| Override {
        group: group.into(),
        value: value.map(Decimal::from),
        muted,
    };
    rule.overrides = vec![own("a", Some(9), false), own("b", None, true)];
    series.group = Some("a".into());
    assert_eq!(verdicts(&rule, &series, &watched(), 0), "...");
    series.group = Some("b".into());
    assert_eq!(rule.evaluate(&series, &watched(), series.points[0].0, Zone::UTC), []);
    series.group = Some("c".into());
    assert_eq!(verdicts(&rule, &series, &watched(), 0), "xxx");
}

#[test]
fn an_anomaly_is_outside_of_what_its_past_expects() {
    let week = [100, 110, 120, 115, 105, 40, 30];
    let noise = |day: u64| {
        let mixed = day.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        i64::try_from((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 60).unwrap()
    };
    let mut values: Vec<i64> = (0..180).map(|day| week[day as usize % 7] + noise(day)).collect();
    values.extend([42, 400, 103, 5]);
    let both = rule("day", json!({"kind": "anomaly"}));
    let series = days(&values);
    // What follows an anomaly is expected as if it had not been.
    assert_eq!(verdicts(&both, &series, &watched(), 180), ".x.x", "{values:?}");
    let above = rule("day", json!({"kind": "anomaly", "direction": "above"}));
    assert!(verdicts(&above, &series, &watched(), 180).ends_with('.'), "that was below");
    assert_eq!(verdicts(&both, &days(&values[..20]), &watched(), 19), "?", "the past is short");
    // What is expected of a day does not know the day.
    let alone = both.evaluate(&days(&values[..182]), &watched(), series.points[181].0, Zone::UTC);
    let later = both.evaluate(&series, &watched(), series.points[180].0, Zone::UTC);
    assert_eq!(alone[0], later[1]);
}

#[test]
fn a_forecast_crosses_its_limit_before_the_value_does() {
    let values: Vec<i64> = (0..180).map(|day| 1_000 + day * 10).collect();
    let crossing =
        |value: i64| rule("day", json!({"kind": "forecast_above", "value": value, "within": 14}));
    assert_eq!(verdicts(&crossing(2_850), &days(&values), &watched(), 179), "x");
    assert_eq!(verdicts(&crossing(5_000), &days(&values), &watched(), 179), ".");
    let below = rule("day", json!({"kind": "forecast_below", "value": 10, "within": 14}));
    assert_eq!(verdicts(&below, &days(&values), &watched(), 179), ".");
}

#[test]
fn it_opens_after_some_intervals_and_is_resolved_after_some() {
    let mut rule = rule("day", json!({"kind": "above", "value": 5}));
    (rule.for_intervals, rule.recover_after) = (2, 2);
    let series = days(&[9, 1, 9, 9, 9, 1, 9, 1, 1, 1, 9, 9]);
    let evaluations = rule.evaluate(&series, &watched(), series.points[0].0, Zone::UTC);
    let all = firings(&rule, &series, &evaluations);
    let day = |number: usize| series.points[number].0;
    let spans: Vec<_> = all.iter().map(|firing| (firing.opened, firing.resolved)).collect();
    assert_eq!(spans, [(day(3), Some(day(8))), (day(11), None)]);
    // What is not known neither opens nor resolves it.
    let mut standing = Standing { met: 1, not_met: 0, is_open: false };
    assert_eq!(standing.take(&rule, Verdict::Unknown), None);
    assert_eq!(standing.take(&rule, Verdict::Met), Some(Turn::Opened));
}

#[test]
fn people_are_told_once_and_again_as_they_ask() {
    let (now, hour) = (at("2026-03-02T12:00:00Z"), TimeDelta::hours(1));
    let again = Some(TimeDelta::hours(24));
    assert!(is_told(now, None, false, None, None));
    assert!(!is_told(now, Some(now - hour), false, None, again));
    assert!(is_told(now, Some(now - hour * 24), false, None, again));
    assert!(!is_told(now, Some(now - hour * 99), false, None, None));
    assert!(!is_told(now, Some(now - hour * 99), true, None, again), "it was acknowledged");
    assert!(!is_told(now, None, false, Some(now + hour), again), "it was snoozed");
    assert!(
        is_told(now, Some(now - hour * 2), false, Some(now - hour), None),
        "the snooze is over"
    );
}

#[test]
fn intervals_are_over_when_what_comes_late_has_come() {
    let (rule, late) = (rule("day", json!({"kind": "no_data"})), TimeDelta::minutes(10));
    let berlin: Zone = "Europe/Berlin".parse().unwrap();
    // Midnight of Berlin on the day after its clocks went forward is 22:00 UTC.
    let closed = |now: &str| rule.closed_until(&watched(), at(now), late, berlin);
    assert_eq!(closed("2026-03-29T22:09:59Z"), at("2026-03-28T23:00:00Z"));
    assert_eq!(closed("2026-03-29T22:10:00Z"), at("2026-03-29T22:00:00Z"));
    let ready = rule.ready_at(&watched(), at("2026-03-28T23:00:00Z"), late, berlin);
    assert_eq!(ready, at("2026-03-29T22:10:00Z"));
    let slow = Watched { matures_days: 7, ..watched() };
    assert_eq!(
        rule.closed_until(&slow, at("2026-03-20T00:10:00Z"), late, Zone::UTC),
        at("2026-03-13T00:00:00Z")
    );
    assert_eq!(rule.known_from(at("2026-03-30T22:00:00Z"), berlin), at("2026-03-02T23:00:00Z"));
}

#[test]
fn what_cannot_be_a_rule_is_refused() {
    let refused = |interval: &str, condition: Value, why: &str| {
        let fault = rule(interval, condition).fault(&watched());
        assert!(fault.as_deref().is_some_and(|fault| fault.contains(why)), "{fault:?}");
    };
    refused("minute", json!({"kind": "no_data"}), "interval");
    refused("day", json!({"kind": "rises", "by": 0, "against": "previous"}), "above zero");
    refused("week", json!({"kind": "rises", "by": 1, "against": "day_before"}), "against");
    refused("hour", json!({"kind": "forecast_above", "value": 1, "within": 3}), "days or weeks");
    refused("day", json!({"kind": "forecast_above", "value": 1, "within": 0}), "within");
    refused("day", json!({"kind": "anomaly", "level": 1.0}), "level");
    refused("month", json!({"kind": "anomaly"}), "anomalies");
    for odd in [
        json!({"kind": "strange"}),
        json!({"kind": "above"}),
        json!({"kind": "above", "value": 1, "x": 1}),
    ] {
        assert!(serde_json::from_value::<Condition>(odd).is_err());
    }
}
