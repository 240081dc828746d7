//! Prices, subscriptions and invoices.

mod flow;
mod kills;
mod price_file;
