//! Questions about what the same unit does over time: funnels, retention, lifecycle, sessions and paths. Each has a file
//! with its question and its SQL.

mod acts;
mod funnel;
mod lifecycle;
mod paths;
mod retention;
mod sessions;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use strum::EnumString;
use utoipa::ToSchema;

pub use funnel::Funnel;
pub use lifecycle::Lifecycle;
pub use paths::Paths;
pub use retention::{CohortKind, Retention, RetentionMode, RetentionValue};
pub use sessions::Sessions;

use crate::{Catalog, Error, Filter, Grain, TableRead, Viewer, Window};

/// Who acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum AnalysisUnit {
    /// Somebody at a device, known by an `anonymous_id`. What a user or an organization does is the visitor's who signed
    /// up as it.
    #[default]
    Visitor,
    /// A person with an account.
    User,
    /// The tenant.
    Organization,
}

/// Events of a type that a filter holds for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventFilter {
    /// The type as it was sent, such as `activity.page_viewed`; `activity.*` are all of a family.
    pub event: String,
    /// What holds for the event. Dimensions are those of the metrics of its table.
    #[serde(default)]
    pub filter: Option<Filter>,
}

/// What every analysis has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnalysisScope {
    /// Who is counted.
    pub unit: AnalysisUnit,
    /// When.
    pub window: Window,
    /// The time of the request.
    pub now: DateTime<Utc>,
}

/// SQL that answers an analysis.
#[derive(Debug, Clone)]
pub struct AnalysisStatement {
    /// The text to run.
    pub sql: String,
    /// The rows that it depends on.
    pub reads: Vec<TableRead>,
}

/// An analysis: a question that becomes one statement.
pub trait Analysis: Send + Sync {
    /// The statement.
    ///
    /// # Errors
    /// When the question names what is not there or not for the viewer, or is too large.
    fn statement(&self, catalog: &Catalog, viewer: Viewer) -> Result<AnalysisStatement, Error>;

    /// Who is counted, and when.
    fn scope(&self) -> AnalysisScope;

    /// The events that it looks at.
    fn events(&self) -> Vec<&EventFilter>;

    /// Whether a few units may show, besides by the filter of an event: by an exclusion, a dimension, an amount, or since
    /// single units are followed.
    fn is_narrowed(&self) -> bool;
}

impl AnalysisUnit {
    /// Whether one of them is a person.
    pub fn is_person(self) -> bool {
        self != Self::Organization
    }
}

impl EventFilter {
    /// All events of a type.
    pub fn of(event: &str) -> Self {
        Self { event: event.to_owned(), filter: None }
    }
}

/// Periods of one analysis.
const PERIODS_MAX: usize = 400;

/// The whole periods that a window touches: their starts, and the end of the last.
pub(crate) fn periods(
    window: &Window,
    grain: Grain,
) -> Result<(Vec<DateTime<Utc>>, DateTime<Utc>), Error> {
    if grain < Grain::Day {
        return Err(Error::Window(
            "a period is a day, a week, a month, a quarter or a year".into(),
        ));
    }
    check_buckets(window, grain)?;
    let starts: Vec<_> = grain.buckets(window.from, window.to, window.zone).collect();
    let end = starts.last().map_or(window.to, |last| grain.end(*last, window.zone));
    Ok((starts, end))
}

/// Whether a window has no more buckets than somebody reads.
fn check_buckets(window: &Window, grain: Grain) -> Result<(), Error> {
    if (window.to - window.from).num_seconds() / grain.seconds_min() > PERIODS_MAX as i64 {
        let name = grain.name();
        return Err(Error::Window(format!(
            "the window has more than {PERIODS_MAX} periods of a {name}"
        )));
    }
    Ok(())
}

/// The periods as rows of SQL: `n` from 0, and `since`.
fn periods_sql(starts: &[DateTime<Utc>]) -> String {
    let rows: Vec<_> = (0..)
        .zip(starts)
        .map(|(n, start)| format!("({n}, {})", start.timestamp_micros()))
        .collect();
    format!("periods AS (SELECT n, since FROM (VALUES {}) AS listed (n, since))", rows.join(", "))
}

/// Events that one analysis looks at.
const EVENTS_MAX: usize = 10;

/// The events of a question that takes any of them.
pub(crate) fn check_events(events: &[EventFilter]) -> Result<(), Error> {
    match events.len() {
        1..=EVENTS_MAX => Ok(()),
        _ => Err(Error::Invalid(format!("`events` has 1 to {EVENTS_MAX} of them"))),
    }
}

/// A length of time that is not too long.
pub(crate) fn check_length(name: &str, length: TimeDelta, max: TimeDelta) -> Result<(), Error> {
    if length <= TimeDelta::zero() || length > max {
        return Err(Error::Invalid(format!(
            "`{name}` is more than nothing and at most {} days",
            max.num_days()
        )));
    }
    Ok(())
}
