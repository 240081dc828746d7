//! Reports that are sent by themselves.

mod alerts;
mod kills;
mod own_dashboards;
pub(crate) mod scheduled;
