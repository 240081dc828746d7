mod answer;

pub use answer::{Grain, MetricAnswer, MetricRequest, MetricRow, Unit};
