//! Metrics: what each one means, the questions that can be asked of them, and the SQL that answers them. Nothing here runs
//! a query; `query` does.

#![warn(missing_docs)]

mod analysis;
mod bucketed;
mod catalog;
mod context;
mod definition;
mod error;
mod event;
mod filter;
mod grain;
mod kind;
mod number;
mod privacy;
mod request;
mod rollup;
mod statement;
mod window;
mod zone;

pub use analysis::{
    Analysis, AnalysisScope, AnalysisStatement, AnalysisUnit, CohortKind, EventFilter, Funnel,
    Lifecycle, Paths, Retention, RetentionMode, RetentionValue, Sessions,
};
pub use catalog::{Catalog, CatalogError, GROUPS_MAX, Viewer};
pub use definition::{
    Additivity, Audience, Conversion, ConversionEvent, Dimension, DimensionType, Direction, Goal,
    GoalPeriod, Metric, MetricKind, MetricOption, OptionValue, Source, Text, Unit,
};
pub use error::Error;
pub use filter::{Condition, Filter, Operator, quoted};
pub use grain::Grain;
pub use number::Number;
pub use privacy::PersonCount;
pub use request::{
    Fill, Group, Groups, MetricAnswer, MetricRequest, MetricRow, ReadCost, ReadSource,
};
pub use rollup::{Rollup, RollupColumn, RollupColumnKind, Rollups};
pub use statement::{Part, ROWS_MAX, Statement, TableRead};
pub use window::{Compare, Window, WindowRequest};
pub use zone::{UnknownZone, Zone};
