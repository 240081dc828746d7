//! The composition root: it reads the configuration, opens the state, the log and the lake, and offers the features of
//! all rooms to people and programs, over HTTP and on the command line. It alone knows all of them.
//!
//! `features` is the list of all features, [`server`] binds them to one address, [`cli`] is the program's face in a
//! terminal. What is left here watches and keeps the system: `upkeep`, `integrity`, `erasure`, `relay`.

mod allocator;
mod background;
mod billed_usage;
pub mod cli;
pub mod config;
mod connections;
mod erasure;
mod features;
mod health;
mod integrity;
mod jobs;
mod lake;
mod metering;
mod method;
mod open_files;
mod private;
mod relay;
mod request_log;
mod server;
mod upkeep;

pub use server::{RunningServer, System};
