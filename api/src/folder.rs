//! The data folder: what lies in it, by name. Everything that the program keeps there is on this list.

use std::path::{Path, PathBuf};

/// A file or a folder in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) &'static str);

impl Item {
    /// Where it is, of the data folder `dir`.
    pub(crate) fn of(self, dir: &Path) -> PathBuf {
        dir.join(self.0)
    }
}

/// The write-ahead log.
pub(crate) const LOG: Item = Item("log");
/// The identities of all accepted events.
pub(crate) const INDEX: Item = Item("index");
/// The tables, unless the configuration puts them elsewhere.
pub(crate) const LAKE: Item = Item("lake");
/// What queries spill.
pub(crate) const SPILL: Item = Item("spill");
/// What upkeep spills.
pub(crate) const UPKEEP_SPILL: Item = Item("maintain.spill");
/// What is known of imports.
pub(crate) const IMPORTS: Item = Item("imports");
/// Users, keys, organizations, the audit log.
pub(crate) const STATE: Item = Item("state.db");
/// The secret of pseudonyms.
pub(crate) const SECRET: Item = Item("pseudonym.key");
/// Where the running server is.
pub(crate) const SERVER: Item = Item("server.json");
/// What a demo generated.
pub(crate) const DEMO: Item = Item("demo.json");
/// The true answers of a demo.
pub(crate) const TRUTH: Item = Item("truth.json");
/// What the last check found.
pub(crate) const CHECK: Item = Item("check.json");
/// When upkeep did what.
pub(crate) const UPKEEP: Item = Item("maintain.json");
/// Held by whoever keeps the tables in order.
pub(crate) const UPKEEP_LOCK: Item = Item("maintain.lock");
/// Who was erased.
pub(crate) const ERASED: Item = Item("erased.json");
/// Identities whose rows an erasure changed.
pub(crate) const ERASED_INDEX: Item = Item("erased.index");
/// Held by whoever erases, or keeps erasures away.
pub(crate) const ERASE_LOCK: Item = Item("erase.lock");
/// The identities of a backup, while it is restored.
pub(crate) const IDENTITIES: Item = Item("identities");
/// The operator's own.
pub(crate) const CONFIGURATION: Item = Item("aihub.toml");

/// All that the program makes. What begins with one of these names and a hyphen is temporary.
pub(crate) const MADE: [&str; 22] = [
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
