//! Why a request was sent back.

use strum::{IntoStaticStr, VariantArray};

/// A submission that was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
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
    pub const ALL: &'static [Self] = Self::VARIANTS;

    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
