//! The data folder: what lies in it, by name. Everything that the program keeps there is on this list.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// A file or a folder in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item(pub &'static str);

impl Item {
    /// Where it is, of the data folder `dir`.
    pub fn of(self, dir: &Path) -> PathBuf {
        dir.join(self.0)
    }
}

/// The write-ahead log.
pub const LOG: Item = Item("log");
/// The identities of all accepted events.
pub const INDEX: Item = Item("index");
/// The tables, unless the configuration puts them elsewhere.
pub const LAKE: Item = Item("lake");
/// What queries spill.
pub const SPILL: Item = Item("spill");
/// What upkeep spills.
pub const UPKEEP_SPILL: Item = Item("maintain.spill");
/// What is known of imports.
pub const IMPORTS: Item = Item("imports");
/// Users, keys, organizations, the audit log.
pub const STATE: Item = Item("state.db");
/// The secret of pseudonyms.
pub const SECRET: Item = Item("pseudonym.key");
/// Where the running server is.
pub const SERVER: Item = Item("server.json");
/// What a demo generated.
pub const DEMO: Item = Item("demo.json");
/// The true answers of a demo.
pub const TRUTH: Item = Item("truth.json");
/// What the last check found.
pub const CHECK: Item = Item("check.json");
/// When upkeep did what.
pub const UPKEEP: Item = Item("maintain.json");
/// Held by whoever keeps the tables in order.
pub const UPKEEP_LOCK: Item = Item("maintain.lock");
/// Who was erased.
pub const ERASED: Item = Item("erased.json");
/// Identities whose rows an erasure changed.
pub const ERASED_INDEX: Item = Item("erased.index");
/// Held by whoever erases, or keeps erasures away.
pub const ERASE_LOCK: Item = Item("erase.lock");
/// The identities of a backup, while it is restored.
pub const IDENTITIES: Item = Item("identities");
/// The operator's own.
pub const CONFIGURATION: Item = Item("aihub.toml");

/// All that the program makes. What begins with one of these names and a hyphen is temporary.
pub const MADE: [&str; 22] = [
    LOG.0,
    INDEX.0,
    LAKE.0,
    SPILL.0,
    UPKEEP_SPILL.0,
    IMPORTS.0,
    STATE.0,
    "state.db-wal",
    "state.db-shm",
    SECRET.0,
    SERVER.0,
    DEMO.0,
    TRUTH.0,
    CHECK.0,
    UPKEEP.0,
    UPKEEP_LOCK.0,
    ERASED.0,
    ERASED_INDEX.0,
    ERASE_LOCK.0,
    IDENTITIES.0,
    // The folders in which a check and a backup work.
    "check",
    "backup",
];

/// Writes a file that only its owner can read, and that stays.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push("-");
    // A name that nobody can have put something under.
    let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(dir)?.sync_all()
}
