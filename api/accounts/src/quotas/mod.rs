//! Quotas of a month: what the organizations and keys have used, as the log says it, and what is reserved for calls that
//! are under way.
//!
//! The counters are fed by a reader of the log. They hold what the ledger held at a log sequence number, and then follow it.
//! Reservations are of this process, and last ten minutes.

mod live;
mod m0022_quota_notices;
mod notice;
mod notice_row;
mod reservations;
mod routes;
mod standing;
mod usage;
mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use rest::feature::Feature;
use state::migration::Migration;

use crate::{
    Directory,
    plans::{LimitScope, Limits},
};
pub(crate) use live::limiter as stream_limiter;
pub use reservations::EventName;
use reservations::{Reservation, Reservations};
pub use standing::{Measure, QuotaStanding, QuotaUnit};
pub use usage::{Counted, Month, Usage};
pub(crate) use view::rate_limit_headers;

/// Quotas, and who is told of them.
pub(crate) const FEATURE: Feature<Directory> = Feature::new("quotas")
    .with_routes(routes::routes)
    .with_migrations(&[Migration {
        name: "m0022_quota_notices",
        up: |m| Box::pin(m0022_quota_notices::up(m)),
    }])
    .with_tasks(notice::register);

/// A reservation that nobody settles ends after this.
pub(crate) const RESERVED_FOR: TimeDelta = TimeDelta::minutes(10);

/// The counters of all organizations, and the reservations of this process.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<Counters>);

#[derive(Debug, Default)]
struct Counters {
    /// The log sequence number up to which events are counted; nothing before the ledger was read.
    through: Option<u64>,
    months: BTreeMap<Month, HashMap<String, OrganizationUsage>>,
    reservations: Reservations,
}

#[derive(Debug, Default)]
struct OrganizationUsage {
    total: Usage,
    by_key: HashMap<String, Usage>,
}

/// Whose call it is, and what is allowed.
#[derive(Debug, Clone)]
pub(crate) struct Caller<'a> {
    pub(crate) organization_id: &'a str,
    pub(crate) limits: &'a Limits,
    /// The key with what it may use.
    pub(crate) key: Option<(&'a str, &'a Limits)>,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum QuotaError {
    /// The ledger is not read yet.
    #[error("the use of this month is being counted")]
    NotCounted,
    /// A quota does not allow it.
    #[error("a quota of the month is used up")]
    Exceeded(Vec<QuotaStanding>),
    /// As many calls are under way as the plan allows.
    #[error("as many calls are under way as the plan allows")]
    TooManyCalls {
        /// How many.
        limit: u32,
    },
    /// More reservations than the server keeps.
    #[error("too many reservations are not settled")]
    Full,
    /// It expired, or its event has come.
    #[error("there is no such reservation: it expired, or its event was counted")]
    NoReservation,
}

impl Quotas {
    /// Puts what the ledger says at a log sequence number in the place of all that was counted before. Which events came
    /// meanwhile is not known: reservations end, as after a crash.
    pub fn begin(&self, through: u64, counted: Vec<Counted>) {
        let mut held = self.lock();
        held.months.clear();
        held.reservations = Reservations::default();
        held.through = Some(through);
        held.add(counted);
    }

    /// Counts the events up to a log sequence number, and ends the reservations of those that arrived. Of the months
    /// before the present one, the last is kept: a clock may go back.
    pub fn count(
        &self,
        through: u64,
        counted: Vec<Counted>,
        arrived: impl IntoIterator<Item = EventName>,
        now: DateTime<Utc>,
    ) {
        let mut held = self.lock();
        held.months = held.months.split_off(&Month::of(now).previous());
        held.through = Some(through);
        held.add(counted);
        for event in arrived {
            held.reservations.end(&event);
        }
    }

    /// Whether somebody waits for the arrival of events.
    pub fn awaits_events(&self) -> bool {
        !self.lock().reservations.is_empty()
    }

    /// What is counted of months from one on, and up to which log sequence number. What adds up to nothing is left out.
    pub fn counted(&self, from: Month) -> (Option<u64>, Vec<Counted>) {
        let held = self.lock();
        let mut all = Vec::new();
        for (month, organizations) in held.months.range(from..) {
            for (organization_id, used) in organizations {
                let mut keyless = used.total.clone();
                let mut add = |api_key_id: Option<&String>, usage: &Usage| {
                    if !usage.is_zero() {
                        all.push(Counted {
                            month: *month,
                            organization_id: organization_id.clone(),
                            api_key_id: api_key_id.cloned(),
                            usage: usage.clone(),
                        });
                    }
                };
                for (key, usage) in &used.by_key {
                    keyless.subtract(usage);
                    add(Some(key), usage);
                }
                add(None, &keyless);
            }
        }
        (held.through, all)
    }

    /// What an organization, or one key of it, has used in a month; nothing before the ledger was read.
    pub(crate) fn used(
        &self,
        organization_id: &str,
        api_key_id: Option<&str>,
        month: Month,
    ) -> Option<Usage> {
        let held = self.lock();
        held.through?;
        let used = held.months.get(&month).and_then(|all| all.get(organization_id));
        let used = used.and_then(|used| match api_key_id {
            Some(key) => used.by_key.get(key),
            None => Some(&used.total),
        });
        Some(used.cloned().unwrap_or_default())
    }

    /// The organizations that used anything in a month.
    pub(crate) fn organizations(&self, month: Month) -> Vec<String> {
        let held = self.lock();
        held.months.get(&month).map(|all| all.keys().cloned().collect()).unwrap_or_default()
    }

