//! Which LSNs were met: a bit each, so that a billion rows need 125 MB.

use ingest::log::Lsn;

#[derive(Debug)]
pub(super) struct Lsns {
    last: Lsn,
    bits: Vec<u64>,
}

/// LSNs that were not met.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) rows: u64,
    /// The first of them, as ranges.
    pub(super) ranges: Vec<(Lsn, Lsn)>,
}

const RANGES_MAX: usize = 20;

impl Lsns {
    pub(super) fn up_to(last: Lsn) -> Self {
        let words = usize::try_from(last / 64 + 1).unwrap_or(usize::MAX);
        Self { last, bits: vec![0; words] }
    }

    pub(super) fn last(&self) -> Lsn {
        self.last
    }

    /// Notes an LSN; `false` when it was met before, or is none of these.
    pub(super) fn insert(&mut self, lsn: Lsn) -> bool {
        if lsn == 0 || lsn > self.last {
            return false;
        }
        let (word, bit) = ((lsn / 64) as usize, 1_u64 << (lsn % 64));
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }

    pub(super) fn missing(&self) -> Missing {
        let met = |lsn: Lsn| self.bits[(lsn / 64) as usize] & (1 << (lsn % 64)) != 0;
        let mut missing = Missing::default();
        let mut lsn = 1;
        while lsn <= self.last {
            if met(lsn) {
                // Whole words that are full are passed at once.
                let full = lsn % 64 == 0 && self.bits[(lsn / 64) as usize] == u64::MAX;
                lsn += if full { 64 } else { 1 };
                continue;
            }
            let first = lsn;
            while lsn <= self.last && !met(lsn) {
                lsn += 1;
            }
            missing.rows += lsn - first;
            if missing.ranges.len() < RANGES_MAX {
                missing.ranges.push((first, lsn - 1));
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_met_once_and_the_rest_is_missing() {
        let mut lsns = Lsns::up_to(1_000);
        for lsn in (1..=200).chain(203..=999) {
            assert!(lsns.insert(lsn), "{lsn}");
        }
        assert!(!lsns.insert(7) && !lsns.insert(0) && !lsns.insert(1_001));
        let expected = Missing { rows: 3, ranges: vec![(201, 202), (1_000, 1_000)] };
        assert_eq!(lsns.missing(), expected);
        assert_eq!(Lsns::up_to(0).missing(), Missing::default());
    }

    #[test]
    fn many_gaps_are_counted_and_some_are_named() {
        let mut lsns = Lsns::up_to(200);
        assert!((1..=100).all(|n| lsns.insert(2 * n)));
        let missing = lsns.missing();
        assert_eq!((missing.rows, missing.ranges.len()), (100, RANGES_MAX));
    }
}
