//! Which bytes come out of which profile.

use chrono::NaiveDate;

use super::{bytes, small};
use crate::{Business, Error, MAX_DAYS, Profile};

/// FNV-1a with 64 bits: enough to notice a change.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn the_bytes_are_pinned() {
    let profile = Profile { organizations: 10, days: 35, ..small() };
    let bytes = bytes(profile);
    // A change here changes every demo: count `GENERATION` up, so that older ones are not continued.
    assert_eq!((bytes.len(), fingerprint(&bytes)), (11_701_806, 16_711_977_186_840_614_385));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let profile = Profile { days: 12, ..small() };
    assert_eq!(bytes(profile), bytes(profile));
    assert_ne!(bytes(profile), bytes(Profile { seed: 8, ..profile }));
}

#[test]
fn a_shorter_period_is_a_prefix_of_a_longer_one() {
    let short = bytes(Profile { days: 30, ..small() });
    let long = bytes(small());
    assert!(long.len() > short.len());
    assert!(long.starts_with(&short));
}

#[test]
fn a_top_up_makes_only_the_new_days() {
    let business = Business::new(small());
    let all: Vec<_> = business.days().map(|day| day.ndjson).collect();
    let late: Vec<_> = business.days_from(55).map(|day| day.ndjson).collect();
    assert_eq!(all.len(), 60);
    assert_eq!(all[55..], late);
    assert!(business.day(60).is_none());
}

#[test]
fn organizations_do_not_change_when_the_period_grows() {
    let short = Business::new(small().lasting(30).expect("within the limits"));
    let long = Business::new(small());
    assert!(long.organizations().len() > short.organizations().len());
    for (before, after) in short.organizations().iter().zip(long.organizations()) {
        assert_eq!(before.organization_id, after.organization_id);
        assert_eq!(before.signed_up_at, after.signed_up_at);
        assert_eq!(before.name, after.name);
    }
}

#[test]
fn the_whole_horizon_has_the_organizations_asked_for() {
    for organizations in [1, 2, 3, 20, 300, 1_001] {
        let profile = Profile { organizations, days: 120, ..small() };
        let business = Business::new(profile);
        let found = business.organizations();
        assert_eq!(found.len(), organizations as usize);
        let start = profile.start.and_time(chrono::NaiveTime::MIN).and_utc();
        let old = found.iter().filter(|o| o.signed_up_at < start).count();
        if organizations >= 20 {
            assert_eq!(old, (organizations as usize * 3).div_ceil(5));
        }
    }
}

#[test]
fn limits_are_checked() {
    let end = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a date");
    assert_eq!(Profile::ending(1, 300, 0, end), Err(Error::Days { days: 0 }));
    assert!(Profile::ending(1, 300, MAX_DAYS, end).is_ok());
    assert!(Profile::ending(1, 300, MAX_DAYS + 1, end).is_err());
    assert!(Profile::ending(1, 0, 10, end).is_err());
    assert!(Profile::ending(1, 100_001, 10, end).is_err());
    assert!(Profile::ending(1, 1, 10, NaiveDate::MIN).is_err());
}

#[test]
fn volume_is_in_proportion_to_the_profile() {
    let requests = |organizations, seed| {
        let business =
            Business::new(Profile { seed, organizations, days: 120, ..Profile::default() });
        let sampled = (0..120).step_by(12).filter_map(|day| business.facts(day));
        sampled.map(|facts| facts.requests).sum::<u64>() as f64 * 12.0
    };
    for seed in 1..4 {
        let ratio = requests(300, seed) / 2_000_000.0;
        assert!((0.75..1.3).contains(&ratio), "seed {seed}: {ratio}");
    }
    let ratio = requests(60, 1) / 400_000.0;
    assert!((0.6..1.6).contains(&ratio), "60 organizations: {ratio}");
}

#[test]
fn the_excerpt_has_the_sums_of_the_data_card() {
    let excerpt = include_str!("../../golden/azure_llm_conv_excerpt.csv");
    let rows: Vec<Vec<u64>> = excerpt
        .split("\r\n")
        .skip(1)
        .map(|row| row.split(',').skip(1).map(|n| n.parse().expect("a count")).collect())
        .collect();
    let sum = |column: usize| rows.iter().map(|row| row[column]).sum::<u64>();
    assert_eq!((rows.len(), sum(0), sum(1)), (500, 467_684, 132_536));
    assert!(!excerpt.ends_with('\n'));
}
