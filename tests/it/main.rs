//! The cross-crate tests: one binary, so that the engine is linked once.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod door;
#[cfg(test)]
mod events;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod import;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod tenancy;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod truth;
