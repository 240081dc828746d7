//! Reports that are sent by themselves.

mod alerts;
mod kills;
pub(crate) mod scheduled;
