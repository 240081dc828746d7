use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use accounts::keys;
use analytics::imports;
use anyhow::{Context, bail, ensure};
use clap::Args;
use ingest::{
    dedup::{Index, read_entries},
    erasure::ErasedPersons,
    identity::Pseudonyms,
    log::{self, LogId},
};
use pipeline::{Lakehouse, Location, Reader, backup};
use query::Engine;
use rand::Rng;
use state::{audit::AuditOrigin, clock::Clock, folder, store::Store};
use url::Url;

use super::{Folder, running::ServerFile, say, say_row};
use crate::{
    config::Config,
    erasure::{ErasureContext, keep_away},
    features, integrity, lake,
    private::{self, BACKUP},
};

/// Copies log, tables, index, state and secrets at one cut, also beside a running server. A folder or URL that
/// holds an earlier backup of the same data folder gets what is new. The options of a URL's store are those of
/// `lake.options`. The backup holds secrets: protect it as you protect the data folder.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// A folder, or the URL of an object store
    #[arg(long, value_name = "DIR-or-URL")]
    to: String,
    /// Leave out the users, keys and all else of the PostgreSQL of `state.url`, which has backups of its own
    #[arg(long)]
    without_state: bool,
}

/// Copies a backup to a new data folder (--dir), verifies it, and checks the result. The tables go to `lake.url`
/// of the new folder's configuration, which must be empty, or into the folder. The log gets a new id.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The folder or URL that was given to `backup`
    #[arg(long, value_name = "DIR-or-URL")]
    from: String,
    /// The `erased.json` of the folder as it is now: who was erased since the backup is not restored
    #[arg(long, value_name = "FILE")]
    erased: Option<PathBuf>,
}

/// Identities that are written to the index at once.
const IDENTITIES: usize = 100_000;

impl Backup {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        ensure!(config.dir.is_dir(), "there is no data folder {}", config.dir.display());
        let in_postgres = !config.state.url.reveal().is_empty();
        ensure!(
            in_postgres == self.without_state,
            if in_postgres {
                "the state is in PostgreSQL: back it up with pg_dump, and then the rest with --without-state"
            } else {
                "--without-state is for a state in PostgreSQL (state.url)"
            }
        );
        let server = ServerFile::find(&config.dir).await.map(|file| file.server());
        let _lock = keep_away(&config.dir).await?;
        let target = location(&self.to, &config)?;
        make_private(&target)?;
        let staged = tempfile::Builder::new().prefix("backup-").tempdir_in(&config.dir)?;
        let identities = folder::IDENTITIES.of(staged.path());
        // Before the cut: what is known of an import is of rows that the copy has.
        imports::copy(&config.dir, staged.path()).context("copying what is known of imports")?;
        // The state first: a change that it holds and the log does not yet is sent again from its outbox.
        if !self.without_state {
            let store = features::open_store(&config).await?;
            store.copy_to(&folder::STATE.of(staged.path())).await?;
        }
        let cut = match &server {
            Some(server) => {
                let cut = server.standing().await?.cut;
                server.identities(&identities).await?;
                cut
            }
            None => {
                integrity::write_index(&config, &identities)?;
                Reader::open(&lake::location(&config)?, &folder::LOG.of(&config.dir))?
                    .newest()
                    .await?
            }
        };
        ensure!(cut.log != 0, "{} holds no events to back up", config.dir.display());
        fs::copy(folder::SECRET.of(&config.dir), folder::SECRET.of(staged.path()))
            .context("copying pseudonym.key")?;
        if folder::ERASED.of(&config.dir).exists() {
            fs::copy(folder::ERASED.of(&config.dir), folder::ERASED.of(staged.path()))
                .context("copying the list of erased persons")?;
        }
        let source = backup::BackupSource {
            location: lake::location(&config)?,
            log_dir: folder::LOG.of(&config.dir),
            cut,
            staged: staged.path().to_path_buf(),
            taken_at: Clock::system().now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        };
        let (manifest, copied) = backup::take(&source, &target).await?;
        Ok(say(&format!(
            "Backed up {} to {} at {}: {} files ({} bytes) copied, {} were there\n",
            config.dir.display(),
            self.to,
            manifest.cut.plain_token(),
            copied.files,
            copied.bytes,
            copied.kept
        ))?)
    }
}

