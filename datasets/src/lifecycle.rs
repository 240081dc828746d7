//! The commercial life of an organization: free, trial, paying, leaving, gone, and sometimes back.
//!
//! The life is played day by day from one stream, so a longer period only adds to it. An organization that
//! leaves decides so days before it cancels, and its traffic fades from that day on. There is at most one
//! subscription event per organization and day.

use crate::billing::{BillingEvent, Ledger};
use crate::plan::{Interval, Plan, TEAM_SEATS_MAX, Terms};
use crate::profile::Profile;
use crate::random::{Purpose, Stream};
use crate::roster::{Account, DAY_US, OrganizationKind};

/// The whole life within the period.
pub(crate) struct Lifecycle {
    /// Commercial facts in order of time, all before the end of the period.
    pub(crate) events: Vec<BillingEvent>,
    /// The plan at the end.
    pub(crate) plan: Plan,
    /// From which day each phase holds; the first is the first day of the organization.
    phases: Vec<(u32, Phase)>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Free,
    Trial,
    /// A new customer, whose traffic rises for three weeks.
    Paying,
    /// A customer from before the start, whose ramp lies behind it.
    Settled,
    Leaving {
        until: u32,
    },
    Gone,
}

impl Lifecycle {
    pub(crate) fn of(account: &Account, profile: &Profile) -> Self {
        let mut life = Life::begin(account, profile);
        for day in life.first..profile.days {
            life.live(day);
        }
        let end = u64::from(profile.days) * DAY_US;
        let plan = life.terms.map_or(Plan::Free, |terms| terms.plan);
        Self { events: life.ledger.events_before(end), plan, phases: life.phases }
    }

    /// How much of its usual traffic the organization sends on a day; 0 before it exists and when gone.
    pub(crate) fn level(&self, day: u32) -> f64 {
        let at = self.phases.partition_point(|(from, _)| *from <= day);
        let Some((from, phase)) = at.checked_sub(1).and_then(|last| self.phases.get(last)) else {
            return 0.0;
        };
        match phase {
            Phase::Free => 0.3,
            Phase::Trial => 0.6,
            Phase::Settled => 1.0,
            Phase::Paying => (0.5 + f64::from(day - from) * 0.025).min(1.0),
            Phase::Leaving { until } => {
                let left = f64::from(until.saturating_sub(day));
                0.1 + 0.9 * left / f64::from((until - from).max(1))
            }
            Phase::Gone => 0.0,
        }
    }

    /// The events of one day.
    pub(crate) fn billing_events_of(&self, day: u32) -> &[BillingEvent] {
        let from = u64::from(day) * DAY_US;
        let first = self.events.partition_point(|event| event.at < from);
        let last = self.events.partition_point(|event| event.at < from + DAY_US);
        &self.events[first..last]
    }
}

/// What will happen next, as far as it is already settled.
enum Stage {
    Free { trial: Option<u32>, subscribe: Option<u32> },
    Trial { ends: u32 },
    Paying,
    Leaving { cancel: u32 },
    Gone { back: Option<u32> },
}

struct Life<'a> {
    account: &'a Account,
    stream: Stream,
    ledger: Ledger,
    phases: Vec<(u32, Phase)>,
    stage: Stage,
    terms: Option<Terms>,
    first: u32,
}

impl<'a> Life<'a> {
    fn begin(account: &'a Account, profile: &'a Profile) -> Self {
        let stream = Stream::new(profile.seed, Purpose::Lifecycle, u64::from(account.index), 0);
        let mut life = Self {
            account,
            stream,
            ledger: Ledger::new(profile.start, account),
            phases: Vec::new(),
            stage: Stage::Free { trial: None, subscribe: None },
            terms: None,
            first: account.sign_up_day.unwrap_or(0),
        };
        life.phases.push((life.first, Phase::Free));
        match account.sign_up_day {
            Some(day) => life.sign_up(day),
            None if account.target != Plan::Free && life.stream.chance(0.92) => life.carry_over(),
            None => {}
        }
        life
    }

    fn sign_up(&mut self, day: u32) {
        let at = self.account.signed_up_us.unsigned_abs();
        self.ledger.sign_up(at);
        if self.account.target == Plan::Free {
            return;
        }
        // Most stay with the free plan: about one in fifteen pays within 30 days.
        if self.stream.chance(0.12) {
            self.stage =
                Stage::Free { trial: Some(day + 1 + self.stream.below(4)), subscribe: None };
        } else if self.stream.chance(0.01) {
            let subscribe = Some(day + 1 + self.stream.below(20));
            self.stage = Stage::Free { trial: None, subscribe };
        }
    }

    /// A subscription from before the start is told again in the first second of the first day, so that MRR
    /// can be computed from the events alone.
    fn carry_over(&mut self) {
        let terms = self.wanted();
        let anniversary = 1 + self.stream.below(28);
        self.ledger.carry_over(u64::from(self.account.index), anniversary, terms);
        self.terms = Some(terms);
        self.phases.clear();
        self.enter(0, Phase::Settled, Stage::Paying);
    }

