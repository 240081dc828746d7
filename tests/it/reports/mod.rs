//! Reports that are sent by themselves.

mod alerts;
mod injection;
mod kills;
mod own_dashboards;
mod query_tiles;
pub(crate) mod scheduled;
