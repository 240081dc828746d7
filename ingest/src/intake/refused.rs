//! Why a request was sent back.

/// A submission that was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the disk is full")]
    DiskFull,
    #[error("the log is as large as it may grow, until its rows are in the tables")]
    LogFull,
    #[error("many events wait; send more slowly")]
    Busy,
    #[error("too many events wait for the disk")]
    Overloaded,
    #[error("the log cannot be written")]
    Broken,
}

impl Refused {
    pub const ALL: [Self; 5] =
        [Self::DiskFull, Self::LogFull, Self::Busy, Self::Overloaded, Self::Broken];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::LogFull => "log_full",
            Self::Busy => "busy",
            Self::Overloaded => "overloaded",
            Self::Broken => "broken",
        }
    }
}
