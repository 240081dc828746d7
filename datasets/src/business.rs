//! The whole business, and its days one by one.

use chrono::Datelike;

use crate::anomaly::{self, Anomaly};
use crate::day::{DayEvents, DayFacts};
use crate::identity::Ids;
use crate::lifecycle::Lifecycle;
use crate::price::{self, MODELS};
use crate::profile::{MAX_DAYS, MAX_ORGANIZATIONS, Profile};
use crate::rhythm;
use crate::roster::{self, Account, Organization};
use crate::truth::{Tally, Truth};
use crate::write::Page;
use crate::{activity, usage, visitor};

/// A generated business. Its organizations and their commercial life are settled when it is made; events are
/// made day by day, each day independently of the others, so days may be made in parallel.
pub struct Business {
    profile: Profile,
    ids: Ids,
    newcomers: u32,
    accounts: Vec<Account>,
    lives: Vec<Lifecycle>,
    organizations: Vec<Organization>,
    anomalies: Vec<Anomaly>,
}

/// What all organizations share on one day.
pub(crate) struct DayContext<'a> {
    pub(crate) seed: u64,
    pub(crate) ids: Ids,
    pub(crate) day: u32,
    pub(crate) anomaly: Option<&'a Anomaly>,
    pub(crate) shares: [f64; MODELS],
    weekday: u32,
}

impl Business {
    /// Invents the organizations. A profile beyond the limits is brought back to them.
    pub fn new(profile: Profile) -> Self {
        let profile = Profile {
            days: profile.days.min(MAX_DAYS),
            organizations: profile.organizations.min(MAX_ORGANIZATIONS),
            ..profile
        };
        let ids = Ids::new(profile.seed);
        let accounts = roster::roster(&profile);
        let lives: Vec<Lifecycle> =
            accounts.iter().map(|account| Lifecycle::of(account, &profile)).collect();
        let organizations = accounts
            .iter()
            .zip(&lives)
            .map(|(account, life)| account.organization(&profile, ids, life.plan))
            .collect();
        let anomalies = anomaly::schedule(&profile, &accounts, &lives);
        Self {
            newcomers: roster::newcomers(profile.organizations),
            profile,
            ids,
            accounts,
            lives,
            organizations,
            anomalies,
        }
    }

    /// The profile of the business, within the limits even if [`Self::new`] got one beyond them.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The organizations that exist at the end of the period: first those from before the start, then the
    /// others in order of the day they sign up.
    pub fn organizations(&self) -> &[Organization] {
        &self.organizations
    }

    /// All days in order.
    pub fn days(&self) -> impl Iterator<Item = DayEvents> {
        self.days_from(0)
    }

    /// The days from the given index on, for topping up. The days before cost nothing.
    pub fn days_from(&self, first: u32) -> impl Iterator<Item = DayEvents> {
        (first..self.profile.days).filter_map(|day| self.day(day))
    }

    /// One day, counted from 0; none beyond the end.
    pub fn day(&self, day: u32) -> Option<DayEvents> {
        let (facts, page) = self.play(day, false)?;
        Some(DayEvents {
            date: facts.date,
            ndjson: page.in_order(),
            events: facts.events() as usize,
            facts,
        })
    }

    /// What is true about one day, without writing its events: several times faster than [`Self::day`].
    pub fn facts(&self, day: u32) -> Option<DayFacts> {
        self.play(day, true).map(|(facts, _)| facts)
    }

    /// An empty count that knows the commercial life. Add the facts of every day of the period, in any order.
    pub fn tally(&self) -> Tally {
        Tally::new(&self.profile, &self.lives)
    }

    /// The truth about the whole period, from the facts of all days.
    pub fn truth(&self) -> Truth {
        let mut tally = self.tally();
        for facts in (0..self.profile.days).filter_map(|day| self.facts(day)) {
            tally.add(&facts);
        }
        tally.truth()
    }

    fn play(&self, day: u32, blank: bool) -> Option<(DayFacts, Page)> {
        if day >= self.profile.days {
            return None;
        }
        let date = self.profile.date(day);
        let anomaly = self.anomalies.iter().find(|anomaly| anomaly.day == day);
        let scene = DayContext {
            seed: self.profile.seed,
            ids: self.ids,
            day,
            anomaly,
            shares: price::shares(day),
            weekday: date.weekday().num_days_from_monday(),
        };
        let mut page = Page::new(self.ids, day, date, blank);
        let mut facts = DayFacts { date, ..DayFacts::default() };
        let visiting = visitor::horizon(day);
        let soon = self
            .accounts
            .iter()
            .filter(|account| account.sign_up_day.is_some_and(|on| visiting.contains(&on)));
        visitor::day(&scene, self.newcomers, soon, &mut page, &mut facts);
        for (account, life) in self.accounts.iter().zip(&self.lives) {
            for event in life.billing_events_of(day) {
                event.write(&mut page, self.ids, account.index);
                facts.billing_events += 1;
            }
            let level = life.level(day);
            if level > 0.0 {
                let mut expected = usage::expected(&scene, account, level);
                account.mute_before_sign_up(day, &mut expected);
                usage::day(&scene, account, &expected, &mut page, &mut facts);
                activity::day(&scene, account, &expected, &mut page, &mut facts);
            }
        }
        facts.anomaly = anomaly.map(|a| a.label(&self.profile, self.ids, facts.observed));
        Some((facts, page))
    }
}

impl DayContext<'_> {
    /// How busy each hour of the day is for an organization.
    pub(crate) fn hours(&self, account: &Account) -> [f64; 24] {
        rhythm::hours(account.kind, account.place, self.weekday)
    }
}
