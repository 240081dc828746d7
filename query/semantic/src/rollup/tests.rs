use super::*;
use crate::{Audience, Catalog, Groups, Metric, MetricRequest, Viewer};

const STAFF: Viewer = Viewer { audience: Audience::Staff, persons: true };
const OWN: Viewer = Viewer { audience: Audience::Organization, persons: true };

fn request(metric: &str, from: &str, to: &str) -> MetricRequest {
    MetricRequest::new(metric, from.parse().unwrap(), to.parse().unwrap())
}

fn days(metric: &str) -> MetricRequest {
    request(metric, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
}

/// All of them, with events that they do not hold.
fn all() -> Rollups<'static> {
    Rollups::new(Rollup::all().iter().collect(), &|_, _, _| false)
}

/// The rollup that answers a question.
fn found(request: &MetricRequest, viewer: Viewer) -> Option<&'static str> {
    let all = all();
    let catalog = Catalog::built_in().unwrap();
    let statements = catalog.compile_over(std::slice::from_ref(request), viewer, &all).unwrap();
    let sql = statements[0].over_rollups.clone()?;
    let named = |rollup: &&Rollup| sql.contains(&format!("FROM {} WHERE", rollup.stored()));
    Rollup::all().iter().find(named).map(|rollup| rollup.name.as_str())
}

#[test]
fn every_rollup_keeps_what_its_file_says() {
    let of_persons: Vec<_> = Rollup::all().iter().filter(|rollup| rollup.is_of_persons()).collect();
    assert_eq!(of_persons.iter().map(|rollup| &rollup.name).collect::<Vec<_>>(), ["users_daily"]);
    for rollup in Rollup::all() {
        assert_eq!(rollup.sums().len(), rollup.counts.len() + rollup.amounts.len());
        assert!([Grain::Hour, Grain::Day].contains(&rollup.grain));
        let ledger = rollup.ledger().columns();
        let known = |name: &str| ledger.iter().find(|column| column.name == name);
        for name in rollup.keys.iter().chain(&rollup.histogram) {
            assert!(name == "organization_id" || known(name).is_some(), "{name}");
        }
        for sum in rollup.sums() {
            // All of it has the sign of the row, or nothing; and what is filtered does not ask for it.
            let is_negated = |name: &String| ingest::decode::correction::is_negated(name);
            assert!(sum.is_negated() || !sum.columns.iter().any(is_negated), "{sum:?}");
            for name in sum.filter.as_deref().and_then(expression::columns_of).unwrap_or_default() {
                let asked = format!("{name} IS NOT NULL");
                assert!(!is_negated(&name) || sum.filter.as_deref() == Some(&asked), "{sum:?}");
                assert!(!known(&name).unwrap().is_personal);
            }
        }
    }
}

