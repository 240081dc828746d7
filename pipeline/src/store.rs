//! Where the tables are: any object-store URL. A local folder is made as durable as a log needs it.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, fs,
    io::{Seek, SeekFrom, Write},
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    local::LocalFileSystem, path::Path,
};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Error;

/// The address of a lake, as configured: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub url: Url,
    /// Options of the store (`aws_region`, `aws_endpoint`, keys …), as `object_store` names them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// An open lake.
#[derive(Debug, Clone)]
pub struct Root {
    /// The whole bucket or file system; paths begin with [`Self::prefix`].
    pub store: Arc<dyn ObjectStore>,
    pub prefix: Path,
    pub url: Url,
}

impl Location {
    /// A folder on this machine.
    pub fn folder(dir: &FilePath) -> std::result::Result<Self, Error> {
        let refuse = |reason: &str| Error::Location {
            location: dir.display().to_string(),
            reason: reason.to_owned(),
        };
        let dir = std::path::absolute(dir).map_err(|error| refuse(&error.to_string()))?;
        let url = Url::from_directory_path(&dir).map_err(|()| refuse("not an absolute path"))?;
        Ok(Self { url, options: BTreeMap::new() })
    }

    pub fn open(&self) -> std::result::Result<Root, Error> {
        let refuse = |reason: String| Error::Location { location: self.url.to_string(), reason };
        if self.url.scheme() == "file" {
            let dir = self.url.to_file_path().map_err(|()| refuse("not a local path".into()))?;
            fs::create_dir_all(&dir).map_err(|error| refuse(error.to_string()))?;
            let prefix = Path::from_absolute_path(&dir).map_err(|e| refuse(e.to_string()))?;
            let directories = Arc::new(Directories { root: dir, safe: Mutex::default() });
            let store = Arc::new(DurableFolder { inner: LocalFileSystem::new(), directories });
            return Ok(Root { store, prefix, url: self.url.clone() });
        }
        let (store, prefix) = object_store::parse_url_opts(&self.url, &self.options)
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Root { store: Arc::from(store), prefix, url: self.url.clone() })
    }
}

/// Options hold secrets: they are named, not shown.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("Location")
            .field("url", &self.url.as_str())
            .field("options", &options)
            .finish()
    }
}

impl Root {
    /// The URL of one table, ending in a slash.
    pub(crate) fn table_url(&self, name: &str) -> std::result::Result<Url, Error> {
        let mut base = self.url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        base.join(&format!("{name}/")).map_err(|error| Error::Location {
            location: self.url.to_string(),
            reason: error.to_string(),
        })
    }

    /// The scheme and authority, by which DataFusion finds the store.
    pub fn store_url(&self) -> String {
        format!("{}://{}", self.url.scheme(), self.url.authority())
    }
}

/// A local file system whose puts survive a power loss: the bytes are synced, then linked into place, then the
/// directory is synced. `object_store`'s own links without syncing, so a Delta commit could vanish after the
/// log that it came from was retired.
#[derive(Debug)]
struct DurableFolder {
    inner: LocalFileSystem,
    directories: Arc<Directories>,
}

/// The directories of a lake that are known to survive a power loss.
#[derive(Debug)]
struct Directories {
    root: PathBuf,
    safe: Mutex<HashSet<PathBuf>>,
}

impl Directories {
    /// Creates a directory and those above it up to the lake's own, and syncs each into its parent once. One that is
    /// there may have been made by a process that was killed before it synced it.
    fn create(&self, dir: &FilePath) -> std::io::Result<()> {
        if !dir.starts_with(&self.root) || (self.safe().contains(dir) && dir.is_dir()) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(dir);
        self.create(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::File::open(parent)?.sync_all()?,
        }
        self.safe().insert(dir.to_path_buf());
        Ok(())
    }

