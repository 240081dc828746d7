//! Metrics: what each one means, the questions that can be asked of them, and the SQL that answers them. Nothing here runs
//! a query; `query` does.

#![warn(missing_docs)]

mod bucketed;
mod catalog;
mod definition;
mod error;
mod filter;
mod grain;
mod kind;
mod number;
mod request;
mod scope;
mod statement;
mod window;
mod zone;

pub use catalog::{Catalog, CatalogError, GROUPS_MAX, Viewer};
pub use definition::{
    AddsUp, Audience, Dimension, DimensionType, Direction, Goal, GoalPeriod, Metric, MetricKind,
    Source, Text, Unit,
};
pub use error::Error;
pub use filter::{Condition, Filter, Operator};
pub use grain::Grain;
pub use number::Number;
pub use request::{Fill, Group, Groups, MetricAnswer, MetricRequest, MetricRow};
pub use statement::{Part, Read, Statement};
pub use window::{Compare, DEFAULT_DAYS, Window, WindowRequest, instant};
pub use zone::{UnknownZone, Zone};
