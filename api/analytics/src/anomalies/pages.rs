//! `/anomalies`: what was unusual, as a page for people.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::SecondsFormat;
use pages::{Language, saved_query::Reader};
use query::{Zone, metric::Unit};
use reports::{
    AnomalyMark, Window,
    anomaly::{AnomaliesPage, AnomalyRow, FoundAnomaly, anomalies_page, anomaly_word},
    number::print_float,
};
use rest::{
    body::Body,
    principal::{Gate, Principal},
    problem::Problem,
};
use state::store::StoreError;

use super::{
    BODY_BYTES_MAX,
    anomaly::{self, Anomaly, AnomalyFilter, Verdict},
    routes::{judge, may_judge},
};
use crate::{
    Lake,
    reporting::{Asked, on_to, opened, page_of, posted, value},
};

pub(super) async fn list(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, asked, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let show = if value(&asked, "show") == Some("every") { "every" } else { "open" };
    shown(&lake, &principal, &reader, show).await
}

async fn shown(
    lake: &Lake,
    principal: &Principal,
    reader: &Reader,
    show: &'static str,
) -> Result<HttpResponse, Problem> {
    let store = &lake.state.store;
    let filter = AnomalyFilter { with_dismissed: show == "every", ..AnomalyFilter::default() };
    let found = anomaly::list(store, &filter.seen_by(principal)).await?;
    let found: Vec<Anomaly> = found.into_iter().map(|one| one.seen_by(principal)).collect();
    let (language, zone) = (reader.language, lake.metrics.zone);
    let mut same: BTreeMap<&str, Vec<&Anomaly>> = BTreeMap::new();
    let ids: Vec<&str> = found.iter().map(|one| one.id.as_str()).collect();
    // One whose head is not seen stands for itself.
    let head_of = |one: &Anomaly| {
        one.same_as.as_deref().and_then(|head| ids.iter().copied().find(|id| *id == head))
    };
    for one in &found {
        if let Some(head) = head_of(one) {
            same.entry(head).or_default().push(one);
        }
    }
    let heads = found.iter().filter(|one| head_of(one).is_none());
    let rows = heads.map(|one| {
        let also = same.get(one.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        row(lake, one, also, zone, language)
    });
    let look = anomaly::last_look(store, "hour").await?;
    let time = |at| zone.local(at).format("%Y-%m-%d %H:%M").to_string();
    let page = AnomaliesPage {
        show,
        rows: rows.collect(),
        looked: look.map(|(at, until)| {
            anomaly_word("looked", &[("at", &time(at)), ("until", &time(until))], language)
        }),
        may_judge: may_judge(principal),
    };
    page_of(anomalies_page(reader, &page))
}

/// What is marked on the charts of a window: what was unusual of everything, or of the reader's organization.
pub(crate) async fn marks(
    lake: &Lake,
    who: &Principal,
    window: &Window,
    language: Language,
) -> Result<Vec<AnomalyMark>, StoreError> {
    let (from, to) = (Some(window.from()), Some(window.to()));
    let filter = AnomalyFilter { from, to, ..AnomalyFilter::default() }.seen_by(who);
    let is_of_all = who.reach.organization_id().is_none();
    let found = anomaly::list(&lake.state.store, &filter).await?;
    let shown = found.into_iter().filter(|one| !is_of_all || one.found.key.dimension.is_none());
    let mark = |one: Anomaly| {
        let found = one.found;
        let (observed, expected) = (
            printed(lake, &found, found.observed, language),
            printed(lake, &found, found.expected, language),
        );
        let places = [("observed", observed.as_str()), ("expected", expected.as_str())];
        AnomalyMark {
            text: anomaly_word("mark", &places, language),
            metric: found.key.metric,
            currency: found.key.currency,
            at: found.from,
        }
    };
    Ok(shown.map(mark).collect())
}

/// A value of the metric of an anomaly.
fn printed(lake: &Lake, found: &FoundAnomaly, value: f64, language: Language) -> String {
    let unit = lake.catalog.metric(&found.key.metric).map_or(Unit::Number, |metric| metric.unit);
    print_float(Some(value), unit, found.key.currency.as_deref(), language)
}

/// The metric and what it is of, such as `Requests of org_7`.
fn title(lake: &Lake, found: &FoundAnomaly, language: Language) -> String {
    let key = &found.key;
    let metric =
        lake.catalog.metric(&key.metric).map_or(key.metric.as_str(), |metric| match language {
            Language::En => &metric.title.en,
            Language::ZhCn => &metric.title.zh_cn,
        });
    let all = anomaly_word("all", &[], language);
    let value = match (&key.dimension, key.value.as_deref()) {
        (None, _) => all.as_str(),
        (Some(_), Some("") | None) => "∅",
        (Some(_), Some(value)) => value,
    };
    anomaly_word("of", &[("metric", metric), ("value", value)], language)
}

fn row(
    lake: &Lake,
    one: &Anomaly,
    also: &[&Anomaly],
    zone: Zone,
    language: Language,
) -> AnomalyRow {
    let found = &one.found;
    let print = |value| printed(lake, found, value, language);
    let (lower, upper) = (print(found.lower), print(found.upper));
    let impact = print(found.impact().abs());
    let names: Vec<String> = also
        .iter()
        .map(|other| {
            format!("{} ({})", title(lake, &other.found, language), side(&other.found, language))
        })
        .collect();
    AnomalyRow {
        id: one.id.clone(),
        title: title(lake, found, language),
        side: if found.is_high { "high" } else { "low" },
        state: match one.verdict {
            None => "new",
            Some(Verdict::Confirmed) => "confirmed",
            Some(Verdict::Dismissed) => "dismissed",
        },
        when: when(found, zone),
        observed: print(found.observed),
        expected: print(found.expected),
        range: anomaly_word("range", &[("lower", &lower), ("upper", &upper)], language),
        impact: format!("{}{impact}", if found.impact() < 0.0 { "−" } else { "+" }),
        cause: match &one.cause {
            Some(cause) => cause.said(language),
            None => anomaly_word("not_explained", &[], language),
        },
        also: (!names.is_empty()).then(|| {
            let separator = if language == Language::En { ", " } else { "、" };
            anomaly_word("also", &[("names", &names.join(separator))], language)
        }),
        href: Some(href(found, zone, language)),
        note: one.note.clone(),
    }
}

fn side(found: &FoundAnomaly, language: Language) -> String {
    anomaly_word(if found.is_high { "high" } else { "low" }, &[], language)
}

/// `2026-03-02 14:00 – 17:00 UTC`; the end has its date if that is another one.
fn when(found: &FoundAnomaly, zone: Zone) -> String {
    let (from, to) = (zone.local(found.from), zone.local(found.to));
    let end = if from.date() == to.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("{} – {} {zone}", from.format("%Y-%m-%d %H:%M"), to.format(end))
}

/// The hours of the days around it, of what it is of.
fn href(found: &FoundAnomaly, zone: Zone, language: Language) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let day = |at| query::metric::Grain::Day.start(at, zone);
    let end = query::metric::Grain::Day.end(found.to - chrono::TimeDelta::seconds(1), zone);
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    query.append_pair("lang", language.tag());
    query.append_pair("from", &time(day(found.from)));
    query.append_pair("to", &time(end));
    query.append_pair("tz", &zone.to_string());
    query.append_pair("grain", "hour");
    if let (Some(dimension), Some(value)) = (&found.key.dimension, &found.key.value) {
        query.append_pair("filter", &format!("{dimension}={value}"));
    }
    let dashboard = match found.key.metric.as_str() {
        "error_rate" | "p95_latency" => "quality",
        "requests" | "usage_revenue" => "usage",
        _ => "business",
    };
    format!("/dashboards/{dashboard}?{}", query.finish())
}

/// A button of the page.
pub(super) async fn act(
    request: HttpRequest,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let verdict = match value(&fields, "act") {
        Some("confirm") => Some(Verdict::Confirmed),
        Some("dismiss") => Some(Verdict::Dismissed),
        Some("undo") => None,
        _ => return Err(Problem::invalid_parameters("`act` is confirm, dismiss or undo")),
    };
    let origin = principal.origin(&request);
    let id = value(&fields, "id").unwrap_or_default();
    judge(&lake, &principal, &origin, id, verdict, None).await?;
    Ok(on_to("/anomalies", &fields))
}
