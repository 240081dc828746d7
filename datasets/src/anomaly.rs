//! What breaks on purpose, and the labels that say so.
//!
//! Each block of 30 days has two anomalies at drawn hours, each within one UTC day: in even blocks an error
//! burst and a leaked key, in odd blocks a latency regression and a drop of all traffic.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::Ids;
use crate::lifecycle::Lifecycle;
use crate::price::{CATALOG, Model};
use crate::profile::Profile;
use crate::random::{Purpose, Stream};
use crate::roster::Account;

/// The kind of an anomaly: what breaks, how much and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A provider fails two requests in five for two hours.
    ErrorBurst,
    /// One organization sends twenty times its traffic for five hours.
    KeyLeak,
    /// All traffic falls to 15 % for three hours.
    TrafficDrop,
    /// A model takes four times as long for six hours.
    LatencyRegression,
}

/// A true anomaly: where it is, and what is seen there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyLabel {
    /// What breaks.
    pub kind: AnomalyKind,
    /// Whole hours, half-open.
    pub from: DateTime<Utc>,
    /// The end of the window: the first whole hour after the anomaly.
    pub to: DateTime<Utc>,
    /// The only organization with the anomaly; `None` where it has to do with all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub organization_id: Option<String>,
    /// The only model with the anomaly, by its name; `None` where it has to do with all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// The only provider of models with the anomaly, by its name; `None` where it has to do with all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// The metric in which it shows.
    pub metric: String,
    /// The counts of requests and errors that a correct system finds there.
    pub observed: Observed,
}

/// The requests within the label's window and filter, and those of them with a status of 400 or more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The number of requests, failed ones too.
    pub requests: u64,
    /// The number of requests with a status of 400 or more.
    pub errors: u64,
}

/// An anomaly of one day. Of the filters at most one is set.
pub(crate) struct Anomaly {
    pub(crate) day: u32,
    kind: AnomalyKind,
    from_hour: u32,
    to_hour: u32,
    organization: Option<u32>,
    model: Option<&'static str>,
    provider: Option<&'static str>,
}

const BLOCK_DAYS: u32 = 30;

/// The anomalies of the period, in order of their day.
pub(crate) fn schedule(
    profile: &Profile,
    accounts: &[Account],
    lives: &[Lifecycle],
) -> Vec<Anomaly> {
    let blocks = profile.days.div_ceil(BLOCK_DAYS);
    (0..blocks)
        .flat_map(|block| {
            let mut stream = Stream::new(profile.seed, Purpose::Anomaly, u64::from(block), 0);
            let early = block * BLOCK_DAYS + 8 + stream.below(10);
            let late = block * BLOCK_DAYS + 20 + stream.below(9);
            if block % 2 == 0 {
                let burst = error_burst(&mut stream, early);
                [burst, key_leak(&mut stream, late, accounts, lives)]
            } else {
                let slow = latency_regression(&mut stream, early);
                [slow, Anomaly::new(AnomalyKind::TrafficDrop, &mut stream, late, 3)]
            }
        })
        .filter(|anomaly| anomaly.day < profile.days)
        .collect()
}

impl Anomaly {
    /// The expected requests of an organization in an hour, when `usual` are expected on a day like any other.
    /// A thief does not keep the owner's hours: a leaked key is at least as busy as on the day's mean.
    pub(crate) fn traffic(&self, hour: u32, organization: u32, usual: &[f64; 24]) -> f64 {
        let expected = usual[hour as usize];
        match self.kind {
            AnomalyKind::TrafficDrop if self.within(hour) => 0.15 * expected,
            AnomalyKind::KeyLeak if self.leaks(hour, organization) => {
                20.0 * expected.max(usual.iter().sum::<f64>() / 24.0)
            }
            _ => expected,
        }
    }

    pub(crate) fn leaks(&self, hour: u32, organization: u32) -> bool {
        self.within(hour) && self.organization == Some(organization)
    }

    /// The probability that the provider of a model fails in an hour.
    pub(crate) fn outage(&self, hour: u32, model: &Model) -> f64 {
        match self.kind {
            AnomalyKind::ErrorBurst if self.covers(hour, 0, model) => 0.4,
            _ => 0.0,
        }
    }

    /// How many times its usual time a model takes in an hour.
    pub(crate) fn slowness(&self, hour: u32, model: &Model) -> f64 {
        match self.kind {
            AnomalyKind::LatencyRegression if self.covers(hour, 0, model) => 4.0,
            _ => 1.0,
        }
    }

    /// Whether a request lies within the window and the filter of the label.
    pub(crate) fn covers(&self, hour: u32, organization: u32, model: &Model) -> bool {
        self.within(hour)
            && self.organization.is_none_or(|only| only == organization)
            && self.model.is_none_or(|only| only == model.name)
            && self.provider.is_none_or(|only| only == model.provider)
    }

    pub(crate) fn label(&self, profile: &Profile, ids: Ids, observed: Observed) -> AnomalyLabel {
        let day = profile.date(self.day).and_time(NaiveTime::MIN).and_utc();
        let hours = |count: u32| TimeDelta::hours(i64::from(count));
        AnomalyLabel {
            kind: self.kind,
            from: day + hours(self.from_hour),
            to: day + hours(self.to_hour),
            organization_id: self.organization.map(|index| ids.organization(index)),
            model: self.model.map(str::to_owned),
            provider: self.provider.map(str::to_owned),
            metric: match self.kind {
                AnomalyKind::ErrorBurst => "error_rate",
                AnomalyKind::LatencyRegression => "latency_p95",
                AnomalyKind::KeyLeak | AnomalyKind::TrafficDrop => "requests",
            }
            .to_owned(),
            observed,
        }
    }

    fn new(kind: AnomalyKind, stream: &mut Stream, day: u32, hours: u32) -> Self {
        let from_hour = 9 + stream.below(7);
        Self {
            day,
            kind,
            from_hour,
            to_hour: from_hour + hours,
            organization: None,
            model: None,
            provider: None,
        }
    }

    fn within(&self, hour: u32) -> bool {
        (self.from_hour..self.to_hour).contains(&hour)
    }
}

fn error_burst(stream: &mut Stream, day: u32) -> Anomaly {
    Anomaly {
        provider: Some(stream.choose(&["boreal", "boreal", "tessera", "kestrel"])),
        ..Anomaly::new(AnomalyKind::ErrorBurst, stream, day, 2)
    }
}

fn latency_regression(stream: &mut Stream, day: u32) -> Anomaly {
    Anomaly {
        model: Some(CATALOG[stream.choose(&[0, 1, 3, 4])].name),
        ..Anomaly::new(AnomalyKind::LatencyRegression, stream, day, 6)
    }
}

/// The key of a middling organization from before the start, or of the busiest if there is no middling one.
fn key_leak(stream: &mut Stream, day: u32, accounts: &[Account], lives: &[Lifecycle]) -> Anomaly {
    let old = accounts.iter().filter(|account| account.sign_up_day.is_none()).count();
    let first = stream.below(old as u32) as usize;
    let weight = |index: usize| accounts[index].weight * lives[index].level(day);
    let victim = (first..old)
        .chain(0..first)
        .find(|index| (1.0..6.0).contains(&weight(*index)) && lives[*index].level(day) >= 0.9)
        .or_else(|| (0..old).max_by(|a, b| weight(*a).total_cmp(&weight(*b))));
    Anomaly {
        organization: victim.map(|index| index as u32),
        ..Anomaly::new(AnomalyKind::KeyLeak, stream, day, 5)
    }
}
