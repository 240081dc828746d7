//! An import is taken back step by step: each step finds what of it still counts, and voids a part of that.

use std::collections::HashSet;

use ingest::Table;
use pipeline::{
    Lakehouse,
    correction::{ImportIdentities, ImportedRows},
};
use query::{Engine, QueryError, Request, RowAccess};
use serde::{Deserialize, Serialize};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    clock::Clock,
    store::{Store, StoreError},
};
use utoipa::ToSchema;

use super::record::{ImportRecord, ImportState, RecordError};

/// What one step did.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
pub struct Undone {
    /// Events that were voided.
    pub voided: u64,
    /// Events that still count. At 0 the import is undone.
    pub left: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Lake(#[from] pipeline::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(ingest::intake::Refused),
}

/// Events that one step voids.
const STEP: usize = 20_000;

/// Who reads and writes.
#[derive(Debug)]
pub struct UndoContext<'a> {
    pub dir: &'a std::path::Path,
    pub engine: &'a Engine,
    pub lakehouse: &'a Lakehouse,
    pub clock: &'a Clock,
    pub store: &'a Store,
    pub origin: &'a AuditOrigin,
    pub deadline_ms: u64,
}

impl UndoContext<'_> {
    /// Voids some of the events of an import that still count.
    pub async fn step(&self, id: &str) -> Result<Undone, UndoError> {
        ImportRecord::get(self.dir, id)?;
        let _lock = ImportRecord::lock(self.dir, id)?;
        let record = ImportRecord::get(self.dir, id)?;
        if let Some(by) = record.replaced_by {
            return Err(RecordError::Replaced(id.to_owned(), by).into());
        }
        let keys = record.keys(self.dir)?;
        if matches!(record.state, ImportState::Incomplete | ImportState::Complete) {
            let detail = json!({"source": record.source, "accepted": record.accepted});
            let act = AuditAction { action: "import.undone", target: record.id.clone(), detail };
            audit::record(self.store, self.origin, act, self.clock.now()).await?;
            self.note(record.clone(), ImportState::Undoing)?;
        }
        let imported = ImportIdentities {
            source: record.source.clone(),
            since: record.since,
            keys,
            replaces: record.replaces.clone(),
        };
        let (mut done, mut events) = (Undone::default(), HashSet::new());
        for table in Table::OF_EVENTS {
            let answer = self.ask(imported.question(table)).await?;
            let ImportedRows { standing, events: found } = imported.find(table, &answer)?;
            events.extend(found);
            let room = STEP.saturating_sub(usize::try_from(done.voided).unwrap_or(STEP));
            let part = standing.iter().take(room).copied().collect();
            let mut voided = 0;
            if room > 0 && !standing.is_empty() {
                let answer = self.ask(imported.rows_question(table, &part)).await?;
                let _admission = self.lakehouse.admit().map_err(UndoError::Refused)?;
                let settled = self.lakehouse.void(table, &answer, &part).await?;
                voided = settled.map_err(UndoError::Refused)?;
            }
            done.voided += voided;
            done.left += standing.len() as u64 - voided;
        }
        if done.left == 0 {
            // An identity that was kept before its row was sent may be of somebody else's event.
            record.keep(self.dir, &events)?;
            self.note(record, ImportState::Undone)?;
        }
        Ok(done)
    }

    fn note(&self, mut record: ImportRecord, state: ImportState) -> Result<(), RecordError> {
        record.state = state;
        record.updated_at = self.clock.now();
        record.write(self.dir)
    }

    async fn ask(&self, sql: String) -> Result<Vec<arrow::array::RecordBatch>, QueryError> {
        let (cut, now) = (self.lakehouse.cut(), self.clock.now().timestamp_micros());
        let request = Request::of_ourselves(sql, RowAccess::Admin, cut, now, self.deadline_ms);
        Ok(self.engine.run(request).await?.batches)
    }
}
