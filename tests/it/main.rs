//! The cross-crate tests: one binary, so that the engine is linked once.

#[cfg(test)]
mod layers;
#[cfg(test)]
mod tidy;
