//! What the process writes is for its owner only: logs, tables, state, secrets, and whatever libraries create
//! beside them. One rule for the whole process makes it so, and so do the modes of folders that are there already.

#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

#[cfg(unix)]
use rustix::fs::{Mode, OFlags};

use state::folder;

/// A folder of ours that cannot be made private. Told to the operator in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivacyError {
    #[error(
        "others can read {}, and it holds more than our data: name a folder of its own, or close it with \
         `chmod 700`",
        .0.display()
    )]
    Shared(PathBuf),
    #[error("others can read {}, and it cannot be closed: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} belongs to another user: run this as its owner, or name another folder", .0.display())]
    Foreign(PathBuf),
    #[error(
        "others can write to {}, and something is in it already: make sure that all of it is yours, then close it \
         with `chmod 700`",
        .0.display()
    )]
    Writable(PathBuf),
    #[error("{} has another name elsewhere (a hard link): replace it by a copy", .0.display())]
    HardLink(PathBuf),
    #[error("{} is a link to what others can read: close that with `chmod go=`", .0.display())]
    Link(PathBuf),
}

/// How a folder of ours is known, and what may lie in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Paths that only a folder of ours holds.
    marks: &'static [&'static str],
    /// Names that we create. What begins with one and a hyphen is a temporary folder.
    own: &'static [&'static str],
    /// A file that is the operator's own, and may lie alone in a new folder.
    guest: &'static str,
}

/// Whether a folder holds what only a data folder does.
pub(crate) fn is_data_folder(dir: &Path) -> bool {
    DATA_FOLDER.marks.iter().any(|mark| dir.join(mark).exists())
}

pub(crate) const DATA_FOLDER: Layout = Layout {
    marks: &[folder::STATE.0, folder::SECRET.0, "log/log.json"],
    own: &folder::MADE,
    guest: folder::CONFIGURATION.0,
};

/// Tables that the configuration puts into a folder of their own.
pub(crate) const TABLES: Layout = Layout {
    marks: &[
        "usage_ledger/_delta_log",
        "billing_events/_delta_log",
        "activity_events/_delta_log",
        "dead_letter/_delta_log",
        "organizations/_delta_log",
        "api_keys/_delta_log",
        "rated_usage_daily/_delta_log",
        "invoice_lines/_delta_log",
    ],
    own: &[
        "usage_ledger",
        "billing_events",
        "activity_events",
        "dead_letter",
        "organizations",
        "api_keys",
        "rated_usage_daily",
        "invoice_lines",
        // Rollups: each has a digest behind a hyphen.
        "latency_daily",
        "latency_hourly",
        "time_to_first_token_daily",
        "time_to_first_token_hourly",
        "usage_daily",
        "usage_daily_by_organization",
        "usage_daily_by_organization_and_model",
        "usage_hourly",
        "usage_hourly_by_organization",
        "users_daily",
        "_query_results",
        "_reports",
    ],
    guest: "",
};

pub(crate) const BACKUP: Layout = Layout {
    marks: &["manifest.json"],
    own: &["manifest.json", "at", "lake"],
    guest: "manifest.json",
};

/// Files and folders that this process and those that it starts create from here on are their owner's only. Called
/// before there are threads.
#[cfg(unix)]
pub(crate) fn begin() {
    let users = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let _ = USERS_MASK.set(users);
}

#[cfg(unix)]
static USERS_MASK: OnceLock<Mode> = OnceLock::new();

/// Writes a file that the user asked for, as any other program would: a new one has the mode that the user's mask
/// leaves, one that was there keeps its own.
pub(crate) fn write_for_user(path: &Path, content: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    let is_new = !path.exists();
    fs::write(path, content)?;
    #[cfg(unix)]
    if let Some(users) = USERS_MASK.get().filter(|_| is_new) {
        let mode = (Mode::from_raw_mode(0o666) - *users).as_raw_mode();
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Closes a folder that is there, and what earlier versions or an archive left open in it, and says so. A folder in
/// which somebody else may have put something is refused: a link there would lead us to write elsewhere. What a private
/// folder holds is hidden by it, so only folders that were open are looked through.
#[cfg(unix)]
pub(crate) fn close(dir: &Path, layout: Layout) -> Result<(), PrivacyError> {
    let failed = |source| PrivacyError::Open { path: dir.to_path_buf(), source };
    let found = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => found,
        // Whether it can be used at all, others find out.
        _ => return Ok(()),
    };
    for found in [&found, &fs::symlink_metadata(dir).map_err(failed)?] {
        require_ours(found, dir)?;
    }
    let names = names(dir)?;
    require_unshared(&found, names.is_empty(), dir)?;
    let own = || names.iter().filter(|name| name.to_str().is_some_and(|name| layout.creates(name)));
    let is_marked = layout.marks.iter().any(|mark| dir.join(mark).symlink_metadata().is_ok());
    let mut closed = is_open(&found);
    if closed && !is_marked && !names.iter().all(|name| name == layout.guest) {
        return Err(PrivacyError::Shared(dir.to_path_buf()));
    }
    for name in own() {
        check(&dir.join(name))?;
    }
    if closed {
        close_one(dir, OFlags::empty())?;
        // What came before it was closed.
        require_unshared(&found, self::names(dir)?.is_empty(), dir)?;
    }
    for name in own() {
        closed |= close_all(&dir.join(name))?;
    }
    // In a new one there was nothing to read.
    if closed && is_marked {
        tracing::warn!("others could read {}: it is its owner's only now", dir.display());
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn begin() {}

#[cfg(not(unix))]
pub(crate) fn close(_: &Path, _: Layout) -> Result<(), PrivacyError> {
    Ok(())
}

#[cfg(unix)]
fn names(dir: &Path) -> Result<Vec<OsString>, PrivacyError> {
    let names = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<_>>>()
    });
    names.map_err(|source| PrivacyError::Open { path: dir.to_path_buf(), source })
}

#[cfg(unix)]
fn require_ours(found: &fs::Metadata, path: &Path) -> Result<(), PrivacyError> {
    if found.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(PrivacyError::Foreign(path.to_path_buf()))
    }
}

