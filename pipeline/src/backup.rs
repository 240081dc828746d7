//! A copy of the lake at one cut, on any store: data files, the Delta log up to the cut's versions, the rows of
//! the write-ahead log that no table holds, and what the caller adds.
//!
//! ```text
//! TARGET/manifest.json            what belongs to the copy, with sizes and digests; written last
//! TARGET/lake/<table>/…           files that never change: copied once
//! TARGET/at/<cut>-<time>/…        what each copy has of its own
//! ```
//! The manifest replaces the one before it in one step, and names only files that are there. So a copy that was
//! broken off leaves the one before it whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use ingest::{
    Table,
    log::{self, LogId, Tail},
};
use object_store::{ObjectStoreExt, buffered::BufWriter, path::Path};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use crate::{Cut, Error, LakeTable, Location, Root};

/// What is copied.
#[derive(Debug)]
pub struct BackupSource {
    pub location: Location,
    pub log_dir: PathBuf,
    pub cut: Cut,
    /// A folder whose files belong to the copy as well. The end of the log is put there as `log`.
    pub staged: PathBuf,
    /// RFC 3339.
    pub taken_at: String,
}

/// `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    pub taken_at: String,
    pub cut: Cut,
    files: BTreeMap<String, Entry>,
}

/// A file of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    blake3: String,
}

/// What a copy took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyTotals {
    pub files: u64,
    pub bytes: u64,
    /// Files that were there already.
    pub kept: u64,
}

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// The Delta log may be tidied up while it is copied.
const ATTEMPTS: u32 = 3;

/// Copies the lake of `source`. What an earlier copy in `target` holds with the same size and digest stays.
pub async fn take(
    source: &BackupSource,
    target: &Location,
) -> Result<(Manifest, CopyTotals), Error> {
    let cut = &source.cut;
    let (lake, target) = (source.location.open()?, target.open()?);
    let before = read_manifest(&target).await?;
    if let Some(before) = &before
        && before.cut.log != cut.log
    {
        return Err(Error::Backup(format!("{} holds a backup of another folder", target.url)));
    }
    let mut copying = Copying {
        known: before.map(|before| before.files).unwrap_or_default(),
        files: BTreeMap::new(),
        copied: CopyTotals::default(),
        target,
    };
    // The end of the log first: its segments go some time after their rows were moved.
    let mut tail = Tail::new(&source.log_dir, LogId(cut.log), cut.floor);
    tail.read_to(cut.lsn)?;
    let records: Vec<_> = tail.take().collect();
    log::write_copy(&source.staged.join("log"), LogId(cut.log), cut.floor, &records)?;
    drop(records);
    for table in Table::ALL {
        if let Some(mark) = cut.mark(table) {
            copying.table(&lake, table, mark.version).await?;
        }
    }
    let staged = Location::folder(&source.staged)?.open()?;
    let listed = listed(&staged, &staged.prefix).await?;
    for path in listed {
        let name =
            format!("{}{}", own_folder(cut, &source.taken_at), relative(&staged.prefix, &path)?);
        copying.file(&staged, &path, name).await?;
    }
    let manifest = Manifest {
        format: FORMAT,
        taken_at: source.taken_at.clone(),
        cut: cut.clone(),
        files: copying.files,
    };
    let text =
        serde_json::to_vec_pretty(&manifest).map_err(|error| Error::Backup(error.to_string()))?;
    let path = copying.target.prefix.clone().join(MANIFEST);
    put(&copying.target, &path, text.into()).await?;
    // What only the copy before this one named is of no use any more.
    let gone: BTreeSet<_> =
        copying.known.keys().filter(|name| !manifest.files.contains_key(*name)).collect();
    for name in gone {
        let path = joined(&copying.target.prefix, name);
        if let Err(error) = copying.target.store.delete(&path).await {
            tracing::warn!(%error, %path, "a file of an earlier backup could not be removed");
        }
    }
    Ok((manifest, copying.copied))
}

