//! The engine: questions in, rows out. A question is SQL from somebody else, or a metric that we compile to
//! SQL ourselves. Either way it runs in a query worker, a child process that can be killed, so that nothing a
//! query does harms the process that takes events in.
//!
//! [`session`] builds what a query may see: the tables of the lake at one cut, and for a customer only its own
//! rows, behind a physical barrier; `gate` refuses what would take too much before it is planned. [`worker`] is
//! the child's side, [`pool`] the parent's; `threads` are those it computes on. [`metric`] answers metric questions, which `semantic` turns into SQL.
//! [`answering`] is an answer while it comes, [`cache`] holds those that are still true; `explain` says what was wrong, `names` what columns are called, and `masked` keeps persons from who may not see them.
//! `even` cuts an organization's rows anew, and `portion` divides rows so that whoever reads them can hold them;
//! [`rollup`] names the tables of sums that metrics are read from.
//! [`encoder`] turns them into the form that was asked for while they come, with [`format`] and `json`; [`parameter`]
//! is what a question says besides its text, [`cost`] what it read.

pub mod analysis;
pub mod answer_store;
pub mod answering;
mod arithmetic;
pub mod cache;
mod cells;
pub mod cost;
pub mod encoder;
pub mod engine;
pub mod error;
mod explain;
pub mod format;
mod functions;
mod gate;
mod json;
mod list;
mod masked;
pub mod metric;
mod names;
mod nested;
pub mod parameter;
pub mod pool;
mod portion;
mod pushdown;
mod rebatch;
pub mod request;
pub mod rollup;
pub mod schema;
pub mod session;
mod threads;
pub mod worker;
mod zoned_time;

pub use answering::{AnswerStream, BatchStream};
pub use cost::{Cost, Estimate};
pub use encoder::{AnswerFormat, EncodeError, Encoder};
pub use engine::{Engine, MetricContext, ResultSet};
pub use error::{QueryError, Reason};
pub use gate::{Function, functions};
pub use parameter::Parameters;
pub use request::{Author, Planned, QueryMode, QueryOptions, QuerySummary, Request, RowAccess};
pub use semantic::{Rollup, Zone, quoted};
