//! SQL and metrics: answers, limits, isolation.

mod analyses;
mod anomalies;
mod answers;
mod background;
mod churn;
mod forecasts;
mod hostile;
mod metric_files;
mod metric_kinds;
mod metric_properties;
mod metric_questions;
mod metric_sql;
mod metrics;
mod pool;
mod privacy;
mod queries;
mod revenue;
mod rollups;
mod saved;
mod security;
mod slt;
mod storm;
mod tenancy;
mod truth;
mod usage;
mod zones;