    fn live(&mut self, day: u32) {
        match self.stage {
            Stage::Free { trial, subscribe } => self.live_free(day, trial, subscribe),
            Stage::Trial { ends } if day == ends => {
                if self.stream.chance(0.25) {
                    self.subscribe(day, "trial_converted");
                } else {
                    self.enter(day, Phase::Gone, Stage::Gone { back: None });
                }
            }
            Stage::Trial { .. } => {}
            Stage::Paying => self.live_paying(day),
            Stage::Leaving { cancel } if day == cancel => self.cancel(day),
            Stage::Leaving { .. } => self.bill(day),
            Stage::Gone { back } if back == Some(day) => self.subscribe(day, "came_back"),
            Stage::Gone { .. } => {}
        }
    }

    fn live_free(&mut self, day: u32, trial: Option<u32>, subscribe: Option<u32>) {
        if trial == Some(day) {
            let at = self.moment(day);
            let terms = self.wanted();
            self.ledger.trial(at, terms);
            self.enter(day, Phase::Trial, Stage::Trial { ends: day + 14 });
        } else if subscribe == Some(day) {
            self.subscribe(day, "self_service");
        } else if trial.is_none() && subscribe.is_none() && day > self.first {
            if self.stream.chance(0.0012) {
                self.subscribe(day, "self_service");
            } else if self.stream.chance(0.003) {
                self.enter(day, Phase::Gone, Stage::Gone { back: None });
            }
        }
    }

    fn live_paying(&mut self, day: u32) {
        let Some(terms) = self.terms else { return };
        let patience = match (terms.plan, terms.interval) {
            (_, Interval::Year) => 0.25,
            (Plan::Enterprise, _) => 0.3,
            (Plan::Team, _) => 0.7,
            _ => 1.0,
        };
        if day > self.first && self.stream.chance(0.003 * patience) {
            let cancel = day + 7 + self.stream.below(15);
            self.enter(day, Phase::Leaving { until: cancel }, Stage::Leaving { cancel });
        } else if day > self.first && self.stream.chance(0.0055) {
            self.change(day, terms);
        }
        self.bill(day);
    }

    fn change(&mut self, day: u32, terms: Terms) {
        let step = 1 + self.stream.below(4);
        let grows = self.stream.chance(0.74);
        let alone = self.account.kind == OrganizationKind::Individual && terms.plan == Plan::Pro;
        let next = match grows {
            true if alone && self.stream.chance(0.7) => None,
            true => Some(terms.larger(step)),
            false => terms.smaller(step),
        };
        if let Some(next) = next {
            let at = self.moment(day);
            self.ledger.change(at, terms, next);
            self.terms = Some(next);
        }
    }

    fn subscribe(&mut self, day: u32, reason: &'static str) {
        let at = self.moment(day);
        let terms = self.wanted();
        self.ledger.subscribe(at, terms, reason, &mut self.stream);
        self.terms = Some(terms);
        self.enter(day, Phase::Paying, Stage::Paying);
    }

    fn cancel(&mut self, day: u32) {
        const REASONS: [&str; 4] = ["too_expensive", "switched", "unused", "project_ended"];
        let at = self.moment(day);
        let reason = self.stream.choose(&REASONS);
        if let Some(terms) = self.terms.take() {
            self.ledger.cancel(at, terms, reason);
        }
        let returns = self.stream.chance(0.3);
        let back = day + 12 + self.stream.below(40);
        self.enter(day, Phase::Gone, Stage::Gone { back: returns.then_some(back) });
    }

    fn bill(&mut self, day: u32) {
        if let Some(terms) = self.terms {
            self.ledger.bill(day, terms, &mut self.stream);
        }
    }

    /// The terms that the organization takes when it subscribes.
    fn wanted(&mut self) -> Terms {
        let plan = match self.account.target {
            Plan::Free => Plan::Pro,
            plan => plan,
        };
        let quantity = match plan {
            Plan::Free | Plan::Pro => 1,
            Plan::Team => (self.account.users / 3 + self.stream.below(4)).clamp(2, TEAM_SEATS_MAX),
            Plan::Enterprise => 1 + (self.account.weight / 8.0) as u32,
        };
        let interval = match self.stream.chance(0.22) {
            true => Interval::Year,
            false => Interval::Month,
        };
        Terms { plan, quantity, interval }
    }

    fn enter(&mut self, day: u32, phase: Phase, stage: Stage) {
        self.phases.push((day, phase));
        self.stage = stage;
    }

    /// A moment of a day, in the working hours of the organization's country as far as the day allows.
    fn moment(&mut self, day: u32) -> u64 {
        let hour = f64::from(8 - self.account.place.offset) + self.stream.between(0.0, 12.0);
        u64::from(day) * DAY_US + (hour.rem_euclid(24.0) * 3.6e9) as u64
    }
}
