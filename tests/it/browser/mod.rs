//! The pages of a browser.

mod error_pages;
mod pages;
mod workbench;
