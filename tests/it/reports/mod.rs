//! Reports that are sent by themselves.

mod kills;
pub(crate) mod scheduled;
