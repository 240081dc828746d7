//! Rules of the repository.

mod layers;
mod schemas;
mod tidy;
