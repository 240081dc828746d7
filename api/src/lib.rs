//! The composition root: it reads the configuration, opens the state, the log and the lake, and offers them to
//! people and programs, over HTTP and on the command line. Everything that depends on a request, a role or a
//! process is here; the crates below know of none of them.
//!
//! A feature is one room: `accounts`, `keys`, `organizations`, `audit` hold their rules, their rows and their
//! routes together. [`server`] binds the rooms to one address, [`principal`] decides who may enter, [`cli`] is
//! the program's face in a terminal.

pub mod accounts;
mod allocator;
mod as_of;
pub mod audit;
mod background;
mod body;
pub mod cli;
pub mod clock;
pub mod config;
mod connections;
mod dashboards;
mod dead_letters;
mod erasure;
mod events;
mod figures;
mod folder;
mod health;
mod holding;
mod imports;
mod integrity;
pub mod keys;
mod lake;
mod method;
mod migration;
mod open_files;
pub mod openapi;
pub mod organizations;
pub mod outbox;
mod pace;
mod persons;
mod places;
pub mod principal;
mod private;
pub mod problem;
mod queries;
mod relay;
pub mod secret;
mod server;
pub mod store;
mod tasks;
mod upkeep;

pub use server::{Running, State};
