//! `/alerts/new` and `/alerts/{id}/edit`: the form of an alert, and its trial.

use std::{collections::BTreeMap, str::FromStr};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use delivery::Channel;
use pages::{Language, saved_query::Reader as PageReader};
use query::{Zone, metric::audience};
use reports::alert::{
    Against, AlertRule, AtLeast, Condition, InWords, Side, alert_text, alert_word,
    pages::{ALERT_FIELDS, AlertForm, CONDITION_KINDS, IncidentRow, TrialSection, alert_form},
};
use rest::{
    body::Body,
    principal::{Gate, Principal},
    problem::Problem,
};
use rust_decimal::Decimal;

use super::{
    BODY_BYTES_MAX,
    alert::{self, NewAlert},
    incident::SeriesKey,
    pages::status,
    reading::{FAILED_JOBS, FAILED_REPORTS, Reader, Source},
    routes,
    trial::{self, Trial},
    work,
};
use crate::{
    Lake,
    dashboards::who_reads,
    queries::reach,
    reporting::{
        Asked, Fields, Recipient, mail_address, mendable, on_to, opened, page_of, posted, value,
    },
};

/// Firings that the page shows.
const FIRINGS: usize = 50;

type Shown = BTreeMap<&'static str, String>;

pub(super) async fn new_form(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, asked, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let values = Shown::from([
        ("metric", value(&asked, "metric").unwrap_or("error_rate").to_owned()),
        ("interval", "hour".to_owned()),
        ("kind", "above".to_owned()),
        ("for", "1".to_owned()),
        ("recover_after", "1".to_owned()),
        ("recipients", mail_address(&principal).unwrap_or_default().to_owned()),
        ("tz", lake.metrics.zone.to_string()),
        ("language", reader.language.tag().to_owned()),
    ]);
    page_of(alert_form(&reader, &form(&lake, &principal, &reader, values)))
}

fn form(lake: &Lake, principal: &Principal, reader: &PageReader, values: Shown) -> AlertForm {
    let audience = audience(&reach(principal));
    let language = reader.language;
    let mut metrics: Vec<(String, String)> = lake
        .catalog
        .metrics(audience)
        .map(|metric| (metric.name.clone(), work::title(Source::Metric(metric), language)))
        .collect();
    if audience == query::metric::Audience::Staff {
        for (name, source) in
            [(FAILED_REPORTS, Source::FailedReports), (FAILED_JOBS, Source::FailedJobs)]
        {
            metrics.push((name.to_owned(), work::title(source, language)));
        }
    }
    AlertForm { values, metrics, kinds: CONDITION_KINDS.to_vec(), ..AlertForm::default() }
}

/// A number of the form; a comma is not one of a fraction.
fn number(fields: &Fields, name: &'static str) -> Result<Decimal, String> {
    let text = value(fields, name).ok_or_else(|| format!("`{name}` is missing"))?;
    text.parse().map_err(|_| format!("`{name}`: `{text}` is no number; a share is 0.05"))
}

fn count<T: FromStr>(fields: &Fields, name: &'static str, default: T) -> Result<T, String> {
    match value(fields, name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("`{name}`: `{text}` is no whole number")),
    }
}

fn condition(fields: &Fields) -> Result<Condition, String> {
    let number = || number(fields, "number");
    let against = match value(fields, "against") {
        Some("day_before") => Against::DayBefore,
        Some("week_before") => Against::WeekBefore,
        _ => Against::Previous,
    };
    let within = || count(fields, "within", 14);
    let anomaly = |direction| Condition::Anomaly { direction, level: 0.99 };
    Ok(match value(fields, "kind").unwrap_or_default() {
        "above" => Condition::Above { value: number()? },
        "below" => Condition::Below { value: number()? },
        "rises" => Condition::Rises { by: number()?, against },
        "falls" => Condition::Falls { by: number()?, against },
        "above_norm" => Condition::AboveNorm { times: number()? },
        "goal_missed" => Condition::GoalMissed,
        "no_data" => Condition::NoData,
        "forecast_above" => Condition::ForecastAbove { value: number()?, within: within()? },
        "forecast_below" => Condition::ForecastBelow { value: number()?, within: within()? },
        "anomaly" => anomaly(Side::Both),
        "anomaly_above" => anomaly(Side::Above),
        "anomaly_below" => anomaly(Side::Below),
        other => return Err(format!("`kind`: `{other}` is none")),
    })
}

