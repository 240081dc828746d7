//! Alerts: what of a metric is watched, when that is worth a message, and what becomes of it. The rules are pure: values
//! of closed intervals in, verdicts out, the same for a trial over the past and for what is watched now.

mod evaluation;
pub mod pages;
mod standing;
#[cfg(test)]
mod tests;
mod words;

use chrono::{DateTime, Days, TimeDelta, Utc};
use query::{
    Zone,
    metric::{Goal, GoalPeriod, Grain, Metric, Unit},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use evaluation::{AlertSeries, Evaluation, Verdict};
pub use standing::{Firing, Standing, Turn, firings, is_told};
pub use words::{InWords, alert_text, alert_word};

/// What is watched, and when it is worth a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlertRule {
    /// The name of a metric.
    pub metric: String,
    /// Conditions such as `model=gpt-4o`, one for each dimension: the rows that count.
    #[serde(default)]
    pub filters: Vec<String>,
    /// A dimension: each of its values is watched alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The length of the intervals: `hour`, `day`, `week` or `month`. Only those are looked at that are over.
    pub interval: Grain,
    pub condition: Condition,
    /// Intervals in which another metric has less than this are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<AtLeast>,
    /// It opens when the condition is met in so many intervals, one after the other.
    #[serde(default = "one", rename = "for")]
    pub for_intervals: u32,
    /// It is resolved when the condition is not met in so many intervals, one after the other.
    #[serde(default = "one")]
    pub recover_after: u32,
    /// Values of the dimension that have a limit of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

fn one() -> u32 {
    1
}

/// What an interval must be like for the alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = AlertCondition)]
pub enum Condition {
    /// The value is above a limit.
    Above { value: Decimal },
    /// The value is below a limit.
    Below { value: Decimal },
    /// It is more by this share than in an earlier interval; a ratio, by this difference.
    Rises { by: Decimal, against: Against },
    /// It is less by this share than in an earlier interval; a ratio, by this difference.
    Falls { by: Decimal, against: Against },
    /// It is above so many times the median of the 28 intervals before.
    AboveNorm { times: Decimal },
    /// The goal of the metric is missed.
    GoalMissed,
    /// There is nothing, or zero.
    NoData,
    /// One of the next so many intervals is expected to be above a limit.
    ForecastAbove { value: Decimal, within: u32 },
    /// One of the next so many intervals is expected to be below a limit.
    ForecastBelow { value: Decimal, within: u32 },
    /// It lies outside of the interval that it should fall into with the probability `level`.
    Anomaly {
        #[serde(default)]
        direction: Side,
        #[serde(default = "default_level")]
        level: f64,
    },
}

fn default_level() -> f64 {
    0.99
}

/// The interval that a change is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlertAgainst)]
pub enum Against {
    /// The one before.
    Previous,
    /// The one at the same time of the day before.
    DayBefore,
    /// The one at the same time of the week before.
    WeekBefore,
}

/// Which side of what is expected counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlertSide)]
pub enum Side {
    #[default]
    Both,
    Above,
    Below,
}

/// The least that another metric must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertAtLeast)]
pub struct AtLeast {
    pub metric: String,
    pub value: Decimal,
}

/// The limit of one value of the dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AlertOverride)]
pub struct Override {
    /// The value of the dimension, such as an organization.
    pub group: String,
    /// Stands for the number of the condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Decimal>,
    /// It is not watched.
    #[serde(default)]
    pub muted: bool,
}

/// What the rules must know of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watched {
    pub unit: Unit,
    pub better: crate::comparison::DesiredDirection,
    pub goal: Option<Goal>,
    /// Days until what began in an interval has come to its end.
    pub matures_days: u32,
}

impl From<&Metric> for Watched {
    fn from(metric: &Metric) -> Self {
        Self {
            unit: metric.unit,
            better: metric.direction.into(),
            goal: metric.goal,
            matures_days: metric.matures_days,
        }
    }
}

/// Intervals of the norm, and the fewest of them that make one.
const NORM_INTERVALS: u32 = 28;
const NORM_INTERVALS_MIN: usize = 7;
const STREAK_MAX: u32 = 100;
const WITHIN_MAX: u32 = 60;
const OVERRIDES_MAX: usize = 200;
/// A larger change is one from nothing.
const CHANGE_MAX: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

impl AlertRule {
    /// Why the rule cannot be right, if so.
    pub fn fault(&self, watched: &Watched) -> Option<String> {
        if !matches!(self.interval, Grain::Hour | Grain::Day | Grain::Week | Grain::Month) {
            return Some("`interval` is hour, day, week or month".into());
        }
        for (name, count) in [("for", self.for_intervals), ("recover_after", self.recover_after)] {
            if !(1..=STREAK_MAX).contains(&count) {
                return Some(format!("`{name}` is between 1 and {STREAK_MAX}"));
            }
        }
        if self.overrides.len() > OVERRIDES_MAX {
            return Some(format!("there are at most {OVERRIDES_MAX} overrides"));
        }
        if !self.overrides.is_empty() && self.by.is_none() {
            return Some("`overrides` are for the values of `by`".into());
        }
        self.condition_fault(watched)
    }

