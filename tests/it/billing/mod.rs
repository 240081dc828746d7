//! Prices, subscriptions and invoices.

mod flow;
mod kills;
mod payments;
mod price_file;