/// An alert as the form says it. What the form does not show stays as it was.
fn read(fields: &Fields, before: Option<&NewAlert>) -> Result<NewAlert, String> {
    let lines = |name: &str| {
        let text = value(fields, name).unwrap_or_default();
        let lines = text.split(['\n', ';']).map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let mail = |address| Recipient { channel: Channel::Mail, address, organization_id: None };
    let mut recipients: Vec<Recipient> = lines("recipients")
        .iter()
        .flat_map(|line| line.split(','))
        .map(|address| mail(address.trim().to_owned()))
        .collect();
    recipients.extend(before.into_iter().flat_map(others));
    let at_least = match value(fields, "least_metric") {
        None => None,
        Some(metric) => {
            Some(AtLeast { metric: metric.to_owned(), value: number(fields, "least_value")? })
        }
    };
    let condition = condition(fields)?;
    // A level that only the API says is not lost.
    let condition = match (condition, before.map(|before| &before.rule.condition)) {
        (Condition::Anomaly { direction, .. }, Some(Condition::Anomaly { level, .. })) => {
            Condition::Anomaly { direction, level: *level }
        }
        (condition, _) => condition,
    };
    let interval = value(fields, "interval").unwrap_or_default();
    let tz = value(fields, "tz").map(str::parse::<Zone>).transpose();
    let hours = value(fields, "renotify_after_hours")
        .map(|_| count(fields, "renotify_after_hours", 0))
        .transpose()?;
    Ok(NewAlert {
        title: value(fields, "title").unwrap_or_default().to_owned(),
        rule: AlertRule {
            metric: value(fields, "metric").unwrap_or_default().to_owned(),
            filters: lines("filters"),
            by: value(fields, "by").map(str::to_owned),
            interval: interval.parse().map_err(|_| format!("`interval`: `{interval}` is none"))?,
            condition,
            at_least,
            for_intervals: count(fields, "for", 1)?,
            recover_after: count(fields, "recover_after", 1)?,
            overrides: before.map(|before| before.rule.overrides.clone()).unwrap_or_default(),
        },
        tz: tz.map_err(|error| error.to_string())?,
        language: value(fields, "language").and_then(Language::from_tag).unwrap_or_default(),
        recipients,
        renotify_after_hours: hours,
    })
}

/// The recipients that the form does not show.
fn others(new: &NewAlert) -> Vec<Recipient> {
    let is_other = |to: &&Recipient| to.channel != Channel::Mail || to.organization_id.is_some();
    new.recipients.iter().filter(is_other).cloned().collect()
}

/// What stands in the form of an alert.
fn values(new: &NewAlert, lake: &Lake) -> Shown {
    let rule = &new.rule;
    let text = |number: &Decimal| number.normalize().to_string();
    let (kind, number, against, within) = match &rule.condition {
        Condition::Above { value } => ("above", Some(text(value)), None, None),
        Condition::Below { value } => ("below", Some(text(value)), None, None),
        Condition::Rises { by, against } => ("rises", Some(text(by)), Some(*against), None),
        Condition::Falls { by, against } => ("falls", Some(text(by)), Some(*against), None),
        Condition::AboveNorm { times } => ("above_norm", Some(text(times)), None, None),
        Condition::GoalMissed => ("goal_missed", None, None, None),
        Condition::NoData => ("no_data", None, None, None),
        Condition::ForecastAbove { value, within } => {
            ("forecast_above", Some(text(value)), None, Some(*within))
        }
        Condition::ForecastBelow { value, within } => {
            ("forecast_below", Some(text(value)), None, Some(*within))
        }
        Condition::Anomaly { direction, .. } => match direction {
            Side::Both => ("anomaly", None, None, None),
            Side::Above => ("anomaly_above", None, None, None),
            Side::Below => ("anomaly_below", None, None, None),
        },
    };
    let against = match against {
        Some(Against::DayBefore) => "day_before",
        Some(Against::WeekBefore) => "week_before",
        Some(Against::Previous) | None => "previous",
    };
    let hidden = others(new);
    let mails = new.recipients.iter().filter(|to| !hidden.contains(to));
    let mails: Vec<&str> = mails.map(|to| to.address.as_str()).collect();
    let least = rule.at_least.as_ref();
    let number_or_none = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    Shown::from([
        ("title", new.title.clone()),
        ("metric", rule.metric.clone()),
        ("interval", rule.interval.name().to_owned()),
        ("kind", kind.to_owned()),
        ("number", number.unwrap_or_default()),
        ("against", against.to_owned()),
        ("within", number_or_none(within)),
        ("for", rule.for_intervals.to_string()),
        ("recover_after", rule.recover_after.to_string()),
        ("by", rule.by.clone().unwrap_or_default()),
        ("filters", rule.filters.join("\n")),
        ("least_metric", least.map(|least| least.metric.clone()).unwrap_or_default()),
        ("least_value", least.map(|least| text(&least.value)).unwrap_or_default()),
        ("recipients", mails.join("\n")),
        ("renotify_after_hours", number_or_none(new.renotify_after_hours)),
        ("tz", new.zone(lake).to_string()),
        ("language", new.language.tag().to_owned()),
    ])
}

/// A trial in words.
fn section(
    reader: &Reader,
    lake: &Lake,
    new: &NewAlert,
    source: Source<'_>,
    trial: &Trial,
    language: Language,
) -> TrialSection {
    let (watched, metric) = (source.watched(reader), work::title(source, language));
    let zone = new.zone(lake);
    let words = InWords { rule: &new.rule, watched: &watched, metric: &metric, zone, language };
    let text = |name, places: &[(&str, &str)]| alert_text(name, places, language);
    let days = (trial.to - trial.from).num_days().to_string();
    let firings = trial.firings.iter().take(FIRINGS).map(|firing| {
        let series =
            SeriesKey { group: firing.group.clone(), currency: firing.currency.clone() }.name();
        let currency = firing.currency.as_deref();
        IncidentRow {
            id: String::new(),
            alert_id: String::new(),
            title: String::new(),
            series: if series.is_empty() { alert_word("all", language).to_owned() } else { series },
            value: words.number(firing.value, currency),
            limit: words.number(firing.limit, currency),
            opened: words.time(firing.opened),
            resolved: firing.resolved.map(|at| words.time(at)).unwrap_or_default(),
            status: status(if firing.resolved.is_some() { "resolved" } else { "open" }, language),
            by: String::new(),
        }
    });
    let unknown = text(
        "tried_unknown",
        &[("count", &trial.unknown.to_string()), ("all", &trial.evaluations.to_string())],
    );
    let more = text("tried_more", &[("count", &FIRINGS.to_string())]);
    TrialSection {
        said: text("tried", &[("days", &days), ("count", &trial.fired.to_string())]),
        unknown: if trial.unknown > 0 { unknown } else { String::new() },
        more: if trial.fired > FIRINGS { more } else { String::new() },
        firings: firings.collect(),
    }
}

/// Who sent a form, and what.
struct Sent<'a> {
    lake: &'a Lake,
    principal: &'a Principal,
    reader: &'a PageReader,
    fields: &'a Fields,
    /// The alert that is changed.
    id: Option<&'a str>,
    others: bool,
}

