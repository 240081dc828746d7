//! An alert: what is watched, and who is told.

use chrono::{DateTime, Utc};
use ingest::control;
use pages::Language;
use query::Zone;
use reports::alert::AlertRule;
use rest::{
    principal::{Ability, Principal},
    problem::{Code, Problem},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    jobs::{self, NewJob},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use utoipa::ToSchema;

use super::{
    reading::{Reader, Source},
    row::{alert as row, evaluation, incident, standing},
};
use crate::{Lake, reporting::Recipient};

/// What is watched, and who is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAlert {
    /// 1 to 100 characters.
    pub title: String,
    /// `metric`, `filters`, `by`, `interval` (`hour`, `day`, `week`, `month`), `condition` (its `kind` and its numbers),
    /// `at_least`, `for`, `recover_after`, `overrides`.
    #[serde(flatten)]
    pub rule: AlertRule,
    /// The time zone of the intervals. Left out: the setting `metrics.zone`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tz: Option<Zone>,
    /// `en` or `zh-CN`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub language: Language,
    /// Who is told, at most 100. Without any it is only on the page.
    #[serde(default)]
    pub recipients: Vec<Recipient>,
    /// They are told once more after so many hours in which nobody acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renotify_after_hours: Option<u32>,
}

/// An alert as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    pub(super) alert_id: String,
    /// The organization that it belongs to; none for staff's.
    pub(super) scope: Option<String>,
    /// [`SYSTEM`] for one that came with the program.
    pub(super) owner_id: String,
    pub(super) new: NewAlert,
    pub(super) paused: bool,
    /// Why, if nobody asked for it.
    pub(super) paused_reason: Option<String>,
    pub(super) evaluated_to: Option<DateTime<Utc>>,
    pub(super) error: Option<String>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) updated_at: DateTime<Utc>,
}

/// The owner of what came with the program.
pub(super) const SYSTEM: &str = "system";

/// The kind of the jobs that look at an alert.
pub(super) const JOB: &str = "alert";

const TITLE_CHARS_MAX: usize = 100;
const RECIPIENTS_MAX: usize = 100;
const HOURS_MAX: u32 = 24 * 30;
/// Alerts of one organization, or of staff.
const ALERTS_MAX: u64 = 200;

impl NewAlert {
    /// Refuses what could not be looked at, or must not be sent.
    pub(super) async fn check(&self, lake: &Lake, owner: &Principal) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        let letters = self.title.trim().chars().count();
        if !(1..=TITLE_CHARS_MAX).contains(&letters) || control::in_name(&self.title) {
            return refuse(format!(
                "`title` must be 1 to {TITLE_CHARS_MAX} characters, none of them a control character"
            ));
        }
        if self.renotify_after_hours.is_some_and(|hours| !(1..=HOURS_MAX).contains(&hours)) {
            return refuse(format!("`renotify_after_hours` is between 1 and {HOURS_MAX}"));
        }
        if self.recipients.len() > RECIPIENTS_MAX {
            return refuse(format!("an alert has at most {RECIPIENTS_MAX} recipients"));
        }
        for recipient in &self.recipients {
            recipient.check(lake, owner).await?;
        }
        self.check_rule(lake, &Reader::of(lake, owner).await?)
    }

    /// Refuses what could not be looked at.
    pub(super) fn check_rule(&self, lake: &Lake, reader: &Reader) -> Result<(), Problem> {
        let refuse = |detail: String| Problem::bad_request(Code::InvalidField, detail);
        let source = Source::of(lake, reader, &self.rule)?;
        self.rule.fault(&source.watched(reader)).map_or(Ok(()), |fault| Err(refuse(fault)))
    }

    pub(super) fn zone(&self, lake: &Lake) -> Zone {
        self.tz.unwrap_or(lake.metrics.zone)
    }
}

impl Alert {
    pub(super) fn may_see(&self, who: &Principal) -> bool {
        let own_scope = self.scope.as_deref() == who.reach.organization_id();
        let shared = self.owner_id == SYSTEM || self.owner_id == who.id;
        own_scope && (shared || who.may(Ability::Administer))
    }

    /// What came with the program is changed by administrators.
    pub(super) fn may_change(&self, who: &Principal) -> bool {
        self.may_see(who) && (self.owner_id == who.id || who.may(Ability::Administer))
    }

    pub(super) fn state(&self, open: usize) -> &'static str {
        match (self.paused, open, self.evaluated_to) {
            (true, ..) => "paused",
            (false, 1.., _) => "open",
            (false, 0, Some(_)) => "ok",
            (false, 0, None) => "waiting",
        }
    }
}

/// All alerts that somebody may see, by title.
pub(super) async fn list(store: &Store, who: &Principal) -> Result<Vec<Alert>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(who.reach.organization_id().unwrap_or_default()))
        .order_by_asc(row::Column::Title)
        .order_by_asc(row::Column::AlertId)
        .all(store.db())
        .await
        .doing("listing alerts")?;
    let mut alerts: Vec<Alert> = rows.into_iter().map(Alert::try_from).collect::<Result<_, _>>()?;
    alerts.retain(|alert| alert.may_see(who));
    Ok(alerts)
}

