//! The true answers, which a system that reads the events must find exactly.

use std::collections::{BTreeMap, HashSet};

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::anomaly::AnomalyLabel;
use crate::day::DayFacts;
use crate::lifecycle::Lifecycle;
use crate::movement::{Movement, MovementKind, movements};
use crate::profile::Profile;
use crate::roster::DAY_US;

/// What is true about a generated period. Amounts are US dollars, months are UTC calendar months.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The seed of the profile.
    pub seed: u64,
    /// The number of organizations in the profile. At the end of the period there may be fewer or more.
    pub organizations: u32,
    /// The first day of the period, in UTC.
    pub start: NaiveDate,
    /// The first day after the period.
    pub end: NaiveDate,
    /// The number of `usage.request` events in the period.
    pub usage_events: u64,
    /// The number of `billing.…` events in the period.
    pub billing_events: u64,
    /// The number of `activity.…` events in the period.
    pub activity_events: u64,
    /// Sums and distinct counts over the whole period.
    pub totals: Totals,
    /// The first and the last month may be partial.
    pub months: Vec<MonthTruth>,
    /// In order of time.
    pub anomalies: Vec<AnomalyLabel>,
}

/// Sums over the whole period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Distinct organizations with a request.
    pub active_organizations: u64,
    /// Distinct visitors (`anonymous_id`) with a page view.
    pub visitors: u64,
    /// Distinct visitors that signed up.
    pub registrations: u64,
    /// The number of requests, failed ones too.
    pub requests: u64,
    /// The number of requests with a status of 400 or more.
    pub errors: u64,
    /// Input tokens of all requests, failed ones too.
    pub input_tokens: u64,
    /// Output tokens of all requests.
    pub output_tokens: u64,
    /// What the providers charge for the requests, in US dollars. Failed requests cost nothing.
    pub cost: Decimal,
    /// What the requests cost at list price, in US dollars. Failed requests cost nothing.
    pub list_price: Decimal,
}

/// What is true about one UTC calendar month, as far as the period covers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonthTruth {
    /// `2026-01`.
    pub month: String,
    /// Distinct organizations with a request.
    pub monthly_active_organizations: u64,
    /// At the end of the month or of the period, whichever comes first. Before the period it is 0: what was
    /// subscribed before counts as new on the first day.
    pub mrr: Decimal,
    /// The changes of the monthly recurring revenue (MRR) within the month.
    pub movements: Movements,
    /// What became of the customers of the start of the month.
    #[serde(default)]
    pub retention: Retention,
    /// Distinct organizations with a churn movement, whether or not they came back.
    pub churned_organizations: u64,
    /// Distinct visitors (`anonymous_id`) with a page view.
    pub visitors: u64,
    /// Distinct visitors that signed up.
    pub registrations: u64,
    /// The number of requests, failed ones too.
    pub requests: u64,
    /// Requests with a status of 400 or more.
    pub errors: u64,
    /// Input tokens of all requests, failed ones too.
    pub input_tokens: u64,
    /// Output tokens of all requests.
    pub output_tokens: u64,
    /// What the requests cost at list price, in US dollars. Failed requests cost nothing.
    pub list_price: Decimal,
}

/// What became, by the end of the month, of the organizations that paid at its start. The first month starts with none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    /// MRR at the start of the month.
    pub start: Decimal,
    /// MRR at the end, of the organizations that paid at the start.
    pub retained: Decimal,
    /// The same, where no organization counts more than it paid at the start.
    pub kept: Decimal,
    /// MRR at the end, of those that paid before but not at the start.
    pub came_back: Decimal,
    /// Organizations that paid at the start.
    pub paying_at_start: u64,
    /// Organizations that pay at the end.
    pub paying_at_end: u64,
    /// Organizations that paid at the start and no longer pay at the end.
    pub left: u64,
}

/// MRR movements, all positive: end = start + new + expansion + reactivation − contraction − churn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Movements {
    /// The MRR of organizations that pay for the first time, in US dollars.
    pub new: Decimal,
    /// By how much the MRR of paying organizations rose, in US dollars.
    pub expansion: Decimal,
    /// By how much the MRR of organizations fell that still pay, in US dollars.
    pub contraction: Decimal,
    /// The former MRR of organizations that no longer pay, in US dollars.
    pub churn: Decimal,
    /// The MRR of organizations that pay again after they had stopped, in US dollars.
    pub reactivation: Decimal,
}

/// The count that becomes the [`Truth`] when the facts of every day are added.
pub struct Tally {
    profile: Profile,
    months: BTreeMap<(i32, u32), Month>,
    whole: Month,
    billing_events: u64,
    activity_events: u64,
    anomalies: Vec<AnomalyLabel>,
}

#[derive(Default)]
struct Month {
    active: HashSet<u32>,
    visitors: HashSet<u64>,
    registered: HashSet<u64>,
    churned: HashSet<u32>,
    movements: Movements,
    retention: Retention,
    requests: u64,
    errors: u64,
    input_tokens: u64,
    output_tokens: u64,
    cost_pico: u128,
    list_price_pico: u128,
}