#[cfg(unix)]
fn require_unshared(found: &fs::Metadata, empty: bool, path: &Path) -> Result<(), PrivacyError> {
    if found.mode() & 0o022 == 0 || empty {
        Ok(())
    } else {
        Err(PrivacyError::Writable(path.to_path_buf()))
    }
}

/// Whether something that we read and write under this name is ours alone. An operator may have put a part on another
/// disk, with a link: what that leads to is not closed, but must be.
#[cfg(unix)]
fn check(path: &Path) -> Result<(), PrivacyError> {
    let failed = |source| PrivacyError::Open { path: path.to_path_buf(), source };
    let mut found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // A server beside us removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    require_ours(&found, path)?;
    if found.is_symlink() {
        found = match fs::metadata(path) {
            Ok(found) if is_open(&found) => return Err(PrivacyError::Link(path.to_path_buf())),
            Ok(found) => found,
            Err(error) => return Err(failed(error)),
        };
        require_ours(&found, path)?;
    }
    if found.is_file() && found.nlink() > 1 {
        return Err(PrivacyError::HardLink(path.to_path_buf()));
    }
    Ok(())
}

/// Closes a file, or a folder with all in it. Gives whether anything was open. What a link leads to is not ours.
#[cfg(unix)]
fn close_all(path: &Path) -> Result<bool, PrivacyError> {
    let failed = |source| PrivacyError::Open { path: path.to_path_buf(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // A server beside us removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let is_dir = found.is_dir();
    if !is_open(&found) || !(is_dir || found.is_file()) {
        return Ok(false);
    }
    check(path)?;
    let inside = if is_dir { names(path)? } else { Vec::new() };
    require_unshared(&found, !is_dir || inside.is_empty(), path)?;
    close_one(path, OFlags::NOFOLLOW)?;
    for name in inside {
        close_all(&path.join(name))?;
    }
    Ok(true)
}

impl Layout {
    fn creates(&self, name: &str) -> bool {
        let is_temporary =
            |own: &&str| name.strip_prefix(*own).is_some_and(|rest| rest.starts_with('-'));
        self.own.contains(&name) || self.own.iter().any(is_temporary)
    }
}

#[cfg(unix)]
fn is_open(found: &fs::Metadata) -> bool {
    found.mode() & 0o077 != 0
}

/// By a handle: its name may lead elsewhere a moment later.
#[cfg(unix)]
fn close_one(path: &Path, flags: OFlags) -> Result<(), PrivacyError> {
    let failed = |source| PrivacyError::Open { path: path.to_path_buf(), source };
    let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error.into())),
    };
    let found = file.metadata().map_err(failed)?;
    require_ours(&found, path)?;
    let mode = if found.is_dir() { 0o700 } else { 0o600 };
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open(path: &Path) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// A folder with files, all of them open.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path.ancestors().take_while(|path| path.starts_with(dir.path())).for_each(open);
        }
        open(dir.path());
        dir
    }

    #[test]
    fn a_folder_of_ours_is_closed_and_nothing_else() {
        let names =
            ["state.db", "log/1.seg", "lake/a/b/c", "check-1/x", "aihub.toml", "notes/mine"];
        let dir = folder(&names);
        let elsewhere = folder(&["kept"]);
        symlink(elsewhere.path().join("kept"), dir.path().join("lake/link")).unwrap();
        close(dir.path(), DATA_FOLDER).unwrap();
        for (path, expected) in [
            ("", 0o700),
            ("state.db", 0o600),
            ("log", 0o700),
            ("log/1.seg", 0o600),
            ("lake/a/b", 0o700),
            ("lake/a/b/c", 0o600),
            ("check-1/x", 0o600),
            ("aihub.toml", 0o644),
            ("notes", 0o755),
        ] {
            assert_eq!(mode(&dir.path().join(path)), expected, "{path}");
        }
        assert_eq!(mode(&elsewhere.path().join("kept")), 0o644);
        // One file that was opened again.
        open(&dir.path().join("state.db"));
        close(dir.path(), DATA_FOLDER).unwrap();
        assert_eq!(mode(&dir.path().join("state.db")), 0o600);
    }

    #[test]
    fn a_folder_of_others_is_refused_and_left_alone() {
        let dir = folder(&["notes"]);
        let refused = close(dir.path(), DATA_FOLDER);
        assert!(matches!(refused, Err(PrivacyError::Shared(_))), "{refused:?}");
        assert_eq!((mode(dir.path()), mode(&dir.path().join("notes"))), (0o755, 0o644));
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
        close(dir.path(), DATA_FOLDER).unwrap();
        // Their names alone make no folder ours.
        for names in [&["log/x"][..], &["aihub.toml", "lake/t/f"], &["backup-2026/x", "log/x"]] {
            let refused = close(folder(names).path(), DATA_FOLDER);
            assert!(matches!(refused, Err(PrivacyError::Shared(_))), "{names:?}: {refused:?}");
        }
        for names in [&[][..], &["aihub.toml"], &["log/log.json"]] {
            let dir = folder(names);
            close(dir.path(), DATA_FOLDER).unwrap();
            assert_eq!(mode(dir.path()), 0o700);
        }
        close(Path::new("/nonexistent"), DATA_FOLDER).unwrap();
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    /// Somebody who can write to a folder makes us write to, or close, what he has no right to.
    #[test]
    fn what_others_may_have_planted_is_refused() {
        let elsewhere = folder(&["victim"]);
        let victim = elsewhere.path().join("victim");
        for mode in [0o777, 0o1777, 0o775] {
            for planted in ["pseudonym.key", "log", "aihub.toml", "x"] {
                let dir = folder(&[]);
                symlink(&victim, dir.path().join(planted)).unwrap();
                set(dir.path(), mode);
                let refused = close(dir.path(), DATA_FOLDER);
                assert!(
                    matches!(refused, Err(PrivacyError::Writable(_))),
                    "{planted}: {refused:?}"
                );
            }
            let dir = folder(&[]);
            set(dir.path(), mode);
            close(dir.path(), DATA_FOLDER).unwrap();
            assert_eq!(self::mode(dir.path()), 0o700);
        }
        for private in [0o700, 0o755] {
            let dir = folder(&["state.db"]);
            fs::hard_link(&victim, dir.path().join("truth.json")).unwrap();
            set(dir.path(), private);
            let refused = close(dir.path(), DATA_FOLDER);
            assert!(matches!(refused, Err(PrivacyError::HardLink(_))), "{refused:?}");
            fs::remove_file(dir.path().join("truth.json")).unwrap();
            symlink(&victim, dir.path().join("log")).unwrap();
            let refused = close(dir.path(), DATA_FOLDER);
            assert!(matches!(refused, Err(PrivacyError::Link(_))), "{refused:?}");
        }
        let dir = folder(&["state.db", "log/x"]);
        set(&dir.path().join("log"), 0o777);
        let refused = close(dir.path(), DATA_FOLDER);
        assert!(matches!(refused, Err(PrivacyError::Writable(_))), "{refused:?}");
        assert_eq!(self::mode(&victim), 0o644);
    }

    #[test]
    fn the_folder_of_tables_is_one_of_ours() {
        for table in ingest::Table::ALL {
            let dir = folder(&[&format!("{}/_delta_log/0.json", table.name()), "notes"]);
            close(dir.path(), TABLES).unwrap();
            let modes = [table.name(), "notes"].map(|name| self::mode(&dir.path().join(name)));
            assert_eq!(modes, [0o700, 0o644]);
        }
        for (_, table) in query::rollup::all() {
            let dir = folder(&["usage_ledger/_delta_log/0.json", &format!("{}/a", table.name())]);
            close(dir.path(), TABLES).unwrap();
            assert_eq!(self::mode(&dir.path().join(table.name())), 0o700);
        }
    }

    #[test]
    fn what_belongs_to_others_is_refused() {
        let foreign = |dir: &Path, name: &str| {
            let refused = close(dir, DATA_FOLDER);
            assert!(matches!(refused, Err(PrivacyError::Foreign(_))), "{name}: {refused:?}");
        };
        if !rustix::process::geteuid().is_root() {
            // Only root gives files away. The root folder is there already.
            return foreign(Path::new("/"), "/");
        }
        for name in ["", "pseudonym.key"] {
            let dir = folder(&["state.db", "pseudonym.key"]);
            set(dir.path(), 0o700);
            std::os::unix::fs::chown(dir.path().join(name), Some(12345), None).unwrap();
            foreign(dir.path(), name);
        }
    }
}
