//! A whole AI-API business, invented from a seed, with the true answers known.
//! AI Hub sells access to AI models by API. Before it has customers, and in every test, somebody has to be
//! the customers. This crate is them: organizations of very different sizes in a dozen countries sign up
//! after browsing the site, try, subscribe, upgrade, fade and leave; their requests follow the working day
//! and the week, grow, and now and then something breaks. Every such thing is written as a CloudEvent, one
//! JSON line each, so that it travels the same road as a real event. Beside the events stands the [`Truth`]:
//! monthly active organizations, MRR and its movements, churn, sign-ups, sums, and the injected anomalies.
//! A system that reads the events must arrive at exactly these numbers.
//!
//! The rule that shapes the code is causality: what happens on day `d` is a function of the seed, the number
//! of organizations, the start date and `d`, never of the length of the period. So a longer period with
//! the same start begins with the same bytes, and a demo can be topped up day by day. Randomness comes from
//! ChaCha streams keyed by (seed, purpose, entity, day), and only integers and plain IEEE arithmetic follow,
//! so the bytes are the same on every machine.
//!
//! Reading order: [`Profile`] says what to make, [`Business`] makes it, `roster` and `lifecycle` invent the
//! organizations and their commercial life, `usage`, `visitor`, `activity` and `billing` write the events of
//! one day, `anomaly` breaks things on purpose, `truth` keeps count.

#![warn(missing_docs)]

mod activity;
mod anomaly;
mod billing;
mod business;
mod day;
mod identity;
mod lifecycle;
mod movement;
mod place;
mod plan;
mod price;
mod profile;
mod random;
mod rhythm;
mod roster;
mod truth;
mod usage;
mod visitor;
mod write;

#[cfg(test)]
mod tests;

pub use anomaly::{AnomalyKind, AnomalyLabel, Observed};
pub use business::Business;
pub use day::{DayEvents, DayFacts};
pub use profile::{Error, GENERATION, MAX_DAYS, MAX_ORGANIZATIONS, Profile};
pub use roster::{Organization, OrganizationKind};
pub use truth::{MonthTruth, Movements, Retention, Tally, Totals, Truth};
