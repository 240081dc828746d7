//! A report: what is sent, and to whom.

use chrono::{DateTime, TimeDelta, Utc};
use delivery::{Channel, HookAddress, MailAddress};
use ingest::control;
use pages::Language;
use query::{
    Zone,
    metric::{Compare, audience},
};
use reports::{Period, Selection, Window};
use rest::{
    principal::{Ability, Principal, Tenancy},
    problem::{Code, Problem},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, sea_query::Expr,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, Write, time_of},
};
use utoipa::ToSchema;

use super::row::report as row;
use crate::{Lake, dashboards, queries::reach};

/// What a report is made of: a dashboard, filters, a period, recipients and files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReport {
    /// 1 to 100 characters: the subject of the mails.
    pub title: String,
    /// The name of a dashboard, such as `business`.
    pub dashboard: String,
    /// Conditions such as `model=gpt-4o`, one for each dimension.
    #[serde(default)]
    pub filters: Vec<String>,
    /// `yesterday`, `last_N_days`, `last_N_weeks`, `last_N_months`, `previous_week`, `previous_month`, `previous_quarter`
    /// or `previous_year`: a period that is over when the report is made.
    #[schema(value_type = String)]
    pub period: Period,
    /// `previous_period` (the default), `previous_year` or `none`.
    #[serde(default)]
    pub compare: Comparison,
    /// The time zone of the period and of its schedules. Left out: the setting `metrics.zone`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub tz: Option<Zone>,
    /// `en` or `zh-CN`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub language: Language,
    /// To whom it is sent, at most 100. Without any it is only kept.
    #[serde(default)]
    pub recipients: Vec<Recipient>,
    /// The files: `html`, `csv`. A mail has them attached, a folder gets them.
    #[serde(default = "default_formats")]
    pub formats: Vec<Format>,
    /// Nothing is sent of a period without any value.
    #[serde(default)]
    pub skip_when_empty: bool,
    /// Nothing is sent where all values are those of the run before.
    #[serde(default)]
    pub skip_when_unchanged: bool,
}

/// What the values of a report are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// The period before.
    #[default]
    PreviousPeriod,
    /// The same dates of the year before.
    PreviousYear,
    /// Nothing.
    None,
}

/// To whom a report is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// `mail`, `webhook`, `slack` or `folder`.
    #[schema(value_type = String)]
    pub channel: Channel,
    /// A mail address, a web address, or a folder of the archive.
    pub address: String,
    /// Whose numbers it gets: those of this organization, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
}

/// A file of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ReportFormat)]
pub enum Format {
    /// The page, as one file.
    Html,
    /// The values.
    Csv,
}

fn default_formats() -> Vec<Format> {
    vec![Format::Html]
}

/// A report as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub report_id: String,
    /// The organization that it belongs to; none for staff's.
    pub scope: Option<String>,
    pub owner_id: String,
    pub new: NewReport,
    /// Its schedules rest.
    pub paused: bool,
    /// Why, if nobody asked for it.
    pub paused_reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

const TITLE_CHARS_MAX: usize = 100;
const RECIPIENTS_MAX: usize = 100;
const FOLDER_BYTES_MAX: usize = 200;
/// Reports of one organization, or of staff.
const REPORTS_MAX: usize = 500;

impl NewReport {
    /// Refuses what could not be made, or must not be sent.
    pub(super) async fn check(&self, lake: &Lake, owner: &Principal) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        let letters = self.title.trim().chars().count();
        if !(1..=TITLE_CHARS_MAX).contains(&letters) || control::in_name(&self.title) {
            return refuse(format!(
                "`title` must be 1 to {TITLE_CHARS_MAX} characters, none of them a control character"
            ));
        }
        dashboards::definition(&self.dashboard, lake, owner, owner).await?;
        self.selection(lake, owner, lake.state.clock.now())?;
        if self.recipients.len() > RECIPIENTS_MAX {
            return refuse(format!("a report has at most {RECIPIENTS_MAX} recipients"));
        }
        for (index, recipient) in self.recipients.iter().enumerate() {
            let is_same = |other: &Recipient| {
                other.channel == recipient.channel && other.address == recipient.address
            };
            if self.recipients[..index].iter().any(is_same) {
                return refuse(format!("`recipients`: `{}` is there twice", recipient.address));
            }
            recipient.check(lake, owner).await?;
        }
        Ok(())
    }

    pub(super) fn zone(&self, lake: &Lake) -> Zone {
        self.tz.unwrap_or(lake.metrics.zone)
    }

    /// What the dashboard shows of the period before an instant.
    pub(super) fn selection(
        &self,
        lake: &Lake,
        reader: &Principal,
        before: DateTime<Utc>,
    ) -> Result<Selection, Problem> {
        let invalid = |error: reports::Error| Problem::invalid_parameters(error.to_string());
        let window = self.period.window(before, self.zone(lake));
        let window = Window::of(window, before).map_err(invalid)?;
        let compare = match self.compare {
            Comparison::PreviousPeriod => Some(Compare::PreviousPeriod),
            Comparison::PreviousYear => Some(Compare::PreviousYear),
            Comparison::None => None,
        };
        Selection::new(window)
            .compared_with(compare)
            .with_filters(&self.filters, &lake.catalog, audience(&reach(reader)))
            .map_err(invalid)
    }
}

