//! `/alerts`: alerts as pages, for people.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::TimeDelta;
use delivery::Channel;
use pages::{Language, report_pages::Status};
use reports::alert::{
    InWords, Verdict, alert_text, alert_word,
    pages::{AlertPage, AlertsPage, FoundRow, IncidentRow, ListedAlert, alert_page, alerts_page},
};
use rest::{body::Body, principal::Gate, problem::Problem};

use super::{
    BODY_BYTES_MAX,
    alert::{self, Alert, SYSTEM},
    incident::{self, Act, Finding, Incident, SeriesKey},
    reading::{Reader, Source},
    routes, work,
};
use crate::{
    Lake,
    reporting::{Asked, on_to, opened, page_of, posted, value},
};

/// Incidents and intervals on the page of an alert.
const LISTED: u64 = 200;
const OPEN: u64 = 500;
const SNOOZED: TimeDelta = TimeDelta::days(1);

pub(super) fn status(name: &'static str, language: Language) -> Status {
    let word = alert_word(
        match name {
            "open" => "state_open",
            "ok" => "state_ok",
            "paused" => "state_paused",
            "waiting" => "state_waiting",
            "resolved" => "state_resolved",
            "acknowledged" => "state_acknowledged",
            "snoozed" => "state_snoozed",
            "failed" => "state_failed",
            other => other,
        },
        language,
    );
    Status { name, word: word.to_owned() }
}

/// An alert with what is needed to put it in words.
pub(super) struct Spoken<'a> {
    watched: reports::alert::Watched,
    metric: String,
    alert: &'a Alert,
    zone: query::Zone,
    language: Language,
}

impl<'a> Spoken<'a> {
    /// What came with the program is read as staff. A metric that is not there any more has its name for a title.
    pub(super) fn new(lake: &Lake, alert: &'a Alert, language: Language) -> Self {
        let system = Reader::system(lake);
        let source = Source::of(lake, &system, &alert.new.rule);
        Self {
            watched: source.as_ref().map_or_else(
                |_| Source::FailedJobs.watched(&system),
                |source| source.watched(&system),
            ),
            metric: source.map_or_else(
                |_| alert.new.rule.metric.clone(),
                |source| work::title(source, language),
            ),
            alert,
            zone: alert.new.zone(lake),
            language,
        }
    }

    pub(super) fn words(&self) -> InWords<'_> {
        InWords {
            rule: &self.alert.new.rule,
            watched: &self.watched,
            metric: &self.metric,
            zone: self.zone,
            language: self.language,
        }
    }

    fn incident(&self, incident: &Incident) -> IncidentRow {
        let words = self.words();
        let currency = incident.series.currency.as_deref();
        let by_whom = |who: &str| alert_text("by_whom", &[("who", who)], self.language);
        let (name, by) = match (&incident.resolved_at, &incident.acknowledged) {
            (Some(_), _) => ("resolved", incident.resolved_by.as_deref().map(by_whom)),
            (None, Some((_, who))) => ("acknowledged", Some(by_whom(who))),
            (None, None) if incident.snoozed_until.is_some() => {
                ("snoozed", incident.snoozed_until.map(|until| words.time(until)))
            }
            (None, None) => ("open", None),
        };
        IncidentRow {
            id: incident.incident_id.clone(),
            alert_id: incident.alert_id.clone(),
            title: self.alert.new.title.clone(),
            series: self.series(&incident.series),
            value: words.number(incident.value, currency),
            limit: words.number(incident.limit, currency),
            opened: words.time(incident.opened_at),
            resolved: incident.resolved_at.map(|at| words.time(at)).unwrap_or_default(),
            status: status(name, self.language),
            by: by.unwrap_or_default(),
        }
    }

    pub(super) fn series(&self, series: &SeriesKey) -> String {
        match series.name() {
            name if name.is_empty() => alert_word("all", self.language).to_owned(),
            name => name,
        }
    }

    fn found(&self, finding: &Finding) -> FoundRow {
        let words = self.words();
        let currency = finding.series.as_ref().and_then(|series| series.currency.as_deref());
        let verdict: &'static str = finding.found.verdict.into();
        FoundRow {
            from: words.time(finding.found.at),
            series: match &finding.series {
                Some(series) => self.series(series),
                None => {
                    let count = finding.watched.to_string();
                    alert_text("largest_of", &[("count", &count)], self.language)
                }
            },
            value: words.number(finding.found.value, currency),
            limit: words.number(finding.found.limit, currency),
            status: Status { name: verdict, word: alert_word(verdict, self.language).to_owned() },
        }
    }
}

