//! The log and the tables: crashes, faults, upkeep, object stores.

mod backup;
mod check;
mod crash;
mod erasure;
mod faults;
mod full_disk;
mod object_store;
mod power;
mod rollups;
mod upkeep;
mod writers;
