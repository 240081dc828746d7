//! Users, keys, quotas, and who sees persons.

mod access;
mod persons;
mod quotas;
mod registration;
mod tokens;
