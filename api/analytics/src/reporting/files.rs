//! The files of runs, beside the tables.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use pipeline::{Location, Root};

/// Where the files of runs are kept. Clones share it.
#[derive(Clone)]
pub struct RunFiles {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// Beside the folders of the tables. A name that begins so is no table to any reader of Delta.
pub const FOLDER: &str = "_reports";

impl RunFiles {
    pub fn open(location: &Location) -> Result<Self, pipeline::Error> {
        let Root { store, prefix, .. } = location.open()?;
        Ok(Self { store, prefix: prefix.join(FOLDER) })
    }

    /// Writes a file of a run. One of an earlier attempt is replaced.
    pub(super) async fn put(
        &self,
        run_id: &str,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), object_store::Error> {
        self.store.put(&self.path(run_id, name), bytes.into()).await.map(drop)
    }

    pub(super) async fn get(
        &self,
        run_id: &str,
        name: &str,
    ) -> Result<Option<Vec<u8>>, object_store::Error> {
        match self.store.get(&self.path(run_id, name)).await {
            Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove(&self, run_id: &str, name: &str) -> Result<(), object_store::Error> {
        match self.store.delete(&self.path(run_id, name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }

    fn path(&self, run_id: &str, name: &str) -> Path {
        self.prefix.clone().join(run_id).join(name)
    }
}

impl std::fmt::Debug for RunFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RunFiles").field(&self.prefix).finish()
    }
}
