//! The engine: questions in, rows out. A question is SQL from somebody else, or a metric that we compile to
//! SQL ourselves. Either way it runs in a query worker, a child process that can be killed, so that nothing a
//! query does harms the process that takes events in.
//!
//! [`session`] builds what a query may see: the tables of the lake at one cut, and for a customer only its own
//! rows, behind a physical barrier; `gate` refuses what would take too much before it is planned. [`worker`] is the child's side, [`pool`] the parent's. [`metric`] holds the
//! named business figures, declared in YAML. [`format`] turns answers into JSON, NDJSON, CSV or Arrow.

pub mod cache;
pub mod engine;
pub mod error;
pub mod format;
mod gate;
pub mod metric;
pub mod pool;
pub mod request;
pub mod session;
pub mod worker;

pub use engine::{Answer, Engine};
pub use error::{QueryError, Reason};
pub use gate::{Function, functions};
pub use request::{Author, Ended, Reach, Request};
