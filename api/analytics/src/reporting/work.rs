//! Makes the runs: asks the dashboard's questions, writes the files, and hands them to the outbox.

use std::{collections::BTreeSet, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use delivery::{
    Channel, Content, NewDelivery, Notice, Personal,
    webhooks::{self, EventType},
};
use query::metric::{Window as MetricWindow, audience};
use reports::{Selection, Window};
use rest::{
    principal::{Principal, PrincipalKind, Role, Tenancy},
    problem::Problem,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use state::{
    jobs::{Job, JobError, JobKind, JobResult, Repeat},
    store::{StoreContext, StoreError, Write},
};

use super::{
    drawn::{Drawn, draw},
    report::{self, Recipient, Report},
    row::unsubscribed,
    run::{self, KeptFile, Run, RunEnd, RunState},
    schedule::{self, Schedule},
};
use crate::{Lake, dashboards::DashboardError, queries::reach};

/// The pauses after failed attempts to make a run.
fn pause(attempts: u32) -> Option<Duration> {
    const MINUTES: [u64; 5] = [1, 5, 15, 60, 240];
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    MINUTES.get(index).map(|minutes| Duration::from_secs(minutes * 60))
}

/// The job that removes what is old.
const TIDY: JobKind = JobKind::new("report_tidy");
const TIDY_EVERY: Duration = Duration::from_secs(6 * 3_600);

pub(super) fn register(lake: &Lake) {
    let jobs = &lake.state.jobs;
    // Without this job the schedule has no next time: it is never given up.
    let again = |_| Some(Duration::from_secs(60));
    let kind = JobKind { backoff: again, attempts_max: u32::MAX, ..JobKind::new(schedule::JOB) };
    let firing = lake.clone();
    jobs.handle(kind, move |job| {
        let lake = firing.clone();
        async move { fire(&lake, &job).await }
    });
    let tidying = lake.clone();
    jobs.repeat(TIDY, Repeat::Every(TIDY_EVERY), TIDY_EVERY, move |_| {
        let lake = tidying.clone();
        async move {
            match tidy(&lake).await {
                Ok(0) => Ok(Value::Null),
                Ok(removed) => Ok(json!({"removed": removed})),
                Err(error) => Err(JobError::of(&error)),
            }
        }
    });
    let kind = JobKind { backoff: pause, attempts_max: 20, ..JobKind::new(run::JOB) };
    let making = lake.clone();
    jobs.handle(kind, move |job| {
        let lake = making.clone();
        async move { make(&lake, &job).await }
    });
}

/// Runs and their files are kept so long.
const KEPT: TimeDelta = TimeDelta::days(400);
/// So many are removed at once.
const REMOVED: u64 = 200;

/// Removes what is old, and what belongs to reports that are gone.
async fn tidy(lake: &Lake) -> Result<usize, RunError> {
    let (store, mut count) = (&lake.state.store, 0);
    let before = lake.state.clock.now().checked_sub_signed(KEPT).unwrap_or(DateTime::UNIX_EPOCH);
    loop {
        let old = run::old(store, before, REMOVED).await?;
        if old.is_empty() {
            return Ok(count);
        }
        for run in &old {
            for file in &run.files {
                lake.reporting.files.remove(&run.run_id, &file.name).await?;
            }
        }
        count += old.len();
        let ids: Vec<String> = old.into_iter().map(|run| run.run_id).collect();
        run::remove(store, &ids).await?;
    }
}

async fn fire(lake: &Lake, job: &Job) -> JobResult {
    let id = job.payload["schedule_id"].as_str().unwrap_or_default();
    let at = job.payload["at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at = at.ok_or_else(|| JobError::permanent("the payload has no time"))?.to_utc();
    let begun = Schedule::fire(lake, id, at).await.map_err(|error| JobError::of(&error))?;
    Ok(json!({"runs": begun}))
}

/// Why a run was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Problem(#[from] Problem),
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    #[error("writing a file")]
    File(#[from] object_store::Error),
    /// Another attempt would fail as well.
    #[error("{0}")]
    Final(String),
}

async fn make(lake: &Lake, job: &Job) -> JobResult {
    let store = &lake.state.store;
    let id = job.payload["run_id"].as_str().unwrap_or_default();
    let failed = |error: &StoreError| JobError::of(error);
    let found = run::find(store, id).await.map_err(|error| failed(&error))?;
    let Some(run) = found.filter(|run| run.state == RunState::Queued) else {
        return Ok(Value::Null);
    };
    let Some(report) = report::find(store, &run.report_id).await.map_err(|e| failed(&e))? else {
        return Ok(Value::Null);
    };
    let error = match make_run(lake, &report, &run).await {
        Ok(result) => return Ok(result),
        Err(error) => error,
    };
    let said = JobError::of(&error).to_string();
    let is_last = matches!(error, RunError::Final(_)) || pause(job.attempts).is_none();
    let noted = match is_last {
        false => run::note_failure(store, &run.run_id, &said).await,
        true => give_up(lake, &report, &run, &said).await,
    };
    noted.map_err(|error| failed(&error))?;
    Err(if is_last { JobError::permanent(said) } else { JobError::temporary(said) })
}

/// Notes that a run failed for good, and tells the owner.
async fn give_up(lake: &Lake, report: &Report, run: &Run, said: &str) -> Result<(), StoreError> {
    let now = lake.state.clock.now();
    let owner = lake.authenticator.by_id(&report.owner_id).await.ok().flatten();
    let write = lake.state.store.write().await?;
    run::end(&write, &run.run_id, &RunEnd::because(RunState::Failed, said), now).await?;
    tell_webhooks(&write, report, run, EventType::ReportFailed, now).await?;
    let mut told: BTreeSet<String> =
        owner.iter().filter_map(|owner| mail_address(owner)).map(str::to_owned).collect();
    if told.is_empty() {
        // Nobody owns it any more: those who can mend that are told.
        told.extend(lake.authenticator.administrators().await.unwrap_or_default());
    }
    let link = lake.reporting.links.to(&format!("/reports/{}", report.report_id));
    let content = Content {
        subject: format!("Not made · 未生成: {}", report.new.title),
        text: format!("{said}\n\n{link}\n"),
        ..Content::default()
    };
    for address in told {
        let reference = format!("failed:{}", run.run_id);
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
    write.commit().await
}

/// Tells the webhooks of an organization of its own report.
async fn tell_webhooks(
    write: &Write,
    report: &Report,
    run: &Run,
    event: EventType,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let Some(organization_id) = &report.scope else { return Ok(()) };
    let data = json!({
        "report_id": report.report_id, "run_id": run.run_id, "title": report.new.title,
    });
    webhooks::publish(write, organization_id, event, &data, now).await
}

/// The address of a person; programs have none.
pub(crate) fn mail_address(principal: &Principal) -> Option<&str> {
    matches!(principal.kind, PrincipalKind::User(_)).then_some(principal.name.as_str())
}

async fn make_run(lake: &Lake, report: &Report, run: &Run) -> Result<Value, RunError> {
    let owner = owner(lake, report).await?;
    let recipients = recipients(lake, report, run).await?;
    let mut organizations: Vec<Option<&str>> =
        recipients.iter().map(|to| to.organization_id.as_deref()).collect();
    organizations.sort_unstable();
    organizations.dedup();
    if organizations.is_empty() {
        organizations.push(None);
    }
    let selection = window(lake, report, run, &owner)?;
    let mut drawn = Vec::new();
    for organization in organizations {
        let reader = reader(&owner, organization)?;
        drawn.push((organization, draw(lake, report, &owner, &reader, &selection).await?));
    }
    let digest = digest(&drawn);
    if let Some(reason) = skipped(lake, report, run, &drawn, &digest).await? {
        let write = lake.state.store.write().await?;
        let end = RunEnd::because(RunState::Skipped, reason);
        run::end(&write, &run.run_id, &end, lake.state.clock.now()).await?;
        write.commit().await?;
        return Ok(json!({"skipped": reason}));
    }
    let mut files = Vec::new();
    for (organization, drawn) in &drawn {
        for (name, bytes) in drawn.files(report, &selection.window, *organization) {
            lake.reporting.files.put(&run.run_id, &name, bytes).await?;
            files.push(KeptFile { name, organization_id: organization.map(str::to_owned) });
        }
    }
    let as_of = drawn.first().map(|(_, drawn)| drawn.as_of.as_str());
    let end =
        RunEnd { state: RunState::Done, reason: None, as_of, digest: Some(&digest), files: &files };
    let now = lake.state.clock.now();
    let write = lake.state.store.write().await?;
    run::end(&write, &run.run_id, &end, now).await?;
    tell_webhooks(&write, report, run, EventType::ReportSent, now).await?;
    let mut deliveries = 0;
    for to in &recipients {
        let of_same = |(organization, _): &&(Option<&str>, Drawn)| {
            *organization == to.organization_id.as_deref()
        };
        let Some((organization, drawn)) = drawn.iter().find(of_same) else { continue };
        let content = drawn.content(report, &selection.window, *organization, to.channel);
        let new = outgoing(lake, report, run, &owner, to);
        deliveries += usize::from(delivery::enqueue(&write, &new, &content, now).await?.is_some());
    }
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(json!({"deliveries": deliveries, "files": files.len()}))
}

/// The owner, with the rights of this moment. A report without one rests.
async fn owner(lake: &Lake, report: &Report) -> Result<Principal, RunError> {
    if let Some(owner) = lake.authenticator.by_id(&report.owner_id).await? {
        return Ok(owner);
    }
    let reason = "its owner cannot sign in any more, so the report was paused";
    let write = lake.state.store.write().await?;
    report::set_paused(&write, &report.report_id, true, Some(reason)).await?;
    write.commit().await?;
    Err(RunError::Final(reason.to_owned()))
}

/// Who gets a run: all that the report names and who want it, or the one that it is a test for.
async fn recipients(lake: &Lake, report: &Report, run: &Run) -> Result<Vec<Recipient>, RunError> {
    if let Some(address) = &run.only_to {
        let first = report.new.recipients.first();
        let organization_id = first.and_then(|to| to.organization_id.clone());
        let address = address.clone();
        return Ok(vec![Recipient { channel: Channel::Mail, address, organization_id }]);
    }
    let gone: BTreeSet<String> = unsubscribed::Entity::find()
        .filter(unsubscribed::Column::ReportId.eq(report.report_id.as_str()))
        .all(lake.state.store.db())
        .await
        .doing("reading who unsubscribed")?
        .into_iter()
        .map(|row| row.address)
        .collect();
    let stays = |to: &&Recipient| to.channel != Channel::Mail || !gone.contains(&to.address);
    Ok(report.new.recipients.iter().filter(stays).cloned().collect())
}

/// What is shown: the period of the run.
fn window(
    lake: &Lake,
    report: &Report,
    run: &Run,
    owner: &Principal,
) -> Result<Selection, RunError> {
    let invalid = |error: reports::Error| RunError::Final(error.to_string());
    let named = report.new.selection(lake, owner, run.fired_at)?;
    // A window by its name, such as the month before, knows what it is compared with.
    if (named.window.from(), named.window.to()) == (run.from, run.to) {
        return Ok(named);
    }
    let range = MetricWindow::new(run.from, run.to, report.new.zone(lake));
    let window = Window::of(range, lake.state.clock.now()).map_err(invalid)?;
    let selection = Selection::new(window).compared_with(named.compare);
    let audience = audience(&reach(owner));
    selection.with_filters(&report.new.filters, &lake.catalog, audience).map_err(invalid)
}

/// Who reads the numbers: the owner, or of a recipient's organization a member.
pub(super) fn reader(owner: &Principal, organization: Option<&str>) -> Result<Principal, RunError> {
    match (organization, owner.reach.organization_id()) {
        (None, _) => Ok(owner.clone()),
        (Some(one), None) => Ok(Principal {
            kind: PrincipalKind::User(Role::User),
            reach: Tenancy::Organization(one.to_owned()),
            ..owner.clone()
        }),
        (Some(one), Some(own)) if one == own => Ok(owner.clone()),
        (Some(_), Some(_)) => {
            Err(RunError::Final("the owner does not see a recipient's organization".into()))
        }
    }
}

/// One digest of all that was drawn.
fn digest(drawn: &[(Option<&str>, Drawn)]) -> String {
    let mut all = Sha256::new();
    for (organization, drawn) in drawn {
        all.update(organization.unwrap_or_default());
        all.update([0]);
        all.update(drawn.digest);
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why nothing is sent, if the report says so.
async fn skipped(
    lake: &Lake,
    report: &Report,
    run: &Run,
    drawn: &[(Option<&str>, Drawn)],
    digest: &str,
) -> Result<Option<&'static str>, StoreError> {
    if run.only_to.is_some() {
        return Ok(None);
    }
    if report.new.skip_when_empty && drawn.iter().all(|(_, drawn)| drawn.is_empty) {
        return Ok(Some("the period has no value"));
    }
    if report.new.skip_when_unchanged {
        let last = run::last_digest(&lake.state.store, &report.report_id).await?;
        if last.as_deref() == Some(digest) {
            return Ok(Some("all values are those of the run before"));
        }
    }
    Ok(None)
}

/// The delivery of a run to a recipient.
fn outgoing(
    lake: &Lake,
    report: &Report,
    run: &Run,
    owner: &Principal,
    to: &Recipient,
) -> NewDelivery {
    let links = &lake.reporting.links;
    let path = format!("/unsubscribe/{}", links.token(&report.report_id, &to.address));
    let personal = match to.channel {
        Channel::Mail => Personal::from([
            ("address".to_owned(), to.address.clone()),
            ("unsubscribe".to_owned(), links.to(&path)),
        ]),
        _ => Personal::new(),
    };
    let organization = to.organization_id.as_deref().unwrap_or_default();
    NewDelivery {
        reference: run.run_id.clone(),
        channel: to.channel,
        address: to.address.clone(),
        content_id: format!("{}:{}:{organization}", run.run_id, <&str>::from(to.channel)),
        personal,
        notice: mail_address(owner).map(|address| Notice {
            to: address.to_owned(),
            subject: report.new.title.clone(),
            link: links.to(&format!("/reports/{}", report.report_id)),
        }),
    }
}
