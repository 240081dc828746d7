//! Answers without measure: much output from a short statement, and clients that do not read.