#[test]
fn the_smallest_rollup_that_has_it_answers_a_question() {
    let by = |by: &str| days("requests").split_by(&[by]);
    for (asked, expected) in [
        (days("requests"), Some("usage_daily")),
        (days("tokens").with_grain(Grain::Day), Some("usage_daily")),
        (days("requests").with_grain(Grain::Hour), Some("usage_hourly")),
        (
            request("requests", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z")
                .with_grain(Grain::Minute),
            None,
        ),
        (by("model"), Some("usage_daily")),
        (by("status_class"), Some("usage_daily")),
        (by("hour_of_day"), Some("usage_hourly")),
        (by("organization_id"), Some("usage_daily_by_organization")),
        (by("organization_plan"), Some("usage_daily_by_organization")),
        (by("api_key_id"), None),
        (days("active_organizations"), Some("usage_daily_by_organization")),
        (days("models_used"), Some("usage_daily")),
        (days("p95_latency"), Some("latency_daily")),
        (days("p95_latency").split_by(&["organization_id"]), None),
        (
            days("p99_time_to_first_token").with_grain(Grain::Hour),
            Some("time_to_first_token_hourly"),
        ),
        (days("cost_per_million_tokens"), Some("usage_daily")),
        (days("margin_rate"), Some("usage_daily")),
        (days("tokens_per_second"), Some("usage_daily")),
        (days("mrr"), None),
        (days("daily_active_users"), Some("users_daily")),
        (days("stickiness").with_grain(Grain::Week), Some("users_daily")),
        (days("weekly_active_organizations"), Some("usage_daily_by_organization")),
        (days("total_recurring").with_grain(Grain::Month), Some("usage_daily_by_organization")),
        (
            request("usage_nrr", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z")
                .with_grain(Grain::Hour),
            None,
        ),
        (days("visitors"), None),
    ] {
        assert_eq!(found(&asked, STAFF), expected, "{asked:?}");
    }
    // Those of all organizations are nothing for one.
    assert_eq!(found(&days("requests"), OWN), Some("usage_daily_by_organization"));
    assert_eq!(found(&by("model"), OWN), Some("usage_daily_by_organization_and_model"));
    assert_eq!(found(&days("p95_latency"), OWN), None);
}

#[test]
fn every_metric_over_usage_events_has_a_rollup() {
    let catalog = Catalog::built_in().unwrap();
    // When an event arrived is in no sum: the lag is asked of hours that are just over.
    let has_sums =
        |metric: &&Metric| metric.source == "usage_events" && metric.name != "ingest_lag";
    for metric in catalog.metrics(Audience::Staff).filter(has_sums) {
        let largest = Groups::Largest(5);
        let asked = MetricRequest { groups: largest, ..days(&metric.name).split_by(&["model"]) };
        for asked in [days(&metric.name), asked] {
            let is_distinct = metric.name == "active_organizations" && !asked.by.is_empty();
            let expected =
                if is_distinct { Some("usage_daily_by_organization_and_model") } else { None };
            let found = found(&asked, STAFF);
            assert!(
                found.is_some() && (expected.is_none() || found == expected),
                "{}",
                metric.name
            );
        }
    }
}

#[test]
fn the_ledger_is_read_for_what_came_since() {
    let catalog = Catalog::built_in().unwrap();
    let sql = |is_held: &IsHeld<'_>| {
        let rollups = Rollups::new(Rollup::all().iter().collect(), is_held);
        let asked = request("requests", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        catalog.compile_over(&[asked], STAFF, &rollups).unwrap().remove(0).over_rollups.unwrap()
    };
    assert!(sql(&|_, _, _| false).contains("usage_daily_above"));
    let held = sql(&|rollup, from, to| {
        rollup.name == "usage_daily"
            && from == midnight(day("2026-01-01"))
            && to == midnight(day("2026-02-01"))
    });
    assert!(!held.contains("_above") && !held.contains("usage_ledger"));
}

#[test]
fn hours_and_days_that_are_cut_are_read_from_the_ledger() {
    let at = |from: &str, to: &str, zone: &str| {
        let request = request("requests", from, to);
        found(&MetricRequest { zone: zone.parse().unwrap(), ..request }, STAFF)
    };
    let (from, to) = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
    assert_eq!(at(from, to, "UTC"), Some("usage_daily"));
    assert_eq!(at(from, to, "Europe/Berlin"), Some("usage_hourly"));
    assert_eq!(at(from, to, "Asia/Kolkata"), None);
    assert_eq!(at("2026-03-01T00:30:00Z", to, "UTC"), Some("usage_daily"));
    assert_eq!(at("2026-03-01T05:00:00Z", to, "UTC"), Some("usage_hourly"));
    assert_eq!(at("2026-03-01T05:10:00Z", "2026-03-01T05:50:00Z", "UTC"), None);
    assert_eq!(at("2026-03-01T05:59:00Z", "2026-03-01T07:00:00Z", "UTC"), Some("usage_hourly"));
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn a_rollup_has_the_sql_that_it_had() {
    let rollup = Rollup {
        counts: vec![
            "sum(latency_ms + time_to_first_token_ms) FILTER (WHERE status_code < 400)".into(),
        ],
        amounts: vec!["sum(list_price - cost)".into()],
        sums: OnceLock::new(),
        ..Rollup::all()[1].clone()
    };
    let asked = request("requests", "2026-01-01T00:00:00Z", "2026-01-10T11:30:00Z");
    let asked = MetricRequest { groups: Groups::Largest(3), ..asked.split_by(&["model"]) };
    let all = all();
    let catalog = Catalog::built_in().unwrap();
    let statement = catalog.compile_over(&[asked], STAFF, &all).unwrap().remove(0);
    insta::assert_snapshot!(
        [
            rollup.step(10, 20),
            rollup.of_day(day("2026-01-02"), 20),
            rollup.fold(day("2026-01-01"), day("2026-02-01")),
            rollup.differences(day("2026-01-02"), 20),
            statement.over_rollups.unwrap(),
        ]
        .join("\n\n")
    );
}
