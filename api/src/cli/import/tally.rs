//! What became of the rows of an import.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    path::Path,
};

use ingest::{Rejection, Verdict};
use serde_json::Value;

/// Rows that are shown of each kind of error.
const SAMPLES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    rejected: u64,
    /// Rows that cannot be read, so that no event came of them.
    unreadable: u64,
    /// Rows that name an event which was voided with its import.
    pub(super) voided: u64,
    /// By code.
    errors: BTreeMap<String, Errors>,
    /// Rows that an earlier run of the same import had sent.
    pub(super) earlier: u64,
}

#[derive(Debug, Default)]
struct Errors {
    count: u64,
    samples: Vec<String>,
}

/// A row in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowName<'a> {
    pub(super) file: &'a Path,
    /// What the file counts: lines or rows.
    pub(super) unit: &'static str,
    pub(super) number: u64,
}

impl fmt::Display for RowName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.file.display(), self.unit, self.number)
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
        self.unreadable += other.unreadable;
        self.earlier += other.earlier;
        for (code, errors) in other.errors {
            let known = self.errors.entry(code).or_default();
            known.count += errors.count;
            let room = SAMPLES - known.samples.len();
            known.samples.extend(errors.samples.into_iter().take(room));
        }
    }

    /// With the rows that cannot be read.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected + self.unreadable
    }

    pub(super) fn verdict(&mut self, row: RowName<'_>, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted => self.accepted += 1,
            Verdict::Duplicate => self.duplicate += 1,
            Verdict::Rejected(why) => {
                self.rejected += 1;
                self.error(
                    why.code.as_str(),
                    format_args!("{row}: {} {}", why.pointer, why.reason),
                );
            }
        }
    }

    /// A verdict as a server tells it.
    pub(super) fn result(&mut self, row: RowName<'_>, result: &Value) {
        let text = |name: &str| result[name].as_str().unwrap_or_default();
        match text("status") {
            "accepted" => self.accepted += 1,
            "duplicate" => self.duplicate += 1,
            _ => {
                self.rejected += 1;
                let what = format_args!("{row}: {} {}", text("pointer"), text("reason"));
                self.error(text("code"), what);
            }
        }
    }

    pub(super) fn unreadable(&mut self, row: RowName<'_>, reason: &str) {
        self.unreadable += 1;
        self.error("unreadable_row", format_args!("{row}: {reason}"));
    }

    fn error(&mut self, code: &str, what: fmt::Arguments<'_>) {
        let known = self.errors.entry(code.to_owned()).or_default();
        known.count += 1;
        if known.samples.len() < SAMPLES {
            known.samples.push(what.to_string());
        }
    }

    /// Rows of a dry run, some of which were rejected.
    pub(super) fn judged(&mut self, rows: &[RowName<'_>], rejected: Vec<(u32, Rejection)>) {
        self.accepted += (rows.len() - rejected.len()) as u64;
        for (place, why) in rejected {
            self.verdict(rows[place as usize], &Verdict::Rejected(why));
        }
    }

    /// What an import would do, after a dry run.
    pub(super) fn dry_run_summary(&self) -> String {
        let rejected = self.rejected();
        format!(
            "{} would be accepted, or are known already, {rejected} rejected; nothing was sent\n",
            self.accepted
        )
    }

    pub(super) fn summary(&self) -> String {
        let earlier = match self.earlier {
            0 => String::new(),
            rows => format!("; an earlier run had sent {rows} rows"),
        };
        let rejected = self.rejected();
        format!(
            "{} accepted, {} duplicate, {rejected} rejected{earlier}\n",
            self.accepted, self.duplicate
        )
    }

    /// What was wrong, a line for each code and each row that is shown; `None` when nothing was. `is_dry_run`: nothing
    /// was sent.
    pub(super) fn complaint(&self, is_dry_run: bool) -> Option<String> {
        if self.errors.is_empty() {
            return None;
        }
        let mut text = String::new();
        for (code, Errors { count, samples }) in &self.errors {
            let _ = writeln!(text, "{code}: {count}");
            samples.iter().for_each(|sample| {
                let _ = writeln!(text, "  {sample}");
            });
            if *count > samples.len() as u64 {
                let _ = writeln!(text, "  …");
            }
        }
        if is_dry_run {
            let _ = write!(text, "{} rows would be rejected", self.rejected());
            return Some(text);
        }
        let _ = write!(text, "{} rows were rejected", self.rejected());
        text.push_str(match (self.rejected, self.unreadable) {
            (_, 0) => " and kept as dead letters",
            (0, _) => "; no event came of them",
            _ => "; those that were read are kept as dead letters",
        });
        Some(text)
    }
}
