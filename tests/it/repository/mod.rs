//! Rules of the repository.

mod layers;
mod tidy;
