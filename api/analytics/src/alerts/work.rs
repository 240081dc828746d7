//! Looks at alerts: reads the intervals that are over, notes what was found, and tells people.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use delivery::{
    Channel, Content, NewDelivery, Notice, Personal,
    webhooks::{self, EventType},
};
use reports::{
    Language,
    alert::{AlertRule, AlertSeries, Evaluation, InWords, Watched, is_told},
};
use rest::{principal::Principal, problem::Problem};
use serde_json::{Value, json};
use state::{
    jobs::{Job, JobError, JobKind, JobResult, Repeat},
    store::{StoreError, Write},
};

use super::{
    alert::{self, Alert, SYSTEM},
    incident::{self, Finding, Incident, SeriesKey},
    message::{self, Message, Told},
    reading::{self, ReadError, Reader, Source, Span},
    shipped,
    taken::{Found, Taken, take_in},
};
use crate::{Lake, reporting::mail_address};

/// A look that failed is tried again after this time, and never given up: without it the alert has no next time.
const AGAIN: Duration = Duration::from_secs(60);
/// No look follows another one sooner.
const SOON: TimeDelta = TimeDelta::minutes(1);
/// Alerts that are looked at at once.
const PARALLEL: usize = 2;
/// After a rest of the server, so many intervals are looked at, the newest.
const CATCH_UP: u32 = 100;
/// What was found is kept so long.
const KEPT: TimeDelta = TimeDelta::days(90);
/// The alerts that come with the program are added at a start.
const SHIP_EVERY: Duration = Duration::from_secs(24 * 3_600);
const TIDY_EVERY: Duration = Duration::from_secs(6 * 3_600);

pub(super) fn register(lake: &Lake) {
    let jobs = &lake.state.jobs;
    let kind = JobKind {
        parallel: PARALLEL,
        backoff: |_| Some(AGAIN),
        attempts_max: u32::MAX,
        ..JobKind::new(alert::JOB)
    };
    let looking = lake.clone();
    jobs.handle(kind, move |job| {
        let lake = looking.clone();
        async move { look(&lake, &job).await }
    });
    let tidying = lake.clone();
    let tidy = JobKind::new("alert_tidy");
    jobs.repeat(tidy, Repeat::Every(TIDY_EVERY), TIDY_EVERY, move |_| {
        let lake = tidying.clone();
        async move {
            let before = lake.state.clock.now() - KEPT;
            let removed = incident::forget(&lake.state.store, before).await;
            match removed.map_err(|error| JobError::of(&error))? {
                0 => Ok(Value::Null),
                removed => Ok(json!({"removed": removed})),
            }
        }
    });
    let shipping = lake.clone();
    let (kind, now) = (JobKind::new("shipped_alerts"), lake.state.clock.now());
    jobs.repeat_from(kind, Repeat::Every(SHIP_EVERY), AGAIN, now, move |_| {
        let lake = shipping.clone();
        async move {
            shipped::add(&lake).await.map_err(|error| JobError::of(&error))?;
            Ok(Value::Null)
        }
    });
}

/// Why an alert was not looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it was cut off")]
    Stopped,
}

async fn look(lake: &Lake, job: &Job) -> JobResult {
    let store = &lake.state.store;
    let id = job.payload["alert_id"].as_str().unwrap_or_default();
    let found = alert::find(store, id).await.map_err(|error| JobError::of(&error))?;
    let revision = &job.payload["revision"];
    let is_this = |alert: &Alert| *revision == json!(alert.updated_at.timestamp_micros());
    let Some(alert) = found.filter(|alert| !alert.paused && is_this(alert)) else {
        return Ok(Value::Null);
    };
    let error = match look_at(lake, &alert).await {
        Ok(result) => return Ok(result),
        Err(error) => JobError::of(&error),
    };
    let noted = async {
        let write = store.write().await?;
        alert.set_evaluated(&write, None, Some(&error.to_string())).await?;
        write.commit().await
    };
    noted.await.map_err(|error| JobError::of(&error))?;
    Err(JobError::temporary(error.to_string()))
}

/// The owner, with the rights of this moment; none of what came with the program. An alert whose owner is gone rests.
async fn owner(lake: &Lake, alert: &Alert) -> Result<Result<Option<Principal>, ()>, LookError> {
    if alert.owner_id == SYSTEM {
        return Ok(Ok(None));
    }
    if let Some(owner) = lake.authenticator.by_id(&alert.owner_id).await? {
        return Ok(Ok(Some(owner)));
    }
    let reason = "its owner cannot sign in any more, so the alert was paused";
    let now = lake.state.clock.now();
    let administrators = lake.authenticator.administrators().await?;
    let write = lake.state.store.write().await?;
    alert::pause_since(&write, &alert.alert_id, reason).await?;
    let link = lake.reporting.links.to(&format!("/alerts/{}", alert.alert_id));
    let content = Content {
        subject: format!("Paused · 已暂停: {}", alert.new.title),
        text: format!("{reason}\n\n{link}\n"),
        ..Content::default()
    };
    for address in administrators {
        let reference = format!("paused:{}:{}", alert.alert_id, now.timestamp());
        let new = NewDelivery {
            content_id: reference.clone(),
            reference,
            channel: Channel::Mail,
            address,
            personal: Personal::new(),
            notice: None,
        };
        delivery::enqueue(&write, &new, &content, now).await?;
    }
    write.commit().await?;
    Ok(Err(()))
}