pub(super) async fn list(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    let alerts = alert::list(&lake.state.store, &principal).await?;
    let ids: Vec<String> = alerts.iter().map(|alert| alert.alert_id.clone()).collect();
    let open = incident::of_alerts(&lake.state.store, &ids, true, OPEN).await?;
    let language = reader.language;
    let spoken: Vec<Spoken<'_>> =
        alerts.iter().map(|alert| Spoken::new(&lake, alert, language)).collect();
    let of = |incident: &Incident| {
        let spoken = spoken.iter().find(|one| one.alert.alert_id == incident.alert_id);
        spoken.map(|spoken| spoken.incident(incident))
    };
    let listed = spoken.iter().map(|spoken| {
        let (alert, words) = (spoken.alert, spoken.words());
        let is_own = |incident: &&Incident| incident.alert_id == alert.alert_id;
        let name = match &alert.error {
            Some(_) if !alert.paused => "failed",
            _ => alert.state(open.iter().filter(is_own).count()),
        };
        ListedAlert {
            id: alert.alert_id.clone(),
            title: alert.new.title.clone(),
            status: status(name, language),
            shipped: alert.owner_id == SYSTEM,
            condition: words.condition(),
            rhythm: words.rhythm(),
            error: alert.error.clone(),
        }
    });
    let page = AlertsPage { alerts: listed.collect(), open: open.iter().filter_map(of).collect() };
    page_of(alerts_page(&reader, &page))
}

pub(super) async fn one(
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
    let store = &lake.state.store;
    let found = alert::visible(store, &principal, &id).await?;
    let incidents =
        incident::of_alerts(store, std::slice::from_ref(&found.alert_id), false, LISTED).await?;
    let findings = incident::findings(store, &found.alert_id, LISTED).await?;
    let language = reader.language;
    let spoken = Spoken::new(&lake, &found, language);
    let words = spoken.words();
    let open = incidents.iter().filter(|incident| incident.resolved_at.is_none()).count();
    let owner = match found.owner_id.as_str() {
        SYSTEM => alert_word("shipped", language).to_owned(),
        id => lake.authenticator.by_id(id).await?.map_or_else(|| id.to_owned(), |own| own.name),
    };
    let page = AlertPage {
        id: found.alert_id.clone(),
        title: found.new.title.clone(),
        status: status(found.state(open), language),
        condition: words.condition(),
        rhythm: words.rhythm(),
        paused: found.paused,
        paused_reason: found.paused_reason.clone(),
        error: found.error.clone(),
        may_change: found.may_change(&principal),
        facts: facts(&found, &words, &owner),
        strip: strip(&findings, &spoken),
        found: findings.iter().map(|finding| spoken.found(finding)).collect(),
        incidents: incidents.iter().map(|incident| spoken.incident(incident)).collect(),
    };
    page_of(alert_page(&reader, &page))
}

/// The worst verdict of each interval, the oldest first.
fn strip(findings: &[Finding], spoken: &Spoken<'_>) -> Vec<(&'static str, String)> {
    let mut strip: Vec<(&'static str, String)> = Vec::new();
    let mut last = None;
    for finding in findings {
        let row = spoken.found(finding);
        let verdict = finding.found.verdict;
        let said = format!("{}: {} {}", row.from, row.status.word, row.value);
        if last == Some(finding.found.at) {
            if let Some(place) = strip.last_mut().filter(|_| verdict == Verdict::Met) {
                *place = (verdict.into(), said);
            }
            continue;
        }
        last = Some(finding.found.at);
        strip.push((verdict.into(), said));
    }
    strip.reverse();
    strip
}

fn facts(alert: &Alert, words: &InWords<'_>, owner: &str) -> Vec<(String, String)> {
    let label = |name: &str| alert_word(name, words.language).to_owned();
    let rule = &alert.new.rule;
    let mut facts = vec![
        (label("condition"), words.condition()),
        (label("interval"), words.rhythm()),
        (label("zone"), words.zone.to_string()),
    ];
    facts.extend(rule.by.iter().map(|by| (label("by_short"), by.clone())));
    if !rule.filters.is_empty() {
        facts.push((label("filtered_by"), rule.filters.join(", ")));
    }
    facts.extend(rule.at_least.iter().map(|least| {
        (label("least_metric"), format!("{} ≥ {}", least.metric, least.value.normalize()))
    }));
    let recipients = alert.new.recipients.iter().map(|to| match to.channel {
        Channel::Mail | Channel::Folder => to.address.clone(),
        // The address of a webhook is a secret.
        Channel::Webhook | Channel::Slack => <&str>::from(to.channel).to_owned(),
    });
    facts.extend(recipients.map(|to| (label("recipients_short"), to)));
    facts.extend(alert.evaluated_to.map(|at| (label("checked"), words.time(at))));
    facts.push((label("owner"), owner.to_owned()));
    facts
}

/// A button of the page of an alert.
pub(super) async fn act(
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
    let origin = principal.origin(&request);
    let incident = value(&fields, "incident").unwrap_or_default();
    let own = alert::own(&lake.state.store, &principal, &id);
    match value(&fields, "act").unwrap_or_default() {
        "pause" => drop(alert::pause(&lake, own.await?, &origin, true).await?),
        "resume" => drop(alert::pause(&lake, own.await?, &origin, false).await?),
        "remove" => {
            alert::remove(&lake, &own.await?, &origin).await?;
            return Ok(on_to("/alerts", &fields));
        }
        name => {
            let asked = match name {
                "acknowledge" => Act::Acknowledge,
                "snooze" => Act::Snooze(lake.state.clock.now() + SNOOZED),
                "resolve" => Act::Resolve,
                other => {
                    let detail = format!("`act={other}` is not possible");
                    return Err(Problem::invalid_parameters(detail));
                }
            };
            routes::act(&lake, &principal, &id, incident, &asked).await?;
        }
    }
    Ok(on_to(&format!("/alerts/{id}"), &fields))
}
