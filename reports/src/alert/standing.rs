//! What becomes of verdicts: an alert opens, goes on and is resolved.

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AlertRule, AlertSeries, Evaluation, Verdict};

/// How a series stands between two intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Intervals in which the condition was met, up to the last.
    pub met: u32,
    /// Intervals in which it was not met, up to the last.
    pub not_met: u32,
    pub is_open: bool,
}

/// What an interval changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Opened,
    Resolved,
}

impl Standing {
    /// Takes in the verdict of the next interval. One that is not known changes nothing.
    pub fn take(&mut self, rule: &AlertRule, verdict: Verdict) -> Option<Turn> {
        match verdict {
            Verdict::Unknown => None,
            Verdict::Met => {
                self.met = self.met.saturating_add(1);
                self.not_met = 0;
                let opens = !self.is_open && self.met >= rule.for_intervals;
                self.is_open |= opens;
                opens.then_some(Turn::Opened)
            }
            Verdict::NotMet => {
                self.not_met = self.not_met.saturating_add(1);
                self.met = 0;
                let resolves = self.is_open && self.not_met >= rule.recover_after;
                self.is_open &= !resolves;
                resolves.then_some(Turn::Resolved)
            }
        }
    }
}

/// From the interval that opened an alert to the one that resolved it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Firing {
    /// The value of the dimension.
    pub group: Option<String>,
    pub currency: Option<String>,
    /// The start of the interval that opened it.
    pub opened: DateTime<Utc>,
    /// The start of the interval that resolved it.
    pub resolved: Option<DateTime<Utc>>,
    pub value: Option<Decimal>,
    pub limit: Option<Decimal>,
}

/// What would have fired, by the evaluations of a series from a fresh start.
pub fn firings(rule: &AlertRule, series: &AlertSeries, evaluations: &[Evaluation]) -> Vec<Firing> {
    let (mut standing, mut all) = (Standing::default(), Vec::<Firing>::new());
    for evaluation in evaluations {
        match standing.take(rule, evaluation.verdict) {
            Some(Turn::Opened) => all.push(Firing {
                group: series.group.clone(),
                currency: series.currency.clone(),
                opened: evaluation.at,
                resolved: None,
                value: evaluation.value,
                limit: evaluation.limit,
            }),
            Some(Turn::Resolved) => {
                if let Some(last) = all.last_mut() {
                    last.resolved = Some(evaluation.at);
                }
            }
            None => {}
        }
    }
    all
}

/// Whether people are told of an alert that is open, once more or after a snooze.
pub fn is_told(
    now: DateTime<Utc>,
    told_at: Option<DateTime<Utc>>,
    acknowledged: bool,
    snoozed_until: Option<DateTime<Utc>>,
    again_after: Option<TimeDelta>,
) -> bool {
    if snoozed_until.is_some_and(|until| now < until) {
        return false;
    }
    let Some(told_at) = told_at else { return true };
    if acknowledged {
        return false;
    }
    // A snooze that is over since the last message.
    snoozed_until.is_some_and(|until| told_at < until)
        || again_after.is_some_and(|pause| now - told_at >= pause)
}
