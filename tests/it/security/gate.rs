//! Functions that are not offered, in every spelling.
