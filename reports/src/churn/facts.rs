//! What is known of each organization, and what of it was known on a day.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use forecast::churn::{Column, Table};

/// What the data says of all organizations.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    accounts: BTreeMap<String, Account>,
    /// The first day of any request or payment.
    first: Option<NaiveDate>,
}

/// One organization.
#[derive(Debug, Clone, Default)]
pub struct Account {
    first: Option<NaiveDate>,
    /// What it used on each day.
    usage: BTreeMap<NaiveDate, Used>,
    /// Changes of its recurring revenue, by time.
    movements: Vec<(DateTime<Utc>, f64)>,
    /// Plans, seats and payments that failed, by time.
    plans: Vec<(DateTime<Utc>, String)>,
    seats: Vec<(DateTime<Utc>, f64)>,
    failed: Vec<DateTime<Utc>>,
    /// The currency of most of its amounts.
    currencies: BTreeMap<String, u32>,
}

/// The requests of a day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Used {
    pub requests: f64,
    pub errors: f64,
    /// At list prices.
    pub spend: f64,
}

/// A fact of the commercial life.
#[derive(Debug, Clone, PartialEq)]
pub struct BillingFact {
    pub at: DateTime<Utc>,
    pub kind: String,
    pub plan: Option<String>,
    pub quantity: Option<f64>,
}

/// Days that a churn is foretold for, and days without a request that are one.
pub const AHEAD: i64 = 30;

/// What is learned from, in the order of the columns. The words of a page have a sentence for each.
pub const FEATURES: [&str; 12] = [
    "age_days",
    "idle_days",
    "active_days",
    "week_to_month",
    "month_to_quarter",
    "spend",
    "error_rate",
    "failed_payments",
    "seats",
    "recurring",
    "plan",
    "kind",
];
const NUMBERS: usize = 10;

impl Facts {
    pub fn use_day(
        &mut self,
        organization: &str,
        day: NaiveDate,
        used: Used,
        currency: Option<&str>,
    ) {
        let account = self.account(organization, day);
        let of_day = account.usage.entry(day).or_default();
        of_day.requests += used.requests;
        of_day.errors += used.errors;
        of_day.spend += used.spend;
        account.note_currency(currency);
    }

    pub fn bill(&mut self, organization: &str, fact: BillingFact) {
        let account = self.account(organization, fact.at.date_naive());
        if fact.kind == "payment_failed" {
            account.failed.push(fact.at);
        }
        account.plans.extend(fact.plan.map(|plan| (fact.at, plan)));
        account.seats.extend(fact.quantity.map(|seats| (fact.at, seats)));
    }

    /// A change of what an organization pays each month.
    pub fn pay(
        &mut self,
        organization: &str,
        at: DateTime<Utc>,
        change: f64,
        currency: Option<&str>,
    ) {
        let account = self.account(organization, at.date_naive());
        account.movements.push((at, change));
        account.note_currency(currency);
    }

    fn account(&mut self, organization: &str, day: NaiveDate) -> &mut Account {
        self.first = Some(self.first.map_or(day, |first| first.min(day)));
        if !self.accounts.contains_key(organization) {
            self.accounts.insert(organization.to_owned(), Account::default());
        }
        let account = self.accounts.entry(organization.to_owned()).or_default();
        account.first = Some(account.first.map_or(day, |first| first.min(day)));
        account
    }

    /// Puts what came in any order into the order of time.
    pub fn sort(&mut self) {
        for account in self.accounts.values_mut() {
            account.movements.sort_by_key(|(at, _)| *at);
            account.plans.sort_by_key(|(at, _)| *at);
            account.seats.sort_by_key(|(at, _)| *at);
            account.failed.sort();
        }
    }

    pub fn first(&self) -> Option<NaiveDate> {
        self.first
    }

    pub fn accounts(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.accounts.iter().map(|(name, account)| (name.as_str(), account))
    }
}

impl Account {
    fn note_currency(&mut self, currency: Option<&str>) {
        if let Some(currency) = currency {
            *self.currencies.entry(currency.to_owned()).or_default() += 1;
        }
    }

    pub fn currency(&self) -> Option<&str> {
        self.currencies.iter().max_by_key(|(_, count)| **count).map(|(name, _)| name.as_str())
    }

    /// What it used on the days before this one.
    fn used(&self, day: NaiveDate, days: i64) -> Used {
        let first = day - TimeDelta::days(days);
        self.usage.range(first..day).fold(Used::default(), |sum, (_, used)| Used {
            requests: sum.requests + used.requests,
            errors: sum.errors + used.errors,
            spend: sum.spend + used.spend,
        })
    }

    /// What it pays each month, at the start of a day.
    pub fn recurring(&self, day: NaiveDate) -> f64 {
        let before = self.movements.iter().take_while(|(at, _)| at.date_naive() < day);
        let sum: f64 = before.map(|(_, change)| change).sum();
        // Amounts are decimals: what is left of their sum as floats is nothing.
        if sum < 0.005 { 0.0 } else { sum }
    }

