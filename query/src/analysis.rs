//! Analyses: the rows of their statements. What they ask, and their SQL, says the crate `semantic`.

pub use semantic::{
    Analysis, AnalysisScope, AnalysisUnit, CohortKind, EventFilter, Funnel, Lifecycle, Paths,
    Retention, RetentionMode, RetentionValue, Sessions,
};

use crate::{Engine, MetricContext, QueryError, Reason, ResultSet};

/// More rows are no analysis that somebody reads.
const ROWS_MAX: u64 = 100_000;

/// The rows of an analysis, and the SQL that gave them.
#[derive(Debug)]
pub struct AnalysisRows {
    pub rows: ResultSet,
    pub sql: String,
    /// Numbers of persons are shown in multiples of it.
    pub min_persons: Option<u32>,
}

impl Engine {
    /// Runs an analysis at a cut. Those who are shown no few persons ask about all of them, by whole days.
    pub async fn analyze(
        &self,
        question: &dyn Analysis,
        asking: MetricContext<'_>,
    ) -> Result<AnalysisRows, QueryError> {
        let events = question.events();
        let is_of_persons = question.scope().unit.is_person()
            || events.iter().any(|event| asking.catalog.is_event_of_persons(event));
        let min_persons = asking.min_persons.filter(|_| is_of_persons);
        if min_persons.is_some() {
            check_of_all(question)?;
        }
        let statement = question.statement(asking.catalog, asking.viewer())?;
        let rows = self.rows_of_metrics(&statement.sql, &statement.reads, ROWS_MAX, asking).await?;
        Ok(AnalysisRows { rows, sql: statement.sql, min_persons })
    }
}

fn check_of_all(question: &dyn Analysis) -> Result<(), QueryError> {
    let is_filtered = question.events().iter().any(|event| event.filter.is_some());
    if is_filtered || question.is_narrowed() {
        let said = "your role is not shown few persons: ask for a funnel, retention or lifecycle of all of them, without \
                    filters, exclusions, `by`, `value` and `at_least`, and `within` whole days; or of organizations, by \
                    usage and billing events only";
        return Err(QueryError::new(Reason::Persons, said));
    }
    if !question.scope().window.is_of_whole_days() {
        let said = "persons are counted by whole days: take dates";
        return Err(QueryError::new(Reason::Parameters, said));
    }
    Ok(())
}
