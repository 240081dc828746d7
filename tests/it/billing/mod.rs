//! Prices, subscriptions and invoices.

mod flow;
mod price_file;
