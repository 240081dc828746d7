//! Users, keys, and who sees persons.

mod persons;