pub(super) async fn find(store: &Store, id: &str) -> Result<Option<Alert>, StoreError> {
    let row = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for an alert")?;
    row.map(Alert::try_from).transpose()
}

/// An alert that somebody may see.
pub(super) async fn visible(store: &Store, who: &Principal, id: &str) -> Result<Alert, Problem> {
    let found = find(store, id).await?.filter(|alert| alert.may_see(who));
    found.ok_or_else(|| Problem::not_found(format!("there is no alert `{id}`")))
}

/// An alert that somebody may change.
pub(super) async fn own(store: &Store, who: &Principal, id: &str) -> Result<Alert, Problem> {
    let found = visible(store, who, id).await?;
    if found.may_change(who) {
        return Ok(found);
    }
    Err(Problem::forbidden(Code::Forbidden, "an administrator changes what came with the program"))
}

pub(super) async fn create(
    lake: &Lake,
    owner: &Principal,
    origin: &AuditOrigin,
    new: NewAlert,
) -> Result<Alert, Problem> {
    let scope = owner.reach.organization_id().unwrap_or_default();
    let of_scope = row::Entity::find().filter(row::Column::Scope.eq(scope));
    let count = of_scope.count(lake.state.store.db()).await.doing("counting alerts")?;
    if count >= ALERTS_MAX {
        let detail = format!("there are {ALERTS_MAX} alerts; remove one first");
        return Err(Problem::conflict(Code::TooManyAlerts, detail));
    }
    let now = lake.state.clock.now();
    let alert = Alert {
        alert_id: format!("alert_{}", base62(&random_bytes::<16>()?, 22)),
        scope: owner.reach.organization_id().map(str::to_owned),
        owner_id: owner.id.clone(),
        new,
        paused: false,
        paused_reason: None,
        evaluated_to: None,
        error: None,
        created_at: now,
        updated_at: now,
    };
    let write = lake.state.store.write().await?;
    alert.insert(&write).await?;
    alert.note(&write, origin, "alert.created", now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(alert)
}

/// Changes an alert. What was found before was found by another rule: it begins anew. Who changes what came with the
/// program owns it from then on.
pub(super) async fn change(
    lake: &Lake,
    who: &Principal,
    alert: Alert,
    origin: &AuditOrigin,
    new: NewAlert,
) -> Result<Alert, Problem> {
    let now = lake.state.clock.now();
    let owner_id = match alert.owner_id == SYSTEM {
        true => who.id.clone(),
        false => alert.owner_id.clone(),
    };
    let is_same_rule = alert.new.rule == new.rule && alert.new.zone(lake) == new.zone(lake);
    let write = lake.state.store.write().await?;
    // The lock is held: no look goes on in between.
    let current = find(&lake.state.store, &alert.alert_id).await?;
    let evaluated_to = current.and_then(|found| found.evaluated_to).filter(|_| is_same_rule);
    let alert = Alert { new, owner_id, updated_at: now, evaluated_to, error: None, ..alert };
    if !is_same_rule {
        forget_findings(&write, &alert.alert_id).await?;
    }
    row::Entity::update(alert.row()).exec(write.db()).await.doing("changing an alert")?;
    alert.enqueue(&write, now, now).await?;
    alert.note(&write, origin, "alert.changed", now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(alert)
}

/// Lets an alert rest, or go on from now.
pub(super) async fn pause(
    lake: &Lake,
    alert: Alert,
    origin: &AuditOrigin,
    paused: bool,
) -> Result<Alert, Problem> {
    let now = lake.state.clock.now();
    let write = lake.state.store.write().await?;
    let current = find(&lake.state.store, &alert.alert_id).await?;
    let evaluated_to = current.and_then(|found| found.evaluated_to);
    // What came in between is not looked at, and what came before it is no streak.
    let resumed = alert.new.rule.interval.start(now - lake.metrics.lateness, alert.new.zone(lake));
    let evaluated_to = if paused { evaluated_to } else { evaluated_to.map(|_| resumed) };
    if !paused {
        forget_streaks(&write, &alert.alert_id).await?;
    }
    let alert = Alert { paused, paused_reason: None, evaluated_to, updated_at: now, ..alert };
    row::Entity::update(alert.row()).exec(write.db()).await.doing("pausing an alert")?;
    alert.enqueue(&write, now, now).await?;
    let action = if paused { "alert.paused" } else { "alert.resumed" };
    alert.note(&write, origin, action, now).await?;
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(alert)
}

/// Lets an alert rest whose owner is gone.
pub(super) async fn pause_since(write: &Write, id: &str, reason: &str) -> Result<(), StoreError> {
    row::Entity::update_many()
        .col_expr(row::Column::Paused, Expr::value(true))
        .col_expr(row::Column::PausedReason, Expr::value(reason.to_owned()))
        .filter(row::Column::AlertId.eq(id))
        .exec(write.db())
        .await
        .doing("pausing an alert")?;
    Ok(())
}

pub(super) async fn remove(
    lake: &Lake,
    alert: &Alert,
    origin: &AuditOrigin,
) -> Result<(), Problem> {
    let write = lake.state.store.write().await?;
    forget_findings(&write, &alert.alert_id).await?;
    incident::Entity::delete_many()
        .filter(incident::Column::AlertId.eq(alert.alert_id.as_str()))
        .exec(write.db())
        .await
        .doing("removing incidents")?;
    row::Entity::delete_by_id(alert.alert_id.as_str())
        .exec(write.db())
        .await
        .doing("removing an alert")?;
    alert.note(&write, origin, "alert.removed", lake.state.clock.now()).await?;
    Ok(write.commit().await?)
}

/// What meets the condition after a rest begins anew.
async fn forget_streaks(write: &Write, id: &str) -> Result<(), StoreError> {
    standing::Entity::update_many()
        .col_expr(standing::Column::Met, Expr::value(0))
        .col_expr(standing::Column::NotMet, Expr::value(0))
        .filter(standing::Column::AlertId.eq(id))
        .exec(write.db())
        .await
        .doing("forgetting the streaks of an alert")?;
    Ok(())
}

/// Forgets how the series stand and what was found. What is open was opened by another rule: it is over.
async fn forget_findings(write: &Write, id: &str) -> Result<(), StoreError> {
    standing::Entity::delete_many()
        .filter(standing::Column::AlertId.eq(id))
        .exec(write.db())
        .await
        .doing("forgetting how an alert stands")?;
    evaluation::Entity::delete_many()
        .filter(evaluation::Column::AlertId.eq(id))
        .exec(write.db())
        .await
        .doing("forgetting what an alert found")?;
    incident::Entity::delete_many()
        .filter(incident::Column::AlertId.eq(id))
        .filter(incident::Column::ResolvedAt.is_null())
        .exec(write.db())
        .await
        .doing("forgetting what is open")?;
    Ok(())
}

impl Alert {
    pub(super) async fn insert(&self, write: &Write) -> Result<(), StoreError> {
        row::Entity::insert(self.row())
            .exec_without_returning(write.db())
            .await
            .doing("adding an alert")?;
        self.enqueue(write, self.created_at, self.created_at).await
    }

    /// The job of the next look. A look for an earlier definition finds that it is none any more.
    pub(super) async fn enqueue(
        &self,
        write: &Write,
        run_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        if self.paused {
            return Ok(());
        }
        let revision = self.updated_at.timestamp_micros();
        let job = NewJob {
            kind: JOB,
            dedup_key: format!("{}:{revision}:{}", self.alert_id, run_at.timestamp_micros()),
            payload: json!({"alert_id": self.alert_id, "revision": revision}),
            run_at,
        };
        jobs::enqueue(write, &job, now).await?;
        Ok(())
    }

    /// Notes how far an alert was looked at, or why it was not.
    pub(super) async fn set_evaluated(
        &self,
        write: &Write,
        to: Option<DateTime<Utc>>,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        let mut update = row::Entity::update_many()
            .col_expr(row::Column::Error, Expr::value(error.map(str::to_owned)));
        if let Some(to) = to {
            let to = Expr::value(to.timestamp_micros());
            update = update.col_expr(row::Column::EvaluatedTo, to);
        }
        update
            .filter(row::Column::AlertId.eq(self.alert_id.as_str()))
            .exec(write.db())
            .await
            .doing("noting what an alert was looked at")?;
        Ok(())
    }

    async fn note(
        &self,
        write: &Write,
        origin: &AuditOrigin,
        action: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let detail = json!({"title": self.new.title, "rule": self.new.rule});
        let act = AuditAction { action, target: self.alert_id.clone(), detail };
        audit::append(write, origin, act, now).await
    }

    fn row(&self) -> row::ActiveModel {
        row::ActiveModel {
            alert_id: Set(self.alert_id.clone()),
            scope: Set(self.scope.clone().unwrap_or_default()),
            owner_id: Set(self.owner_id.clone()),
            title: Set(self.new.title.clone()),
            definition: Set(json!(self.new).to_string()),
            paused: Set(self.paused),
            paused_reason: Set(self.paused_reason.clone()),
            evaluated_to: Set(self.evaluated_to.map(|at| at.timestamp_micros())),
            error: Set(self.error.clone()),
            created_at: Set(self.created_at.timestamp_micros()),
            updated_at: Set(self.updated_at.timestamp_micros()),
        }
    }
}

impl TryFrom<row::Model> for Alert {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "alerts", what };
        let time = |at| time_of("alerts", at);
        Ok(Self {
            new: serde_json::from_str(&row.definition)
                .map_err(|_| damaged("a definition is not readable"))?,
            evaluated_to: row.evaluated_to.map(time).transpose()?,
            created_at: time(row.created_at)?,
            updated_at: time(row.updated_at)?,
            scope: Some(row.scope).filter(|scope| !scope.is_empty()),
            alert_id: row.alert_id,
            owner_id: row.owner_id,
            paused: row.paused,
            paused_reason: row.paused_reason,
            error: row.error,
        })
    }
}
