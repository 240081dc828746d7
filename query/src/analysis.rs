//! Analyses: the rows of their statements. What they ask, and their SQL, says the crate `semantic`.

pub use semantic::{
    Analysis, AnalysisUnit, CohortKind, EventFilter, FUNNEL_STEPS_MAX, Funnel, Lifecycle, Paths,
    Retention, RetentionMode, RetentionValue, Sessions,
};

use semantic::Grain;

use crate::{Engine, MetricContext, QueryError, Reason, ResultSet};

/// More rows are no analysis that somebody reads.
const ROWS_MAX: u64 = 100_000;

/// The rows of an analysis, and the SQL that gave them.
#[derive(Debug)]
pub struct AnalysisRows {
    pub rows: ResultSet,
    pub sql: String,
}

impl Engine {
    /// Runs an analysis at a cut. Those who are shown no few persons ask about all of them, by whole days.
    pub async fn analyze(
        &self,
        question: &dyn Analysis,
        asking: MetricContext<'_>,
    ) -> Result<AnalysisRows, QueryError> {
        if asking.min_persons.is_some() && question.unit().is_person() {
            check_of_all(question)?;
        }
        let statement = question.statement(asking.catalog, asking.viewer())?;
        let rows = self.rows_of_metrics(&statement.sql, &statement.reads, ROWS_MAX, asking).await?;
        Ok(AnalysisRows { rows, sql: statement.sql })
    }
}

fn check_of_all(question: &dyn Analysis) -> Result<(), QueryError> {
    if question.is_narrowed() {
        let said = "an analysis of visitors or users with a filter, an exclusion or `by` could show a few persons, which \
                    your role does not see: leave them out, or take the unit `organization`";
        return Err(QueryError::new(Reason::Persons, said));
    }
    let window = question.window();
    let is_whole = |at| Grain::Day.start(at, window.zone) == at;
    if !is_whole(window.from) || !is_whole(window.to) {
        let said = "an analysis of visitors or users is of whole days: take dates";
        return Err(QueryError::new(Reason::Parameters, said));
    }
    Ok(())
}
