//! Removes files that no reader can ask for any more.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};

use crate::{Error, LakeTable, Root, parquet_file};

/// Files at once: a store answers one after the other, slowly.
const AT_ONCE: usize = 16;

/// What a table does not need: files that left it before `before_ms`, as its log tells.
pub(crate) async fn removed(
    root: &Root,
    table: &LakeTable,
    before_ms: i64,
) -> Result<Vec<ObjectMeta>, Error> {
    let active = table.active()?;
    let old: Vec<_> = table
        .tombstones()
        .await?
        .into_iter()
        .filter(|tombstone| tombstone.removed_ms < before_ms && !active.contains(&tombstone.path))
        .map(|tombstone| parquet_file::object_path(root, table.table(), &tombstone.path))
        .collect();
    // Most of them are gone since an earlier time.
    let asked: Vec<_> = old.into_iter().map(|path| head(root, path)).collect();
    let found = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
    found.try_filter_map(async |meta| Ok(meta)).try_collect().await
}

/// What is known of a file; nothing if it is not there.
async fn head(root: &Root, path: Path) -> Result<Option<ObjectMeta>, Error> {
    match root.store.head(&path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(Error::Store { path: path.to_string(), source }),
    }
}

/// What the folder of a table holds and its log does not name: left by a process that ended in the middle. A
/// flush writes its files before it commits them, so only what is older than `before_ms` counts.
pub(crate) async fn orphans(
    root: &Root,
    table: &mut LakeTable,
    before_ms: i64,
) -> Result<Vec<ObjectMeta>, Error> {
    let folder = table.folder();
    let stored = |source| Error::Store { path: folder.to_string(), source };
    let old: Vec<ObjectMeta> = root
        .store
        .list(Some(&folder))
        .map_err(stored)
        .try_filter(|meta| {
            let is_old = meta.last_modified.timestamp_millis() < before_ms;
            std::future::ready(is_old && is_data(&folder, &meta.location))
        })
        .try_collect()
        .await?;
    // Read after the listing: whatever was committed until then is known.
    table.advance(None).await?;
    let named = table.active()?.into_iter();
    let named = named.chain(table.tombstones().await?.into_iter().map(|tombstone| tombstone.path));
    let named: HashSet<Path> =
        named.map(|path| parquet_file::object_path(root, table.table(), &path)).collect();
    Ok(old.into_iter().filter(|meta| !named.contains(&meta.location)).collect())
}

/// A data file, or what is left of one that was not completed. The Delta log is never touched.
fn is_data(folder: &Path, file: &Path) -> bool {
    let inside = file.prefix_match(folder).and_then(|mut parts| parts.next());
    let in_log = inside.is_some_and(|part| part.as_ref() == "_delta_log");
    let name = file.filename().unwrap_or_default();
    !in_log && (name.ends_with(".parquet") || (name.starts_with('.') && name.ends_with(".tmp")))
}

/// Removes files for good.
pub(crate) async fn delete(root: &Root, files: &[ObjectMeta]) -> Result<(), Error> {
    let deleting: Vec<_> = files.iter().map(|meta| delete_one(root, meta)).collect();
    futures::stream::iter(deleting).buffer_unordered(AT_ONCE).try_collect().await
}

async fn delete_one(root: &Root, meta: &ObjectMeta) -> Result<(), Error> {
    match root.store.delete(&meta.location).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(Error::Store { path: meta.location.to_string(), source }),
    }
}
