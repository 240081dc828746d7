//! Opens what the settings name: the lakehouse for the process that takes events in, the handshake for those
//! that read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use analytics::as_of::CutCipher;
use delivery::Archive;
use ingest::{erasure::ErasedPersons, identity::Pseudonyms, log::LogId, time::Micros};
use pipeline::{Lakehouse, Location, Root, Settings, Watermarks};
use query::{metric::Catalog, worker::Handshake};
use rand::Rng;
use reports::DashboardSet;
use state::{clock::Clock, folder, secret::Secret};
use url::Url;

use crate::{
    config::{self, Config},
    private::{self, DATA_FOLDER, PrivacyError, TABLES},
};

/// What goes wrong before anything runs: told to the operator in one line.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("the lake's url is not usable: {0}")]
    Url(String),
    #[error("dashboards: {0}")]
    Dashboards(String),
    #[error(transparent)]
    Lake(#[from] pipeline::Error),
}

/// The dashboards of the program, and those of the folder that the settings name.
pub(crate) fn dashboards(config: &Config, catalog: &Catalog) -> Result<DashboardSet, OpenError> {
    let dir = &config.dashboards.dir;
    let mut files = Vec::new();
    if !dir.as_os_str().is_empty() {
        let unreadable = |path: &Path, error: std::io::Error| {
            OpenError::Dashboards(format!("{}: {error}", path.display()))
        };
        for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
            let path = entry.map_err(|error| unreadable(dir, error))?.path();
            if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
                files.push((path.display().to_string(), text));
            }
        }
    }
    files.sort();
    DashboardSet::with_files(files, catalog)
        .map_err(|error| OpenError::Dashboards(error.to_string()))
}

/// Two segments of the log: the one that is written to stays, however little of it is needed.
const LOG_BYTES_MIN: u64 = 128 << 20;

pub(crate) fn location(config: &Config) -> Result<Location, OpenError> {
    if config.lake.url.is_empty() {
        return Ok(Location::folder(&folder::LAKE.of(&config.dir))?);
    }
    let url = Url::parse(&config.lake.url).map_err(|error| OpenError::Url(error.to_string()))?;
    Ok(Location { url, options: options(config) })
}

/// Where reports go that are sent to a folder; none where none is configured.
pub(crate) fn archive(config: &Config) -> Result<Option<Archive>, OpenError> {
    let config::Archive { url, options } = &config.archive;
    if url.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(url).map_err(|error| OpenError::Url(format!("archive.url: {error}")))?;
    let Root { store, prefix, .. } = Location { url, options: revealed(options) }.open()?;
    Ok(Some(Archive { store, prefix }))
}

/// The options of the store.
pub(crate) fn options(config: &Config) -> BTreeMap<String, String> {
    revealed(&config.lake.options)
}

fn revealed(options: &BTreeMap<String, Secret>) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()
}

/// Closes the folders of ours that are there: see [`private::close`].
pub(crate) fn close(config: &Config) -> Result<(), PrivacyError> {
    private::close(&config.dir, DATA_FOLDER)?;
    // Whoever opens the tables says what is wrong with their URL.
    let tables = Url::parse(&config.lake.url).ok().filter(|url| url.scheme() == "file");
    match tables.and_then(|url| url.to_file_path().ok()) {
        Some(dir) => private::close(&dir, TABLES),
        None => Ok(()),
    }
}

