//! What the intervals of a look change: how the series stand, and their incidents.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use reports::alert::{AlertRule, Evaluation, Turn, Verdict};
use state::store::StoreError;

use super::{
    alert::Alert,
    incident::{Incident, SeriesKey, Standings},
};

/// What was found of each series, an interval after the other.
pub(super) type Found = Vec<(SeriesKey, Vec<Evaluation>)>;

/// What a look changes.
pub(super) struct Taken {
    /// Those that changed.
    pub(super) standings: Standings,
    /// Series that are not there any more, and not open.
    pub(super) gone: Vec<SeriesKey>,
    /// By id: those that are open or were, and those that opened.
    pub(super) incidents: BTreeMap<String, Incident>,
    pub(super) opened: Vec<String>,
    pub(super) resolved: Vec<String>,
}

/// Takes in what was found, an interval after the other.
pub(super) fn take_in(
    rule: &AlertRule,
    alert_id: &str,
    mut standings: Standings,
    open: Vec<Incident>,
    found: &Found,
    intervals: usize,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    let mut taken = Taken {
        standings: Standings::new(),
        gone: Vec::new(),
        incidents: open.into_iter().map(|one| (one.incident_id.clone(), one)).collect(),
        opened: Vec::new(),
        resolved: Vec::new(),
    };
    for (key, evaluations) in found {
        let before = standings.remove(key);
        let (mut standing, mut incident_id) = before.clone().unwrap_or_default();
        for evaluation in evaluations {
            let turn = standing.take(rule, evaluation.verdict);
            match turn {
                Some(Turn::Opened) => {
                    let incident = Incident::opened(alert_id, key, evaluation, now)?;
                    incident_id = Some(incident.incident_id.clone());
                    taken.opened.push(incident.incident_id.clone());
                    taken.incidents.insert(incident.incident_id.clone(), incident);
                }
                Some(Turn::Resolved) => taken.resolve(incident_id.take(), now),
                None => {}
            }
            let met = incident_id.as_ref().filter(|_| evaluation.verdict == Verdict::Met);
            if let Some(incident) = met.and_then(|id| taken.incidents.get_mut(id)) {
                incident.interval_from = evaluation.at;
                (incident.value, incident.limit) = (evaluation.value, evaluation.limit);
            }
        }
        let after = (standing, incident_id);
        if before.as_ref() != Some(&after) {
            taken.standings.insert(key.clone(), after);
        }
    }
    // What is not there any more does not meet anything.
    for (key, (mut standing, mut incident_id)) in standings {
        for _ in 0..intervals {
            if standing.take(rule, Verdict::NotMet) == Some(Turn::Resolved) {
                taken.resolve(incident_id.take(), now);
            }
        }
        match incident_id {
            Some(_) => drop(taken.standings.insert(key, (standing, incident_id))),
            None => taken.gone.push(key),
        }
    }
    Ok(taken)
}

impl Taken {
    /// When people are told again of what is open, at the earliest: when a snooze is over, or nobody acknowledged it.
    pub(super) fn told_next(&self, alert: &Alert, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let again = alert.new.renotify_after_hours.map(|hours| TimeDelta::hours(hours.into()));
        let next = |incident: &Incident| {
            let snoozed = incident.snoozed_until.filter(|until| *until > now);
            let again = again.filter(|_| incident.acknowledged.is_none());
            // One that was due is told in this look.
            let told_again = again.map(|again| incident.told_at.map_or(now, |told| told + again));
            let next = told_again.filter(|at| *at > now).or_else(|| Some(now + again?));
            snoozed.or(next)
        };
        let open = self.incidents.values().filter(|incident| incident.resolved_at.is_none());
        open.filter_map(next).min()
    }

    fn resolve(&mut self, id: Option<String>, now: DateTime<Utc>) {
        let Some(id) = id else { return };
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        incident.resolved_at = Some(now);
        // One that opened and was over within the same look is in the history; nobody has to be woken for it.
        match self.opened.iter().position(|opened| *opened == id) {
            Some(place) => drop(self.opened.remove(place)),
            None => self.resolved.push(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use query::Zone;
    use reports::alert::{AlertSeries, Watched};
    use rust_decimal::Decimal;
    use serde_json::json;

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

    fn found(values: &[i64]) -> Found {
        let start = at("2026-03-02T00:00:00Z");
        let points = (0..)
            .zip(values)
            .map(|(day, value)| (start + TimeDelta::days(day), Some(Decimal::from(*value))));
        let series = AlertSeries { points: points.collect(), ..AlertSeries::default() };
        let watched = Watched {
            unit: query::metric::Unit::Count,
            better: reports::DesiredDirection::Higher,
            goal: None,
            matures_days: 0,
        };
        let evaluations = rule().evaluate(&series, &watched, start, Zone::UTC);
        vec![(SeriesKey::default(), evaluations)]
    }

    #[test]
    fn an_incident_goes_on_over_several_looks() {
        let now = at("2026-03-10T00:00:00Z");
        let take = |known, open, values: &[i64]| {
            take_in(&rule(), "alert_1", known, open, &found(values), values.len(), now).unwrap()
        };
        let first = take(Standings::new(), vec![], &[1, 9]);
        assert_eq!((first.opened.len(), first.resolved.len()), (1, 0));
        let open: Vec<Incident> = first.incidents.into_values().collect();
        let second = take(first.standings, open, &[12]);
        assert!(second.opened.is_empty() && second.resolved.is_empty());
        let incident = second.incidents.values().next().unwrap();
        assert_eq!(incident.value, Some(Decimal::from(12)), "the last value");
        let open = second.incidents.clone().into_values().collect();
        let third = take(second.standings, open, &[1]);
        assert_eq!(third.resolved.len(), 1);
        assert!(third.incidents.values().all(|incident| incident.resolved_at == Some(now)));
        // What opened and was over while nobody looked wakes nobody.
        let passed = take(Standings::new(), vec![], &[9, 1]);
        assert!(passed.opened.is_empty() && passed.resolved.is_empty());
        assert_eq!(passed.incidents.len(), 1);
    }

    #[test]
    fn a_group_that_is_gone_is_resolved() {
        let now = at("2026-03-10T00:00:00Z");
        let gone = SeriesKey { group: Some("a".into()), currency: None };
        let evaluation = found(&[9])[0].1[0];
        let incident = Incident::opened("alert_1", &gone, &evaluation, now).unwrap();
        let standing = reports::alert::Standing { met: 1, not_met: 0, is_open: true };
        let known = Standings::from([(gone, (standing, Some(incident.incident_id.clone())))]);
        let taken =
            take_in(&rule(), "alert_1", known, vec![incident], &Vec::new(), 1, now).unwrap();
        assert_eq!(taken.resolved.len(), 1);
    }
}
