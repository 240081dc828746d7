//! How many files this process may have open, and how many of them connections may take: a flush must always be able to
//! open its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files and connections of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenFiles {
    pub(crate) limit: u64,
    pub(crate) connections: usize,
}

/// What the process asks for, where the operating system lets it.
const WANTED: u64 = 65_536;
/// Files of the log, the index, the tables, the state and the workers' pipes.
const RESERVED: u64 = 1_024;
/// More connections than this only take memory.
const CONNECTIONS_MAX: u64 = 20_000;

impl OpenFiles {
    /// Raises the limit as far as that is allowed, and says what it is.
    pub(crate) fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        let most = before.maximum.map_or(WANTED, |most| most.min(WANTED));
        let wanted = before.current.map_or(most, |current| current.max(most));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..before });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
        let files = Self::within(getrlimit(Resource::Nofile).current.unwrap_or(WANTED));
        let Self { limit, connections } = files;
        if limit < 4 * RESERVED {
            tracing::warn!(limit, connections, "few files may be open; raise `ulimit -n`");
        } else {
            tracing::info!(limit, connections, "open files");
        }
        metrics::gauge!("process_max_fds").set(limit as f64);
        metrics::gauge!("http_connections_max").set(connections as f64);
        files
    }

    fn within(limit: u64) -> Self {
        let reserved = RESERVED.min(limit / 2);
        // Each has two: its own, and the one by which it can be ended.
        let connections = ((limit - reserved) / 2).min(CONNECTIONS_MAX);
        Self { limit, connections: usize::try_from(connections).unwrap_or(usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_lake() {
        for (limit, connections) in [(1_048_576, 20_000), (4_096, 1_536), (1_024, 256), (256, 64)] {
            assert_eq!(OpenFiles::within(limit), OpenFiles { limit, connections });
        }
    }
}
