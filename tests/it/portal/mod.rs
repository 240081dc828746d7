//! The developer portal over HTTP. `tests/portal/run.py` judges it from outside, with the field's own tools.

mod documents;
mod once;
mod requests;
mod webhooks;
