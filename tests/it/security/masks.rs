//! Columns that say something of persons, and what can be derived from them.
