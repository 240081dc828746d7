//! One day: its events, and what is true about them.

use chrono::NaiveDate;

use crate::anomaly::{AnomalyLabel, Observed};

/// The events of one UTC day.
#[derive(Debug, Clone)]
pub struct DayEvents {
    /// The day, from midnight to midnight in UTC.
    pub date: NaiveDate,
    /// CloudEvents, one a line, ordered by time, all kinds mixed. Every line ends with a line feed.
    pub ndjson: Vec<u8>,
    /// The number of lines.
    pub events: usize,
    /// What [`Tally::add`](crate::Tally::add) needs to know.
    pub facts: DayFacts,
}

/// What is true about the events of one day, to be added up to the [`Truth`](crate::Truth).
#[derive(Debug, Clone, Default)]
pub struct DayFacts {
    pub(crate) date: NaiveDate,
    /// The organizations with a request.
    pub(crate) active: Vec<u32>,
    /// The visitors with a page view, perhaps repeated.
    pub(crate) visitors: Vec<u64>,
    /// The visitors that signed up.
    pub(crate) registered: Vec<u64>,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) cost_pico: u128,
    pub(crate) list_price_pico: u128,
    pub(crate) billing_events: u64,
    pub(crate) activity_events: u64,
    /// What is seen in the window of the day's anomaly.
    pub(crate) observed: Observed,
    pub(crate) anomaly: Option<AnomalyLabel>,
}

impl DayFacts {
    pub(crate) fn events(&self) -> u64 {
        self.requests + self.billing_events + self.activity_events
    }
}