impl Recipient {
    pub(crate) async fn check(&self, lake: &Lake, owner: &Principal) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        if let (Some(own), Some(other)) = (owner.reach.organization_id(), &self.organization_id)
            && own != other
        {
            let detail = "a report shows no other organization than your own";
            return Err(Problem::forbidden(Code::Forbidden, detail));
        }
        let address = &self.address;
        match self.channel {
            Channel::Mail => self.check_mail(lake, owner).await,
            Channel::Webhook | Channel::Slack => {
                match HookAddress::parse(address, &lake.courier.hooks) {
                    Ok(_) => Ok(()),
                    Err(reason) => refuse(format!("`recipients`: {reason}")),
                }
            }
            Channel::Folder if owner.reach.organization_id().is_some() => {
                let detail = "only staff write to the archive";
                Err(Problem::forbidden(Code::Forbidden, detail))
            }
            Channel::Folder => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
                let is_folder = !address.is_empty()
                    && address.len() <= FOLDER_BYTES_MAX
                    && address.chars().all(plain)
                    && address.split('/').all(|part| !part.is_empty());
                if !is_folder {
                    return refuse(format!(
                        "`recipients`: `{address}` is no folder: letters, digits, `-`, `_`, parts between `/`"
                    ));
                }
                if !lake.courier.has_archive() {
                    return refuse(
                        "`recipients`: no archive is configured: see `archive.url`".into(),
                    );
                }
                Ok(())
            }
        }
    }

    /// Mail goes to those who may see the numbers anyway, and to domains that an administrator allowed.
    async fn check_mail(&self, lake: &Lake, owner: &Principal) -> Result<(), Problem> {
        let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
        let Ok(address) = self.address.parse::<MailAddress>() else {
            return refuse(format!("`recipients`: `{}` is no mail address", self.address));
        };
        let shown = self.organization_id.as_deref().or(owner.reach.organization_id());
        if let Some(user) = lake.authenticator.by_email(&self.address).await? {
            return match &user.reach {
                Tenancy::All => Ok(()),
                Tenancy::Organization(own) if shown == Some(own) => Ok(()),
                Tenancy::Organization(_) => refuse(format!(
                    "`recipients`: `{}` sees one organization only: name it in `organization_id`",
                    self.address
                )),
            };
        }
        let domain = address.domain().to_lowercase();
        if lake.reporting.recipient_domains.contains(&domain) {
            return Ok(());
        }
        let detail = format!(
            "`recipients`: `{}` is no user, and `{domain}` is not among `reports.recipient_domains`",
            self.address
        );
        Err(Problem::forbidden(Code::RecipientNotAllowed, detail))
    }
}

impl Report {
    pub(super) fn may_see(&self, who: &Principal) -> bool {
        let own_scope = self.scope.as_deref() == who.reach.organization_id();
        own_scope && (self.owner_id == who.id || who.may(Ability::Administer))
    }

    /// The files of the report, named after it.
    pub(super) fn file_name(
        &self,
        window: &Window,
        organization: Option<&str>,
        extension: &str,
    ) -> String {
        let letters = self.new.title.to_lowercase();
        let words: Vec<&str> =
            letters.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let from = window.zone().local(window.from()).date();
        let last = window.to() - TimeDelta::microseconds(1);
        let to = window.zone().local(last).date();
        // Two reports may have one title.
        let id: String = self.report_id.chars().rev().take(6).collect();
        let organization = organization.map(|id| format!("-{id}")).unwrap_or_default();
        format!("{}-{id}{organization}-{from}-to-{to}.{extension}", words.join("-"))
    }
}

/// All reports that somebody may see, by title.
pub(super) async fn list(store: &Store, who: &Principal) -> Result<Vec<Report>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(who.reach.organization_id().unwrap_or_default()))
        .order_by_asc(row::Column::Title)
        .order_by_asc(row::Column::ReportId)
        .all(store.db())
        .await
        .doing("listing reports")?;
    let mut reports: Vec<Report> =
        rows.into_iter().map(Report::try_from).collect::<Result<_, _>>()?;
    reports.retain(|report| report.may_see(who));
    Ok(reports)
}

/// A report by its id.
pub(super) async fn find(store: &Store, id: &str) -> Result<Option<Report>, StoreError> {
    let row = row::Entity::find_by_id(id).one(store.db()).await.doing("looking for a report")?;
    row.map(Report::try_from).transpose()
}

/// A report that somebody may see.
pub(super) async fn visible(store: &Store, who: &Principal, id: &str) -> Result<Report, Problem> {
    let found = find(store, id).await?.filter(|report| report.may_see(who));
    found.ok_or_else(|| Problem::not_found(format!("there is no report `{id}`")))
}

