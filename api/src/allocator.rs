//! The allocator's setting. It keeps freed memory for a second unless it is told otherwise; while batches of events
//! come and go that is as much again as is in use. It reads its settings before `main`, so the process begins anew.

/// The variable, and how long freed memory is kept, in milliseconds.
pub(crate) const SETTING: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "30");

/// Begins this process anew with the setting, unless it has one. Returns when that is so, or cannot be.
#[cfg(unix)]
pub(crate) fn begin() {
    use std::os::unix::process::CommandExt;
    let (name, value) = SETTING;
    if std::env::var_os(name).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        // It only returns with an error; then all goes on as it is.
        let _ = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(name, value)
            .exec();
    }
}

#[cfg(not(unix))]
pub(crate) fn begin() {}