impl Sent<'_> {
    /// What was sent, to be shown again.
    fn again(
        &self,
        failure: Option<String>,
        trial: Option<TrialSection>,
    ) -> Result<HttpResponse, Problem> {
        let sent = ALERT_FIELDS
            .into_iter()
            .filter_map(|name| Some((name, value(self.fields, name)?.to_owned())));
        let is_refused = failure.is_some();
        let form = AlertForm {
            id: self.id.map(str::to_owned),
            failure,
            others: self.others,
            trial,
            ..form(self.lake, self.principal, self.reader, sent.collect())
        };
        let mut response = page_of(alert_form(self.reader, &form))?;
        if is_refused {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        Ok(response)
    }

    async fn tried(&self, new: &NewAlert) -> Result<TrialSection, Problem> {
        let reader = Reader::of(self.lake, self.principal).await?;
        new.check_rule(self.lake, &reader)?;
        let trial = trial::of(self.lake, &reader, new).await?;
        let source = Source::of(self.lake, &reader, &new.rule)?;
        Ok(section(&reader, self.lake, new, source, &trial, self.reader.language))
    }
}

pub(super) async fn create(
    request: HttpRequest,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let reader = who_reads(&request, &principal, value(&fields, "lang"));
    let sent = Sent {
        lake: &lake,
        principal: &principal,
        reader: &reader,
        fields: &fields,
        id: None,
        others: false,
    };
    let made = async {
        let new = read(&fields, None).map_err(Problem::invalid_parameters)?;
        if value(&fields, "act") == Some("try") {
            return Ok(Err(sent.tried(&new).await?));
        }
        new.check(&lake, &principal).await?;
        let origin = principal.origin(&request);
        Ok::<_, Problem>(Ok(alert::create(&lake, &principal, &origin, new).await?))
    };
    match made.await {
        Ok(Ok(alert)) => Ok(on_to(&format!("/alerts/{}", alert.alert_id), &fields)),
        Ok(Err(trial)) => sent.again(None, Some(trial)),
        Err(problem) => sent.again(Some(mendable(problem)?), None),
    }
}

