//! Who the organizations are: what never changes about them.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::Ids;
use crate::place::{self, Country, PLACES};
use crate::plan::Plan;
use crate::price::MODELS;
use crate::profile::Profile;
use crate::random::{Purpose, Stream};

/// An organization as the relational state would hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// `org_` and ten lower-case letters and digits.
    pub organization_id: String,
    /// An invented name; not unique.
    pub name: String,
    /// Whether the organization is one person or a business.
    pub kind: OrganizationKind,
    /// The plan at the end of the period; `free` without a live subscription.
    pub plan: String,
    /// ISO 3166 code.
    pub country: String,
    /// The time of signing up, in UTC. For organizations from before the start it lies before the period.
    pub signed_up_at: DateTime<Utc>,
}

/// The kind of an organization. In JSON it is `individual` or `business`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationKind {
    /// One person: the organization has one user.
    Individual,
    /// A company: the organization has two users or more.
    Business,
}

/// What the generator knows about an organization.
pub(crate) struct Account {
    pub(crate) index: u32,
    pub(crate) kind: OrganizationKind,
    pub(crate) place: &'static Country,
    pub(crate) name: String,
    /// The day of signing up; none if before the start.
    pub(crate) sign_up_day: Option<u32>,
    /// Microseconds from the start; negative before it.
    pub(crate) signed_up_us: i64,
    /// Size relative to the mean organization.
    pub(crate) weight: f64,
    /// Growth of its traffic per day, of the traffic on the first day.
    pub(crate) slope: f64,
    /// The plan it will want if it pays.
    pub(crate) target: Plan,
    pub(crate) users: u32,
    pub(crate) projects: u32,
    /// How much more or less than others it likes each model.
    pub(crate) taste: [f64; MODELS],
}

pub(crate) const DAY_US: u64 = 86_400_000_000;
/// The days over which the organizations of the profile that are new sign up.
pub(crate) const SIGN_UP_DAYS: u32 = 120;

/// How many organizations of a profile sign up within [`SIGN_UP_DAYS`]; later ones follow at the same rate.
pub(crate) fn newcomers(organizations: u32) -> u32 {
    organizations - (0..organizations).filter(|rank| exists(*rank)).count() as u32
}

/// All organizations that sign up before the end of the period, in order of their index.
pub(crate) fn roster(profile: &Profile) -> Vec<Account> {
    let seed = profile.seed;
    let weights = weights(profile.organizations);
    let (mut old, mut new): (Vec<u32>, Vec<u32>) =
        (0..profile.organizations).partition(|rank| exists(*rank));
    Stream::new(seed, Purpose::Shuffle, 0, 0).shuffle(&mut old);
    Stream::new(seed, Purpose::Shuffle, 1, 0).shuffle(&mut new);
    let mut accounts: Vec<Account> = (0_u32..)
        .zip(&old)
        .map(|(index, rank)| draw(profile, &weights, index, *rank, None))
        .collect();
    let Some(pace) = std::num::NonZeroU32::new(new.len() as u32) else {
        return accounts;
    };
    for newcomer in 0_u32.. {
        let within = Stream::new(seed, Purpose::SignUp, u64::from(newcomer), 0).unit();
        let position = (f64::from(newcomer) + within) / f64::from(pace.get());
        let day = (position * f64::from(SIGN_UP_DAYS)) as u32;
        if day >= profile.days {
            break;
        }
        let rank = new[(newcomer % pace) as usize];
        let index = old.len() as u32 + newcomer;
        accounts.push(draw(profile, &weights, index, rank, Some(day)));
    }
    accounts
}

impl Account {
    pub(crate) fn organization(&self, profile: &Profile, ids: Ids, plan: Plan) -> Organization {
        let start = profile.start.and_time(NaiveTime::MIN).and_utc();
        Organization {
            organization_id: ids.organization(self.index),
            name: self.name.clone(),
            kind: self.kind,
            plan: plan.name().to_owned(),
            country: self.place.country.to_owned(),
            signed_up_at: start + TimeDelta::microseconds(self.signed_up_us),
        }
    }
}

