//! Who is likely to leave: regularized logistic regression on a table, with probabilities out of fold and reasons.
//!
//! Numbers become lines with kinks (hinges), and each is also multiplied by the values of small categories, so that what
//! a number means may depend on them. Everything that is learned (means, kinks, categories) is learned from the rows that a
//! model is trained on, and from no other.

mod encoder;
mod model;
mod scores;
mod survival;

pub use encoder::{Column, Table};
pub use model::{ChurnError, ChurnModel, LEFT_MIN, PENALTY, Prediction, out_of_fold, penalty_of};
pub use scores::Scores;
pub use survival::{Survival, kaplan_meier};
