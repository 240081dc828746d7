//! What is reserved for calls that are under way.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use chrono::{DateTime, Utc};

use super::Usage;

/// Of one organization, and of all together.
const OF_ORGANIZATION_MAX: usize = 50_000;
const OF_ALL_MAX: usize = 500_000;
/// So many each organization gets, however many others have.
const OF_EVERYBODY: usize = 100;
/// Ends of reservations that are gone already.
const IDLE_ENDS_MAX: usize = 10_000;

/// The identity that an event will have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName {
    /// Whose event it is.
    pub organization_id: String,
    /// Its source.
    pub source: String,
    /// Its id within the source.
    pub id: String,
}

/// What is reserved for an event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reservation {
    pub(super) api_key_id: Option<String>,
    pub(super) usage: Usage,
    pub(super) expires_at: DateTime<Utc>,
    /// Its call is under way.
    pub(super) is_open: bool,
}

/// All reservations, and their sums.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    of: HashMap<String, OfOrganization>,
    count: usize,
    /// When they end, the soonest first. One that was renewed stands there twice.
    ends: BinaryHeap<Reverse<(DateTime<Utc>, EventName)>>,
}

/// Those of one organization.
#[derive(Debug, Default)]
pub(super) struct OfOrganization {
    held: HashMap<(String, String), Reservation>,
    total: Usage,
    by_key: HashMap<String, Usage>,
    open: usize,
}

impl OfOrganization {
    pub(super) fn total(&self) -> &Usage {
        &self.total
    }

    pub(super) fn of_key(&self, api_key_id: &str) -> Option<&Usage> {
        self.by_key.get(api_key_id)
    }
}

impl Reservations {
    /// How many ends are remembered.
    #[cfg(test)]
    pub(super) fn ends(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn of(&self, organization_id: &str) -> Option<&OfOrganization> {
        self.of.get(organization_id)
    }

    /// How many calls of an organization are under way.
    pub(super) fn open(&self, organization_id: &str) -> usize {
        self.of(organization_id).map_or(0, |of| of.open)
    }

    pub(super) fn is_full(&self, organization_id: &str) -> bool {
        let held = self.of(organization_id).map_or(0, |of| of.held.len());
        held >= OF_ORGANIZATION_MAX || (self.count >= OF_ALL_MAX && held >= OF_EVERYBODY)
    }

    /// Reserves for an event that has no reservation.
    pub(super) fn begin(&mut self, event: EventName, reservation: Reservation) {
        let of = self.of.entry(event.organization_id.clone()).or_default();
        of.total.add(&reservation.usage);
        if let Some(key) = &reservation.api_key_id {
            of.by_key.entry(key.clone()).or_default().add(&reservation.usage);
        }
        of.open += usize::from(reservation.is_open);
        self.ends.push(Reverse((reservation.expires_at, event.clone())));
        of.held.insert((event.source, event.id), reservation);
        self.count += 1;
        if self.ends.len() > 2 * self.count + IDLE_ENDS_MAX {
            let mut ends = std::mem::take(&mut self.ends);
            ends.retain(|Reverse((at, event))| self.ends_at(event) == Some(*at));
            self.ends = ends;
        }
    }

    fn ends_at(&self, event: &EventName) -> Option<DateTime<Utc>> {
        let held = &self.of.get(&event.organization_id)?.held;
        Some(held.get(&(event.source.clone(), event.id.clone()))?.expires_at)
    }

    /// Ends the reservation of an event.
    pub(super) fn end(&mut self, event: &EventName) -> Option<Reservation> {
        let of = self.of.get_mut(&event.organization_id)?;
        let ended = of.held.remove(&(event.source.clone(), event.id.clone()))?;
        self.count -= 1;
        if of.held.is_empty() {
            self.of.remove(&event.organization_id);
            return Some(ended);
        }
        of.total.subtract(&ended.usage);
        of.open -= usize::from(ended.is_open);
        if let Some(key) = &ended.api_key_id
            && let Some(usage) = of.by_key.get_mut(key)
        {
            usage.subtract(&ended.usage);
            if usage.is_zero() {
                of.by_key.remove(key);
            }
        }
        Some(ended)
    }

    /// Ends those whose time is over.
    pub(super) fn expire(&mut self, now: DateTime<Utc>) {
        while let Some(Reverse((at, _))) = self.ends.peek()
            && *at <= now
        {
            let Some(Reverse((at, event))) = self.ends.pop() else { return };
            // Else it was renewed, ended, or made anew since.
            if self.ends_at(&event) == Some(at) {
                self.end(&event);
            }
        }
    }
}