/// Copies a backup to an empty folder and an empty lake, and verifies every file on the way.
pub async fn put_back(
    from: &Location,
    dir: &std::path::Path,
    lake: &Location,
) -> Result<Manifest, Error> {
    let from = from.open()?;
    let manifest = needed_manifest(&from).await?;
    let (dir, lake) = (Location::folder(dir)?.open()?, lake.open()?);
    if lake.store.list(Some(&lake.prefix)).next().await.is_some() {
        return Err(Error::Backup(format!("{} is not empty", lake.url)));
    }
    let own = own_folder(&manifest.cut, &manifest.taken_at);
    for (name, entry) in &manifest.files {
        let path = joined(&from.prefix, name);
        let (root, relative) = match (name.strip_prefix("lake/"), name.strip_prefix(&own)) {
            (Some(relative), _) => (&lake, relative),
            (None, Some(relative)) => (&dir, relative),
            (None, None) => return Err(Error::Backup(format!("the manifest names {name}"))),
        };
        let found = copy(&from, &path, Some((root, &joined(&root.prefix, relative)))).await?;
        if found != *entry {
            return Err(damaged(name));
        }
    }
    Ok(manifest)
}

/// Whether a copy has a file of its own with this name.
pub async fn has_own_file(from: &Location, name: &str) -> Result<bool, Error> {
    let manifest = needed_manifest(&from.open()?).await?;
    let name = format!("{}{name}", own_folder(&manifest.cut, &manifest.taken_at));
    Ok(manifest.files.contains_key(&name))
}

/// A small file that each copy has of its own, verified: who restores may have to look at it before the rest.
pub async fn own_file(from: &Location, name: &str) -> Result<Bytes, Error> {
    let from = from.open()?;
    let manifest = needed_manifest(&from).await?;
    let name = format!("{}{name}", own_folder(&manifest.cut, &manifest.taken_at));
    let entry = manifest.files.get(&name);
    let entry = entry.ok_or_else(|| Error::Backup(format!("the manifest does not name {name}")))?;
    let path = joined(&from.prefix, &name);
    let stored = |source| Error::Store { path: path.to_string(), source };
    let bytes = from.store.get(&path).await.map_err(stored)?.bytes().await.map_err(stored)?;
    if blake3::hash(&bytes).to_hex().as_str() != entry.blake3 {
        return Err(damaged(&name));
    }
    Ok(bytes)
}

/// Where a copy has its own files: two copies at one cut may differ in the state.
fn own_folder(cut: &Cut, taken_at: &str) -> String {
    format!("at/{}-{}/", cut.plain_token(), taken_at.replace(':', ""))
}

struct Copying {
    target: Root,
    known: BTreeMap<String, Entry>,
    files: BTreeMap<String, Entry>,
    copied: CopyTotals,
}

impl Copying {
    /// The table at a version. A log entry that went meanwhile was replaced by a checkpoint: it is looked up anew.
    async fn table(&mut self, lake: &Root, table: Table, version: u64) -> Result<(), Error> {
        let mut opened = LakeTable::open(lake, table)
            .await?
            .ok_or(Error::Unsupported { table: table.name(), feature: "a missing table" })?;
        opened.advance(Some(version)).await?;
        for file in opened.files()? {
            let path = file.object_path(lake, table);
            let name = format!("lake/{}", relative(&lake.prefix, &path)?);
            self.file(lake, &path, name).await?;
        }
        for attempt in 1.. {
            match self.log_of(lake, table, version).await {
                Err(Error::Store { source: object_store::Error::NotFound { .. }, .. })
                    if attempt < ATTEMPTS => {}
                done => return done,
            }
        }
        Ok(())
    }