impl Account {
    /// Nobody sends requests before signing up.
    pub(crate) fn mute_before_sign_up(&self, day: u32, expected: &mut [f64; 24]) {
        if self.sign_up_day == Some(day) {
            let hour = self.signed_up_us.unsigned_abs() % DAY_US / 3_600_000_000;
            expected[..=hour as usize].fill(0.0);
        }
    }
}

/// Three in five sizes belong to organizations that exist before the start, the two largest among them.
fn exists(rank: u32) -> bool {
    matches!(rank % 5, 0 | 1 | 3)
}

/// Sizes by rank, largest first, with a mean of 1: `(rank + c)^(−3/2)`. Given by rank and not drawn, so that
/// the volume does not depend on the seed's luck.
fn weights(organizations: u32) -> Vec<f64> {
    let flat = (f64::from(organizations) * 0.02).max(2.0);
    let raw = (0..organizations).map(|rank| {
        let x = f64::from(rank) + flat;
        1.0 / (x * x.sqrt())
    });
    let mean = raw.clone().sum::<f64>() / f64::from(organizations);
    raw.map(|weight| weight / mean).collect()
}

fn draw(
    profile: &Profile,
    weights: &[f64],
    index: u32,
    rank: u32,
    sign_up_day: Option<u32>,
) -> Account {
    let mut stream = Stream::new(profile.seed, Purpose::Organization, u64::from(index), 0);
    let place = &PLACES[stream.pick(&place::shares())];
    let quantile = (f64::from(rank) + 0.5) / weights.len() as f64;
    let business = stream.chance(if quantile < 0.3 { 0.7 } else { 0.27 });
    let kind = match business {
        true => OrganizationKind::Business,
        false => OrganizationKind::Individual,
    };
    let pays = stream.chance(if quantile < 0.3 { 0.95 } else { 0.7 });
    let target = match (pays, business) {
        (false, _) => Plan::Free,
        (true, true) if quantile < 0.05 => Plan::Enterprise,
        (true, true) if quantile < 0.45 => Plan::Team,
        (true, _) => Plan::Pro,
    };
    let weight = weights[rank as usize];
    let users = match kind {
        OrganizationKind::Individual => 1,
        OrganizationKind::Business => 2 + (weight * stream.between(3.0, 9.0)) as u32,
    };
    let signed_up_us = match sign_up_day {
        // Between one and twenty-three o'clock, so that the visit that leads to it fits in the same day.
        Some(day) => {
            let hour = f64::from(stream.below(12)) - f64::from(place.offset) + 9.0;
            let of_day = (hour.rem_euclid(22.0) + 1.0 + stream.unit()) * 3.6e9;
            (u64::from(day) * DAY_US) as i64 + of_day as i64
        }
        None => -((stream.between(2.0, 700.0) * DAY_US as f64) as i64),
    };
    Account {
        index,
        kind,
        place,
        name: name(&mut stream, kind),
        sign_up_day,
        signed_up_us,
        weight,
        slope: stream.between(-0.0005, 0.008),
        target,
        users: users.min(60_000),
        projects: 1 + stream.below(if business { 5 } else { 2 }),
        taste: std::array::from_fn(|_| stream.spread(0.7)),
    }
}

fn name(stream: &mut Stream, kind: OrganizationKind) -> String {
    const FIRST: [&str; 16] = [
        "Amber", "Birch", "Cobalt", "Delta", "Ember", "Fjord", "Granite", "Harbor", "Indigo",
        "Juniper", "Larch", "Meadow", "North", "Opal", "Quartz", "River",
    ];
    const SECOND: [&str; 16] = [
        "bridge", "field", "forge", "gate", "grove", "haven", "light", "line", "loop", "mark",
        "path", "point", "stone", "wave", "wind", "works",
    ];
    const BUSINESS: [&str; 8] =
        ["Labs", "Systems", "Software", "Health", "Logistics", "Media", "Robotics", "Finance"];
    let first = FIRST[stream.below(16) as usize];
    let second = SECOND[stream.below(16) as usize];
    match kind {
        OrganizationKind::Business => {
            format!("{first}{second} {}", BUSINESS[stream.below(8) as usize])
        }
        OrganizationKind::Individual => {
            format!("{}{second}-{}", first.to_lowercase(), 10 + stream.below(90))
        }
    }
}
