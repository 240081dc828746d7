use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap()
}

fn read(json: &str) -> Recurrence {
    serde_json::from_str(json).unwrap()
}

fn cron(text: &str) -> Recurrence {
    read(&format!("{{\"cron\":\"{text}\"}}"))
}

/// The next local times of a recurrence.
fn next(recurrence: &Recurrence, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let zone = zone(zone_name);
    let times = recurrence.upcoming(at(after), zone, count);
    times.iter().map(|at| zone.local(*at).format("%m-%d %a %H:%M").to_string()).collect()
}

#[test]
fn presets_follow_the_local_clock() {
    let daily = read(r#"{"every":"day","at":"08:00"}"#);
    assert_eq!(
        next(&daily, "Europe/Berlin", "2026-03-28T06:59:00Z", 3),
        ["03-28 Sat 08:00", "03-29 Sun 08:00", "03-30 Mon 08:00"]
    );
    let weekdays = read(r#"{"every":"weekday","at":"08:00"}"#);
    assert_eq!(
        next(&weekdays, "UTC", "2026-11-27T08:00:00Z", 2),
        ["11-30 Mon 08:00", "12-01 Tue 08:00"]
    );
    let weekly = read(r#"{"every":"week","on":"sunday","at":"00:00"}"#);
    assert_eq!(next(&weekly, "Asia/Shanghai", "2026-11-27T08:00:00Z", 1), ["11-29 Sun 00:00"]);
    let last = read(r#"{"every":"month","on":"last_day","at":"23:30"}"#);
    assert_eq!(
        next(&last, "UTC", "2028-01-31T23:30:00Z", 2),
        ["02-29 Tue 23:30", "03-31 Fri 23:30"]
    );
    let first = read(r#"{"every":"month","on":"first_weekday","at":"07:15"}"#);
    assert_eq!(
        next(&first, "UTC", "2026-07-15T00:00:00Z", 3),
        ["08-03 Mon 07:15", "09-01 Tue 07:15", "10-01 Thu 07:15"]
    );
    let thirty_first = read(r#"{"every":"month","on":"31","at":"07:15"}"#);
    assert_eq!(
        next(&thirty_first, "UTC", "2026-01-31T08:00:00Z", 3),
        ["02-28 Sat 07:15", "03-31 Tue 07:15", "04-30 Thu 07:15"]
    );
}

#[test]
fn a_year_with_both_changes_of_the_clock_has_each_run_once() {
    // In Berlin 02:30 is skipped on 2026-03-29 and comes twice on 2026-10-25; in New York on 03-08 and 11-01; in Lord
    // Howe the clock moves by half an hour; in Santiago midnight itself is skipped.
    for (name, zone_name, time) in [
        ("Berlin", "Europe/Berlin", "02:30"),
        ("New York", "America/New_York", "01:30"),
        ("Lord Howe", "Australia/Lord_Howe", "02:15"),
        ("Santiago", "America/Santiago", "00:00"),
    ] {
        let zone = zone(zone_name);
        let (hour, minute) = time.split_once(':').unwrap();
        for recurrence in [
            read(&format!("{{\"every\":\"day\",\"at\":\"{time}\"}}")),
            cron(&format!(
                "{} {} * * *",
                minute.trim_start_matches('0').parse().unwrap_or(0),
                hour
            )),
        ] {
            let start = at("2026-01-01T00:00:00Z");
            let runs: Vec<_> = std::iter::successors(recurrence.next(start, zone), |at| {
                recurrence.next(*at, zone)
            })
            .take_while(|at| *at < start + TimeDelta::days(365))
            .collect();
            let dates: std::collections::BTreeSet<_> =
                runs.iter().map(|at| zone.local(*at).date()).collect();
            assert_eq!((runs.len(), dates.len()), (365, 365), "{name}");
            let shown = |at: &&DateTime<Utc>| zone.local(**at).format("%H:%M").to_string() == time;
            // Where the clock skips the time, it runs when the gap ends.
            assert!(runs.iter().filter(shown).count() >= 364, "{name}");
        }
    }
    let daily = read(r#"{"every":"day","at":"02:30"}"#);
    let berlin = zone("Europe/Berlin");
    assert_eq!(daily.next(at("2026-03-28T12:00:00Z"), berlin), Some(at("2026-03-29T01:00:00Z")));
    assert_eq!(daily.next(at("2026-10-24T12:00:00Z"), berlin), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(daily.next(at("2026-10-25T00:30:00Z"), berlin), Some(at("2026-10-26T01:30:00Z")));
}

#[test]
fn cron_counts_days_as_everywhere() {
    let monday = ["11-30 Mon 08:00", "12-07 Mon 08:00"];
    for text in ["0 8 * * 1", "0 8 * * MON", "0 8 * * mon", "00 08 ? * 1-1"] {
        assert_eq!(next(&cron(text), "UTC", "2026-11-27T09:00:00Z", 2), monday, "{text}");
    }
    for text in ["0 8 * * 0", "0 8 * * 7", "0 8 * * sun"] {
        assert_eq!(next(&cron(text), "UTC", "2026-11-27T09:00:00Z", 1), ["11-29 Sun 08:00"]);
    }
    assert_eq!(
        next(&cron("0 8 * * 5-7"), "UTC", "2026-11-27T09:00:00Z", 3),
        ["11-28 Sat 08:00", "11-29 Sun 08:00", "12-04 Fri 08:00"]
    );
    assert_eq!(
        next(&cron("0 8 * * */2"), "UTC", "2026-11-27T09:00:00Z", 3),
        ["11-28 Sat 08:00", "11-29 Sun 08:00", "12-01 Tue 08:00"]
    );
    // Either day is enough: Friday, and the 13th.
    assert_eq!(
        next(&cron("0 8 13 * 5"), "UTC", "2026-12-05T09:00:00Z", 3),
        ["12-11 Fri 08:00", "12-13 Sun 08:00", "12-18 Fri 08:00"]
    );
    assert_eq!(
        next(&cron("0 8 1,15 */3 *"), "UTC", "2026-11-27T09:00:00Z", 3),
        ["01-01 Fri 08:00", "01-15 Fri 08:00", "04-01 Thu 08:00"]
    );
}

#[test]
fn what_is_no_schedule_is_refused_with_the_reason() {
    for (json, reason) in [
        ("{}", "`every` is missing"),
        (r#"{"every":"day"}"#, "`at` is missing"),
        (r#"{"every":"day","at":"8:00"}"#, "no time of day"),
        (r#"{"every":"day","at":"24:00"}"#, "no time of day"),
        (r#"{"every":"day","on":"monday","at":"08:00"}"#, "`on` is for"),
        (r#"{"every":"week","on":"mon","at":"08:00"}"#, "no day of the week"),
        (r#"{"every":"month","on":"32","at":"08:00"}"#, "not 1 to 31"),
        (r#"{"every":"year","at":"08:00"}"#, "is not day"),
        (r#"{"every":"day","at":"08:00","cron":"0 8 * * *"}"#, "stands for"),
        (r#"{"cron":"0 8 * *"}"#, "has 4 fields"),
        (r#"{"cron":"0 0 8 * * *"}"#, "has 6 fields"),
        (r#"{"cron":"0 8 * * 8"}"#, "days of the week"),
        (r#"{"cron":"0 8 * * 1/0"}"#, "days of the week"),
        (r#"{"cron":"60 8 * * *"}"#, "60 8"),
        (r#"{"cron":"@daily"}"#, "has 1 fields"),
    ] {
        let error = serde_json::from_str::<Recurrence>(json).unwrap_err().to_string();
        assert!(error.contains(reason), "{json}: {error}");
    }
    let now = at("2026-11-27T09:00:00Z");
    assert!(cron("0 8 31 2 *").fault(now, Zone::UTC).unwrap().contains("no time"));
    assert!(cron("*/5 * * * *").fault(now, Zone::UTC).unwrap().contains("15 minutes"));
    assert!(cron("0,10 3 1 1 *").fault(now, Zone::UTC).is_some());
    assert_eq!(cron("0 * * * *").fault(now, Zone::UTC), None);
}

#[test]
fn a_recurrence_reads_back() {
    for json in [
        r#"{"every":"day","at":"08:00"}"#,
        r#"{"every":"week","on":"friday","at":"17:45"}"#,
        r#"{"every":"month","on":"first_weekday","at":"00:05"}"#,
        r#"{"cron":"0 8 13 * 5"}"#,
    ] {
        assert_eq!(serde_json::to_string(&read(json)).unwrap(), json);
    }
}

#[test]
fn a_period_is_over_and_of_the_zone() {
    let period = |name: &str| Period::try_from(name.to_owned());
    for name in ["today", "month_to_date", "last_24_hours", "last_0_days", "last_400_days", "", "x"]
    {
        assert!(period(name).is_err(), "{name}");
    }
    let berlin = zone("Europe/Berlin");
    for (name, from, to) in [
        ("yesterday", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("previous_week", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("previous_month", "2026-08-31T22:00:00Z", "2026-09-30T22:00:00Z"),
    ] {
        let window = period(name).unwrap().window(at("2026-10-26T08:00:00Z"), berlin);
        assert_eq!((window.from, window.to), (at(from), at(to)), "{name}");
    }
}
