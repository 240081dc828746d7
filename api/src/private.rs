//! What the process writes is for its owner only: logs, tables, state, secrets, and whatever libraries create
//! beside them. One rule for the whole process makes it so, and so do the modes of folders that are there already.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

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
}

/// How a folder of ours is known, and what may lie in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Names that only a folder of ours holds.
    marks: &'static [&'static str],
    /// Names that we create. What begins with one and a hyphen is a temporary folder.
    own: &'static [&'static str],
    /// A file that is the operator's own, and may lie in a new folder.
    guest: &'static str,
}

pub(crate) const DATA_FOLDER: Layout = Layout {
    marks: &["state.db", "pseudonym.key"],
    own: &[
        "log",
        "index",
        "lake",
        "spill",
        "maintain.spill",
        "imports",
        "state.db",
        "state.db-wal",
        "state.db-shm",
        "pseudonym.key",
        "server.json",
        "demo.json",
        "truth.json",
        "check.json",
        "maintain.json",
        "maintain.lock",
        "erased.json",
        "erased.index",
        "erase.lock",
        "check",
        "backup",
        "identities",
    ],
    guest: "aihub.toml",
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
    let users = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let _ = USERS_MASK.set(users);
}

#[cfg(unix)]
static USERS_MASK: OnceLock<rustix::fs::Mode> = OnceLock::new();

/// Writes a file that the user asked for, as any other program would.
pub(crate) fn write_for_user(path: &Path, content: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    let ours = USERS_MASK.get().map(|users| rustix::process::umask(*users));
    let written = fs::write(path, content);
    #[cfg(unix)]
    if let Some(ours) = ours {
        rustix::process::umask(ours);
    }
    written
}

/// Closes a folder that is there, and what earlier versions or an archive left open in it, and says so. A private
/// folder hides what is in it, so only folders that were open are looked through.
#[cfg(unix)]
pub(crate) fn close(dir: &Path, layout: Layout) -> Result<(), PrivacyError> {
    let failed = |source| PrivacyError::Open { path: dir.to_path_buf(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Whether it can be used at all, others find out.
        Err(_) => return Ok(()),
    };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    let is_own = |name: &OsString| name.to_str().is_some_and(|name| layout.creates(name));
    let is_used = names.iter().any(is_own);
    let is_ours = names.iter().any(|name| layout.marks.iter().any(|mark| name == mark))
        || names.iter().all(|name| is_own(name) || name == layout.guest);
    let mut closed = is_open(&fs::metadata(dir).map_err(failed)?);
    if closed && !is_ours {
        return Err(PrivacyError::Shared(dir.to_path_buf()));
    }
    if closed {
        close_one(dir, true)?;
    }
    for name in names.iter().filter(|name| is_ours && is_own(name)) {
        closed |= close_all(&dir.join(name), true)?;
    }
    // In a new one there was nothing to read.
    if closed && is_used {
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

/// Closes a file, or a folder with all in it. Gives whether anything was open. A link at the top is followed, since
/// an operator may have put a part on another disk; below it, what a link leads to is not ours.
#[cfg(unix)]
fn close_all(path: &Path, follows: bool) -> Result<bool, PrivacyError> {
    let failed = |source| PrivacyError::Open { path: path.to_path_buf(), source };
    let found = if follows { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let found = match found {
        Ok(found) if !found.is_symlink() => found,
        // A server beside us removed it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => return Ok(false),
    };
    if !is_open(&found) {
        return Ok(false);
    }
    close_one(path, found.is_dir())?;
    if found.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            close_all(&entry.map_err(failed)?.path(), false)?;
        }
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
    std::os::unix::fs::MetadataExt::mode(found) & 0o077 != 0
}

#[cfg(unix)]
fn close_one(path: &Path, is_dir: bool) -> Result<(), PrivacyError> {
    let mode = if is_dir { 0o700 } else { 0o600 };
    match fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        closed => closed.map_err(|source| PrivacyError::Open { path: path.to_path_buf(), source }),
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        for names in [&[][..], &["aihub.toml"], &["aihub.toml", "lake/t/f"]] {
            let dir = folder(names);
            close(dir.path(), DATA_FOLDER).unwrap();
            assert_eq!(mode(dir.path()), 0o700);
        }
        close(Path::new("/nonexistent"), DATA_FOLDER).unwrap();
    }
}
