//! Files that others may not read, and texts that a terminal or a spreadsheet would run.