/// Creates the data folder where it is missing, readable for its owner only.
pub(crate) fn prepare(config: &Config) -> Result<(), OpenError> {
    let folder = |source| OpenError::Folder { path: config.dir.clone(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&config.dir).map_err(folder)?;
    tempfile::tempfile_in(&config.dir).map(drop).map_err(folder)
}

/// Opens the lake for writing. Only one process can.
pub(crate) async fn open(config: &Config) -> Result<Lakehouse, OpenError> {
    Ok(Lakehouse::open(settings(config)?).await?)
}

/// Opens the lake to load much at once: fewer and larger files, for more memory. The sizes are in the configuration
/// afterwards.
pub(crate) async fn open_for_bulk(config: &mut Config) -> Result<Lakehouse, OpenError> {
    let ingest = &mut config.ingest;
    for (size, times) in [
        (&mut ingest.flush_bytes, 2),
        (&mut ingest.flush_rows, 2),
        (&mut ingest.waiting_bytes_soft, 3),
        (&mut ingest.waiting_bytes_max, 3),
    ] {
        *size = size.saturating_mul(times);
    }
    Ok(Lakehouse::open(Settings { is_bulk: true, ..settings(config)? }).await?)
}

fn settings(config: &Config) -> Result<Settings, OpenError> {
    prepare(config)?;
    Ok(Settings {
        log_dir: log_dir(config),
        index_dir: folder::INDEX.of(&config.dir),
        location: location(config)?,
        fresh_log: LogId(rand::rng().random_range(1..i64::MAX)),
        pseudonyms: pseudonyms(&config.dir)?,
        flush_bytes: config.ingest.flush_bytes,
        flush_rows: config.ingest.flush_rows,
        flush_age: Duration::from_secs(config.ingest.flush_seconds),
        watermarks: Watermarks {
            waiting_bytes_soft: config.ingest.waiting_bytes_soft,
            waiting_bytes_hard: config.ingest.waiting_bytes_max,
            log_bytes: config.ingest.log_bytes_max.max(LOG_BYTES_MIN),
        },
        is_bulk: false,
        keep_log: Duration::from_secs(config.query.deadline_seconds + 5),
        clock: now,
    })
}

/// An empty folder for what queries spill. A worker that was killed left its files behind.
pub(crate) fn spill_dir(config: &Config) -> Result<PathBuf, OpenError> {
    let path = folder::SPILL.of(&config.dir);
    let folder = |source| OpenError::Folder { path: path.clone(), source };
    if path.exists() {
        fs::remove_dir_all(&path).map_err(folder)?;
    }
    fs::create_dir_all(&path).map_err(folder)?;
    Ok(path)
}

/// What one who queries needs to know.
pub(crate) fn handshake(config: &Config, spill_dir: PathBuf) -> Result<Handshake, OpenError> {
    Ok(Handshake {
        location: location(config)?,
        log_dir: std::path::absolute(log_dir(config)).unwrap_or_else(|_| log_dir(config)),
        spill_dir,
        memory_bytes: config.query.memory_mib << 20,
        spill_bytes: config.query.spill_mib << 20,
        partitions: std::thread::available_parallelism().map_or(2, usize::from),
    })
}

fn log_dir(config: &Config) -> PathBuf {
    folder::LOG.of(&config.dir)
}

pub(crate) fn now() -> Micros {
    Clock::system().now().timestamp_micros()
}

/// The pseudonyms of a data folder, and whose of them are stored no more.
pub(crate) fn pseudonyms(dir: &Path) -> Result<Pseudonyms, OpenError> {
    let pseudonyms = Pseudonyms::new(secret(dir)?);
    if let Some(erased) = erased(&folder::ERASED.of(dir), &pseudonyms)? {
        pseudonyms.erase(erased);
    }
    Ok(pseudonyms)
}

/// What seals the cuts of organizations. Its key follows from the secret of the pseudonyms, so that a token holds after
/// a restart.
pub(crate) fn cut_cipher(config: &Config) -> Result<CutCipher, OpenError> {
    CutCipher::new(&secret(&config.dir)?).map_err(|_| OpenError::Folder {
        path: folder::SECRET.of(&config.dir),
        source: std::io::Error::other("no key can be derived from it"),
    })
}

/// Reads a list of erased persons; `None` where there is none.
pub(crate) fn erased(
    path: &Path,
    pseudonyms: &Pseudonyms,
) -> Result<Option<ErasedPersons>, OpenError> {
    let folder = |source| OpenError::Folder { path: path.to_path_buf(), source };
    match fs::read(path) {
        Ok(json) => ErasedPersons::parse(&json, pseudonyms)
            .map(Some)
            .map_err(|unusable| folder(std::io::Error::other(unusable))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(folder(error)),
    }
}

/// The secret that pseudonyms are made with. Lost, the same person gets another pseudonym: back it up.
fn secret(dir: &Path) -> Result<[u8; 32], OpenError> {
    let path = folder::SECRET.of(dir);
    let folder = |source| OpenError::Folder { path: path.clone(), source };
    match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| folder(std::io::Error::other("the pseudonym key is not 32 bytes long"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret: [u8; 32] = rand::rng().random();
            folder::write_private(&path, &secret).map_err(folder)?;
            Ok(secret)
        }
        Err(error) => Err(folder(error)),
    }
}

/// The secret that marks devices which have signed in: made from the other one, so that there is one to back up.
/// The key that signs links in mails.
pub(crate) fn link_key(dir: &Path) -> Result<[u8; 32], OpenError> {
    Ok(blake3::derive_key("aihub links, version 1", &secret(dir)?))
}

/// What opens the secrets that the state holds sealed.
pub(crate) fn vault_key(dir: &Path) -> Result<[u8; 32], OpenError> {
    Ok(blake3::derive_key("aihub vault, version 1", &secret(dir)?))
}

pub(crate) fn device_key(dir: &Path) -> Result<[u8; 32], OpenError> {
    Ok(blake3::derive_key("aihub devices, version 1", &secret(dir)?))
}