pub(super) async fn edit_form(
    request: HttpRequest,
    id: web::Path<String>,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let found = alert::own(&lake.state.store, &principal, &id).await?;
    let form = AlertForm {
        id: Some(found.alert_id.clone()),
        others: has_others(&found.new),
        ..form(&lake, &principal, &reader, values(&found.new, &lake))
    };
    page_of(alert_form(&reader, &form))
}

fn has_others(new: &NewAlert) -> bool {
    !others(new).is_empty() || !new.rule.overrides.is_empty()
}

pub(super) async fn edit(
    request: HttpRequest,
    id: web::Path<String>,
    gate: web::Data<Gate>,
    body: Body<BODY_BYTES_MAX>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, fields) = match posted(&request, &gate, body).await? {
        Ok(posted) => posted,
        Err(way_in) => return Ok(way_in),
    };
    let reader = who_reads(&request, &principal, value(&fields, "lang"));
    let before = alert::own(&lake.state.store, &principal, &id).await?;
    let sent = Sent {
        lake: &lake,
        principal: &principal,
        reader: &reader,
        fields: &fields,
        id: Some(&id),
        others: has_others(&before.new),
    };
    let made = async {
        let new = read(&fields, Some(&before.new)).map_err(Problem::invalid_parameters)?;
        if value(&fields, "act") == Some("try") {
            return Ok(Err(sent.tried(&new).await?));
        }
        let origin = principal.origin(&request);
        Ok::<_, Problem>(Ok(routes::changed(&lake, &principal, before, &origin, new).await?))
    };
    match made.await {
        Ok(Ok(alert)) => Ok(on_to(&format!("/alerts/{}", alert.alert_id), &fields)),
        Ok(Err(trial)) => sent.again(None, Some(trial)),
        Err(problem) => sent.again(Some(mendable(problem)?), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn every_kind_that_is_offered_is_read() {
        for kind in CONDITION_KINDS {
            let fields = fields(&[
                ("title", "x"),
                ("metric", "requests"),
                ("interval", "day"),
                ("kind", kind),
                ("number", "0.5"),
                ("against", "week_before"),
                ("within", "7"),
            ]);
            let new = read(&fields, None).unwrap();
            let name = serde_json::to_value(&new.rule.condition).unwrap()["kind"].clone();
            assert!(kind.starts_with(name.as_str().unwrap()), "{kind}: {name}");
        }
    }

    #[test]
    fn what_is_no_number_is_said() {
        let with = |number| {
            let pairs =
                [("title", "x"), ("interval", "day"), ("kind", "above"), ("number", number)];
            read(&fields(&pairs), None)
        };
        assert!(with("5 %").unwrap_err().contains("0.05"));
        assert!(with("").unwrap_err().contains("missing"));
        assert!(with("5").is_ok());
    }
}
