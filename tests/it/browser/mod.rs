//! The pages of a browser.

mod accessibility;
mod accounts;
mod alerts;
mod billing;
mod catalog;
mod dashboards;
mod developers;
mod error_pages;
mod numbers;
mod pages;
mod reports;
mod workbench;