impl Tally {
    pub(crate) fn new(profile: &Profile, lives: &[Lifecycle]) -> Self {
        let mut months: BTreeMap<(i32, u32), Month> = BTreeMap::new();
        for day in 0..profile.days {
            months.entry(month_of(profile.date(day))).or_default();
        }
        for (index, life) in (0_u32..).zip(lives) {
            let found = movements(index, life);
            let month = |movement: &Movement| month_of(profile.date((movement.at / DAY_US) as u32));
            for movement in &found {
                months.entry(month(movement)).or_default().move_mrr(movement);
            }
            let (mut balance, mut has_paid) = (Decimal::ZERO, false);
            let mut rest = found.iter().peekable();
            for (name, counts) in &mut months {
                let (start, had_paid) = (balance, has_paid);
                while let Some(movement) = rest.next_if(|movement| month(movement) == *name) {
                    balance += movement.change();
                    has_paid = true;
                }
                counts.retention.add(start, balance, had_paid);
            }
        }
        Self {
            profile: *profile,
            months,
            whole: Month::default(),
            billing_events: 0,
            activity_events: 0,
            anomalies: Vec::new(),
        }
    }

    /// Adds one day. Each day must be added once; the order does not matter.
    pub fn add(&mut self, facts: &DayFacts) {
        self.months.entry(month_of(facts.date)).or_default().add(facts);
        self.whole.add(facts);
        self.billing_events += facts.billing_events;
        self.activity_events += facts.activity_events;
        self.anomalies.extend(facts.anomaly.clone());
    }

    /// The truth about the whole period. It is complete only when the facts of every day were added.
    pub fn truth(mut self) -> Truth {
        self.anomalies.sort_by_key(|label| label.from);
        let mut mrr = Decimal::ZERO;
        let months = self.months.into_iter().map(|((year, month), counts)| {
            mrr += counts.movements.net();
            counts.truth(format!("{year:04}-{month:02}"), mrr)
        });
        Truth {
            seed: self.profile.seed,
            organizations: self.profile.organizations,
            start: self.profile.start,
            end: self.profile.end(),
            usage_events: self.whole.requests,
            billing_events: self.billing_events,
            activity_events: self.activity_events,
            totals: self.whole.totals(),
            months: months.collect(),
            anomalies: self.anomalies,
        }
    }
}

impl Retention {
    /// Adds an organization that paid `start` at the start of the month and `end` at its end.
    fn add(&mut self, start: Decimal, end: Decimal, had_paid: bool) {
        self.start += start;
        self.kept += start.min(end);
        if !start.is_zero() {
            self.retained += end;
            self.paying_at_start += 1;
            self.left += u64::from(end.is_zero());
        } else if had_paid {
            self.came_back += end;
        }
        self.paying_at_end += u64::from(!end.is_zero());
    }
}

impl Movements {
    /// By how much the monthly recurring revenue rises.
    pub fn net(&self) -> Decimal {
        self.new + self.expansion + self.reactivation - self.contraction - self.churn
    }
}

impl Month {
    fn add(&mut self, facts: &DayFacts) {
        self.active.extend(&facts.active);
        self.visitors.extend(&facts.visitors);
        self.registered.extend(&facts.registered);
        self.requests += facts.requests;
        self.errors += facts.errors;
        self.input_tokens += facts.input_tokens;
        self.output_tokens += facts.output_tokens;
        self.cost_pico += facts.cost_pico;
        self.list_price_pico += facts.list_price_pico;
    }

    fn move_mrr(&mut self, movement: &Movement) {
        let amount = Decimal::from_i128_with_scale(i128::from(movement.cents), 2);
        match movement.kind {
            MovementKind::New => self.movements.new += amount,
            MovementKind::Expansion => self.movements.expansion += amount,
            MovementKind::Contraction => self.movements.contraction += amount,
            MovementKind::Reactivation => self.movements.reactivation += amount,
            MovementKind::Churn => {
                self.movements.churn += amount;
                self.churned.insert(movement.organization);
            }
        }
    }

    fn truth(self, month: String, mrr: Decimal) -> MonthTruth {
        MonthTruth {
            month,
            monthly_active_organizations: self.active.len() as u64,
            mrr,
            movements: self.movements,
            retention: self.retention,
            churned_organizations: self.churned.len() as u64,
            visitors: self.visitors.len() as u64,
            registrations: self.registered.len() as u64,
            requests: self.requests,
            errors: self.errors,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            list_price: dollars(self.list_price_pico),
        }
    }

    fn totals(self) -> Totals {
        Totals {
            active_organizations: self.active.len() as u64,
            visitors: self.visitors.len() as u64,
            registrations: self.registered.len() as u64,
            requests: self.requests,
            errors: self.errors,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cost: dollars(self.cost_pico),
            list_price: dollars(self.list_price_pico),
        }
    }
}

fn month_of(date: NaiveDate) -> (i32, u32) {
    (date.year(), date.month())
}

/// Even a hundred thousand organizations over three years stay far below the decimal's 7.9 × 10¹⁶ dollars.
fn dollars(pico: u128) -> Decimal {
    Decimal::from_i128_with_scale(pico as i128, 12).normalize()
}
