//! Events in: the routes, imports, corrections, dead letters.

mod bounds;
mod corrections;
mod dead_letters;
mod event_intake;
mod events;
mod import;
mod imports;
mod names;
mod odd_files;