impl Restore {
    pub(super) async fn run(self, folder: &Folder) -> anyhow::Result<()> {
        let config = folder.load(&[])?;
        refuse_used(&config.dir)?;
        let from = location(&self.from, &config)?;
        let listed = match &self.erased {
            Some(path) => Some((path, listed(path, &from).await?)),
            None => None,
        };
        let in_postgres = !config.state.url.reveal().is_empty();
        let holds_state = backup::has_own_file(&from, folder::STATE.0).await?;
        ensure!(
            in_postgres != holds_state,
            if in_postgres {
                "the backup holds the state as a file: restore it without state.url"
            } else {
                "the backup was taken without the state: restore its database with pg_restore, and name it in state.url"
            }
        );
        lake::prepare(&config)?;
        let manifest = backup::put_back(&from, &config.dir, &lake::location(&config)?).await?;
        let store = features::open_store(&config).await?;
        accounts::end_all_sessions(
            &store,
            &AuditOrigin::local("command-line"),
            Clock::system().now(),
        )
        .await?;
        let cut = &manifest.cut;
        let identities = folder::IDENTITIES.of(&config.dir);
        fill_index(&config, LogId(cut.log), &identities, cut.lsn, cut.floor)?;
        fs::remove_file(&identities)?;
        // What the log holds goes to the tables under its old id, so that no row comes twice.
        let lakehouse = lake::open(&config).await?;
        if let Some((path, listed)) = listed {
            erase_again(&config, &lakehouse, path, listed).await?;
        }
        lakehouse.close().await?;
        drop(lakehouse);
        let fresh = LogId(rand::rng().random_range(1..i64::MAX));
        let last = log::renew(&folder::LOG.of(&config.dir), fresh)?;
        let index = Index::open(&folder::INDEX.of(&config.dir), fresh)?;
        index.insert([], last)?;
        index.sync()?;
        drop(index);
        let checked = integrity::prove(&config, None, &Clock::system()).await?;
        for difference in &checked.proof.differences {
            say(&format!("{difference}\n"))?;
        }
        if checked.proof.count > 0 {
            bail!("restored, with {} differences", checked.proof.count);
        }
        say_access(&store, &manifest.taken_at).await?;
        Ok(say(&format!(
            "Restored {} as it was at {}: {} rows, 0 differences\n",
            config.dir.display(),
            manifest.taken_at,
            checked.proof.tables.values().map(|table| table.rows).sum::<u64>()
        ))?)
    }
}

/// Who gets in again: what was taken from them since the backup is theirs as before.
async fn say_access(store: &Store, taken_at: &str) -> anyhow::Result<()> {
    let now = Clock::system().now();
    let users = accounts::list_users(store).await?.into_iter();
    let users = users.filter(|user| user.status == accounts::Status::Active);
    let users: Vec<_> = users.map(|user| format!("user {}", user.email)).collect();
    let keys = keys::list(store).await?.into_iter().filter(|key| {
        key.revoked_at.is_none() && key.expires_at.is_none_or(|expires_at| expires_at > now)
    });
    let keys: Vec<_> = keys.map(|key| format!("key {} ({})", key.api_key_id, key.name)).collect();
    for one in users.iter().chain(&keys) {
        say_row(&[one])?;
    }
    Ok(say(&format!(
        "All sessions are over. These {} users and {} keys are valid as they were at {taken_at}: \
         disable or revoke again what was disabled or revoked since\n",
        users.len(),
        keys.len(),
    ))?)
}

/// Reads a list of erased persons. It must be made with the key of the backup, which is looked at before anything
/// is restored: else a folder with the persons in it would be left behind.
async fn listed(path: &Path, from: &Location) -> anyhow::Result<ErasedPersons> {
    let key = backup::own_file(from, folder::SECRET.0).await?;
    let key = <[u8; 32]>::try_from(&key[..]).context("the backup's pseudonym.key")?;
    let listed = lake::erased(path, &Pseudonyms::new(key))?;
    listed.with_context(|| format!("there is no {}", path.display()))
}

/// Takes out whom a list names: a backup that is older than it holds them.
async fn erase_again(
    config: &Config,
    lakehouse: &Lakehouse,
    path: &Path,
    listed: ErasedPersons,
) -> anyhow::Result<()> {
    let (clock, program) = (Clock::system(), std::env::current_exe()?);
    let engine = Engine::here(&lake::handshake(config, lake::spill_dir(config)?)?)?;
    let site = ErasureContext {
        config,
        clock: &clock,
        lakehouse,
        engine: &engine,
        program: &program,
        grace: Duration::ZERO,
    };
    let done = site.erase_listed(listed, None).await?;
    let rows: u64 = done.tables.iter().map(|table| table.rows).sum();
    Ok(say(&format!("{rows} rows named persons of {}\n", path.display()))?)
}

/// A folder, or a URL with the options of the lake's store.
fn location(text: &str, config: &Config) -> anyhow::Result<Location> {
    match Url::parse(text) {
        Ok(url) if text.contains("://") => Ok(Location { url, options: lake::options(config) }),
        _ => Ok(Location::folder(Path::new(text))?),
    }
}

/// Only a configuration may lie in a folder that is restored to.
fn refuse_used(dir: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        ensure!(name == "aihub.toml", "{} is not empty: it holds {name:?}", dir.display());
    }
    Ok(())
}

/// The identities up to the cut; those of later rows may come again.
fn fill_index(
    config: &Config,
    log: LogId,
    identities: &Path,
    cut: log::Lsn,
    through: log::Lsn,
) -> anyhow::Result<()> {
    let index = Index::open(&folder::INDEX.of(&config.dir), log)?;
    let file = BufReader::new(fs::File::open(identities)?);
    for batch in read_entries(file, IDENTITIES) {
        index.insert(batch?.into_iter().filter(|(_, seen)| seen.lsn <= cut), 0)?;
    }
    index.insert([], through)?;
    Ok(index.sync()?)
}

/// The folder of a backup is its owner's only.
fn make_private(target: &Location) -> anyhow::Result<()> {
    if target.url.scheme() != "file" {
        return Ok(());
    }
    let dir: PathBuf = target.url.to_file_path().map_err(|()| anyhow::anyhow!("not a path"))?;
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(private::close(&dir, BACKUP)?)
}
