//! The pages of a browser.

mod catalog;
mod dashboards;
mod error_pages;
mod pages;
mod reports;
mod workbench;