    /// The newest checkpoint at or below `version`, and the entries above it.
    async fn log_of(&mut self, lake: &Root, table: Table, version: u64) -> Result<(), Error> {
        let folder = lake.prefix.clone().join(table.name()).join("_delta_log");
        let mut entries = Vec::new();
        for path in listed(lake, &folder).await? {
            let name = path.filename().unwrap_or_default();
            let Some(at) = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok())
            else {
                continue;
            };
            if at <= version {
                entries.push((at, name.contains(".checkpoint."), path));
            }
        }
        let first =
            entries.iter().filter(|(_, is_checkpoint, _)| *is_checkpoint).map(|(at, ..)| *at);
        let first = first.max().unwrap_or(0);
        for (_, _, path) in entries.into_iter().filter(|(at, ..)| *at >= first) {
            let name = format!("lake/{}", relative(&lake.prefix, &path)?);
            self.file(lake, &path, name).await?;
        }
        Ok(())
    }

    async fn file(&mut self, root: &Root, path: &Path, name: String) -> Result<(), Error> {
        let to = joined(&self.target.prefix, &name);
        if let Some(known) = self.known.get(&name)
            && let Ok(there) = self.target.store.head(&to).await
            && there.size == known.bytes
            && copy(root, path, None).await? == *known
        {
            self.copied.kept += 1;
            self.files.insert(name, known.clone());
            return Ok(());
        }
        let entry = copy(root, path, Some((&self.target, &to))).await?;
        self.copied.files += 1;
        self.copied.bytes += entry.bytes;
        self.files.insert(name, entry);
        Ok(())
    }
}

/// Reads a file, piece by piece, and writes it to `to`, if that is given.
async fn copy(from: &Root, path: &Path, to: Option<(&Root, &Path)>) -> Result<Entry, Error> {
    let read = |source| Error::Store { path: path.to_string(), source };
    let mut pieces = from.store.get(path).await.map_err(read)?.into_stream();
    let mut writer =
        to.map(|(root, to)| BufWriter::new(std::sync::Arc::clone(&root.store), to.clone()));
    let written = |source: std::io::Error| Error::Store {
        path: to.map_or_else(String::new, |(_, to)| to.to_string()),
        source: object_store::Error::Generic { store: "backup", source: source.into() },
    };
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(read)?;
        hasher.update(&piece);
        bytes += piece.len() as u64;
        if let Some(writer) = &mut writer {
            writer.write_all(&piece).await.map_err(written)?;
        }
    }
    if let Some(mut writer) = writer {
        writer.shutdown().await.map_err(written)?;
    }
    Ok(Entry { bytes, blake3: hasher.finalize().to_hex().to_string() })
}

fn damaged(name: &str) -> Error {
    Error::Backup(format!("{name} is damaged: it is not what was backed up"))
}

async fn needed_manifest(root: &Root) -> Result<Manifest, Error> {
    let manifest = read_manifest(root).await?;
    manifest.ok_or_else(|| Error::Backup(format!("there is no backup in {}", root.url)))
}

async fn read_manifest(root: &Root) -> Result<Option<Manifest>, Error> {
    let path = root.prefix.clone().join(MANIFEST);
    let stored = |source| Error::Store { path: path.to_string(), source };
    let text = match root.store.get(&path).await {
        Ok(found) => found.bytes().await.map_err(stored)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(source) => return Err(stored(source)),
    };
    let refuse = |reason: String| Error::Backup(format!("{path} does not parse: {reason}"));
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| refuse(e.to_string()))?;
    if manifest.format > FORMAT {
        return Err(refuse(format!("it is of format {}, not {FORMAT}", manifest.format)));
    }
    Ok(Some(manifest))
}

async fn listed(root: &Root, prefix: &Path) -> Result<Vec<Path>, Error> {
    let list = root.store.list(Some(prefix)).map_ok(|found| found.location);
    let mut paths: Vec<_> = list
        .try_collect()
        .await
        .map_err(|source| Error::Store { path: prefix.to_string(), source })?;
    paths.sort();
    Ok(paths)
}

async fn put(root: &Root, path: &Path, bytes: Bytes) -> Result<(), Error> {
    let stored = |source| Error::Store { path: path.to_string(), source };
    root.store.put(path, bytes.into()).await.map(drop).map_err(stored)
}

fn relative(prefix: &Path, path: &Path) -> Result<String, Error> {
    let parts = path.prefix_match(prefix);
    let parts = parts.ok_or_else(|| Error::Backup(format!("{path} is not in {prefix}")))?;
    Ok(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
}

/// `relative` is as [`relative`] gives it: encoded already.
fn joined(prefix: &Path, relative: &str) -> Path {
    let text = if prefix.as_ref().is_empty() {
        relative.to_owned()
    } else {
        format!("{prefix}/{relative}")
    };
    Path::parse(&text).unwrap_or_else(|_| Path::from(text))
}
