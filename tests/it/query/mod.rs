//! SQL and metrics: answers, limits, isolation.

mod answers;
mod background;
mod hostile;
mod metric_questions;
mod metrics;
mod pool;
mod queries;
mod revenue;
mod saved;
mod security;
mod slt;
mod storm;
mod tenancy;
mod truth;
mod zones;
