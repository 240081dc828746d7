//! Anomalies: values that a series hardly ever has.
//!
//! A [`Detector`] reads one value after the other and says of each how unusual it is. [`discoveries`] decides which of
//! many series, looked at together, are called anomalous, so that false alarms stay a small share of all alarms.

mod detector;
mod discovery;
mod tail;

pub use detector::{Detector, DetectorOptions, Observation};
pub use discovery::discoveries;