    fn condition_fault(&self, watched: &Watched) -> Option<String> {
        let positive = |name: &str, number: Decimal| {
            (number <= Decimal::ZERO).then(|| format!("`{name}` must be above zero"))
        };
        let overridden = self.overrides.iter().filter_map(|own| own.value);
        match &self.condition {
            Condition::Above { .. } | Condition::Below { .. } => None,
            Condition::Rises { by, against } | Condition::Falls { by, against } => {
                let is_known = match against {
                    Against::Previous => true,
                    Against::DayBefore => self.interval == Grain::Hour,
                    Against::WeekBefore => matches!(self.interval, Grain::Hour | Grain::Day),
                };
                if !is_known {
                    return Some("`against` is longer ago than one interval".into());
                }
                let by = overridden.chain([*by]).collect::<Vec<_>>();
                if by.iter().any(|by| *by > CHANGE_MAX) {
                    return Some(format!("`by` is at most {CHANGE_MAX}"));
                }
                by.into_iter().find_map(|by| positive("by", by))
            }
            Condition::AboveNorm { times } => {
                overridden.chain([*times]).find_map(|times| positive("times", times))
            }
            Condition::NoData => None,
            Condition::GoalMissed
                if watched.unit != Unit::Ratio
                    && (self.by.is_some() || !self.filters.is_empty()) =>
            {
                Some("the goal is of all rows: a part of them is not held against it".into())
            }
            Condition::GoalMissed => match watched.goal {
                None => Some(format!("`{}` has no goal", self.metric)),
                Some(goal) if goal.per == GoalPeriod::Month && self.interval != Grain::Month => {
                    Some(format!("the goal of `{}` is of a month", self.metric))
                }
                Some(_) => None,
            },
            Condition::ForecastAbove { within, .. } | Condition::ForecastBelow { within, .. } => {
                if !matches!(self.interval, Grain::Day | Grain::Week) {
                    return Some("forecasts are of days or weeks".into());
                }
                (!(1..=WITHIN_MAX).contains(within))
                    .then(|| format!("`within` is between 1 and {WITHIN_MAX}"))
            }
            Condition::Anomaly { level, .. } => {
                if self.interval == Grain::Month {
                    return Some("anomalies are of hours, days or weeks".into());
                }
                (!(0.5..=0.999).contains(level))
                    .then(|| "`level` is between 0.5 and 0.999".to_owned())
            }
        }
    }

    /// Whether it is looked at by what is expected: that takes longer.
    pub fn is_of_forecast(&self) -> bool {
        matches!(
            self.condition,
            Condition::ForecastAbove { .. }
                | Condition::ForecastBelow { .. }
                | Condition::Anomaly { .. }
        )
    }

    /// The first instant whose values must be known to look at the interval that begins at `first`.
    pub fn known_from(&self, first: DateTime<Utc>, zone: Zone) -> DateTime<Utc> {
        let days = match self.condition {
            Condition::Above { .. } => 0,
            Condition::Rises { against, .. } | Condition::Falls { against, .. } => match against {
                Against::Previous => return self.earlier(first, 1, zone),
                Against::DayBefore => 1,
                Against::WeekBefore => 7,
            },
            // What is gone since is missed, too.
            Condition::AboveNorm { .. }
            | Condition::Below { .. }
            | Condition::GoalMissed
            | Condition::NoData => {
                return self.earlier(first, NORM_INTERVALS, zone);
            }
            Condition::ForecastAbove { .. }
            | Condition::ForecastBelow { .. }
            | Condition::Anomaly { .. } => {
                let history = crate::metric_forecast::history(&self.metric, self.interval, first);
                return self.interval.start(history.from, zone);
            }
        };
        zone.days_before(first, days)
    }

    /// The start of the interval so many before.
    fn earlier(&self, first: DateTime<Utc>, count: u32, zone: Zone) -> DateTime<Utc> {
        let before = |at: &DateTime<Utc>| {
            Some(self.interval.start(at.checked_sub_signed(TimeDelta::seconds(1))?, zone))
        };
        let mut all = std::iter::successors(Some(first), before);
        all.nth(count as usize).unwrap_or(first)
    }

    /// The end of the last interval that can be looked at: what comes late has come, and what began has ended.
    pub fn closed_until(
        &self,
        watched: &Watched,
        now: DateTime<Utc>,
        lateness: TimeDelta,
        zone: Zone,
    ) -> DateTime<Utc> {
        let seen = zone.days_before(now - lateness, u64::from(watched.matures_days));
        self.interval.start(seen, zone)
    }

    /// When the interval that begins at `from` can be looked at.
    pub fn ready_at(
        &self,
        watched: &Watched,
        from: DateTime<Utc>,
        lateness: TimeDelta,
        zone: Zone,
    ) -> DateTime<Utc> {
        // Days of the zone, as in `closed_until`: one of them may have 25 hours.
        let end = zone.local(self.interval.end(from, zone));
        let mature = end.checked_add_days(Days::new(watched.matures_days.into())).unwrap_or(end);
        zone.instant(mature) + lateness
    }

    fn override_of(&self, group: Option<&str>) -> Option<&Override> {
        self.overrides.iter().find(|own| Some(own.group.as_str()) == group)
    }
}
