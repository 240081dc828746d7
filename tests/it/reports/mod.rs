//! Reports that are sent by themselves.

mod kills;
mod scheduled;
