//! What every route uses: problems and their codes, the principal and its permissions, the body of a request with its
//! limits, places that organizations share, the pace of answers, and pages. A room declares its routes with these and
//! knows no framework beside them.

pub mod body;
pub mod client_limiter;
pub mod feature;
mod holding;
pub mod idempotency;
pub mod pace;
pub mod page;
pub mod principal;
pub mod problem;
pub mod schema;

pub use holding::hold;
