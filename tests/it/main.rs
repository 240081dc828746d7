//! The cross-crate tests: one binary, so that the engine is linked once. A folder holds the tests of one room.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod billing;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod lake;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod portal;
#[cfg(test)]
mod query;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod repository;
