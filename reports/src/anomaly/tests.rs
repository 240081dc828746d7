use std::f64::consts::TAU;

use chrono::TimeZone;

use super::*;

const HOURS: usize = 24 * 70;

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 2, 0, 0, 0).unwrap()
}

fn at(hour: usize) -> DateTime<Utc> {
    start() + TimeDelta::hours(i64::try_from(hour).unwrap())
}

fn key(metric: &str, value: Option<&str>) -> SeriesName {
    SeriesName {
        metric: metric.into(),
        dimension: value.map(|_| "organization_id".to_owned()),
        value: value.map(str::to_owned),
        currency: None,
    }
}

/// A rhythm of days and weeks with some noise, around a level.
fn usual(seed: usize, level: f64, hour: usize) -> f64 {
    let day = 1.0 + 0.6 * (TAU * hour as f64 / 24.0).sin();
    let week = if hour / 24 % 7 >= 5 { 0.5 } else { 1.0 };
    let mut state = (seed * 1_000_003 + hour + 1) as u64;
    state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let noise = ((state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 3.4;
    let mean = level * day * week;
    (mean + noise * mean.sqrt()).round().max(0.0)
}

fn series(seed: usize, metric: &str, value: Option<&str>, level: f64) -> AnomalySeries {
    AnomalySeries {
        key: key(metric, value),
        unit: Unit::Count,
        better: DesiredDirection::Higher,
        grain: Grain::Hour,
        additive: true,
        points: (0..HOURS).map(|hour| (at(hour), Some(usual(seed, level, hour)))).collect(),
        least: level * 0.02,
        dismissed: 0.0,
    }
}

fn fleet() -> Vec<AnomalySeries> {
    (0..40)
        .map(|n| series(n, "requests", (n > 0).then_some(format!("org_{n}")).as_deref(), 200.0))
        .collect()
}

fn changed(series: &mut AnomalySeries, hours: std::ops::Range<usize>, factor: f64) {
    for (_, value) in &mut series.points[hours] {
        *value = value.map(|value| (value * factor).round());
    }
}

#[test]
fn what_is_usual_is_hardly_ever_found() {
    let found = find(&fleet(), at(24 * 14));
    // Eight weeks of forty series: two false alarms a week would be sixteen.
    assert!(found.len() <= 8, "{} were found: {found:#?}", found.len());
}

#[test]
fn a_leak_a_drop_and_a_burst_are_found_with_what_was_expected() {
    let mut fleet = fleet();
    changed(&mut fleet[7], 1_200..1_205, 20.0);
    changed(&mut fleet[0], 1_400..1_403, 0.15);
    let found = find(&fleet, at(24 * 14));
    let of = |place: usize, hour: usize| {
        found.iter().find(|one| one.key == fleet[place].key && one.from == at(hour))
    };
    let leak = of(7, 1_200).expect("the leak");
    assert!(leak.is_high && leak.to == at(1_205), "{leak:?}");
    let expected: f64 = (1_200..1_205).map(|hour| usual(7, 200.0, hour)).sum();
    assert!((leak.expected / expected - 1.0).abs() < 0.2, "{leak:?} {expected}");
    assert!((leak.impact() / (19.0 * expected) - 1.0).abs() < 0.1, "{leak:?}");
    let drop = of(0, 1_400).expect("the drop");
    assert!(!drop.is_high && drop.observed < drop.lower && drop.p_value < 1e-4, "{drop:?}");
}

#[test]
fn what_one_thing_does_to_many_metrics_is_one() {
    let mut fleet = fleet();
    fleet.push(series(99, "tokens", Some("org_7"), 5_000.0));
    fleet.push(series(98, "tokens", None, 90_000.0));
    for place in [7, 40] {
        changed(&mut fleet[place], 1_200..1_205, 20.0);
    }
    changed(&mut fleet[0], 1_200..1_205, 3.0);
    let found = find(&fleet, at(24 * 14));
    let of_leak: Vec<_> = found.iter().filter(|one| one.from == at(1_200)).collect();
    assert!(of_leak.len() >= 3, "{found:#?}");
    assert_eq!(of_leak.iter().filter(|one| one.same_as.is_none()).count(), 1, "{of_leak:#?}");
}

#[test]
fn what_was_dismissed_is_not_found_again_however_many_times_it_is() {
    let mut one = series(3, "requests", Some("org_3"), 4.0);
    one.least = 1e6;
    changed(&mut one, 1_300..1_305, 20.0);
    let found = find(std::slice::from_ref(&one), at(24 * 14));
    assert_eq!(found.len(), 1, "{found:?}");
    one.dismissed = 1.5 * found[0].impact() / 5.0;
    for (_, value) in &mut one.points[1_300..1_305] {
        *value = Some(found[0].observed / 5.0);
    }
    assert_eq!(find(&[one], at(24 * 14)), []);
}

#[test]
fn fewer_errors_are_no_reason_to_look() {
    let mut one = series(1, "errors", None, 500.0);
    one.better = DesiredDirection::Lower;
    changed(&mut one, 1_200..1_204, 0.0);
    assert_eq!(find(std::slice::from_ref(&one), at(24 * 14)), []);
    changed(&mut one, 1_300..1_304, 4.0);
    assert_eq!(find(&[one], at(24 * 14)).len(), 1);
}

#[test]
fn nothing_is_unusual_in_a_maintenance_window_and_nothing_is_learned_in_it() {
    let mut one = series(1, "requests", None, 500.0);
    changed(&mut one, 1_300..1_304, 0.0);
    let found = find(std::slice::from_ref(&one), at(24 * 14));
    assert!(found.len() == 1 && found[0].from == at(1_300), "{found:?}");
    // It begins within an hour and ends within another.
    let minutes = TimeDelta::minutes(59);
    let windows = [(at(1_300) + minutes, at(1_303) + TimeDelta::minutes(1))];
    let hour = |at: DateTime<Utc>| at + TimeDelta::hours(1);
    one.leave_out(&windows, hour);
    assert_eq!(find(std::slice::from_ref(&one), at(24 * 14)), []);
    let left_out = one.points.iter().filter(|(_, value)| value.is_none()).count();
    assert_eq!(left_out, 4);
    // The hour at which it ends is not of it.
    one.leave_out(&[(at(1_310), at(1_311))], hour);
    assert!(one.points[1_309].1.is_some() && one.points[1_311].1.is_some());
}

#[test]
fn an_anomaly_is_the_same_whenever_it_is_found() {
    let mut one = series(1, "requests", None, 500.0);
    changed(&mut one, 1_300..1_304, 4.0);
    let early = AnomalySeries { points: one.points[..1_302].to_vec(), ..one.clone() };
    let [early, late] = [early, one].map(|one| find(&[one], at(24 * 14)));
    assert_eq!((early.len(), late.len()), (1, 1));
    assert_eq!(early[0].identity(), late[0].identity());
    assert!(early[0].to < late[0].to);
    // Long ago is not looked at.
    assert_eq!(find(&[series(1, "requests", None, 500.0)], at(HOURS + 1)), []);
    assert_eq!(find(&[], at(0)), []);
}
