//! Imports of files: what is known of each, and how one is taken back.

mod record;
mod undo;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{HttpRequest, HttpResponse, post, web};
use ingest::Grant;
use pipeline::ReplacedImport;
use rest::{
    feature::Feature,
    principal::{Administer, Authorized},
    problem::{Code, Denied, Problem},
};

pub use record::{ENTRY_BYTES, EntryMark, ImportRecord, ImportState, ROWS_MAX, copy, folder};
pub use undo::{UndoContext, UndoError, Undone};

use crate::{Lake, events};
use record::RecordError;

/// The import that is replaced now: its identities are read once for many requests.
#[derive(Debug, Default)]
pub struct ReplacedImportCache(Mutex<Option<ReplacedImport>>);

/// Imports of files, undone.
pub(crate) const FEATURE: Feature<Lake> = Feature::new("imports").with_routes(|config, _| {
    config.service(undo_import);
});

/// Voids events of an import (`aihub import`), up to 20,000 at once. Ask again while some are left.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "As `aihub import list` shows it")),
    responses(
        (status = 200, description = "What was voided, and what is left.", body = Undone),
        Denied,
        (status = 404, description = "There is no such import in the data folder.", body = Problem),
        (status = 409, description = "It is at work, or too large.", body = Problem),
        (status = 429, body = Problem), (status = 503, body = Problem),
    ),
)]
#[post("/v1/imports/{id}/undo")]
pub(crate) async fn undo_import(
    admin: Authorized<Administer>,
    request: HttpRequest,
    id: web::Path<String>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    if admin.grant != Grant::ALL {
        let detail = "the key may not write everything: an import is undone as a whole";
        return Err(Problem::forbidden(Code::SourceNotAllowed, detail));
    }
    let undoing = UndoContext {
        dir: &lake.dir,
        engine: &lake.engine,
        lakehouse: &lake.lakehouse,
        clock: &lake.state.clock,
        store: &lake.state.store,
        origin: &admin.origin(&request),
        deadline_ms: lake.deadline_ms(),
    };
    let done = undoing.step(&id).await?;
    Ok(HttpResponse::Ok().json(done))
}

/// An import that was undone, to be replaced. What it had replaced does not count either.
pub fn undone(dir: &std::path::Path, id: &str) -> Result<ReplacedImport, UndoError> {
    let record = ImportRecord::get(dir, id)?;
    if record.state != ImportState::Undone {
        return Err(RecordError::Counts(id.to_owned()).into());
    }
    let mut keys: HashSet<_> = record.keys(dir)?.into_keys().collect();
    let mut earlier = record.replaces;
    while let Some(id) = earlier {
        let record = ImportRecord::get(dir, &id)?;
        keys.extend(record.keys(dir)?.into_keys());
        earlier = record.replaces;
    }
    Ok(ReplacedImport { import: record.id, keys: Arc::new(keys) })
}

impl ReplacedImportCache {
    /// The import `id`, while another one comes in its place.
    pub fn find(&self, dir: &std::path::Path, id: &str) -> Result<ReplacedImport, Problem> {
        let record = ImportRecord::get(dir, id).map_err(UndoError::from)?;
        let by = match &record.replaced_by {
            Some(by) => ImportRecord::find(dir, by).map_err(UndoError::from)?,
            None => None,
        };
        if by.is_none_or(|by| by.state != ImportState::Incomplete) {
            return Err(UndoError::from(RecordError::NotReplaced(id.to_owned())).into());
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.as_ref().filter(|held| held.import == id) {
            return Ok(held.clone());
        }
        Ok(held.insert(undone(dir, id)?).clone())
    }
}

impl From<UndoError> for Problem {
    fn from(error: UndoError) -> Self {
        match error {
            UndoError::Record(error @ RecordError::Unknown(_)) => {
                Self::not_found(error.to_string())
            }
            UndoError::Record(
                error @ (RecordError::TooLarge(_)
                | RecordError::Incomplete(_)
                | RecordError::NotReplaced(_)
                | RecordError::Counts(_)
                | RecordError::Replaced(..)),
            ) => Self::conflict(Code::ImportNotUsable, error.to_string()),
            // A step takes seconds.
            UndoError::Record(error @ RecordError::Busy(_)) => {
                Self::unavailable(1).explained(error.to_string())
            }
            UndoError::Refused(refused) => events::refused(refused),
            error => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an import is not undone"
                );
                Self::unavailable(1)
            }
        }
    }
}
