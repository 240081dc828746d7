//! Queues that one organization could fill.
