//! Users, keys, quotas, and who sees persons.

mod persons;
mod quotas;
mod registration;
mod tokens;
