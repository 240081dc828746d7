//! The exact line between what a query reads and what it does not.

use std::collections::BTreeMap;

use ingest::{Table, log::Lsn};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Taken once for all tables, by the process that owns the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The log that the rows came through.
    pub log: i64,
    /// The highest LSN that is read, of a row that is on the disk.
    pub lsn: Lsn,
    /// Rows up to here are in the tables; the log need not hold them.
    pub floor: Lsn,
    /// Where each table stood, by name. A table without rows is absent.
    pub tables: BTreeMap<String, TableVersion>,
    /// Where each rollup stood, by name. It holds the rows up to the LSN of its version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rollups: BTreeMap<String, TableVersion>,
}

/// A version of a Delta table, and the last LSN it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableVersion {
    pub version: u64,
    pub txn: Lsn,
}

impl Cut {
    /// The cut as a short text: `log.lsn`, both in base 36. Asked for again, it gives the same rows. It counts
    /// everybody's events: an organization is never told it.
    pub fn plain_token(&self) -> String {
        format!("{}.{}", base36(self.log.unsigned_abs()), base36(self.lsn))
    }

    /// This cut moved back to an earlier token.
    ///
    /// # Errors
    /// [`Error::Cut`] when the token is not one of this lake, or lies in its future.
    pub fn back_to_token(self, token: &str) -> Result<Self, Error> {
        let refuse = || Error::Cut(token.to_owned());
        let (log, lsn) = token.split_once('.').ok_or_else(refuse)?;
        let log = i64::from_str_radix(log, 36).map_err(|_| refuse())?;
        let lsn = Lsn::from_str_radix(lsn, 36).map_err(|_| refuse())?;
        self.back_to(log, lsn).map_err(|_| refuse())
    }

    /// This cut moved back to an earlier LSN of its log.
    ///
    /// # Errors
    /// As of [`Self::back_to_token`].
    pub fn back_to(mut self, log: i64, lsn: Lsn) -> Result<Self, Error> {
        if log != self.log || lsn > self.lsn {
            return Err(Error::Cut(format!("{log}, {lsn}")));
        }
        self.lsn = lsn;
        Ok(self)
    }

    /// This cut moved back to the rows that the tables hold: whoever reads it does not read the log.
    pub fn of_tables(self) -> Self {
        Self { lsn: self.floor, ..self }
    }

    /// Where a rollup stands, if it holds no row beyond this cut.
    pub fn usable_rollup(&self, name: &str) -> Option<TableVersion> {
        self.rollups.get(name).copied().filter(|mark| mark.txn <= self.lsn)
    }

    pub fn mark(&self, table: Table) -> Option<TableVersion> {
        self.tables.get(table.name()).copied()
    }
}

/// A number as tokens write it.
pub fn base36(mut n: u64) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    loop {
        digits.push(char::from(DIGITS[(n % 36) as usize]));
        n /= 36;
        if n == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_and_never_forward() {
        let cut = Cut { log: 77, lsn: 1000, ..Cut::default() };
        let earlier = Cut { lsn: 999, ..cut.clone() };
        assert_eq!(cut.clone().back_to_token(&earlier.plain_token()).unwrap(), earlier);
        for bad in
            ["", "x", "25.", ".1", "25.-1", &Cut { lsn: 1001, ..cut.clone() }.plain_token(), "26.1"]
        {
            assert!(cut.clone().back_to_token(bad).is_err(), "{bad}");
        }
    }
}