    /// How the quotas of a caller stand.
    pub(crate) fn standing(
        &self,
        caller: &Caller<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<QuotaStanding>, QuotaError> {
        let mut held = self.lock();
        held.reservations.expire(now);
        held.standing(caller, now)
    }

    /// Whether a caller may use so much. Nothing is reserved.
    pub(crate) fn check(
        &self,
        caller: &Caller<'_>,
        estimate: &Usage,
        now: DateTime<Utc>,
    ) -> Result<Vec<QuotaStanding>, QuotaError> {
        let found = self.standing(caller, now)?;
        match found.iter().all(|quota| quota.allows(quota.of(estimate))) {
            true => Ok(found),
            false => Err(QuotaError::Exceeded(found)),
        }
    }

    /// Reserves an estimate for an event that will come. Asked again, the estimate replaces the former one.
    pub(crate) fn reserve(
        &self,
        caller: &Caller<'_>,
        event: EventName,
        estimate: Usage,
        now: DateTime<Utc>,
    ) -> Result<(Vec<QuotaStanding>, DateTime<Utc>), QuotaError> {
        let mut held = self.lock();
        held.reservations.expire(now);
        if held.through.is_none() {
            return Err(QuotaError::NotCounted);
        }
        let former = held.reservations.end(&event);
        // A late repetition: the call has ended, and what it used is known.
        if let Some(settled) = former.clone().filter(|former| !former.is_open) {
            let expires_at = settled.expires_at;
            held.reservations.begin(event, settled);
            return Ok((held.standing(caller, now)?, expires_at));
        }
        let found = held.standing(caller, now)?;
        let refusal = match caller.limits.concurrent_requests {
            _ if !found.iter().all(|quota| quota.allows(quota.of(&estimate))) => {
                Some(QuotaError::Exceeded(found))
            }
            Some(limit)
                if held.reservations.open(caller.organization_id) >= limit.get() as usize =>
            {
                Some(QuotaError::TooManyCalls { limit: limit.get() })
            }
            _ if held.reservations.is_full(caller.organization_id) => Some(QuotaError::Full),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // What was reserved before stays so.
            if let Some(former) = former {
                held.reservations.begin(event, former);
            }
            return Err(refusal);
        }
        let api_key_id = caller.key.map(|(id, _)| id.to_owned());
        let expires_at = now + RESERVED_FOR;
        let reservation = Reservation { api_key_id, usage: estimate, expires_at, is_open: true };
        held.reservations.begin(event, reservation);
        Ok((held.standing(caller, now)?, expires_at))
    }

    /// Puts what was really used in the place of an estimate, until the event comes. The call has ended. Money that is not
    /// said stays as it was estimated.
    pub(crate) fn settle(
        &self,
        event: &EventName,
        mut used: Usage,
        now: DateTime<Utc>,
    ) -> Result<DateTime<Utc>, QuotaError> {
        let mut held = self.lock();
        held.reservations.expire(now);
        let former = held.reservations.end(event).ok_or(QuotaError::NoReservation)?;
        let expires_at = now + RESERVED_FOR;
        if used.spend.is_empty() {
            used.spend.clone_from(&former.usage.spend);
        }
        let settled = Reservation { usage: used, expires_at, is_open: false, ..former };
        held.reservations.begin(event.clone(), settled);
        Ok(expires_at)
    }

    /// Ends a reservation whose event will not come.
    pub(crate) fn cancel(&self, event: &EventName, now: DateTime<Utc>) -> Result<(), QuotaError> {
        let mut held = self.lock();
        held.reservations.expire(now);
        held.reservations.end(event).map(drop).ok_or(QuotaError::NoReservation)
    }

    /// The calls of an organization that are under way.
    pub(crate) fn open_calls(&self, organization_id: &str, now: DateTime<Utc>) -> usize {
        let mut held = self.lock();
        held.reservations.expire(now);
        held.reservations.open(organization_id)
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        // Every change is complete in itself: a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn add(&mut self, counted: Vec<Counted>) {
        for Counted { month, organization_id, api_key_id, usage } in counted {
            let of_month = self.months.entry(month).or_default();
            let used = of_month.entry(organization_id).or_default();
            used.total.add(&usage);
            if let Some(key) = api_key_id {
                used.by_key.entry(key).or_default().add(&usage);
            }
        }
    }

    fn standing(
        &self,
        caller: &Caller<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<QuotaStanding>, QuotaError> {
        let (of_key, of_organization) = (caller.key, &caller.limits);
        let is_limited = |limits: &Limits| !limits.monthly.is_unlimited();
        let asks =
            is_limited(of_organization) || of_key.is_some_and(|(_, limits)| is_limited(limits));
        if !asks {
            return Ok(Vec::new());
        }
        if self.through.is_none() {
            return Err(QuotaError::NotCounted);
        }
        let nothing = Usage::default();
        let used = self.months.get(&Month::of(now)).and_then(|all| all.get(caller.organization_id));
        let reserved = self.reservations.of(caller.organization_id);
        let total =
            |usage: Option<&OrganizationUsage>| usage.map_or(&nothing, |used| &used.total).clone();
        let held = reserved.map_or(&nothing, |held| held.total());
        let scope = LimitScope::Organization;
        let mut found = standing::standings(scope, of_organization, &total(used), held);
        if let Some((id, limits)) = of_key {
            let used = used.and_then(|used| used.by_key.get(id)).unwrap_or(&nothing);
            let held = reserved.and_then(|held| held.of_key(id)).unwrap_or(&nothing);
            found.extend(standing::standings(LimitScope::ApiKey, limits, used, held));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
