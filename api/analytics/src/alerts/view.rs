//! Alerts as clients see them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use delivery::Channel;
use reports::alert::Verdict;
use rest::problem::Problem;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    alert::{Alert, NewAlert, SYSTEM},
    incident::{self, Finding, Incident},
};
use crate::Lake;

/// An alert as it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    pub id: String,
    #[serde(flatten)]
    pub alert: NewAlert,
    /// `system`: it came with the program.
    pub owner_id: String,
    /// `open`, `ok`, `waiting` (for its first interval) or `paused`.
    pub state: &'static str,
    /// Why it was paused, if nobody asked for it.
    pub paused_reason: Option<String>,
    /// The end of the last interval that was looked at.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub evaluated_to: Option<DateTime<Utc>>,
    /// Why the last look failed.
    pub error: Option<String>,
    /// What is open.
    pub incidents: Vec<IncidentView>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// An alert that opened for a group.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct IncidentView {
    pub id: String,
    pub alert_id: String,
    /// The value of the dimension that the alert is split by.
    pub group: Option<String>,
    pub currency: Option<String>,
    /// The start of the last interval that met the condition.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    #[schema(value_type = Option<String>)]
    pub value: Option<Decimal>,
    #[schema(value_type = Option<String>)]
    pub limit: Option<Decimal>,
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: DateTime<Utc>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub acknowledged_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub snoozed_until: Option<DateTime<Utc>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved_at: Option<DateTime<Utc>>,
    /// Absent: the condition was not met any more.
    pub resolved_by: Option<String>,
}

/// What was found of an interval.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvaluationView {
    /// The start of the interval.
    #[schema(value_type = String, format = DateTime)]
    pub from: DateTime<Utc>,
    /// `met`, `not_met` or `unknown`.
    #[schema(value_type = String)]
    pub verdict: Verdict,
    pub group: Option<String>,
    pub currency: Option<String>,
    #[schema(value_type = Option<String>)]
    pub value: Option<Decimal>,
    #[schema(value_type = Option<String>)]
    pub limit: Option<Decimal>,
    /// The groups that this stands for: of those that do not meet the condition, only the largest value is kept.
    pub groups: usize,
}

impl From<Incident> for IncidentView {
    fn from(incident: Incident) -> Self {
        let (acknowledged_at, acknowledged_by) = incident.acknowledged.unzip();
        Self {
            id: incident.incident_id,
            alert_id: incident.alert_id,
            group: incident.series.group,
            currency: incident.series.currency,
            from: incident.interval_from,
            value: incident.value.map(|value| value.normalize()),
            limit: incident.limit.map(|limit| limit.normalize()),
            opened_at: incident.opened_at,
            acknowledged_at,
            acknowledged_by,
            snoozed_until: incident.snoozed_until,
            resolved_at: incident.resolved_at,
            resolved_by: incident.resolved_by,
        }
    }
}

impl From<Finding> for EvaluationView {
    fn from(finding: Finding) -> Self {
        let series = finding.series.unwrap_or_default();
        Self {
            from: finding.found.at,
            verdict: finding.found.verdict,
            group: series.group,
            currency: series.currency,
            value: finding.found.value.map(|value| value.normalize()),
            limit: finding.found.limit.map(|limit| limit.normalize()),
            groups: finding.watched,
        }
    }
}

/// Incidents of one alert that are listed with it.
const OPEN_MAX: u64 = 1_000;

/// Alerts with what is open of them.
pub(super) async fn views(lake: &Lake, alerts: Vec<Alert>) -> Result<Vec<AlertView>, Problem> {
    let ids: Vec<String> = alerts.iter().map(|alert| alert.alert_id.clone()).collect();
    let mut open: BTreeMap<String, Vec<IncidentView>> = BTreeMap::new();
    for incident in incident::of_alerts(&lake.state.store, &ids, true, OPEN_MAX).await? {
        open.entry(incident.alert_id.clone()).or_default().push(incident.into());
    }
    let view = |alert: Alert| {
        let incidents = open.remove(&alert.alert_id).unwrap_or_default();
        AlertView {
            state: alert.state(incidents.len()),
            incidents,
            id: alert.alert_id,
            alert: alert.new,
            owner_id: alert.owner_id,
            paused_reason: alert.paused_reason,
            evaluated_to: alert.evaluated_to,
            error: alert.error,
            created_at: alert.created_at,
            updated_at: alert.updated_at,
        }
    };
    Ok(alerts.into_iter().map(view).collect())
}

pub(super) async fn view(lake: &Lake, alert: Alert) -> Result<AlertView, Problem> {
    views(lake, vec![alert]).await?.pop().ok_or_else(Problem::internal)
}

/// An alert for somebody who may not see its webhooks: the address of one is a secret.
pub(super) fn without_secrets(mut view: AlertView, may_change: bool) -> AlertView {
    if !may_change || view.owner_id == SYSTEM {
        for to in &mut view.alert.recipients {
            if matches!(to.channel, Channel::Webhook | Channel::Slack) {
                to.address.clear();
            }
        }
    }
    view
}
