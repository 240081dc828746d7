use super::*;
use crate::{Filter, Grain, MetricRequest};

const STAFF: Viewer = Viewer { audience: Audience::Staff, persons: true };

fn request(metric: &str) -> MetricRequest {
    let at = |text: &str| text.parse().unwrap();
    MetricRequest::new(metric, at("2026-03-01T00:00:00Z"), at("2026-04-02T00:00:00Z"))
}

fn sql(requests: &[MetricRequest]) -> String {
    let statements = Catalog::built_in().unwrap().compile(requests, STAFF).unwrap();
    statements.into_iter().map(|statement| statement.sql).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_masked_is_no_dimension() {
    let catalog = Catalog::built_in().unwrap();
    for metric in catalog.metrics(Audience::Staff) {
        for by in catalog.dimensions(metric, Audience::Staff) {
            let split = request(&metric.name).split_by(&[&by.name]);
            let filtered = MetricRequest {
                filter: Some(Filter::parse(&format!("{}=", by.name)).unwrap()),
                ..request(&metric.name)
            };
            for asked in [split, filtered] {
                let asked = std::slice::from_ref(&asked);
                assert!(catalog.compile(asked, STAFF).is_ok(), "{} by {}", metric.name, by.name);
                let hidden = catalog.compile(asked, Viewer { persons: false, ..STAFF }).err();
                let refused = hidden.map(|error| matches!(error, Error::Persons(_)));
                assert_eq!(
                    refused,
                    (by.name == "referrer").then_some(true),
                    "{} by {}",
                    metric.name,
                    by.name
                );
            }
        }
    }
}

#[test]
fn what_providers_are_paid_is_for_staff() {
    let catalog = Catalog::built_in().unwrap();
    let own = Viewer { audience: Audience::Organization, persons: true };
    for name in ["cost", "margin", "margin_rate"] {
        assert!(catalog.compile(&[request(name)], STAFF).is_ok());
        let refused = catalog.compile(&[request(name)], own).unwrap_err();
        assert_eq!(refused.to_string(), format!("there is no metric `{name}`"));
        assert!(!refused.hint().unwrap().contains("margin"));
    }
}

#[test]
fn questions_that_differ_in_the_metric_share_a_statement() {
    let catalog = Catalog::built_in().unwrap();
    let day = |name: &str| request(name).with_grain(Grain::Day);
    let requests = [
        "requests",
        "tokens",
        "error_rate",
        "active_organizations",
        "usage_revenue",
        "p95_latency",
        "cost",
    ]
    .map(day);
    let statements = catalog.compile(&requests, STAFF).unwrap();
    let shared: Vec<Vec<_>> = statements
        .iter()
        .map(|statement| statement.parts.iter().map(|part| part.metric.name.as_str()).collect())
        .collect();
    let counts = vec!["requests", "tokens", "error_rate", "active_organizations"];
    assert_eq!(shared, [counts, vec!["usage_revenue", "cost"], vec!["p95_latency"]]);
    let filtered =
        MetricRequest { filter: Some(Filter::parse("model=a").unwrap()), ..day("requests") };
    assert_eq!(catalog.compile(&[day("requests"), filtered], STAFF).unwrap().len(), 2);
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_can() {
    let catalog = Catalog::built_in().unwrap();
    let hint = |request: MetricRequest| {
        let error = catalog.compile(&[request], STAFF).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    };
    assert!(
        hint(request("reqests")).starts_with(
            "there is no metric `reqests`; did you mean `requests`? metrics: requests,"
        )
    );
    assert!(
        hint(request("requests").split_by(&["modl"]))
            .contains("did you mean `model`? dimensions: organization_id,")
    );
    assert!(hint(request("zzzzzzzzzzzz")).contains("; metrics: requests,"));
    let four = ["model", "region", "feature", "provider"];
    assert!(hint(request("requests").split_by(&four)).contains("at most 3"));
    assert!(hint(request("requests").split_by(&["model", "model"])).contains("twice"));
    assert!(hint(request("requests").with_grain(Grain::Minute)).contains("20000 buckets"));
    let empty = MetricRequest { to: request("requests").from, ..request("requests") };
    assert!(hint(empty).contains("before"));
}

#[test]
fn statements_are_what_they_were() {
    let zone = |zone: &str, request: MetricRequest| MetricRequest {
        zone: zone.parse().unwrap(),
        ..request
    };
    let grain = |name: &str, grain| request(name).with_grain(grain);
    let top = MetricRequest {
        groups: Groups::These(vec![vec![Some("it's".into())], vec![None]]),
        ..request("requests").split_by(&["model"])
    };
    let pairs = MetricRequest {
        groups: Groups::These(vec![vec![Some("a".into()), None]]),
        filter: Some(Filter::parse("organization_plan=pro").unwrap()),
        ..request("requests").split_by(&["model", "organization_country"])
    };
    let all = [
        ("a day", request("requests").with_grain(Grain::Day)),
        ("a day of Berlin", zone("Europe/Berlin", grain("requests", Grain::Day))),
        ("a month of Berlin", zone("Europe/Berlin", grain("usage_revenue", Grain::Month))),
        ("a stock", grain("mrr", Grain::Week).split_by(&["organization_id"])),
        ("a percentile", grain("p95_latency", Grain::Hour).split_by(&["model"])),
        ("a ratio", request("margin_rate")),
        ("a distinct count", request("registrations").split_by(&["country"])),
        (
            "the largest groups",
            MetricRequest { groups: Groups::Largest(5), ..request("cost").split_by(&["model"]) },
        ),
        ("two groups and the others", top),
        ("a pair and the others, of some organizations", pairs),
    ];
    let text: Vec<_> = all
        .into_iter()
        .map(|(name, request)| format!("-- {name}\n{}\n", sql(&[request])))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn every_metric_has_its_sql() {
    let catalog = Catalog::built_in().unwrap();
    let all = catalog
        .metrics(Audience::Staff)
        .map(|metric| format!("-- {}\n{}\n", metric.name, sql(&[request(&metric.name)])));
    insta::assert_snapshot!(all.collect::<Vec<_>>().join("\n"));
}
