//! Which key may state what.
