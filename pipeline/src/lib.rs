//! The lake: Delta tables on any object store, filled from the intake's log, each row exactly once.
//! [`Lakehouse`] ties it together for the one process that takes events in: it owns the log, appends its rows
//! to the tables every few seconds, and hands out the [`Cut`], the exact line up to which a query may read.
//! [`Reader`] is the other side: any process that was given a cut reads the tables at their versions, and from
//! the log what the tables do not hold yet. [`scan`] turns that into a DataFusion table.
//!
//! A row is in the log first, then in a table and in the log, then only in the table. It is never in neither,
//! and a reader never counts it twice, since both sides are split by the same number: the last LSN that the
//! table's newest transaction names.

pub mod append;
pub mod backup;
mod changes;
pub mod check;
pub mod correction;
pub mod cut;
pub mod erasure;
pub mod error;
mod files;
mod lakehouse;
mod new_file;
mod parquet_file;
pub mod reader;
mod rollup;
pub mod scan;
mod statistics;
pub mod store;
mod stored;
pub mod threads;
pub mod upkeep;

pub use append::LakeTable;
pub use changes::Changes;
pub use cut::{Cut, TableVersion};
pub use error::Error;
pub use files::DataFile;
pub use lakehouse::{
    Admission, Delivery, FSYNC_SECONDS, FileDelivery, LakeStatus, Lakehouse, Outcome,
    RejectedEvent, ReplacedImport, RollupChange, RollupMonth, Settings, Watermarks,
};
pub use reader::{Reader, Tables};
pub use rollup::{Month, RollupFiles, RollupWriter};
pub use store::{Location, Root};
pub use stored::{ROLLUP_TIME, RollupTable, StoredTable};
