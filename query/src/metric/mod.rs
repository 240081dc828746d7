//! The semantic layer: named business figures, declared in YAML, compiled to SQL.

mod answer;
mod catalog;
mod number;
mod statement;

pub use answer::{Grain, MetricAnswer, MetricRequest, MetricRow, Unit};
pub use catalog::{Catalog, Metric, MetricKind};
pub use number::Number;
pub use statement::Statement;