    fn safe(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.safe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for DurableFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DurableFolder {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let path = self.inner.path_to_filesystem(location)?;
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(object_store::Error::NotImplemented {
                    operation: "conditional update".into(),
                    implementer: self.to_string(),
                });
            }
        };
        let name = location.to_string();
        let directories = Arc::clone(&self.directories);
        let put = tokio::task::spawn_blocking(move || {
            directories.create(path.parent().unwrap_or(FilePath::new("/")))?;
            put_durably(&path, &payload, create)
        });
        match put.await {
            Ok(Ok(())) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Err(source)) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(object_store::Error::AlreadyExists { path: name, source: source.into() })
            }
            Ok(Err(source)) => Err(generic(source)),
            Err(source) => Err(object_store::Error::JoinError { source }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let directories = Arc::clone(&self.directories);
        let begin = move || {
            directories.create(target.parent().unwrap_or(FilePath::new("/")))?;
            let temporary = temporary_beside(&target);
            let file = Arc::new(Mutex::new(fs::File::create(&temporary)?));
            Ok(DurableUpload { target, temporary, file, offset: 0 })
        };
        Ok(Box::new(off_thread(begin).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A file that comes in parts. Until it is complete it has another name, which goes when it is given up.
#[derive(Debug)]
struct DurableUpload {
    target: PathBuf,
    temporary: PathBuf,
    file: Arc<Mutex<fs::File>>,
    offset: u64,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        self.offset += data.content_length() as u64;
        Box::pin(off_thread(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            data.iter().try_for_each(|chunk| file.write_all(chunk))?;
            // All at once, at the end, would keep the log from its disk for as long as that takes.
            file.sync_data()
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, temporary, target) =
            (Arc::clone(&self.file), self.temporary.clone(), self.target.clone());
        let complete = move || {
            file.lock().unwrap_or_else(PoisonError::into_inner).sync_all()?;
            fs::rename(&temporary, &target)?;
            fs::File::open(target.parent().unwrap_or(FilePath::new("/")))?.sync_all()
        };
        off_thread(complete).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let temporary = self.temporary.clone();
        off_thread(move || fs::remove_file(temporary)).await
    }
}

impl Drop for DurableUpload {
    fn drop(&mut self) {
        // There is nothing under this name any more, unless the upload was given up.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Files are written by threads that may wait.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(generic),
        Err(source) => Err(object_store::Error::JoinError { source }),
    }
}

fn put_durably(path: &FilePath, payload: &PutPayload, create: bool) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(FilePath::new("/"));
    let temporary = temporary_beside(path);
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        for chunk in payload.iter() {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        if create { fs::hard_link(&temporary, path) } else { fs::rename(&temporary, path) }
    })();
    if create || written.is_err() {
        // A leftover is harmless: readers follow the Delta log, and its name is not one of a log entry.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    fs::File::open(parent)?.sync_all()
}

fn temporary_beside(path: &FilePath) -> PathBuf {
    let name = format!(".{}.tmp", uuid::Uuid::new_v4());
    path.with_file_name(name)
}

fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "DurableFolder", source: source.into() }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_conditional_put_is_refused_once_the_file_exists() {
        let dir = tempfile::tempdir().unwrap();
        let root = Location::folder(dir.path()).unwrap().open().unwrap();
        let path = root.prefix.clone().join("a").join("b.json");
        let create = || PutOptions { mode: PutMode::Create, ..Default::default() };
        root.store.put_opts(&path, "one".into(), create()).await.unwrap();
        let again = root.store.put_opts(&path, "two".into(), create()).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })));
        let held = root.store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(&held[..], b"one");
        root.store.put(&path, "three".into()).await.unwrap();
        let files: Vec<_> = fs::read_dir(dir.path().join("a")).unwrap().collect();
        assert_eq!(files.len(), 1, "no temporary file is left");
    }
    #[tokio::test]
    async fn a_file_in_parts_is_there_when_it_is_complete_and_leaves_nothing_when_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Location::folder(dir.path()).unwrap().open().unwrap();
        let path = root.prefix.clone().join("a").join("b.parquet");
        let names = || {
            let entries = fs::read_dir(dir.path().join("a")).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        for given_up in [true, false] {
            let mut upload = root.store.put_multipart(&path).await.unwrap();
            let (one, two) = (upload.put_part("one".into()), upload.put_part("two".into()));
            two.await.unwrap();
            one.await.unwrap();
            assert!(!names().contains(&"b.parquet".into()));
            if given_up {
                upload.abort().await.unwrap();
            } else {
                upload.complete().await.unwrap();
            }
        }
        drop(root.store.put_multipart(&path).await.unwrap());
        assert_eq!(names(), ["b.parquet"]);
        let held = root.store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(&held[..], b"onetwo");
    }
}
