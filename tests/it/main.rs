//! The cross-crate tests: one binary, so that the engine is linked once.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod background;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod check;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod corrections;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod dead_letters;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod erasure;
mod error_pages;
#[cfg(test)]
mod event_intake;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod import;
mod imports;
#[cfg(test)]
mod layers;
mod metrics;
#[cfg(test)]
mod names;
#[cfg(test)]
mod object_store;
#[cfg(test)]
mod odd_files;
mod openapi;
mod pages;
#[cfg(test)]
mod persons;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod power;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod read_commands;
#[cfg(test)]
mod saved;
#[cfg(test)]
mod security;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod slt;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod tasks;
mod tenancy;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod truth;
#[cfg(test)]
mod upkeep;
#[cfg(test)]
mod workbench;
#[cfg(test)]
mod writers;
#[cfg(test)]
mod zones;