async fn look_at(lake: &Lake, alert: &Alert) -> Result<Value, LookError> {
    let Ok(owner) = owner(lake, alert).await? else { return Ok(json!({"paused": true})) };
    let reader = match &owner {
        Some(owner) => Reader::of(lake, owner).await?,
        None => Reader::system(lake),
    };
    let rule = &alert.new.rule;
    let source = Source::of(lake, &reader, rule)?;
    let (watched, zone) = (source.watched(&reader), alert.new.zone(lake));
    let (now, lateness) = (lake.state.clock.now(), lake.metrics.lateness);
    let to = rule.closed_until(&watched, now, lateness, zone);
    let first = first(rule, alert.evaluated_to, to, zone);
    let found = match first < to {
        true => {
            let span = Span { first, to, zone };
            let series = reading::series(lake, &reader, rule, source, span).await?;
            evaluate(rule.clone(), watched, span, series).await?
        }
        false => Vec::new(),
    };
    let words = InWords {
        rule,
        watched: &watched,
        metric: &title(source, alert.new.language),
        zone,
        language: alert.new.language,
    };
    let (intervals, series) =
        (found.iter().map(|(_, found)| found.len()).max().unwrap_or_default(), found.len());
    let asked = interval_count(rule, first, to, zone);
    // The lock is held from here on: nobody acknowledges or changes anything in between.
    let write = lake.state.store.write().await?;
    let known = incident::standings(&lake.state.store, &alert.alert_id).await?;
    let open = incident::of_alerts(
        &lake.state.store,
        std::slice::from_ref(&alert.alert_id),
        true,
        u64::MAX >> 1,
    )
    .await?;
    let taken = take_in(rule, &alert.alert_id, known, open, &found, asked, now)?;
    // It may have been changed while it was looked at.
    let current = alert::find(&lake.state.store, &alert.alert_id).await?;
    if current.is_none_or(|current| current.updated_at != alert.updated_at) {
        return Ok(Value::Null);
    }
    incident::save_standings(&write, &alert.alert_id, &taken.standings).await?;
    incident::forget_standings(&write, &alert.alert_id, &taken.gone).await?;
    for incident in taken.incidents.values() {
        incident.save(&write).await?;
    }
    incident::save_findings(&write, &alert.alert_id, &by_interval(&found), now).await?;
    alert.set_evaluated(&write, Some(to.max(first)), None).await?;
    let told = tell(lake, alert, owner.as_ref(), &taken, &words, &write, now).await?;
    let ready = rule.ready_at(&watched, to, lateness, zone);
    let next = taken.told_next(alert, now).into_iter().fold(ready, DateTime::min);
    // A time that is over, by a change of the clock, is no time of another look.
    alert.enqueue(&write, next.max(now + SOON), now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(json!({"intervals": intervals, "series": series, "told": told}))
}

/// How many intervals a span has.
fn interval_count(
    rule: &AlertRule,
    first: DateTime<Utc>,
    to: DateTime<Utc>,
    zone: query::Zone,
) -> usize {
    let starts = std::iter::successors(Some(first), |at| Some(rule.interval.end(*at, zone)));
    starts.take_while(|at| *at < to).count()
}

/// The first interval that was not looked at yet; of a new alert the last one that is over.
fn first(
    rule: &AlertRule,
    evaluated_to: Option<DateTime<Utc>>,
    to: DateTime<Utc>,
    zone: query::Zone,
) -> DateTime<Utc> {
    let before = |at: &DateTime<Utc>| Some(rule.interval.start(*at - TimeDelta::seconds(1), zone));
    let mut back = std::iter::successors(Some(to), before).skip(1);
    match evaluated_to {
        None => back.next().unwrap_or(to),
        Some(evaluated) => back
            .take(CATCH_UP as usize)
            .take_while(|at| *at >= evaluated)
            .last()
            .unwrap_or(evaluated),
    }
}

/// Forecasts are work for a core, not for the thread that serves connections.
async fn evaluate(
    rule: AlertRule,
    watched: Watched,
    span: Span,
    series: Vec<AlertSeries>,
) -> Result<Found, LookError> {
    let looking = tokio::task::spawn_blocking(move || {
        let evaluate = |series: &AlertSeries| {
            let key = SeriesKey { group: series.group.clone(), currency: series.currency.clone() };
            (key, rule.evaluate(series, &watched, span.first, span.zone))
        };
        series.iter().map(evaluate).collect()
    });
    looking.await.map_err(|_| LookError::Stopped)
}

/// What was found, by interval, as it is kept.
fn by_interval(found: &Found) -> Vec<Finding> {
    let mut intervals: BTreeMap<DateTime<Utc>, Vec<(&SeriesKey, Evaluation)>> = BTreeMap::new();
    for (key, evaluations) in found {
        for evaluation in evaluations {
            intervals.entry(evaluation.at).or_default().push((key, *evaluation));
        }
    }
    intervals.values().flat_map(|found| Finding::of_interval(found)).collect()
}

/// Hands the messages to the outbox, and gives how many.
async fn tell(
    lake: &Lake,
    alert: &Alert,
    owner: Option<&Principal>,
    taken: &Taken,
    words: &InWords<'_>,
    write: &Write,
    now: DateTime<Utc>,
) -> Result<usize, StoreError> {
    let again = alert.new.renotify_after_hours.map(|hours| TimeDelta::hours(i64::from(hours)));
    let is_due = |incident: &&Incident| {
        incident.resolved_at.is_none()
            && is_told(
                now,
                incident.told_at,
                incident.acknowledged.is_some(),
                incident.snoozed_until,
                again,
            )
    };
    let by_id = |ids: &[String]| {
        ids.iter().filter_map(|id| taken.incidents.get(id)).collect::<Vec<&Incident>>()
    };
    let due: Vec<&Incident> = taken.incidents.values().filter(is_due).collect();
    let (opened, still): (Vec<&Incident>, Vec<&Incident>) =
        due.into_iter().partition(|incident| incident.told_at.is_none());
    // Who was never told that it opened is not told that it is over.
    let resolved: Vec<&Incident> =
        by_id(&taken.resolved).into_iter().filter(|incident| incident.told_at.is_some()).collect();
    let mut messages = 0;
    for (told, incidents) in
        [(Told::Opened, opened), (Told::StillOpen, still), (Told::Resolved, resolved)]
    {
        if incidents.is_empty() {
            continue;
        }
        let ids: Vec<String> =
            incidents.iter().map(|incident| incident.incident_id.clone()).collect();
        if told != Told::Resolved {
            incident::set_told(write, &ids, now).await?;
        }
        tell_webhooks(alert, told, &incidents, write, now).await?;
        let link = lake.reporting.links.to(&format!("/alerts/{}", alert.alert_id));
        let message = Message { alert, told, incidents: &incidents, words, link: &link, now };
        let reference = format!("{}:{}:{}", alert.alert_id, told.name(), now.timestamp_micros());
        for to in &alert.new.recipients {
            let new = NewDelivery {
                content_id: format!("{reference}:{}", <&str>::from(to.channel)),
                reference: reference.clone(),
                channel: to.channel,
                address: to.address.clone(),
                personal: Personal::new(),
                notice: owner.and_then(mail_address).map(|address| Notice {
                    to: address.to_owned(),
                    subject: alert.new.title.clone(),
                    link: link.clone(),
                }),
            };
            let content = message::content(&message, to.channel);
            let made = delivery::enqueue(write, &new, &content, now).await?;
            messages += usize::from(made.is_some());
        }
    }
    Ok(messages)
}

/// Tells the webhooks of an organization of its own alert.
async fn tell_webhooks(
    alert: &Alert,
    told: Told,
    incidents: &[&Incident],
    write: &Write,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let event = match told {
        Told::Opened => EventType::AlertOpened,
        Told::Resolved => EventType::AlertResolved,
        Told::StillOpen => return Ok(()),
    };
    let Some(organization_id) = &alert.scope else { return Ok(()) };
    let ids: Vec<_> = incidents.iter().map(|incident| &incident.incident_id).collect();
    let data = json!({
        "alert_id": alert.alert_id, "title": alert.new.title, "metric": alert.new.rule.metric,
        "incident_ids": ids,
    });
    webhooks::publish(write, organization_id, event, &data, now).await
}

/// The title of what is watched.
pub(super) fn title(source: Source<'_>, language: Language) -> String {
    match source {
        Source::Metric(metric) => match language {
            Language::En => metric.title.en.clone(),
            Language::ZhCn => metric.title.zh_cn.clone(),
        },
        Source::FailedReports => reports::alert::alert_word("failed_reports", language).to_owned(),
        Source::FailedJobs => reports::alert::alert_word("failed_jobs", language).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use query::{Zone, metric::Grain};

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn rule() -> AlertRule {
        let rule = json!({
            "metric": "requests", "interval": "day", "condition": {"kind": "above", "value": 5},
        });
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn after_a_rest_the_newest_intervals_are_looked_at() {
        let (rule, to) = (rule(), at("2026-03-10T00:00:00Z"));
        assert_eq!(rule.interval, Grain::Day);
        let first = |evaluated: Option<&str>| first(&rule, evaluated.map(at), to, Zone::UTC);
        assert_eq!(first(None), at("2026-03-09T00:00:00Z"));
        assert_eq!(first(Some("2026-03-07T00:00:00Z")), at("2026-03-07T00:00:00Z"));
        assert_eq!(first(Some("2026-03-10T00:00:00Z")), to);
        assert_eq!(first(Some("2020-01-01T00:00:00Z")), to - TimeDelta::days(100));
    }
}