    /// What it brings in a month: what it pays, and what it used in the last 30 days.
    pub fn revenue(&self, day: NaiveDate) -> f64 {
        self.recurring(day) + self.used(day, AHEAD).spend
    }

    /// Whether it is a customer at the start of a day: it pays, or it made a request in the last 30 days.
    pub fn is_customer(&self, day: NaiveDate) -> bool {
        self.recurring(day) > 0.0 || self.used(day, AHEAD).requests > 0.0
    }

    /// Whether it leaves within 30 days: what it paid ends, or, without a subscription, it makes no request.
    pub fn leaves(&self, day: NaiveDate) -> bool {
        let end = day + TimeDelta::days(AHEAD);
        if self.recurring(day) > 0.0 {
            let ends = self.movements.iter().scan(0.0, |sum, (at, change)| {
                *sum += change;
                Some((at.date_naive(), *sum < 0.005))
            });
            let within = |(at, is_over): (NaiveDate, bool)| is_over && at >= day && at < end;
            return ends.into_iter().any(within);
        }
        self.used(end, AHEAD).requests == 0.0
    }

    /// How many days it paid, and whether it stopped. `None` for one that never paid.
    pub fn paid_days(&self, today: NaiveDate) -> Option<(f64, bool)> {
        let (first, _) = self.movements.first()?;
        let mut sum = 0.0;
        let over = self.movements.iter().find(|(_, change)| {
            sum += change;
            sum < 0.005
        });
        let end = over.map_or(today, |(at, _)| at.date_naive());
        Some(((end - first.date_naive()).num_days() as f64, over.is_some()))
    }

    /// The numbers of the features, as they were at the start of a day.
    fn numbers(&self, day: NaiveDate) -> [f64; NUMBERS] {
        let days_since = |then: NaiveDate| (day - then).num_days() as f64;
        let (week, month, quarter) = (self.used(day, 7), self.used(day, 28), self.used(day, 91));
        let last = self.usage.range(..day).next_back().map(|(last, _)| days_since(*last));
        let active = self.usage.range(day - TimeDelta::days(28)..day).count();
        let ratio = |part: f64, whole: f64, times: f64| {
            if whole > 0.0 { (part * times / whole).min(10.0) } else { f64::NAN }
        };
        let failed = self.failed.iter().map(DateTime::date_naive);
        let failed = failed.filter(|at| *at < day && *at >= day - TimeDelta::days(91)).count();
        let seats = self.seats.iter().take_while(|(at, _)| at.date_naive() < day).last();
        [
            self.first.map_or(f64::NAN, days_since),
            last.map_or(91.0, |idle| idle.min(91.0)),
            active as f64,
            ratio(week.requests, month.requests, 4.0),
            ratio(month.requests, quarter.requests, 91.0 / 28.0),
            month.spend,
            if month.requests > 0.0 { month.errors / month.requests } else { f64::NAN },
            failed as f64,
            seats.map_or(f64::NAN, |(_, seats)| *seats),
            self.recurring(day),
        ]
    }

    fn plan(&self, day: NaiveDate) -> &str {
        let known = self.plans.iter().take_while(|(at, _)| at.date_naive() < day).last();
        known.map_or("", |(_, plan)| plan.as_str())
    }
}

/// Organizations on days, as a table to learn from. Nothing of it was not known at the start of the day.
pub fn table_of(rows: &[(&Account, NaiveDate)]) -> Table {
    let numbers: Vec<[f64; NUMBERS]> =
        rows.iter().map(|(account, day)| account.numbers(*day)).collect();
    let mut columns: Vec<Column> = (0..NUMBERS)
        .map(|at| Column::Number(numbers.iter().map(|row| row[at]).collect()))
        .collect();
    let plans = rows.iter().map(|(account, day)| account.plan(*day).to_owned());
    columns.push(Column::Category(plans.collect()));
    let kind = |(account, day): &(&Account, NaiveDate)| {
        if account.recurring(*day) > 0.0 { "subscription" } else { "usage" }.to_owned()
    };
    columns.push(Column::Category(rows.iter().map(kind).collect()));
    Table { names: FEATURES.iter().map(|name| (*name).to_owned()).collect(), columns }
}

#[cfg(test)]
impl Facts {
    /// What was known of an organization at the start of a day.
    pub(super) fn copy_until(&mut self, name: &str, account: &Account, day: NaiveDate) {
        for (used_on, used) in account.usage.range(..day) {
            self.use_day(name, *used_on, *used, account.currency());
        }
        for (at, change) in account.movements.iter().filter(|(at, _)| at.date_naive() < day) {
            self.pay(name, *at, *change, account.currency());
        }
        for (at, plan) in account.plans.iter().filter(|(at, _)| at.date_naive() < day) {
            let plan = Some(plan.clone());
            self.bill(name, BillingFact { at: *at, kind: String::new(), plan, quantity: None });
        }
        for (at, seats) in account.seats.iter().filter(|(at, _)| at.date_naive() < day) {
            let quantity = Some(*seats);
            self.bill(name, BillingFact { at: *at, kind: String::new(), plan: None, quantity });
        }
    }
}
