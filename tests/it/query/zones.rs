//! Times in the zone of a request, and dates that meet them.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{flushed, reply};

use crate::query::answers::{EVENTS, Lake, lake, refused, rows};

#[tokio::test]
async fn a_day_is_a_day_of_the_zone() {
    let Lake { client, .. } = &lake().await;
    let sql = "select date_trunc('day', occurred_at) as day, count(*) as n from usage_events \
               group by 1 order by 1";
    let utc = rows(client, json!({"sql": sql})).await;
    assert_eq!(utc, json!([{"day": "2026-07-15T00:00:00Z", "n": EVENTS}]));
    let berlin = rows(client, json!({"sql": sql, "tz": "Europe/Berlin"})).await;
    let expected = json!([
        {"day": "2026-07-15T00:00:00+02:00", "n": EVENTS / 2},
        {"day": "2026-07-16T00:00:00+02:00", "n": EVENTS / 2},
    ]);
    assert_eq!(berlin, expected);
    let filtered = json!({
        "sql": "select count(*) as n from usage_events where occurred_at >= timestamp '2026-07-15T12:00:00Z'",
        "tz": "America/New_York",
    });
    assert_eq!(rows(client, filtered).await, json!([{"n": EVENTS / 2}]));
    refused(client, json!({"sql": sql, "tz": "Berlin"}), "invalid_parameters", "Berlin").await;
}

/// Half of the events are on the 16th in Berlin, and all on the 15th in UTC.
#[tokio::test]
async fn a_date_meets_a_time_at_its_midnight_in_the_zone() {
    let Lake { client, .. } = &lake().await;
    let days = json!({"day": {"type": "date", "value": "2026-07-16"}});
    for condition in [
        "occurred_at >= date '2026-07-16'",
        "date '2026-07-16' <= occurred_at",
        "not occurred_at < date '2026-07-16'",
        "occurred_at between date '2026-07-16' and date '2026-07-17'",
        "occurred_at >= make_date(2026, 7, 16)",
        "occurred_at >= cast('2026-07-16' as date)",
        "occurred_at >= $day",
        "date_trunc('day', occurred_at) = date '2026-07-16'",
        "date_trunc('day', occurred_at) in (date '2026-07-14', date '2026-07-16')",
        "cast(occurred_at as date) = date '2026-07-16'",
        "cast(occurred_at as timestamp) >= timestamp '2026-07-16 00:00:00'",
        "occurred_at >= cast(event_date + 1 as timestamp with time zone)",
        "occurred_at >= event_date + 1",
        "case when occurred_at >= date '2026-07-16' then true else false end",
        "date_trunc('day', occurred_at) in (select d from (values (date '2026-07-16')) t(d))",
        "occurred_at - date '2026-07-16' >= interval '0 seconds'",
    ] {
        let sql = format!("select count(*) as n from usage_events where {condition}");
        let mut body = json!({"sql": sql, "tz": "Europe/Berlin"});
        if condition.contains('$') {
            body["params"] = days.clone();
        }
        assert_eq!(rows(client, body.clone()).await, json!([{"n": EVENTS / 2}]), "{condition}");
        // In UTC the day has no event.
        body["tz"] = "UTC".into();
        assert_eq!(rows(client, body).await, json!([{"n": 0}]), "{condition}");
    }
    let join = "select count(*) as n from usage_events e join (values (date '2026-07-16')) d(day) \
                on date_trunc('day', e.occurred_at) = d.day";
    let body = json!({"sql": join, "tz": "Europe/Berlin"});
    assert_eq!(rows(client, body).await, json!([{"n": EVENTS / 2}]));
    // The date by which files are kept is that of UTC.
    let date = "select count(*) as n from usage_events where event_date = date '2026-07-15'";
    let body = json!({"sql": date, "tz": "Europe/Berlin"});
    assert_eq!(rows(client, body).await, json!([{"n": EVENTS}]));
    let clock = "select cast(max(occurred_at) as timestamp) as t, cast(date '2026-10-26' as timestamp with time zone) as d \
                 from usage_events";
    let body = json!({"sql": clock, "tz": "Europe/Berlin"});
    let expected = json!([{"t": "2026-07-16T01:00:00", "d": "2026-10-26T00:00:00+01:00"}]);
    assert_eq!(rows(client, body).await, expected);
    // Files are left out by a date.
    let scan = |day: &str| {
        json!({"tz": "Europe/Berlin",
        "sql": format!("select * from usage_events where occurred_at >= date '{day}'")})
    };
    flushed(client).await;
    let files = async |day: &str| {
        let plan = client.request(Method::POST, "/v1/query/explain").json(&scan(day));
        reply(plan).await.json()["scan"]["files"].as_u64().unwrap()
    };
    assert_eq!((files("2026-07-16").await, files("2026-07-17").await), (1, 0));
}

#[tokio::test]
async fn days_of_a_zone_are_exact_where_the_clock_changes() {
    let Lake { client, .. } = &lake().await;
    // In Berlin the 29th of March 2026 had 23 hours and the 25th of October 25.
    let hours = |first: i64, count: i64| {
        format!(
            "select count(*) as hours, date_trunc('day', at at time zone 'Europe/Berlin') as day \
             from (select arrow_cast(to_timestamp_seconds({first} + i * 3600), \
             'Timestamp(Microsecond, Some(\"UTC\"))') as at from \
             (select unnest(range(0, {count})) as i)) group by day order by day"
        )
    };
    let counts = |rows: &Value| {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| row["hours"].as_i64().unwrap_or_default()).collect::<Vec<_>>()
    };
    // From midnight in Berlin, both times.
    let spring = hours(1_774_738_800, 47);
    let days = rows(client, json!({"sql": spring})).await;
    assert_eq!(counts(&days), [23, 24], "{days}");
    let days = rows(client, json!({"sql": hours(1_792_879_200, 49)})).await;
    assert_eq!(counts(&days), [25, 24], "{days}");
}