pub(super) async fn create(
    lake: &Lake,
    owner: &Principal,
    origin: &AuditOrigin,
    new: NewReport,
) -> Result<Report, Problem> {
    let now = lake.state.clock.now();
    if list(&lake.state.store, owner).await?.len() >= REPORTS_MAX {
        let detail = format!("there are {REPORTS_MAX} reports; remove one first");
        return Err(Problem::conflict(Code::TooManyReports, detail));
    }
    let report = Report {
        report_id: format!("report_{}", base62(&random_bytes::<16>()?, 22)),
        scope: owner.reach.organization_id().map(str::to_owned),
        owner_id: owner.id.clone(),
        new,
        paused: false,
        paused_reason: None,
        created_at: now,
        updated_at: now,
    };
    let write = lake.state.store.write().await?;
    row::Entity::insert(report.row())
        .exec_without_returning(write.db())
        .await
        .doing("adding a report")?;
    report.note(&write, origin, "report.created", now).await?;
    write.commit().await?;
    Ok(report)
}

pub(super) async fn change(
    lake: &Lake,
    report: Report,
    origin: &AuditOrigin,
    new: NewReport,
) -> Result<Report, Problem> {
    let now = lake.state.clock.now();
    let report = Report { new, updated_at: now, ..report };
    let write = lake.state.store.write().await?;
    row::Entity::update(report.row()).exec(write.db()).await.doing("changing a report")?;
    report.note(&write, origin, "report.changed", now).await?;
    write.commit().await?;
    Ok(report)
}

/// Lets a report rest, or go on.
pub(super) async fn set_paused(
    write: &Write,
    id: &str,
    paused: bool,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    row::Entity::update_many()
        .col_expr(row::Column::Paused, Expr::value(paused))
        .col_expr(row::Column::PausedReason, Expr::value(reason.map(str::to_owned)))
        .filter(row::Column::ReportId.eq(id))
        .exec(write.db())
        .await
        .doing("pausing a report")?;
    Ok(())
}

/// Lets a report rest, or go on, as somebody asks.
pub(super) async fn pause(
    lake: &Lake,
    report: Report,
    origin: &AuditOrigin,
    paused: bool,
) -> Result<Report, Problem> {
    let write = lake.state.store.write().await?;
    set_paused(&write, &report.report_id, paused, None).await?;
    let action = if paused { "report.paused" } else { "report.resumed" };
    report.note(&write, origin, action, lake.state.clock.now()).await?;
    write.commit().await?;
    Ok(Report { paused, paused_reason: None, ..report })
}

pub(super) async fn remove(
    lake: &Lake,
    report: &Report,
    origin: &AuditOrigin,
) -> Result<(), Problem> {
    let write = lake.state.store.write().await?;
    super::schedule::remove_of(&write, &report.report_id).await?;
    row::Entity::delete_by_id(report.report_id.as_str())
        .exec(write.db())
        .await
        .doing("removing a report")?;
    report.note(&write, origin, "report.removed", lake.state.clock.now()).await?;
    Ok(write.commit().await?)
}

impl Report {
    pub(super) async fn note(
        &self,
        write: &Write,
        origin: &AuditOrigin,
        action: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        // The address of a webhook is a secret, and that of a person could never be erased.
        let recipients = self.new.recipients.iter().map(|to| match to.channel {
            Channel::Webhook | Channel::Slack | Channel::Mail => {
                json!({"channel": to.channel, "organization_id": to.organization_id})
            }
            Channel::Folder => json!(to),
        });
        let detail = json!({
            "title": self.new.title,
            "dashboard": self.new.dashboard,
            "filters": self.new.filters,
            "recipients": recipients.collect::<Vec<_>>(),
        });
        let act = AuditAction { action, target: self.report_id.clone(), detail };
        audit::append(write, origin, act, now).await
    }

    fn row(&self) -> row::ActiveModel {
        row::ActiveModel {
            report_id: Set(self.report_id.clone()),
            scope: Set(self.scope.clone().unwrap_or_default()),
            owner_id: Set(self.owner_id.clone()),
            title: Set(self.new.title.clone()),
            definition: Set(json!(self.new).to_string()),
            paused: Set(self.paused),
            paused_reason: Set(self.paused_reason.clone()),
            created_at: Set(self.created_at.timestamp_micros()),
            updated_at: Set(self.updated_at.timestamp_micros()),
        }
    }
}

impl TryFrom<row::Model> for Report {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "reports", what };
        Ok(Self {
            new: serde_json::from_str(&row.definition)
                .map_err(|_| damaged("a definition is not readable"))?,
            created_at: time_of("reports", row.created_at)?,
            updated_at: time_of("reports", row.updated_at)?,
            scope: Some(row.scope).filter(|scope| !scope.is_empty()),
            report_id: row.report_id,
            owner_id: row.owner_id,
            paused: row.paused,
            paused_reason: row.paused_reason,
        })
    }
}
