//! Answers to metric questions. What a metric is, and its SQL, says the crate `semantic`.

mod batch;
mod check;
mod expression;
mod privacy;
mod rows;
mod table;

pub use check::{add_files, read_catalog};
pub use semantic::{
    Audience, Catalog, CatalogError, Compare, Dimension, Direction, Fill, Filter, Goal, GoalPeriod,
    Grain, Group, Groups, Metric, MetricAnswer, MetricKind, MetricOption, MetricRequest, MetricRow,
    Number, ReadCost, ReadSource, Text, Unit, Viewer, Window, WindowRequest,
};
pub use table::{MetricColumn, MetricQuery, MetricTable, Order, TableRow};

pub(crate) use rows::{answers, ranges};

use crate::{QueryError, Reason, RowAccess};

/// Who asks, as the metrics see it.
pub fn viewer(reach: &RowAccess, persons: bool) -> Viewer {
    Viewer { audience: audience(reach), persons }
}

/// For whom what somebody asks for must be.
pub fn audience(reach: &RowAccess) -> Audience {
    match reach {
        RowAccess::Admin | RowAccess::Staff => Audience::Staff,
        RowAccess::Organization(_) => Audience::Organization,
    }
}

impl From<semantic::Error> for QueryError {
    fn from(error: semantic::Error) -> Self {
        use semantic::Error;
        let reason = match &error {
            Error::UnknownMetric { .. } | Error::UnknownDimension { .. } | Error::Invalid(_) => {
                Reason::Invalid
            }
            Error::Window(_) | Error::Range(_) | Error::Zone(_) | Error::Filter(_) => {
                Reason::Parameters
            }
            Error::TooLarge(_) => Reason::TooLarge,
            Error::Persons(_) => Reason::Persons,
        };
        Self { hint: error.hint(), ..Self::new(reason, error.to_string()) }
    }
}

impl From<semantic::UnknownZone> for QueryError {
    fn from(error: semantic::UnknownZone) -> Self {
        semantic::Error::Zone(error).into()
    }
}
