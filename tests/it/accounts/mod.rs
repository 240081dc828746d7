//! Users, keys, quotas, and who sees persons.

mod access;
mod acts;
mod administrators;
mod confirmation;
mod foreign;
mod persons;
mod quotas;
mod registration;
mod secrets;
mod tokens;
