//! The intake's vocabulary and its front door. An event arrives as JSON text; this crate decodes it, checks
//! it, gives it a verdict (`accepted`, `duplicate` or `rejected`), turns it into Arrow columns, and writes it
//! to an append-only log on disk before anybody is told that it was accepted. It also remembers every event
//! that was ever accepted, so that an event sent again is never counted again.
//!
//! Start with [`event`] (what an event is), then [`decode`] (text to columns), [`log`] (columns to disk) and
//! [`intake`] (the thread that ties them together). Nothing here knows of HTTP, Delta tables or SQL, nothing
//! here is asynchronous, and the clock is always a parameter.

pub mod control;
pub mod decode;
pub mod dedup;
pub mod erasure;
pub mod error;
pub mod event;
pub mod grant;
pub mod identity;
pub mod intake;
pub mod log;
pub mod mapping;
pub mod money;
pub mod names;
pub mod priority;
pub mod schema;
pub mod time;

pub use error::Error;
pub use event::{OrganizationId, Rejection, RejectionCode, Verdict, Warning};
pub use grant::Grant;
pub use schema::Table;
