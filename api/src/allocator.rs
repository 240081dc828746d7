//! The allocator's settings. It reads them before `main`, so the process begins anew with them.

/// Variables and their values.
pub(crate) type Settings = [(&'static str, &'static str); 2];

/// No huge pages: one that holds a single small object stays as a whole, which was a third of the memory under
/// load, for 1 % of the time.
const NO_HUGE_PAGES: (&str, &str) = ("MIMALLOC_ALLOW_THP", "0");

/// Freed memory is kept for 5 ms instead of a second: while batches of events come and go, a second of them is as
/// much again as is in use. At 30 ms compaction held two thirds more; at none, the intake took a twentieth more time.
pub(crate) const LEAN: Settings = [NO_HUGE_PAGES, ("MIMALLOC_PURGE_DELAY", "5")];

/// Freed memory is kept for a second. A tenth of the time of an import would go into asking for it again.
pub(crate) const FAST: Settings = [NO_HUGE_PAGES, ("MIMALLOC_PURGE_DELAY", "1000")];

/// Freed memory is kept for ten seconds: a query after the other needs it again, and clearing pages was up to half
/// of the time of a short one.
pub(crate) const QUERIES: Settings = [NO_HUGE_PAGES, ("MIMALLOC_PURGE_DELAY", "10000")];

/// Begins this process anew with the settings that it has not. Returns when it has them all, or cannot have them.
#[cfg(unix)]
pub(crate) fn begin(settings: Settings) {
    use std::os::unix::process::CommandExt;
    let missing = settings.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty()
        && let Ok(program) = std::env::current_exe()
    {
        // It only returns with an error; then all goes on as it is.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(missing)
            .exec();
    }
}

#[cfg(not(unix))]
pub(crate) fn begin(_settings: Settings) {}
