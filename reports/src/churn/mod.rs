//! Who is likely to leave, why, and what that would cost.

mod facts;
mod pages;

use chrono::{NaiveDate, TimeDelta};
use forecast::churn::{
    ChurnError, ChurnModel, Column, LEFT_MIN, PENALTY, Scores, Survival, kaplan_meier, penalty_of,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    facts::{AHEAD, BillingFact, FEATURES, Facts, Used, table_of},
    pages::{ChurnPage, ChurnRow, churn_page, churn_word, reason_said},
};

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// Organizations on days that were learned from, and those of them that left.
    pub rows: usize,
    pub left: usize,
    /// How the probabilities did on the last 30 days, by a model that had seen only what was before them; none where the
    /// past is too short for that, or nobody left.
    pub scores: Option<Scores>,
    /// The customers of today, the most revenue at risk first.
    pub risks: Vec<Risk>,
    /// The share of paying organizations that still pay, by days since their first payment.
    pub survival: Vec<Survival>,
}

/// An organization that may leave.
#[derive(Debug, Clone, PartialEq)]
pub struct Risk {
    pub organization: String,
    /// That it leaves within 30 days.
    pub probability: f64,
    /// What it brings in a month, in its currency.
    pub revenue: f64,
    pub currency: Option<String>,
    /// The largest parts, positive ones first.
    pub reasons: Vec<Reason>,
}

/// A feature that says much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ChurnReason)]
pub struct Reason {
    pub feature: String,
    pub value: String,
    /// What it adds to the logarithm of the odds, beside a usual value.
    pub part: f64,
}

/// Months that are learned from.
const MONTHS: i64 = 12;
const REASONS: usize = 3;
/// A part of the logarithm of the odds that is worth a word.
const WORTH: f64 = 0.05;

impl Risk {
    pub fn at_risk(&self) -> f64 {
        self.probability * self.revenue
    }
}

/// Learns from the days that are 30, 60, … days before `today`, and foretells the 30 days that begin with it.
///
/// A row is an organization that was a customer on such a day, with what was known at its start; it left if its
/// subscription ended within 30 days, or, without one, if it made no request in them.
///
/// # Errors
/// [`ChurnError::TooFew`] below 50 that left or stayed.
pub fn assess(facts: &Facts, today: NaiveDate) -> Result<Assessment, ChurnError> {
    let first = facts.first().unwrap_or(today);
    let mut rows = Vec::new();
    let mut months = Vec::new();
    for month in 1..=MONTHS {
        let day = today - TimeDelta::days(AHEAD * month);
        if day - TimeDelta::days(AHEAD) < first {
            break;
        }
        for (_, account) in facts.accounts().filter(|(_, account)| account.is_customer(day)) {
            rows.push((account, day));
            months.push(month);
        }
    }
    let left: Vec<bool> = rows.iter().map(|(account, day)| account.leaves(*day)).collect();
    let count = left.iter().filter(|left| **left).count();
    for (what, kind) in [(count, "left"), (left.len() - count, "stayed")] {
        if what < LEFT_MIN {
            return Err(ChurnError::TooFew { what, kind, needed: LEFT_MIN });
        }
    }
    let customers: Vec<_> =
        facts.accounts().filter(|(_, account)| account.is_customer(today)).collect();
    let learned = rows.len();
    rows.extend(customers.iter().map(|(_, account)| (*account, today)));
    let table = table_of(&rows);
    let (all, now): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|row| *row < learned);
    let mut known = left;
    known.resize(rows.len(), false);

    let of_past: Vec<usize> = all.iter().copied().filter(|row| months[*row] > 1).collect();
    let of_last: Vec<usize> = all.iter().copied().filter(|row| months[*row] == 1).collect();
    let left_of = |rows: &[usize]| rows.iter().filter(|row| known[**row]).count();
    let (mut scores, mut penalty) = (None, PENALTY);
    if left_of(&of_past) >= LEFT_MIN {
        penalty = penalty_of(&table, &known, &of_past)?;
        if left_of(&of_last) > 0 {
            let model = ChurnModel::fit(&table, &known, &of_past, penalty)?;
            let predicted = model.predict(&table, &of_last);
            let probabilities: Vec<f64> = predicted.iter().map(|one| one.probability).collect();
            let left: Vec<bool> = of_last.iter().map(|row| known[*row]).collect();
            scores = Some(Scores::of(&probabilities, &left));
        }
    }
    let model = ChurnModel::fit(&table, &known, &all, penalty)?;
    let mut risks = Vec::with_capacity(customers.len());
    for ((row, prediction), (name, account)) in
        now.iter().zip(model.predict(&table, &now)).zip(&customers)
    {
        let parts = prediction.reasons.iter().filter(|(_, part)| part.abs() >= WORTH);
        let reason = |(column, part): &(usize, f64)| {
            let value = value_at(&table.columns[*column], *row)?;
            Some(Reason { feature: table.names[*column].clone(), value, part: *part })
        };
        let mut reasons: Vec<Reason> = parts.filter_map(reason).collect();
        reasons.sort_by_key(|reason| reason.part < 0.0);
        reasons.truncate(REASONS);
        risks.push(Risk {
            organization: (*name).to_owned(),
            probability: prediction.probability,
            revenue: account.revenue(today),
            currency: account.currency().map(str::to_owned),
            reasons,
        });
    }
    risks.sort_by(|a, b| {
        b.at_risk().total_cmp(&a.at_risk()).then(b.probability.total_cmp(&a.probability))
    });
    Ok(Assessment { rows: learned, left: count, scores, risks, survival: survival(facts, today) })
}

fn survival(facts: &Facts, today: NaiveDate) -> Vec<Survival> {
    let paid = facts.accounts().filter_map(|(_, account)| account.paid_days(today));
    let (ages, left): (Vec<f64>, Vec<bool>) = paid.unzip();
    kaplan_meier(&ages, &left)
}

/// None where it is not known.
fn value_at(column: &Column, row: usize) -> Option<String> {
    match column {
        Column::Number(values) => {
            Some(values[row]).filter(|value| value.is_finite()).map(|value| {
                if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
            })
        }
        Column::Category(values) => Some(values[row].clone()).filter(|value| !value.is_empty()),
    }
}

#[cfg(test)]
mod tests;
