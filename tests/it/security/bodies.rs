//! Bodies that unpack to much, come slowly, or never end.
